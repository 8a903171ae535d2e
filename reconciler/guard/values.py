"""A rule, what it found, and what follows for the plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.model import Blocked, Delete, Location, Ref, Write
from schemas.policy import Effect, Verb

DENIED = "PolicyDenied"
"""Reason of what a rule denies."""
BROKEN = "PolicyBroken"
"""Reason of what a rule would have judged that cannot be judged."""
WRITES: tuple[Verb, ...] = ("create", "update", "replace", "adopt", "move")
COMMANDS: tuple[Verb, ...] = ("start", "rollback")
"""What is asked for at one moment, by somebody or by what became of another resource; no manifest says it."""


@dataclass(frozen=True)
class GuardRule:
    """A rule in force. With `broken` (why it cannot be judged) it holds for all that it would be about."""

    name: str
    at: Location
    effect: Effect
    condition: str
    message: str
    when: str = ""
    kinds: tuple[str, ...] = ()
    verbs: tuple[Verb, ...] = WRITES
    plan_wide: bool = False
    owners: tuple[str, ...] = ()
    shipped: bool = False
    broken: str = ""

    def about(self, verb: str, kind: str) -> bool:
        """Whether it may be about such an action at all; asked before anything is evaluated."""
        return verb in self.verbs and (not self.kinds or kind in self.kinds)

    def __str__(self) -> str:
        return f"rule {self.name} ({'shipped' if self.shipped else self.at})"


@dataclass(frozen=True)
class Finding:
    """What a rule says of one action."""

    rule: GuardRule
    ref: Ref
    broken: str = ""
    """Why it could not be judged; empty = its condition holds."""

    @property
    def denies(self) -> bool:
        """A rule that cannot be judged denies, unless it could not have stopped anything anyway."""
        return self.rule.effect == "deny" or (bool(self.broken) and self.rule.effect != "warn")

    @property
    def waits(self) -> bool:
        """Somebody has to say yes."""
        return self.rule.effect == "requireApproval" and not self.broken

    @property
    def verdict(self) -> Effect:
        """What comes of it."""
        return "deny" if self.denies else "requireApproval" if self.waits else "warn"

    @property
    def message(self) -> str:
        """For who reads the plan."""
        return f"cannot be judged: {self.broken}" if self.broken else self.rule.message

    def owners(self, projects: Mapping[str, Mapping[str, Any]]) -> frozenset[str] | None:
        """Who may say yes, by login; None = anybody. `projects` are as rules see them."""
        named = set(self.rule.owners)
        if not named:
            return None
        if "project" in named:
            named |= set(projects.get(self.ref.owner, {}).get("owners", ()))
        return frozenset(named - {"project"})

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


@dataclass(frozen=True)
class Ruled:
    """What the rules in force say of one plan."""

    findings: tuple[Finding, ...] = ()
    standing: frozenset[Ref] = frozenset()
    """Children that hold a lease: an older manifest was granted them."""
    asking: frozenset[str] = frozenset()
    """Kinds whose children were asked for by something that runs, not by the manifest of now."""
    looks_back: frozenset[str] = frozenset()
    """Kinds of which rules ask what has changed since their manifests were carried out last."""
    denied: Mapping[Ref, tuple[Finding, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, findings: tuple[Finding, ...], looks_back: frozenset[str] = frozenset()) -> Ruled:
        """With what is denied worked out."""
        denied: dict[Ref, tuple[Finding, ...]] = {}
        for each in findings:
            if each.denies:
                denied[each.ref] = (*denied.get(each.ref, ()), each)
        return cls(findings, looks_back=looks_back, denied=denied)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is told and done."""
        return tuple(each for each in self.findings if not each.denies and not each.waits)

    def hold(self, action: Write, ref: Ref) -> Blocked | None:
        """`action` as what is denied; None = nothing denies it. Children go with the resource that they come of."""
        found, parent = self.denied.get(ref, ()), replace(ref, key="")
        location = action.owned.location if isinstance(action, Delete) else action.resource.location
        if found:
            why = "; ".join(dict.fromkeys(map(str, found)))
            return Blocked(ref, reason_of(found), why, next_of(found), action, location)
        if not ref.key or parent not in self.denied:
            return None
        if ref.kind in self.asking or (ref in self.standing and not isinstance(action, Delete)):
            return None
        found = self.denied[parent]
        return Blocked(ref, reason_of(found), f"it comes of {parent}, of which {found[0]}", next_of(found), action, location)


def reason_of(found: tuple[Finding, ...]) -> str:
    """The reason of what these deny."""
    return DENIED if any(not each.broken for each in found) else BROKEN


def next_of(found: tuple[Finding, ...], change: str = "what the manifest asks for, or the rule") -> str:
    """What to do about what these deny; `change` says what could be changed."""
    if reason_of(found) == BROKEN:
        return f"correct the rule at {found[0].rule.at}: a rule that cannot be judged lets nothing through"
    return f"change {change}; `reconcile policy list` shows the rules in force"
