"""Carrying out a plan that was saved: exactly that, once."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import Detailed, Globals, PlanFormat, given

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.loop import Proposal
    from reconciler.model import Ref
    from reconciler.report.saved import SavedPlan

APPLIED = "applied_plan:"
"""Before the id of a plan, in the Store: that it was carried out."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(apply)


def apply(
    ctx: typer.Context,
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN", help="What `reconcile --dry-run --out PLAN` wrote.")] = None,
    detailed_exitcode: Detailed = False,
    output: Annotated[PlanFormat, typer.Option("-o", "--output", help="How the result is written.")] = PlanFormat.TEXT,
) -> None:
    """Carry out a saved plan: exactly that, once.

    The plan is made again and held against the file. Where anything else would be done now, nothing is done, and every difference is
    named. Commits are not compared: a plan that was approved in a pull request holds after the merge as long as it is the same work.
    What starts later because of it (a run whose dataset has a new version by then) is the next pass's.

    \b
    Examples:
      reconcile --dry-run --out plan.json
      reconcile apply plan.json
    """
    from reconciler.alerting.courier import tell_once
    from reconciler.cli.exit import of_report
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for, report_in, stop_on_signal
    from reconciler.cli.telemetry import telemetry
    from reconciler.converge import converge
    from reconciler.errors import UsageError
    from reconciler.report.saved import must_match, read_saved

    if plan is None:
        raise UsageError("which plan? `apply` carries out one that was kept", hint="write `reconcile`, which makes one and carries it out")
    asked = given(ctx)
    saved = read_saved(plan)
    _refuse_filters(asked, saved)
    house = open_for(asked, read_only=False)
    selection = replace(saved.selection, paths=tuple(house.settings.root / each for each in saved.selection.paths))

    begun = False

    def accept(proposal: Proposal, done: Collection[Ref]) -> None:
        nonlocal begun
        if not begun:
            _refuse_foreign(saved, plan, proposal, house)
        must_match(saved, proposal, {str(each) for each in done})
        if not begun:
            _note(saved, house)
        begun = True

    since = house.now()
    with stop_on_signal() as stop, telemetry(house, selection.env) as telling, telling.around():
        report = converge(selection, telling.house, stop=stop, accept=accept)
        telling.report(report)
    tell_once(house, since)
    say(report_in(output, report, asked))
    raise typer.Exit(of_report(report, wait=False, detailed=detailed_exitcode))


def _refuse_filters(asked: Globals, saved: SavedPlan) -> None:
    from reconciler.errors import UsageError

    if asked.env and asked.env != saved.selection.env:
        raise UsageError(f"the plan is for {saved.selection.env or 'no environment'}, and {asked.env} is asked for", hint="without --env")
    if asked.manifests or asked.project or asked.kind or asked.selector:
        raise UsageError("a saved plan says itself what it is about", hint="without -f, --project, --kind and --selector")


def _refuse_foreign(saved: SavedPlan, path: Path, proposal: Proposal, house: House) -> None:
    """Raise UsageError for a plan of another installation or Store, and for one that was carried out."""
    from reconciler.errors import UsageError
    from reconciler.house import STORE_ID
    from reconciler.report.rows import installation
    from reconciler.report.show import clean

    again = "`reconcile --dry-run --out plan.json` keeps one here"
    if saved.installation != installation(proposal):
        theirs, ours = clean(saved.installation) or "none", installation(proposal) or "none"
        raise UsageError(f"{path} is a plan for the installation {theirs}; this one is {ours}", hint=again)
    if (used := house.store.meta(f"{APPLIED}{saved.id}")) is not None:
        told = json.loads(used)
        raise UsageError(
            f"{path} was carried out already, at {told['at']} by {clean(told['by'])}", hint="a plan is good for once; make a new one"
        )
    if saved.store and saved.store != house.store.meta(STORE_ID):
        raise UsageError(f"{path} was made beside another Store than {house.store.place}", hint=again)


def _note(saved: SavedPlan, house: House) -> None:
    """Before the first write: what was begun may have been done in part, and is not this plan any more."""
    from reconciler.state import AuditEntry

    now = house.now()
    house.store.set_meta(f"{APPLIED}{saved.id}", json.dumps({"at": f"{now:%Y-%m-%dT%H:%M:%SZ}", "by": house.actor}))
    detail = {"plan": saved.id, "work": saved.digest, "made": saved.at, "actions": len(saved.work)}
    house.store.audit([AuditEntry(now, house.actor, None, "apply-plan", detail=detail)])
