"""What the rules say of what resources ask to be done with others (`reconciler.react`).

What is held is asked for again by each pass, as long as its reason stands: a plan shows it as something that is blocked, under a name of
its own, and a yes to it is kept under that name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from reconciler.approval import AWAITING, Asked, Want, with_rules
from reconciler.controller import Context, Reaction
from reconciler.guard.commands import Command, CommandVerb, judge_command
from reconciler.guard.facts import projects_of
from reconciler.guard.rules import in_force
from reconciler.guard.values import Finding, GuardRule, next_of, reason_of
from reconciler.house import House
from reconciler.model import NOWHERE, Blocked, Plan, Ref, Resource
from reconciler.policy import Policy

VERBS: Mapping[str, CommandVerb] = {"start": "start", "roll_back": "rollback"}
SIGN = "@"


def name_of(by: Ref, reaction: Reaction) -> Ref:
    """What is asked for, as a Ref: `workflow/vision/retrain#start@drift`, for the monitor `drift` of the same project."""
    asking = by.name if by.project == reaction.ref.project else f"{by.owner}.{by.name}"
    return replace(reaction.ref, key=f"{VERBS[reaction.verb]}{SIGN}{asking}")


def is_reaction(ref: Ref) -> bool:
    """Whether `name_of` made it."""
    verb, sign, _ = ref.key.partition(SIGN)
    return bool(sign) and verb in VERBS.values()


def asker_of(ref: Ref) -> Ref | None:
    """The Project of who asks for what `name_of` named; None for any other Ref."""
    if not is_reaction(ref):
        return None
    owner, dot, _ = ref.key.partition(SIGN)[2].partition(".")
    return Ref("Project", None, owner if dot else ref.owner)


@dataclass(frozen=True)
class Judged:
    """One reaction and what the rules say of it."""

    ref: Ref
    """What it is called."""
    by: Ref
    why: str
    """What has become of who asks."""
    findings: tuple[Finding, ...]
    want: Want | None = None
    """The yes that it needs."""
    placed: Resource[Any] | None = None
    """Who asks for it, for the place in the manifests."""

    def held(self, asked: Asked) -> Blocked | None:
        """What holds it; None = nothing does. `asked` knows every yes."""
        called = f"{self.by} calls for it ({self.why}); "
        location = self.placed.location if self.placed is not None else NOWHERE
        denied = tuple(each for each in self.findings if each.denies)
        if denied:
            said = "; ".join(dict.fromkeys(map(str, denied)))
            return Blocked(
                self.ref, reason_of(denied), called + said, next_of(denied, f"what {self.by} calls for, or the rule"), location=location
            )
        if self.want is None or self.want.said(asked.said.get(self.ref)):
            return None
        project = Ref("Project", None, self.ref.owner)
        return Blocked(self.ref, AWAITING, called + self.want.told, f"reconcile approve {project} {self.ref}", location=location)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is told and done."""
        return tuple(each for each in self.findings if not each.denies and not each.waits)


@dataclass
class Guarded:
    """The reactions of one pass under its rules, which are read only where something is asked for."""

    declared: Mapping[Ref, Resource[Any]]
    ctx: Context
    house: House
    known: dict[tuple[Ref, str, str], Judged] = field(default_factory=dict)

    @cached_property
    def rules(self) -> tuple[GuardRule, ...]:
        return in_force(self.ctx.platform.policy, self.ctx.root)

    def judged(self, by: Ref, reaction: Reaction) -> Judged:
        """What the rules say; the same answer for the same reaction within a pass."""
        key = (by, reaction.key, reaction.id)
        if key not in self.known:
            self.known[key] = self._judged(by, reaction)
        return self.known[key]

    def _judged(self, by: Ref, reaction: Reaction) -> Judged:
        ref = name_of(by, reaction)
        command = Command(VERBS[reaction.verb], reaction.ref, str(by), reaction.why, reaction.conf)
        found = judge_command(command, self.rules, self.declared, self.house)
        projects, want = projects_of(self.declared), None
        for each in found:
            if each.waits:
                one = Want(_digest(by, reaction), str(each), each.owners(projects))
                want = one if want is None else want.and_(one)
        return Judged(
            ref, by, reaction.why.removeprefix(f"{by}: "), tuple(replace(each, ref=ref) for each in found), want, self.declared.get(by)
        )


def _digest(by: Ref, reaction: Reaction) -> str:
    """Names what is done this time: the next breach needs a yes of its own."""
    text = f"{reaction.verb} {reaction.ref} {by} {reaction.key} {reaction.id}"
    return f"reacts {hashlib.sha256(text.encode()).hexdigest()[:32]}"


def wanted(judged: Sequence[Judged], policy: Policy, *, part: bool) -> Policy:
    """The policy with the yeses that reactions need; `part` as in `with_rules`."""
    wants = {each.ref: each.want for each in judged if each.want is not None}
    return replace(policy, asked=with_rules(policy.asked, {**policy.asked.wants, **wants}, part=part))


def shown(judged: Sequence[Judged], planned: Plan, policy: Policy) -> tuple[Plan, Policy]:
    """The plan with what is held, as its last rows, and the policy with what was said of them."""
    blocked = tuple(each for one in judged if (each := one.held(policy.asked)) is not None)
    findings = tuple(each for one in judged for each in one.findings)
    if not findings:
        return planned, policy
    ruled = replace(policy.ruled, findings=(*policy.ruled.findings, *findings))
    return replace(planned, actions=(*planned.actions, *blocked)), replace(policy, ruled=ruled)
