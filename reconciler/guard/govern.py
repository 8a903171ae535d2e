"""The step between plan and admit: what the rules in force say of the plan, and the plan made again where that holds something back.

Whoever walks the corridor comes through here: a pass, a loop, a dry run, and whatever carries out a plan that was made before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from reconciler.approval import Want, digest_for, with_rules
from reconciler.controller import Asks, Context
from reconciler.guard.cel import evaluate
from reconciler.guard.facts import Scene, declared_by, deed_of, foreseen, projects_of
from reconciler.guard.judge import judge
from reconciler.guard.remember import before, kinds_of
from reconciler.guard.rules import in_force
from reconciler.guard.values import Finding, GuardRule, Ruled
from reconciler.house import House
from reconciler.model import Observation, Owned, Plan, Ref, Resource, Write
from reconciler.policy import Policy


@dataclass
class Governed:
    """One pass under its rules."""

    make: Callable[[Policy], Plan]
    """The plan under a policy."""
    declared: Mapping[Ref, Resource[Any]]
    """All that the manifests say, filtered or not."""
    resources: Mapping[Ref, Resource[Any]]
    """What the plan is about, children included."""
    seen: Mapping[Ref, Observation]
    inventory: Mapping[Ref, Owned]
    ctx: Context
    house: House

    @cached_property
    def rules(self) -> tuple[GuardRule, ...]:
        """Read only where something is to be judged."""
        return in_force(self.ctx.platform.policy, self.ctx.root)

    def plan(self, policy: Policy, planned: Plan, *, part: bool) -> tuple[Plan, Policy]:
        """What the rules let through of a plan, and the policy with what they said. A plan that would write nothing is not judged.

        What is held back may leave room for something else (a deletion budget): that is judged as well, until nothing new appears."""
        judged = set[Ref]()
        findings: tuple[Finding, ...] = ()
        while True:
            writes = foreseen(planned, self.resources, self.seen, self.inventory)
            fresh = {each.ref for each in writes} - judged
            if not fresh:
                return planned, policy
            judged |= fresh
            more = judge(self.rules, self._scene(writes, planned), evaluate, fresh)
            findings += more
            policy = self._under(policy, findings, writes, part)
            if not any(each.denies or each.waits for each in more):
                return planned, policy
            planned = self.make(policy)

    def _scene(self, writes: Sequence[Write], planned: Plan) -> Scene:
        refs = {each.ref for each in writes}
        everything = {**self.declared, **self.resources}
        found = declared_by(everything, refs)
        return Scene(
            deeds=tuple(deed_of(each, self.inventory, everything) for each in writes),
            declared=found,
            projects=projects_of(self.declared),
            before=before(found.keys(), self.house.memos, self.ctx.moving),
            resources=len(planned.actions),
        )

    def _under(self, policy: Policy, findings: tuple[Finding, ...], writes: Sequence[Write], part: bool) -> Policy:
        ruled = Ruled.of(findings, kinds_of(self.rules))
        asked = with_rules(policy.asked, {**policy.asked.wants, **self._wants(findings, writes)}, part=part)
        if ruled.denied or asked.waiting:
            asking = frozenset(kind for kind, each in self.house.kinds.controllers.items() if isinstance(each, Asks))
            standing = frozenset(each.ref for each in self.house.store.work.leases())
            ruled, asked = replace(ruled, standing=standing, asking=asking), replace(asked, standing=standing, asking=asking)
        return replace(policy, ruled=ruled, asked=asked)

    def _wants(self, findings: Sequence[Finding], writes: Sequence[Write]) -> dict[Ref, Want]:
        by_ref = {each.ref: each for each in writes}
        projects = projects_of(self.declared)
        found: dict[Ref, Want] = {}
        for each in findings:
            if not each.waits or each.ref not in by_ref:
                continue
            want = Want(digest_for(by_ref[each.ref], self.inventory), str(each), each.owners(projects))
            found[each.ref] = found[each.ref].and_(want) if each.ref in found else want
        return found
