"""`reconcile watch`: the loop in the foreground."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.exit import Exit
from reconciler.cli.options import Format, Output, given

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError
    from reconciler.loop import Report
    from reconciler.pulse import Pulse
    from reconciler.source.follow import Followings, Standing


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(watch)


def watch(
    ctx: typer.Context,
    every: Annotated[str, typer.Option(metavar="DURATION", help="How often to look at the tools although nothing was saved.")] = "30s",
    listen: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Answer /healthz and /readyz, and take pushes, at this port of 127.0.0.1 (0 = a free one)."),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Reconcile for as long as it runs.

    A saved manifest, code or data file is acted on at once; drift made by hand within --every; runs start as others end. Repositories
    that the Platform names (`spec.follow`, `spec.sources`) are followed: a commit is fetched, checked and acted on.

    \b
    Examples:
      reconcile watch
      reconcile watch --every 5m --project lora-finetuning
      reconcile watch --listen 8480
    """
    from reconciler.cli.output import say, tell
    from reconciler.cli.pass_ import open_for, stop_on_signal, timeout_seconds
    from reconciler.house import secret
    from reconciler.leader import lead
    from reconciler.pulse import Pulse
    from reconciler.report.show import clean
    from reconciler.report.watch import moment_lines, report_line
    from reconciler.source.follow import Followings
    from reconciler.watch import run_forever

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    selection = asked.selection(house.settings, house.kinds)
    told: set[str] = set()
    reports = count()

    def on_report(report: Report) -> None:
        now = datetime.now().astimezone()
        if output is Format.JSON:
            if line := report_line(report, now):
                say(line)
            return
        for line in moment_lines(report, now, told, first=next(reports) == 0):
            say(line)

    def on_trouble(error: ReconcilerError, pause: float) -> None:
        tell(f"{datetime.now().astimezone():%H:%M:%S}  {error}; trying again in {pause:.0f} s")

    def on_news(news: Standing) -> None:
        what = f"history was rewritten, it was {news.rewritten[:7]}; " if news.rewritten else ""
        line = clean(f"{news.source} is at {news.commit[:7]} ({what}{news.author}: {news.subject})")
        tell(f"{datetime.now().astimezone():%H:%M:%S}  {line}")

    pulse, sources = Pulse(timeout_seconds(every)), Followings(house.settings.root, house.settings.state, secret)
    tell(f"Watching {', '.join(str(each) for each in selection.paths)}; Ctrl-C ends it. Runs and services go on without it.")

    def loop(over: threading.Event) -> None:
        run_forever(
            selection,
            house,
            every=timeout_seconds(every),
            stop=over,
            on_report=on_report,
            on_trouble=on_trouble,
            pulse=pulse,
            sources=sources,
            on_news=on_news,
        )

    def on_standby(who: str) -> None:
        standing_by.set()
        tell(f"{datetime.now().astimezone():%H:%M:%S}  standing by: {clean(who)}")

    def on_lead() -> None:
        if standing_by.is_set():
            tell(f"{datetime.now().astimezone():%H:%M:%S}  leads from now on")

    standing_by = threading.Event()
    with stop_on_signal() as stop, _answering(listen, pulse, sources):
        lead(house, pulse, stop, loop, on_standby=on_standby, on_lead=on_lead)
    raise typer.Exit(Exit.OK)


@contextmanager
def _answering(port: int | None, pulse: Pulse, sources: Followings) -> Iterator[None]:
    """Answers over HTTP, if that is asked for."""
    if port is None:
        yield
        return
    from reconciler.api.app import application
    from reconciler.api.serve import HOST, listening
    from reconciler.cli.output import tell

    with listening(application(pulse, sources.hooks, sources.wake), port) as found:
        tell(f"Answering at http://{HOST}:{found}: /healthz, /readyz, /hooks/git/SOURCE.")
        yield
