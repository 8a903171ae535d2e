"""`reconcile keys`: who may ask the gateway."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import keys as complete_keys
from reconciler.cli.complete import projects as complete_projects
from reconciler.cli.options import Format, Globals, Output, given

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from reconciler.gateway.keys import Key

app = typer.Typer(
    help="API keys of the gateway: make, list, replace, end. The gateway takes over a change with its next request.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


OneKey = Annotated[
    str, typer.Argument(metavar="ID", help="The part of a key between `mlr_` and the next `_`.", autocompletion=complete_keys)
]


class ScopeName(StrEnum):
    """What a key may be for."""

    PREDICT = "predict"
    FEEDBACK = "feedback"
    MODELS = "models"
    METRICS = "metrics"


@app.command()
def create(
    ctx: typer.Context,
    project: Annotated[
        str, typer.Option(metavar="NAME", help="Whose deployments; '*' = those of every project.", autocompletion=complete_projects)
    ],
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(metavar="SCOPE", help="predict, feedback, models or metrics; repeatable. [default: the first three]"),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help="Ends by itself after this time, such as 90d.")] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="Who has it, and why.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Make a key. Its text is written to stdout, this once; nobody can read it again.

    \b
    Examples:
      reconcile keys create --project cpu-compression --note "the shop's back end"
      KEY=$(reconcile keys create --project vision --scope predict --expires 90d)
    """
    from reconciler.gateway.keys import ALL, USUAL
    from reconciler.gateway.keys import create as make

    asked = given(ctx)
    folder = _state(asked)
    if project != ALL:
        _known_project(project, asked)
    lifetime = None if expires is None else _seconds(expires, "--expires")
    key, text = make(folder, project, [each.value for each in scope] if scope else USUAL, lifetime=lifetime, note=note)
    _show(key, text, output)


@app.command("list")
def list_(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Show those that are good no longer too.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """The keys: whose, what for, until when. Their texts are kept nowhere.

    \b
    Examples:
      reconcile keys list
      reconcile keys list --project cpu-compression --all
    """
    from reconciler.cli.output import say
    from reconciler.gateway.keys import listing
    from reconciler.report.serving import keys_json, keys_text

    asked = given(ctx)
    keys = [each for each in listing(_state(asked)) if not asked.project or each.project in asked.project]
    say(keys_json(keys, _now()) if output is Format.JSON else keys_text(keys, _now(), all_=all_, color=asked.color()))


@app.command()
def revoke(ctx: typer.Context, id_: OneKey, output: Output = Format.TEXT) -> None:
    """End a key at once.

    \b
    Example:
      reconcile keys revoke 3f9c2e1b7a50
    """
    from reconciler.cli.output import say
    from reconciler.gateway.keys import revoke as end
    from reconciler.report.serving import key_json

    key = end(_state(given(ctx)), id_)
    say(key_json(key, _now()) if output is Format.JSON else f"Key {key.id} is revoked: the gateway refuses it from now on.")


@app.command()
def rotate(
    ctx: typer.Context,
    id_: OneKey,
    grace: Annotated[str, typer.Option(metavar="DURATION", help="How long the old key is good beside the new one.")] = "1h",
    output: Output = Format.TEXT,
) -> None:
    """Make a key in place of another, for the same uses and the same time from now on. Its text is written to stdout, this once.

    \b
    Examples:
      reconcile keys rotate 3f9c2e1b7a50
      KEY=$(reconcile keys rotate 3f9c2e1b7a50 --grace 24h)
    """
    from reconciler.cli.output import tell
    from reconciler.gateway.keys import rotate as renew

    key, text = renew(_state(given(ctx)), id_, grace=_seconds(grace, "--grace"))
    _show(key, text, output)
    tell(f"Key {id_} is good for {grace} more at most.")


def _show(key: Key, text: str, output: Format) -> None:
    """The text of a new key alone on stdout, so that it can be captured; the rest beside it."""
    from reconciler.cli.output import say, tell
    from reconciler.report.serving import key_json, key_told

    if output is Format.JSON:
        say(key_json(key, _now(), text))
        return
    say(text)
    tell(f"{key_told(key, _now())} It is not shown again.")
    tell("Next: send it as `Authorization: Bearer KEY`; `reconcile keys revoke` and `rotate` take its id.")


def _state(asked: Globals) -> Path:
    """The state folder. Raises UsageError where there is none: keys belong to an installation."""
    from reconciler.errors import UsageError

    settings = asked.settings()
    asked.refuse_nowhere(settings)
    if not settings.state.is_dir():
        raise UsageError("nothing was reconciled here yet", hint="`reconcile` first; keys are for what it serves")
    return settings.state


def _known_project(name: str, asked: Globals) -> None:
    """Raises UsageError for a project that is neither declared nor applied: its key would open nothing."""
    from difflib import get_close_matches

    from reconciler.cli.pass_ import open_for
    from reconciler.errors import UsageError
    from reconciler.source.read import read

    house = open_for(asked, read_only=True)
    inventory, selection = house.store.inventory(), asked.as_applied(house)
    known = {ref.name for ref in inventory if ref.kind == "Project"}
    if name not in known and selection is not None:
        declared = read(selection, house.kinds, house.settings, inventory).graph.resources
        known |= {ref.name for ref in declared if ref.kind == "Project"}
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"projects are: {', '.join(sorted(known)) or 'none yet'}"
        raise UsageError(f"there is no project '{name}'", hint=hint)


def _seconds(text: str, option: str) -> float:
    """Raises UsageError when `text` is not a duration."""
    from reconciler.errors import UsageError
    from schemas.base import duration_value

    try:
        return duration_value(text).total_seconds()
    except ValueError as error:
        raise UsageError(str(error), hint=f"for {option}") from None


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)
