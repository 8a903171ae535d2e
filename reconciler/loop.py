"""The corridor: `propose` is everything left of the bar, `carry_out` everything right of it, `converge` repeats them.

::

    load -> validate -> resolve -> observe -> bind -> diff -> plan -> judge -> admit  |  apply -> observe again -> record -> report

A dry run is `propose` and nothing else: it opens the Store read-only and cannot write anywhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from reconciler.admit import Admission, consider, give_back, grant
from reconciler.applied import Applying
from reconciler.apply import apply, owned
from reconciler.approval import Asked
from reconciler.bind import Bound, Differ, bind
from reconciler.controller import Context, Reaction
from reconciler.environment import enter, warned
from reconciler.events import Event
from reconciler.expand import Expanded, expand
from reconciler.guard.govern import Governed
from reconciler.guard.reactions import Guarded, Judged, is_reaction, shown, wanted
from reconciler.guard.remember import ALWAYS, remember
from reconciler.house import House, begin, context, writing
from reconciler.impact import impact
from reconciler.inventory import is_untried, note
from reconciler.journal import StoreJournal
from reconciler.model import (
    Blocked,
    Delete,
    Diagnostic,
    Location,
    Observation,
    Owned,
    Plan,
    Ref,
    Resource,
    Result,
    Status,
    Unknown,
)
from reconciler.moves import as_moved, renamed, to_move, under_old_names
from reconciler.observe import Observed, observe, observe_children
from reconciler.plan import plan
from reconciler.policy import Policy
from reconciler.proposal import Proposal, Report
from reconciler.react import due, react
from reconciler.record import refused, statuses, summed
from reconciler.rules import ROOT_SOURCE
from reconciler.secret import masked
from reconciler.selection import Selection
from reconciler.source.base import read_base
from reconciler.source.follow import place_of
from reconciler.source.read import Desired, read
from reconciler.source.revision import author_of
from reconciler.state.records import AuditEntry
from reconciler.under import made_under
from reconciler.verify import verify


def propose(selection: Selection, house: House) -> Proposal:
    """Read manifests, Store and tools, and decide what should be done. Writes nothing, anywhere."""
    began, calls, lease = time.monotonic(), house.wire.count, begin(house)
    inventory, now = house.store.inventory(), house.now()
    house.tell(Event("phase", "reading manifests"))
    root_paths, quarantined = house.store.meta("root_paths") or "", house.store.rulings.quarantined()
    desired = read(selection, house.kinds, house.settings, inventory, root_paths, quarantined, house.checks)
    selection = desired.selection
    moving = renamed(desired.graph.resources, inventory)
    ctx = context(house, desired.graph.resources, inventory, focused=not selection.prunes, moving=moving)
    chosen = {ref: each for ref, each in desired.graph.resources.items() if selection.holds(each)}
    house.tell(Event("phase", "looking at the tools"))
    looked_at = [each for ref, each in chosen.items() if ref not in desired.graph.blocked]
    # Where a pass was cut short, something of ours may have been left, though nothing is declared there any more.
    unfinished = frozenset(house.store.open_intents())
    also = {ref.kind for ref in unfinished if selection.covers(ref)} if selection.prunes else ()
    breaker = house.backoff.breaker if house.backoff else None
    looked_at += under_old_names(looked_at, moving, house.kinds)
    observed = observe(looked_at, ctx, house.kinds, house.settings.parallelism, also, breaker) if ctx else _blind(looked_at)
    observed, moves = to_move(observed, moving, desired.graph.resources, inventory, desired.installation)
    for ref in moving.keys() - moves.of.keys():
        del moving[ref]
    inventory = as_moved(inventory, moves)
    differ = _differ(house)
    bound = bind(chosen.values(), observed.seen, inventory, differ)
    expanded = expand(bound, observed.seen, ctx, house.kinds) if ctx else Expanded()
    unwanted: Mapping[Ref, Observation] = {}
    if ctx and expanded.children:
        below = observe_children(expanded.children, ctx, house.kinds, house.settings.parallelism, breaker)
        unwanted = below.extra
        observed = below.onto(observed)
        bound = bind([each for some in expanded.children.values() for each in some], observed.seen, inventory, differ, bound)
    policy = replace(made_under(selection, house, desired, bound, observed, unfinished, inventory, ctx), moves=moves)
    made = partial(plan, bound, observed.seen, inventory, unwanted=unwanted)
    planned, admission = made(policy), None
    if ctx:
        planned, policy = _judged(made, planned, policy, bound, observed, inventory, desired, ctx, house)
        planned, admission = consider(planned, bound.resources, inventory, policy, ctx, house)
    return Proposal(
        plan=planned,
        resources=bound.resources,
        observations={**observed.seen, **observed.extra},
        inventory=inventory,
        sources=desired.graph.sources,
        diagnostics=(*desired.diagnostics, *map(_unmatched, planned.unmatched), *warned(selection, house.store, inventory)),
        orphans=_orphans(observed, inventory, desired),
        tools=observed.tools,
        seconds=time.monotonic() - began,
        calls=house.wire.count - calls,
        applied_revision=house.store.meta("applied_revision") or "",
        context=ctx,
        selection=selection,
        lease=lease,
        refused=desired.graph.refused,
        admission=admission,
        policy=policy,
        looked=now,
        unread=expanded.unread,
        declared=desired.graph.resources,
    )


def _judged(
    made: Callable[[Policy], Plan],
    planned: Plan,
    policy: Policy,
    bound: Bound,
    observed: Observed,
    inventory: Mapping[Ref, Owned],
    desired: Desired,
    ctx: Context,
    house: House,
) -> tuple[Plan, Policy]:
    """The plan as the rules let it be, with what resources ask to be done with others where a rule holds that."""
    reactions, part = _reactions(bound, planned, desired, ctx, house), desired.selection.part
    if any(each.want for each in reactions):
        policy = wanted(reactions, policy, part=part)
        planned = made(policy)
    governed = Governed(made, desired.graph.resources, bound.resources, observed.seen, inventory, ctx, house)
    planned, policy = governed.plan(policy, planned, part=part)
    return shown(reactions, planned, policy)


def _reactions(bound: Bound, planned: Plan, desired: Desired, ctx: Context, house: House) -> list[Judged]:
    """What resources ask to be done with others, and what the rules say of it."""
    guarded = Guarded(desired.graph.resources, ctx, house)
    free = [each.ref for each in planned.actions if not isinstance(each, Blocked | Delete)]
    return [guarded.judged(by, each) for by, each in due(bound.resources, free, ctx, house.kinds)]


def _orphans(observed: Observed, inventory: Mapping[Ref, Owned], desired: Desired) -> tuple[Ref, ...]:
    nobodys = observed.extra.keys() - inventory.keys() - desired.graph.resources.keys()
    return tuple(sorted(ref for ref in nobodys if desired.selection.covers(ref)))


def _differ(house: House) -> Differ:
    return lambda resource, seen: house.kinds.of(resource.ref).diff(resource, seen)


def carry_out(proposal: Proposal, house: House, stop: threading.Event | None = None) -> Report:
    """Do what the proposal says, look again, and write down where everything stands.

    Raises StalePlan, and does nothing, when another pass wrote since the proposal; StoreError while another one is writing; UsageError
    when the installation is of another environment."""
    began, ctx = time.monotonic(), proposal.context
    with writing(house, proposal.lease):
        enter(proposal.selection, house.store, proposal.inventory, house.actor, house.now())
        results: Sequence[Result] = [Result(each, None) for each in proposal.plan.actions]
        admission: Admission | None = None
        held: Sequence[Result] = ()
        applying = Applying(house.store, {each.name: each.revision for each in proposal.sources}, house.shard)
        applying.follow()
        journal = _journal(proposal, house, applying)
        if ctx is not None:
            parallelism = house.settings.parallelism
            house.tell(Event("phase", "applying"))
            todo, ctx, admission = _admitted(proposal, ctx, house)
            by = proposal.policy.attributed if proposal.policy is not None else {}
            results = apply(
                todo,
                ctx,
                house.kinds,
                journal,
                proposal.inventory,
                by,
                tell=house.tell,
                stop=stop,
                parallelism=parallelism,
                backoff=house.backoff,
                gives_way=house.gives_way,
            )
            if house.backoff is not None and proposal.selection.prunes:
                house.backoff.keep({each.ref for each in todo.writes})
            if admission is not None:
                give_back(results, admission, house)
            noted = [proposal.resources[ref] for ref in sorted(house.memos.touched()) if ref in proposal.resources]
            results = verify(results, ctx, house.kinds, house.tell, noted)
            results = [each for each in results if not is_reaction(each.action.ref)]
            held = _react(proposal, results, ctx, house, stop, applying)
            if proposal.policy is not None:
                remember(results, proposal.resources, ALWAYS | proposal.policy.ruled.looks_back, house.memos)
        leased = admission.granted if admission is not None else {}
        found = statuses(results, proposal.resources, proposal.observations, house.kinds, leased)
        if ctx is not None:
            found = summed(found, proposal.resources, ctx, house.kinds)
            found += statuses(held, {}, {}, house.kinds)
        found += refused(proposal.refused, proposal.diagnostics)
        found = tuple(map(_masked, found))
        interrupted = (stop is not None and stop.is_set()) or any(map(is_untried, results))
        results = [*results, *held]
        note(proposal, results, found, house, journal, whole=not interrupted)
    return Report(proposal, tuple(results), found, time.monotonic() - began, interrupted)


def against(name: str, proposal: Proposal, house: House) -> Proposal:
    """The proposal, with what of it the change since the revision `name` brings about. Raises UsageError where there is no such one."""
    base = read_base(name, proposal.selection.paths, house.kinds, house.settings.root, proposal.selection.env)
    found = impact(proposal.plan.actions, proposal.resources, proposal.inventory, base, ROOT_SOURCE)
    return replace(proposal, impact=found)


def _masked(status: Status) -> Status:
    """Without what a tool repeated of what it was given: it is kept, told and sent on."""
    texts = [status.message, *(each.message for each in status.conditions)]
    if all(masked(text) == text for text in texts):
        return status
    conditions = tuple(replace(each, message=masked(each.message)) for each in status.conditions)
    return replace(status, message=masked(status.message), conditions=conditions)


def _react(
    proposal: Proposal, results: Sequence[Result], ctx: Context, house: House, stop: threading.Event | None, applying: Applying
) -> Sequence[Result]:
    """What became of the resources may call for something to be done with others. What is suspended or blocked calls for nothing. Gives
    back what rules hold of it."""
    if stop is not None and stop.is_set():
        return ()
    free = [each.action.ref for each in results if not isinstance(each.action, Blocked | Delete)]
    guarded = Guarded(proposal.declared, ctx, house)
    asked, held = proposal.policy.asked if proposal.policy is not None else Asked(), dict[Ref, Blocked]()

    def holds(by: Ref, reaction: Reaction) -> bool:
        if (blocked := guarded.judged(by, reaction).held(asked)) is not None:
            held[blocked.ref] = blocked
        return blocked is not None

    done = react(proposal.resources, free, ctx, house.kinds, house.tell, holds)
    entries = [
        AuditEntry(
            at=house.now(),
            actor=str(each.by),
            ref=each.reaction.ref,
            action="rollback" if each.reaction.verb == "roll_back" else each.reaction.verb,
            result="failed" if each.failed else "done",
            detail={
                "why": each.reaction.why,
                "said": each.said,
                **_warned(guarded.judged(each.by, each.reaction)),
                **applying.mark(_source(each.by, proposal)),
            },
        )
        for each in done
        if not each.reaction.refused
    ]
    if entries:
        house.store.audit(entries)
    return [Result(each, None) for each in held.values()]


def _warned(said: Judged) -> Mapping[str, str]:
    """For the audit log: rules that warned of what was done."""
    return {"rules": "; ".join(map(str, said.warnings))} if said.warnings else {}


def _admitted(proposal: Proposal, ctx: Context, house: House) -> tuple[Plan, Context, Admission | None]:
    """What may be carried out now: decided again at this moment, and written down before anything starts."""
    if proposal.policy is None:
        return proposal.plan, ctx, None
    planned, admission = consider(proposal.plan, proposal.resources, proposal.inventory, proposal.policy, ctx, house)
    if admission is None:
        return planned, ctx, None
    about = [each.ref for each in admission.books.queue if proposal.selection.whole_of(each.ref)]
    todo, ctx = grant(planned, admission, ctx, house, about)
    return todo, ctx, admission


def _unmatched(confirmed: str) -> Diagnostic:
    hint = "it was carried out already, or another set waits by now: look at `reconcile --dry-run` again"
    return Diagnostic(
        Location("--confirm"), f"{confirmed} names nothing that waits for a yes", hint=hint, severity="warning", reason="NothingToConfirm"
    )


def _blind(resources: Sequence[Resource[Any]]) -> Observed:
    return Observed({each.ref: Unknown("no Platform manifest says where the tools are") for each in resources}, {}, {})


def _source(ref: Ref, proposal: Proposal) -> str:
    return proposal.resources[ref].source if ref in proposal.resources else ROOT_SOURCE


def _journal(proposal: Proposal, house: House, applying: Applying) -> StoreJournal:
    revisions = {each.name: each.revision for each in proposal.sources}
    gone = {ref: each.location for ref, each in proposal.inventory.items()}
    locations = gone | {ref: each.location for ref, each in proposal.resources.items()}
    sources = {ref: each.source for ref, each in proposal.resources.items()} | {
        ref: each.source for ref, each in proposal.inventory.items()
    }
    by = cache(partial(author, proposal, house))
    return StoreJournal(house.store, house.actor, house.now, revisions, locations, sources, house.memos.move, by, applying.mark)


def author(proposal: Proposal, house: House, source: str) -> str:
    """Who made the commit that a source is at."""
    revision = next((each.revision for each in proposal.sources if each.name == source), "")
    spec, root = proposal.context.platform if proposal.context is not None else None, house.settings.root.absolute()
    found = next((each for each in spec.sources if each.name == source), None) if spec is not None else None
    first = proposal.selection.paths[0] if proposal.selection.paths else Path()
    place = place_of(found, root, house.settings.state) / found.path if found is not None else root / first
    return author_of(place if place.is_dir() else place.parent, revision)


__all__ = ["House", "Proposal", "Report", "Selection", "carry_out", "owned", "propose"]
