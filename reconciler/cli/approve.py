"""Saying yes to what the manifests of a project newly ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.complete import refs as complete_refs
from reconciler.cli.options import given, width

if TYPE_CHECKING:
    from reconciler.approval import Asked
    from reconciler.house import House
    from reconciler.loop import Proposal
    from reconciler.model import Ref


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(approve)


def approve(
    ctx: typer.Context,
    project: Annotated[
        str, typer.Argument(metavar="PROJECT", help="project/NAME, or its name; or a REF of none.", autocompletion=complete_refs)
    ],
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[REF...]", help="Only these. [default: all that waits]", autocompletion=complete_refs)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Yes, without being asked.")] = False,
    plan_digest: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Yes, when what waits is what a plan showed under this digest; else an error.")
    ] = None,
) -> None:
    """Say yes to what a project's manifests newly ask for.

    For projects with `spec.sync.approval: required`, and where a rule of the policy wants a yes. Shows exactly
    what waits, and who asked for it. The yes holds for that and nothing else: what the manifests ask for later
    waits again. The next pass carries it out, or a running `reconcile watch` at once.

    \b
    Examples:
      reconcile approve project/vision
      reconcile approve vision model/vision/digits --yes
      reconcile approve project/vision --plan-digest 3f9c2e1ab04d
    """
    from reconciler.cli.output import say
    from reconciler.cli.pass_ import open_for
    from reconciler.environment import refuse_other
    from reconciler.errors import UsageError
    from reconciler.loop import propose
    from reconciler.orders import approve as order
    from reconciler.report.text import chosen_text

    asked = given(ctx)
    house = open_for(asked, read_only=False)
    selection = asked.selection(house.settings, house.kinds)
    refuse_other(selection, house.store, house.store.inventory())
    proposal = propose(selection, house)
    if proposal.selection.partial or proposal.policy is None:
        raise UsageError(
            "a yes is given to all that waits in a project, or to REFs of it", hint="without --project, --kind, --selector and -f"
        )
    waiting = proposal.policy.asked
    found = _project(project, proposal, waiting, house)
    chosen = _chosen(found, refs or [], waiting, house)
    digest = waiting.digests.get(found.owner, "")
    if plan_digest is not None:
        order.must_be_seen(found, plan_digest, waiting)
    if not chosen:
        say(f"Nothing of {found} waits for approval.")
        return
    order.must_count(chosen, waiting, house.actor)
    say(chosen_text(only(proposal, chosen), color=asked.color(), width=width()))
    say("\n".join([*_asked_by(chosen, proposal, house), f"Its digest is {digest}."]))
    if not yes and plan_digest is None and not typer.confirm("Approve this?", err=True):
        raise typer.Exit(1)
    order.approve(chosen, waiting, proposal, house, house.actor)
    say(f"Approved {len(chosen)} of {found}.\nNext: `reconcile` carries it out; a running `reconcile watch` does by itself.")


def _project(text: str, proposal: Proposal, waiting: Asked, house: House) -> Ref:
    """The project that is meant, or what belongs to none. Raises UsageError for one that asks nobody."""
    from reconciler.cli.refs import parse_ref
    from reconciler.errors import UsageError
    from reconciler.orders.approve import asks

    known = {ref for ref in (*proposal.resources, *proposal.inventory) if ref.kind == "Project"}
    found = parse_ref(text, house.kinds, known | {ref for ref in waiting.waiting if not ref.owner})
    if not asks(found, proposal, waiting):
        raise UsageError(f"{found} asks nobody for approval", hint="spec.sync.approval of its manifest decides about that, and rules do")
    return found


def _chosen(project: Ref, refs: list[str], waiting: Asked, house: House) -> frozenset[Ref]:
    from reconciler.cli.refs import parse_ref
    from reconciler.orders.approve import waits

    here = waits(project, waiting)
    return frozenset(parse_ref(each, house.kinds, here) for each in refs) if refs else here


def only(proposal: Proposal, chosen: frozenset[Ref]) -> Proposal:
    """The proposal, reduced to what waits: with what comes of it, as what it would be."""
    from dataclasses import replace

    from reconciler.approval import AWAITING
    from reconciler.model import Blocked, Plan

    here = [each for each in proposal.plan.actions if each.ref in chosen or replace(each.ref, key="") in chosen]
    meant = [each.wanted if isinstance(each, Blocked) and each.reason == AWAITING and each.wanted is not None else each for each in here]
    return replace(proposal, plan=Plan(tuple(meant)), orphans=(), diagnostics=(), admission=None)


def _asked_by(chosen: frozenset[Ref], proposal: Proposal, house: House) -> list[str]:
    """One line for each source: its commit, and who made that."""
    from reconciler.loop import author
    from reconciler.orders.approve import source_of
    from reconciler.report.show import clean

    sources = {source_of(ref, proposal) for ref in chosen}
    found = [each for each in proposal.sources if each.name in sources]
    told = [(each, author(proposal, house, each.name)) for each in found]
    return [clean(f"Asked for by source {each.name} @ {each.revision or 'no commit'}{f' ({who})' if who else ''}.") for each, who in told]
