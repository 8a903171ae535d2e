"""Rules and facts to findings. Pure, but for what `evaluate` does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from reconciler.guard.facts import Scene, action_facts, plan_facts
from reconciler.guard.values import Finding, GuardRule
from reconciler.model import Ref


class Said(Protocol):
    """Answers of an evaluation: `errors` by rule, `said` by call."""

    @property
    def errors(self) -> tuple[str, ...]: ...
    @property
    def said(self) -> tuple[bool | str, ...]: ...


class Evaluate(Protocol):
    """Asks CEL; see `reconciler.guard.cel.evaluate`."""

    def __call__(
        self, rules: Sequence[GuardRule], plan: Mapping[str, Any], actions: Sequence[Mapping[str, Any]], calls: Sequence[tuple[int, int]]
    ) -> Said: ...


def judge(rules: Sequence[GuardRule], scene: Scene, evaluate: Evaluate, only: Collection[Ref] | None = None) -> tuple[Finding, ...]:
    """What the rules say of every action of the scene (of those of `only`), in the order of the rules. Where no rule is about any of them,
    nothing is evaluated."""
    deeds = [each for each in scene.deeds if only is None or each.ref in only]
    broken = [
        Finding(rule, each.ref, rule.broken) for rule in rules if rule.broken for each in deeds if rule.about(each.verb, each.ref.kind)
    ]
    able = [rule for rule in rules if not rule.broken and any(rule.about(each.verb, each.ref.kind) for each in deeds)]
    calls = [
        (number, place) for number, rule in enumerate(able) for place, each in enumerate(deeds) if rule.about(each.verb, each.ref.kind)
    ]
    if not calls:
        return tuple(broken)
    asked = {place for _, place in calls}
    facts = [action_facts(each, scene) if place in asked else {} for place, each in enumerate(deeds)]
    said = zip(calls, evaluate(able, plan_facts(scene), facts, calls).said, strict=True)
    judged = (
        Finding(able[rule], deeds[at].ref, "" if answer is True else str(answer)) for (rule, at), answer in said if answer is not False
    )
    return (*broken, *judged)


def mistakes(rules: Sequence[GuardRule], evaluate: Evaluate) -> list[tuple[GuardRule, str]]:
    """Rules that can never be judged, with why: told without any plan."""
    able = [each for each in rules if not each.broken]
    errors = iter(evaluate(able, {}, [], []).errors if able else ())
    return [(each, why) for each in rules if (why := each.broken or next(errors))]
