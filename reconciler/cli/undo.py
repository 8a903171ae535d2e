"""Taking an apply back: the manifests as they were before it, in the working folder, and what that would do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import applies
from reconciler.cli.options import Format, Globals, Output, given, width

if TYPE_CHECKING:
    from reconciler.cli.exit import Exit
    from reconciler.undoing import Undoing


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(undo)


def undo(
    ctx: typer.Context,
    apply: Annotated[
        int | None,
        typer.Argument(metavar="APPLY_ID", help="As `reconcile history` names it. [default: the last one]", autocompletion=applies),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would become of it. Writes nothing, anywhere.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Take an apply back: make the manifests behind it what they were before, in the working folder.

    Only files of what the apply touched are written. Nothing is committed or pushed, and no tool is written to: what it shows is the plan
    that these manifests lead to, and of each thing that was done whether it is taken back, what stays, and what cannot be taken back.
    Changes that are not committed, and later commits, are not overwritten: they refuse it. The manifests must be in git.

    To go back at once and keep a bad revision out, use `reconcile rollback`.

    \b
    Examples:
      reconcile undo --dry-run
      reconcile undo
      reconcile undo 12
    """
    from reconciler.applied import applied, must_be_known
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.environment import standing
    from reconciler.report.undone import undone_json, undone_text
    from reconciler.undoing import undoing, write

    asked = given(ctx)
    _refuse_filters(asked)
    house = open_for(asked, read_only=True)
    found = must_be_known(applied(house.store, apply), apply)
    env = house.settings.env or standing(house.store, {}) or ""
    back = undoing(found, replace(asked.selection(house.settings, house.kinds), env=env), house)
    if not dry_run:
        write(back, open_for(asked, read_only=False))
    shown = undone_json if output is Format.JSON else undone_text
    say(shown(back, house.now(), dry_run=dry_run, color=asked.color(), width=width()))
    raise typer.Exit(_exit(back))


def _exit(found: Undoing) -> Exit:
    """As of the dry run of what comes of it; what cannot be taken back weighs as what is held."""
    from reconciler.cli.exit import Exit, of_proposal

    code = of_proposal(found.proposal, detailed=False)
    return Exit.HELD if code is Exit.OK and any(each.fate in ("cannot", "unknown") for each in found.verdicts) else code


def _refuse_filters(asked: Globals) -> None:
    from reconciler.errors import UsageError

    if asked.project or asked.kind or asked.selector:
        hint = "`reconcile undo` names the files; `git restore` takes back single ones"
        raise UsageError("an apply is taken back as a whole, without --project, --kind and --selector", hint=hint)
