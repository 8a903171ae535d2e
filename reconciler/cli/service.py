"""`reconcile service`: the loop as a service of the operating system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.options import Globals, given

if TYPE_CHECKING:
    from reconciler.platform.servicefile import Service
    from reconciler.settings import Settings

app = typer.Typer(
    help="The loop as a service of this machine: `reconcile watch` without a terminal.", rich_markup_mode=None, no_args_is_help=True
)
USUAL = "mlops-reconciler"
"""What the service is called unless somebody says otherwise."""
SETTINGS = ("MLOPS_STATE_DIR", "MLOPS_STORE", "MLOPS_PARALLELISM", "MLOPS_ENV")
"""Variables that the service gets as they are now. MLOPS_ROOT is its working directory; any other MLOPS_* may be somebody's secret."""


@app.callback()
def service() -> None:
    """Keeps `install` a command of its own."""


class Target(StrEnum):
    """Who runs it."""

    SYSTEMD = "systemd"
    LAUNCHD = "launchd"


@app.command()
def install(
    ctx: typer.Context,
    print_: Annotated[bool, typer.Option("--print", help="Write the service file to stdout. Installing it is left to you.")] = False,
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the service; another one for each installation.")] = USUAL,
    every: Annotated[str, typer.Option(metavar="DURATION", help="As for `reconcile watch`.")] = "30s",
    target: Annotated[Target | None, typer.Option(help="[default: launchd on macOS, systemd elsewhere]")] = None,
) -> None:
    """Print a service file that runs `reconcile watch` here unattended.

    For this user, with the options and settings of this call. It comes back after a failure and a restart of the machine. Stopping it ends
    the loop only: services and runs go on. Secrets are not written into it: it says which variables belong into a file beside it.

    \b
    Examples:
      reconcile service install --print > ~/.config/systemd/user/mlops-reconciler.service
      reconcile service install --print --target launchd --name ml > ~/Library/LaunchAgents/ml.plist
      reconcile service install --print --name vision --every 5m --project vision
    """
    import sys

    from reconciler.cli.output import say, tell
    from reconciler.errors import UsageError
    from reconciler.platform.servicefile import default_log, launchd, systemd

    chosen = target or (Target.LAUNCHD if sys.platform == "darwin" else Target.SYSTEMD)
    place, start = _steps(chosen, name)
    if not print_:
        raise UsageError("this only prints a service file, and installs nothing", hint=f"`{_itself(target, name)} > {place} && {start}`")
    asked = given(ctx)
    found = described(asked, asked.settings(), name, every)
    say(systemd(found) if chosen is Target.SYSTEMD else launchd(found, default_log(Path.home(), name)))
    if found.secrets:
        tell(f"First: write {', '.join(sorted(found.secrets))} into ~/.config/{found.secrets_file} (mode 0600), each as NAME='value'.")
    tell(f"Next: put it into {place}, then `{start}`.")


def described(asked: Globals, settings: Settings, name: str, every: str) -> Service:
    """The service that this call would be. Raises UsageError for what would only fail later, when nobody looks."""
    import os

    from reconciler.cli.pass_ import timeout_seconds
    from reconciler.platform.servicefile import Service
    from reconciler.registry import discover
    from reconciler.source.read import read
    from reconciler.state.address import is_secret

    timeout_seconds(every)
    kinds = discover()
    selection = asked.selection(settings, kinds)
    secrets = {
        each: "a manifest takes it from the environment"
        for resource in read(selection, kinds, settings, {}).graph.resources.values()
        for each in variables(resource.spec)
    }
    if settings.store and is_secret(settings.store):
        secrets["MLOPS_STORE"] = "the URL holds a password, or may"
    root = settings.root.absolute()
    env = {each: value for each, value in _settings(os.environ).items() if each not in secrets}
    return Service(name, (*program(), "watch", "--every", every, *_words(asked)), str(root), env, secrets)


def variables(value: Any) -> Iterator[str]:
    """Environment variables that a spec takes secrets from."""
    from pydantic import BaseModel

    from schemas.base import FromEnv

    match value:
        case FromEnv(from_env=name):
            yield name
        case BaseModel():
            yield from variables([each for _, each in value])
        case Mapping():
            yield from variables(list(value.values()))
        case str() | bytes():
            return
        case Sequence() | set() | frozenset():
            for each in value:
                yield from variables(each)


def program() -> tuple[str, ...]:
    """How the program of the environment that runs now is started from anywhere."""
    import sys

    python = Path(sys.executable).absolute()  # not resolved: the link is what says which environment it is
    script = python.with_name("reconcile")
    return (str(script),) if script.exists() else (str(python), "-P", "-c", "from reconciler.cli import main; main()")


def _words(asked: Globals) -> Iterator[str]:
    """The global options of this call, so that they mean the same in the installation's root."""
    for path in asked.manifests:
        yield from ("--manifests", str(path.absolute()))
    for option, values in (("--project", asked.project), ("--kind", asked.kind), ("--selector", asked.selector)):
        for each in values:
            yield from (option, each)
    if asked.state_dir is not None:
        yield from ("--state-dir", str(asked.state_dir.absolute()))
    if asked.env:
        yield from ("--env", asked.env)
    yield from (flag for flag, given_ in (("--no-color", asked.no_color), ("--verbose", asked.verbose)) if given_)


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """PATH, where git and what the runs call are found, and our own settings, so that they mean the same anywhere."""
    from reconciler.state.address import from_anywhere

    env = {each: environment[each] for each in ("PATH", *SETTINGS) if environment.get(each)}
    if "MLOPS_STATE_DIR" in env:
        env["MLOPS_STATE_DIR"] = str(Path(env["MLOPS_STATE_DIR"]).absolute())
    if "MLOPS_STORE" in env:
        env["MLOPS_STORE"] = from_anywhere(env["MLOPS_STORE"])
    return env


def _itself(target: Target | None, name: str) -> str:
    more = [f" --target {target.value}"] if target else []
    return "".join(["reconcile service install --print", *more, *([f" --name {name}"] if name != USUAL else [])])


def _steps(target: Target, name: str) -> tuple[str, str]:
    """Where the file belongs, and what starts it."""
    if target is Target.LAUNCHD:
        place = f"~/Library/LaunchAgents/{name}.plist"
        return place, f"launchctl bootstrap gui/$(id -u) {place}"
    start = f"systemctl --user daemon-reload && systemctl --user enable --now {name} && loginctl enable-linger"
    return f"~/.config/systemd/user/{name}.service", start
