"""`reconcile platform`: the shared services by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import services as complete_services
from reconciler.cli.options import Format, Output, given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.options import Globals
    from reconciler.house import House
    from reconciler.platform.shared import Shared

app = typer.Typer(
    help="The shared services: start, look, stop, read their logs; the Store: back up, restore. "
    "`reconcile` starts by itself what the manifests need.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
Names = Annotated[list[str] | None, typer.Argument(metavar="SERVICE...", help="Default: all.", autocompletion=complete_services)]


@app.command()
def up(
    ctx: typer.Context,
    names: Names = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="For all of them together.")] = "180s",
) -> None:
    """Start what does not run and wait until it does its work. Ray is started when a manifest needs it, or when it is named.

    \b
    Examples:
      reconcile platform up
      reconcile platform up mlflow --timeout 60s
    """
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.services import shared, wanted

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    services = shared(house, asked)
    _ensure(asked, services, names or wanted(house, asked, services), timeout)


@app.command()
def restart(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="SERVICE...", autocompletion=complete_services)],
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="For all of them to come up.")] = "180s",
) -> None:
    """Start services again, as the manifests declare them. On Linux the gateway is replaced while it runs and refuses nobody; any other
    service is down meanwhile, with what depends on it, and what runs on Ray ends.

    \b
    Examples:
      reconcile platform restart gateway
    """
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.services import shared

    asked = given(ctx)
    services = shared(open_for(asked, read_only=False), asked)
    running = [name for name, each in services.managed.status(probe=False).items() if each.pid is not None]
    services.managed.renew(names)
    _ensure(asked, services, [*names, *running], timeout)


@app.command()
def down(ctx: typer.Context, names: Names = None) -> None:
    """Stop services, and first those that depend on them. Their data stays.

    \b
    Examples:
      reconcile platform down
      reconcile platform down mlflow
    """
    from reconciler.cli.output import say
    from reconciler.cli.services import everything

    services = everything(_house(ctx))
    running = [name for name, each in services.status(probe=False).items() if each.pid is not None]
    services.stop(names)
    stopped = [name for name in running if services.status(probe=False)[name].pid is None]
    say(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command()
def status(ctx: typer.Context, output: Output = Format.TEXT) -> None:
    """Whether each service does its work; starts nothing."""
    from reconciler.cli.output import say
    from reconciler.cli.services import everything, platform_of, told
    from reconciler.platform.shared import Shared
    from reconciler.report.json import services_json
    from reconciler.report.services import services_text
    from reconciler.secret import secret

    asked, house = given(ctx), _house(ctx)
    spec = platform_of(house, asked)
    report = Shared(spec, house.settings.state, secret).report() if spec else told(everything(house).status())
    say(services_json(report) if output is Format.JSON else services_text(report))
    if any(each["state"] not in ("running", "external") for each in report.values()):
        raise typer.Exit(3)


@app.command()
def logs(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(autocompletion=complete_services)],
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is written from now on, until Ctrl-C.")] = False,
) -> None:
    """What a service wrote since its last start.

    \b
    Examples:
      reconcile platform logs mlflow
      reconcile platform logs postgres -n 200 --follow
    """
    from reconciler.cli.output import say
    from reconciler.cli.services import everything
    from reconciler.report.show import clean, clean_lines

    services = everything(_house(ctx))
    if text := services.logs(service, lines):
        say(clean_lines(text))
    if follow:
        for line in services.follow(service):
            say(clean(line))


def _ensure(asked: Globals, services: Shared, names: Sequence[str], timeout: str) -> None:
    import sys

    from reconciler.cli.output import say
    from reconciler.cli.pass_ import timeout_seconds
    from reconciler.events import Event
    from reconciler.report.progress import progress
    from reconciler.report.services import services_text

    if names:
        with progress(sys.stderr, color=asked.color(sys.stderr)) as listen:
            services.managed.ensure(names, timeout_seconds(timeout), lambda service, what: listen(Event("phase", f"{service} {what}")))
    say(services_text(services.report()))


def _house(ctx: typer.Context) -> House:
    from reconciler.cli.pass_ import open_for

    return open_for(given(ctx), read_only=True)
