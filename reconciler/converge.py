"""Passes until what was asked for is reached: services first, again when somebody else wrote meanwhile, and with `wait` until Ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TypeAlias

from reconciler.advance import LOOK, Watch, advance, heard
from reconciler.environment import refuse_other
from reconciler.errors import StalePlan, WriterBusy
from reconciler.events import Event
from reconciler.house import ANSWERS, House, await_services, bring
from reconciler.loop import Proposal, Report, carry_out, propose
from reconciler.model import (
    Adopt,
    Blocked,
    Create,
    Delete,
    Done,
    Health,
    Keep,
    Move,
    Plan,
    Present,
    Ref,
    Replace,
    Result,
    Started,
    Status,
    Update,
)
from reconciler.platform.process import fallen
from reconciler.selection import Selection
from reconciler.wakeups import Changed, watching

SERVICES_SECONDS = 180.0
"""Longest wait for services that were just started; MLflow alone has been seen to take 50 s on a busy machine."""
STALE_PLANS = 3
"""Plans that may go stale in a row before a pass gives up, and more within WRITER_SECONDS; each means that somebody else made progress."""
SOONEST, LATEST = 1.0, 15.0
"""Seconds between two looks at everything while something moves: that tells nobody when it is ready, and while only jobs do."""
WRITER_SECONDS = 30.0
"""How long a pass that does not wait for anything else waits for its turn to write: a loop beside it writes often, and briefly."""


Accept: TypeAlias = Callable[[Proposal, Collection[Ref]], None]
"""Asked whether a proposal may be carried out, with what of it is done; raises why not."""


def converge(
    selection: Selection,
    house: House,
    *,
    wait: bool = False,
    timeout: float = 300.0,
    stop: threading.Event | None = None,
    on_proposal: Callable[[Proposal], None] | None = None,
    until: Callable[[], bool] | None = None,
    fetch: bool = False,
    newer: Callable[[], bool] | None = None,
    accept: Accept | None = None,
) -> Report:
    """One pass, with the services that it needs brought up first; with `wait`, passes until all is Ready or `timeout` seconds are over.

    `on_proposal` is told the first proposal before it is carried out. `until` says that it is enough, whatever else still moves.
    With `fetch` the repositories that the Platform names are brought to what is newest first: a loop follows them by itself.
    No wait outlasts a newer manifest: with `wait` it is acted on at once, else `newer` tells of it. `accept` is asked about every
    proposal before anything of it is done, and raises what it has against it.
    Raises UsageError, before anything is touched, when the installation is of another environment."""
    refuse_other(selection, house.store, house.store.inventory())
    stop, files = stop or threading.Event(), Changed()
    with watching(selection, house, files, stop, manifests_only=True) if wait else nullcontext():
        return _converged(selection, house, wait, timeout, stop, on_proposal, until, fetch, newer or files.is_set, files, accept)


def _converged(
    selection: Selection,
    house: House,
    wait: bool,
    timeout: float,
    stop: threading.Event,
    on_proposal: Callable[[Proposal], None] | None,
    until: Callable[[], bool] | None,
    fetch: bool,
    newer: Callable[[], bool],
    files: Changed,
    accept: Accept | None,
) -> Report:
    deadline = time.monotonic() + timeout
    turn = deadline if wait else min(deadline, time.monotonic() + WRITER_SECONDS)
    done: list[Result] = list(_revived(selection, house, stop, turn)) if accept is None else []
    proposal = propose(selection, house)
    if fetch and proposal.context is not None and bring(proposal.context.platform, house):
        proposal = propose(selection, house)
    (on_proposal or _nobody)(proposal)
    (accept or _whatever)(proposal, ())
    services = _services_only(proposal)
    if services is not None and services.context is not None:
        done += _carry(services, selection, house, stop, turn, _services_only, accept).results
        patience = min(deadline, time.monotonic() + SERVICES_SECONDS)
        await_services(house, services.context.services, services.context.wanted, patience, stop, newer)
        _forgive(house)
        proposal = propose(selection, house)
        (accept or _whatever)(proposal, _did(done))
    report = _carry(proposal, selection, house, stop, turn, accept=accept, before=done)
    proposal = report.proposal
    done = [*filter(_wrote, done), *report.results]
    watch = Watch(proposal.context)
    while wait and not stop.is_set() and time.monotonic() < deadline:
        moving = _moving(report)
        if until() if until is not None else not moving:
            break
        house.tell(Event("wait", _waiting_for(moving)))
        stop.wait(LOOK)
        began = time.monotonic()
        changed = watch.changed()
        if watch.wants_pass(quiet=_quiet(report)) or files.is_set():
            newest = bool(files.take())
            report = _carry(propose(selection, house), selection, house, stop, turn)
            proposal = report.proposal if newest else proposal
            watch.note_pass(began, report.proposal.context)
        elif watch.wants_tasks() or changed or watch.wants_decision():
            report = _between(report, watch, began, selection, house, stop)
        else:
            continue
        done = [*filter(_wrote, done), *report.results]
    interrupted = stop.is_set() or report.interrupted
    return replace(report, proposal=proposal, results=_come_up(_latest(done), report), interrupted=interrupted)


def _between(report: Report, watch: Watch, began: float, selection: Selection, house: House, stop: threading.Event) -> Report:
    """Between two whole passes: hear what tasks ask for, else start what may start. The next whole pass sees what another process wrote."""
    asked, started = watch.wants_tasks(), None
    try:
        report, started = heard(report, selection, house, stop) if asked else advance(report, house, stop)
    except (StalePlan, WriterBusy):
        watch.pending = True
    if asked:
        watch.note_tasks(began)
    else:
        watch.note_decision(began, started)
    return report


def _come_up(results: Sequence[Result], last: Report) -> tuple[Result, ...]:
    """What was started and is Ready by the last pass is done; so is a child that is told of no more: it has ended, and its parent says
    what came of it."""
    ready = {each.ref for each in last.statuses if each.ready}
    told = {each.ref for each in last.statuses}

    def is_up(ref: Ref) -> bool:
        return ref in ready if ref in told else bool(ref.key) and replace(ref, key="") in told

    return tuple(
        replace(each, outcome=Done(each.outcome.token)) if isinstance(each.outcome, Started) and is_up(each.action.ref) else each
        for each in results
    )


def _carry(
    proposal: Proposal,
    selection: Selection,
    house: House,
    stop: threading.Event,
    turn: float,
    part: Callable[[Proposal], Proposal | None] = lambda whole: whole,
    accept: Accept | None = None,
    before: Sequence[Result] = (),
) -> Report:
    """Carry out, and plan again when somebody else wrote meanwhile or writes now, until `turn` (monotonic seconds) at least.

    `part` narrows a plan that was made again as the first one was; `accept` was asked about that one. `before` is done already."""
    stale = 0
    while True:
        try:
            return carry_out(proposal, house, stop)
        except StalePlan:
            stale += 1
            if stale >= STALE_PLANS and (stop.is_set() or time.monotonic() >= turn):
                raise
        except WriterBusy:
            if stop.is_set() or time.monotonic() >= turn:
                raise
            house.tell(Event("wait", "waiting for another reconciler to end its pass"))
            stop.wait(LOOK)
        whole = propose(selection, house)
        (accept or _whatever)(whole, _did(before))
        proposal = part(whole) or _narrowed(whole, Plan(()))


def _revived(selection: Selection, house: House, stop: threading.Event, turn: float) -> Sequence[Result]:
    """Start what has died before anything is looked at, for that takes seconds: what dies while many ask refuses them until it is up."""
    if selection.filtered or not fallen(house.settings.state):
        return ()
    platform = replace(selection, kinds=frozenset({"Platform"}))
    services = _services_only(propose(platform, house))  # None: nobody needs it any more
    if services is None:
        return ()
    results = _carry(services, platform, house, stop, turn, _services_only).results
    _forgive(house)
    return results


def _forgive(house: House) -> None:
    """What was started anew is asked at once, however long it was silent."""
    if house.backoff is not None:
        house.backoff.breaker.forgive()


def _services_only(proposal: Proposal) -> Proposal | None:
    """The part of the proposal that starts services, when there is something to start."""
    first = tuple(each for each in proposal.plan.writes if each.ref.kind == "Platform" and not isinstance(each, Delete))
    if not first or proposal.context is None:
        return None
    states = proposal.context.services.report()
    up = all(states.get(name, {}).get("state") in ANSWERS for name in proposal.context.wanted)
    return None if up else _narrowed(proposal, Plan(first))


def _narrowed(proposal: Proposal, plan: Plan) -> Proposal:
    """A part of the proposal: it says nothing about what it leaves out."""
    return replace(proposal, plan=plan, selection=replace(proposal.selection, part=True))


def _moving(report: Report) -> list[Status]:
    """What is on its way and needs nothing but time."""
    started = {each.action.ref for each in report.results if isinstance(each.outcome, Started)}
    held = {
        each.action.ref for each in report.results if isinstance(each.action, Blocked) and each.action.reason == "DependencyProgressing"
    }
    later = {ref for ref, seen in report.proposal.observations.items() if isinstance(seen, Present) and seen.recheck_at is not None}
    on_its_way, behind = started | held | later, outdated(report)
    return [
        each
        for each in report.statuses
        if each.ref in behind or (not each.ready and (each.health is Health.PROGRESSING or each.ref in on_its_way))
    ]


def outdated(report: Report) -> frozenset[Ref]:
    """Resources that were planned with what something that they reference was before this very pass: the next pass has more to say."""
    fresh = {
        each.action.ref: each.observation.outputs
        for each in report.results
        if isinstance(each.outcome, Done) and isinstance(each.observation, Present)
    }
    if not fresh:
        return frozenset()
    kept = {each.action.ref for each in report.results if isinstance(each.action, Keep)}
    planned = report.proposal.resources.items()
    return frozenset(
        ref
        for ref, resource in planned
        for other, inputs in resource.inputs.items()
        if other in fresh and (dict(inputs) != dict(fresh[other]) if "*" not in inputs else ref in kept)
    )


def _waiting_for(moving: Sequence[Status]) -> str:
    running = [each for each in moving if each.ref.key]
    if not moving:
        return "waiting"
    if len(running) > 1:
        held = sum(any(one.type == "Admitted" and one.status is False for one in each.conditions) for each in running)
        return f"{len(running) - held} running, {held} waiting for room"
    return f"waiting for {moving[0].ref}: {moving[0].message}"


def _quiet(report: Report) -> float:
    """Seconds after which to look at everything again although no job ended: what is no job tells nobody that it is ready, and what asks
    to be looked at soon has a reason."""
    moving = _moving(report)
    parents = {replace(each.ref, key="") for each in moving if each.ref.key}
    alone = [soon(report, each.ref) or SOONEST for each in moving if not each.ref.key and each.ref not in parents]
    asked = [after for each in moving if (after := soon(report, each.ref)) is not None]
    return min((*alone, *asked), default=LATEST)


def soon(report: Report, ref: Ref | None = None) -> float | None:
    """Seconds after the pass at which a resource (None: the first of all) wants to be looked at again; None = it does not say."""
    seen = report.proposal.observations
    chosen = seen.values() if ref is None else [seen[ref]] if ref in seen else []
    named = [each.recheck_at for each in chosen if isinstance(each, Present) and each.recheck_at is not None]
    ctx = report.proposal.context
    return max(SOONEST, (min(named) - ctx.now()).total_seconds()) if named and ctx is not None else None


def _wrote(result: Result) -> bool:
    return isinstance(result.outcome, Done | Started) and isinstance(result.action, Create | Update | Replace | Adopt | Move)


def _latest(results: Sequence[Result]) -> tuple[Result, ...]:
    """One result for each Ref over several passes: the last one that did something, else the last."""
    latest: dict[Ref, Result] = {}
    for each in results:
        before = latest.get(each.action.ref)
        if before is not None and isinstance(before.outcome, Started) and isinstance(each.action, Keep):
            each = before  # whether it has come up, its status tells
        if before is None or each.outcome is not None or not _wrote(before):
            latest[each.action.ref] = each
    return tuple(latest.values())


def _did(results: Sequence[Result]) -> frozenset[Ref]:
    return frozenset(each.action.ref for each in results if _wrote(each))


def _whatever(proposal: Proposal, done: Collection[Ref]) -> None:
    """Nobody has anything against it."""


def _nobody(proposal: Proposal) -> None:
    """Nobody wants to know."""
