"""The step between plan and apply: which of the planned actions need room, which of them may start now, and why the rest waits.

`consider` reads and decides, and is all that a dry run does; `grant` writes the decision into the ledger, with the writer's lease held."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from reconciler.admission.decide import decide
from reconciler.admission.ledger import Books, keep, open_books, settle, snapshot
from reconciler.admission.values import Decision, Item, Lease, Snapshot, Verdict
from reconciler.controller import Context, Demands
from reconciler.errors import Terminal
from reconciler.house import House
from reconciler.model import (
    Action,
    Blocked,
    Create,
    Demand,
    Done,
    Failed,
    Learned,
    Location,
    Owned,
    Plan,
    Ref,
    Replace,
    Resource,
    Result,
    Started,
    Update,
    Write,
)
from reconciler.policy import Policy
from reconciler.registry import Kinds

OVER_BUDGET = "LaunchBudget"
CANNOT_START = "CannotStart"


@dataclass(frozen=True)
class Admission:
    """What was decided about the writes of one plan."""

    snapshot: Snapshot
    decision: Decision
    books: Books
    demands: Mapping[Ref, Demand] = field(default_factory=dict)
    confirmation: str = ""
    """Digest of exactly the launches that wait for a yes; empty = none waits."""

    @property
    def granted(self) -> Mapping[Ref, Lease]:
        """Every lease that may be worked under: those that were held before, and the new ones."""
        return {each.ref: each for each in (*self.books.leases, *self.decision.grants) if not each.ending}

    def verdict(self, ref: Ref) -> Verdict | None:
        """What was decided about a write; None for one that needs no admission or holds its lease already."""
        return self.decision.explain(ref) if ref in self._waiting else None

    @cached_property
    def verdicts(self) -> Mapping[Ref, Verdict]:
        """Of everything that this plan would start or that waits by it, with the expected start. Worked out once, when it is shown."""
        from reconciler.admission.forecast import explained

        wanted = sorted(self.demands.keys() & self._waiting)
        return explained(self.snapshot, self.decision, wanted, learned=self.learned)

    @cached_property
    def delays(self) -> Mapping[Ref, float]:
        """Seconds by which what waited before would start later because of what this plan adds."""
        from reconciler.admission.forecast import delayed

        new = [ref for ref in self.demands.keys() & self._waiting if ref not in {each.ref for each in self.books.queue}]
        return delayed(self.snapshot, sorted(new), learned=self.learned) if new and len(new) < len(self.snapshot.queue) else {}

    @property
    def asked(self) -> tuple[Item, ...]:
        """What this plan would start, now or later."""
        return tuple(each for each in self.snapshot.queue if each.ref in self.demands and not self.decision.explain(each.ref).reason.never)

    @cached_property
    def learned(self) -> Mapping[Ref, Learned]:
        """What earlier work of the same sort was measured to need."""
        return {ref: self.books.learned[each.template] for ref, each in self.demands.items() if each.template in self.books.learned}

    @cached_property
    def _waiting(self) -> frozenset[Ref]:
        return frozenset(each.ref for each in self.snapshot.queue)


def consider(
    plan: Plan,
    resources: Mapping[Ref, Resource[Any]],
    inventory: Mapping[Ref, Owned],
    policy: Policy,
    ctx: Context,
    house: House,
) -> tuple[Plan, Admission | None]:
    """The plan with what can never start blocked, and the decision about the rest. None: nothing asks for room and nothing has any."""
    plan, demands = demands_of(plan, ctx, house.kinds)
    books = open_books(house, ctx, demands)
    if not demands and not books.leases and not books.over and not books.queue and not books.jobs:
        return plan, None
    plan, demands, confirmation = _within_budget(plan, demands, books, policy, ctx)
    taken = snapshot(house, ctx, resources.values(), inventory, books, demands, part=policy.partial)
    decision = decide(taken)
    admission = Admission(taken, _ours(taken, decision, demands), books, demands, confirmation)
    return _without_impossible(plan, admission), admission


def _ours(taken: Snapshot, decision: Decision, demands: Mapping[Ref, Demand]) -> Decision:
    """The decision without grants to what this pass is not about: room that others wait for is kept for them, not given away here, and
    nothing is remembered as if they had got it."""
    others = [each for each in decision.grants if each.ref not in demands]
    if not others:
        return decision
    ours = tuple(each for each in decision.grants if each.ref in demands)
    before, past = taken.past, decision.past
    left = {each.ref for each in others}
    return replace(
        decision,
        grants=ours,
        past=replace(
            past,
            project_started={**before.project_started, **{each.project: each.since for each in ours}},
            node_started={**before.node_started, **{each.node: each.since for each in ours}},
            earmarks=(*past.earmarks, *(each for each in before.earmarks if each.ref in left)),
        ),
    )


def grant(plan: Plan, admission: Admission, ctx: Context, house: House, about: Iterable[Ref]) -> tuple[Plan, Context]:
    """Write the decision into the ledger, and take out of the plan what has to wait. Called with the writer's lease held.

    `about` are those in the stored queue that this pass has a say in: what it does not ask for is not wanted any more."""
    gone = [ref for ref in about if ref not in admission.demands]
    settle(house, ctx, admission.books)
    keep(house, ctx, admission.snapshot, admission.decision, admission.books, admission.demands, gone)
    granted = admission.granted
    actions = tuple(
        _waits(each, admission)
        if isinstance(each, Create | Update | Replace) and each.ref in admission.demands and each.ref not in granted
        else each
        for each in plan.actions
    )
    return replace(plan, actions=actions), replace(ctx, granted=granted, learned=admission.books.learned)


def give_back(results: Sequence[Result], admission: Admission, house: House) -> None:
    """Note which job each lease is for; a lease whose work could not be started is given back."""
    unused: dict[Ref, str] = {}
    mine = {each.ref for each in admission.decision.grants}
    for result in results:
        if isinstance(result.outcome, Started) and result.action.ref in admission.granted:
            house.store.work.set_job(result.action.ref, result.outcome.token)
        elif result.action.ref in mine and not isinstance(result.outcome, Done):
            unused[result.action.ref] = (
                f"it could not be started: {result.outcome.error}" if isinstance(result.outcome, Failed) else "not started"
            )
    if unused:
        back = [each.waiting() for each in house.store.work.leases() if each.ref in unused]
        house.store.work.release(unused, actor=house.actor, why=unused, requeue=back)


def demands_of(plan: Plan, ctx: Context, kinds: Kinds) -> tuple[Plan, dict[Ref, Demand]]:
    """What each write asks for; those that need no admission are not in it. The plan with what cannot start as it is declared blocked."""
    found: dict[Ref, Demand] = {}
    impossible: dict[Ref, Blocked] = {}
    for write in plan.writes:
        controller = kinds.of(write.ref)
        if isinstance(write, Create | Update | Replace) and isinstance(controller, Demands):
            try:
                demand = controller.demand(write, ctx)
            except Terminal as error:
                impossible[write.ref] = Blocked(write.ref, CANNOT_START, error.message, error.hint, write, write.resource.location)
                continue
            if demand is not None:
                found[write.ref] = demand
    return (replace(plan, actions=tuple(impossible.get(each.ref, each) for each in plan.actions)) if impossible else plan), found


def held(action: Write, verdict: Verdict, location: Location) -> Blocked:
    """A write that waits for room."""
    return Blocked(action.ref, str(verdict.reason), verdict.message, _next(verdict), action, location, held=not verdict.reason.never)


def _waits(action: Create | Update | Replace, admission: Admission) -> Blocked:
    verdict = admission.verdict(action.ref)
    if verdict is not None:
        return held(action, verdict, action.resource.location)
    why = "what was started under this name before has not ended yet"
    return Blocked(action.ref, "Ending", why, "", action, action.resource.location, held=True)


def _next(verdict: Verdict) -> str:
    return "change the number, then reconcile again" if verdict.reason.never else ""


def _without_impossible(plan: Plan, admission: Admission) -> Plan:
    """What waiting cannot help is no work but a mistake: told now, with the number to change."""
    actions: list[Action] = []
    for action in plan.actions:
        asks = isinstance(action, Create | Update | Replace) and action.ref in admission.demands
        verdict = admission.verdict(action.ref) if asks else None
        if isinstance(action, Create | Update | Replace) and verdict is not None and verdict.reason.never:
            actions.append(held(action, verdict, action.resource.location))
        else:
            actions.append(action)
    return replace(plan, actions=tuple(actions))


def _within_budget(
    plan: Plan, demands: Mapping[Ref, Demand], books: Books, policy: Policy, ctx: Context
) -> tuple[Plan, dict[Ref, Demand], str]:
    """Hold all new launches when there are more of them than one revision may start without a yes."""
    known = {each.item.ref for each in books.queue if each.accepted} | {each.ref for each in books.leases}
    fresh = sorted(ref for ref, each in demands.items() if each.fresh and each.work == "batch" and ref not in known)
    budget = ctx.platform.admission.launch_budget
    confirmation = hashlib.sha256("\n".join(map(str, fresh)).encode()).hexdigest()[:8]
    if len(fresh) <= budget or confirmation in policy.confirmed:
        said = tuple(each for each in plan.unmatched if each != confirmation)
        return replace(plan, unmatched=said), dict(demands), ""
    why = f"{len(fresh)} new runs would start, more than spec.admission.launchBudget of the Platform ({budget}) lets one revision start"
    hint = f"reconcile --confirm {confirmation}"
    late = frozenset(fresh)
    actions = tuple(
        Blocked(each.ref, OVER_BUDGET, why, hint, each, each.resource.location)
        if isinstance(each, Create | Update | Replace) and each.ref in late
        else each
        for each in plan.actions
    )
    return replace(plan, actions=actions), {ref: each for ref, each in demands.items() if ref not in late}, confirmation
