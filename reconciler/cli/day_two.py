"""Day-two work on single resources: suspend, resume, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import refs as complete_refs
from reconciler.cli.complete import resumable
from reconciler.cli.options import Globals, PlanFormat, given, width

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.loop import Proposal
    from reconciler.model import Ref

OneRef = Annotated[
    str, typer.Argument(metavar="REF", help="kind/project/name, or a name alone where it is unique.", autocompletion=complete_refs)
]
Refs = Annotated[list[str], typer.Argument(metavar="REF...", help="What to delete.", autocompletion=complete_refs)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(suspend)
    app.command()(resume)
    app.command()(delete)


def suspend(
    ctx: typer.Context,
    ref: OneRef,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the resource would have been changed.")],
) -> None:
    """Leave a resource alone until it is resumed.

    It is still looked at. A Project's suspension covers the whole project, the Platform's everything.

    \b
    Example:
      reconcile suspend dataset/vision/digits --reason "labels are being corrected by hand"
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.orders.suspend import suspend as order

    house = open_for(given(ctx), read_only=False)
    found = _find(ref, house, given(ctx))
    order(house, found, reason, house.actor)
    say(f"Suspended {found}: it is looked at and never written.\nNext: `reconcile resume {found}` ends this.")


def resume(
    ctx: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="REF", help="A resource that is suspended, or revision/COMMIT.", autocompletion=resumable)],
) -> None:
    """End a suspension, or the quarantine of a revision.

    \b
    Examples:
      reconcile resume dataset/vision/digits
      reconcile resume revision/3f9c2e1
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.cli.refs import parse_ref
    from reconciler.cli.revisions import PREFIX, lift
    from reconciler.errors import UsageError
    from reconciler.orders.suspend import resume as order

    house = open_for(given(ctx), read_only=False)
    if ref.startswith(PREFIX):
        say(lift(ref, house))
        return
    suspended = house.store.suspensions()
    if not suspended:
        raise UsageError("nothing is suspended here", hint="lifecycle.suspend in a manifest is changed in that manifest")
    found = parse_ref(ref, house.kinds, suspended)
    order(house, found, house.actor)
    say(f"Resumed {found}.\nNext: `reconcile` brings it to what its manifest says.")


def delete(
    ctx: typer.Context,
    refs: Refs,
    confirm: Annotated[bool, typer.Option("--confirm", help="Yes, without being asked.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
) -> None:
    """Delete what has no manifest any more.

    Shows what would go from the tools, and asks first. Nothing else is touched.

    \b
    Examples:
      reconcile delete experiment/vision/old-probe --dry-run
      reconcile delete experiment/vision/old-probe dataset/vision/old-digits
    """
    from dataclasses import replace

    from reconciler.alerting.courier import tell_once
    from reconciler.cli.exit import of_proposal, of_report
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for, report_in, stop_on_signal
    from reconciler.environment import refuse_other
    from reconciler.loop import carry_out, propose
    from reconciler.report.text import chosen_text

    asked = given(ctx)
    house = open_for(asked, read_only=dry_run)
    chosen = frozenset(_find(each, house, asked) for each in refs)
    _refuse_declared(chosen, house, asked)
    selection = asked.selection(house.settings, house.kinds, confirmed=tuple(str(each) for each in chosen))
    refuse_other(selection, house.store, house.store.inventory())
    proposal = _only(chosen, propose(selection, house))
    say(chosen_text(proposal, color=asked.color(), width=width()))
    if dry_run or not proposal.plan.writes:
        raise typer.Exit(of_proposal(proposal, detailed=False))
    if not confirm and not typer.confirm("Delete this?", err=True):
        raise typer.Exit(1)
    since = house.now()
    with stop_on_signal() as stop:
        report = carry_out(replace(proposal, selection=replace(proposal.selection, refs=chosen)), house, stop)
    house.store.put_statuses((), gone=chosen - {each.ref for each in report.statuses})
    tell_once(house, since)
    say(report_in(PlanFormat.TEXT, report, asked))
    raise typer.Exit(of_report(report, wait=False, detailed=False))


def _only(chosen: frozenset[Ref], proposal: Proposal) -> Proposal:
    """The proposal, reduced to what was asked for: nothing else may happen on the way."""
    from dataclasses import replace

    from reconciler.model import Plan

    actions = tuple(each for each in proposal.plan.actions if each.ref in chosen)
    after = {ref: tuple(each for each in before if each in chosen) for ref, before in proposal.plan.after.items() if ref in chosen}
    return replace(proposal, plan=Plan(actions, after), orphans=(), diagnostics=())


def _refuse_declared(chosen: frozenset[Ref], house: House, asked: Globals) -> None:
    from reconciler.cli.inspect import declared
    from reconciler.errors import UsageError

    still = sorted(chosen & declared(house, asked), key=str)
    if still:
        raise UsageError(f"{still[0]} has a manifest, so the next pass would make it again", hint="remove its manifest first")


def _find(text: str, house: House, asked: Globals) -> Ref:
    from reconciler.cli.inspect import find

    return find(text, house, asked)
