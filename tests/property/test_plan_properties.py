"""What holds for every plan, whatever the manifests, the tools and the inventory say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.bind import bind
from reconciler.model import (
    Absent,
    Adopt,
    Blocked,
    Create,
    Delete,
    Diff,
    Keep,
    Mark,
    Observation,
    Owned,
    Plan,
    Present,
    Ref,
    Replace,
    Resource,
    Source,
    Unknown,
    Update,
)
from reconciler.plan import plan
from reconciler.prune import BUDGET_COUNT, BUDGET_SHARE
from tests.unit.widgets import BIG, HERE, RED, ROOT, mark, owned, policy, ref, there, widget

NAMES = [f"w{number}" for number in range(8)]
SEEN = ("absent", "present", "unknown", "unmarked", "theirs", "unlooked")


@dataclass
class World:
    """Manifests, tool and inventory at one moment."""

    resources: list[Resource[Any]]
    seen: dict[Ref, Observation]
    diffs: dict[Ref, Diff]
    owns: dict[Ref, Owned]
    rules: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> Plan:
        bound = bind(self.resources, self.seen, self.owns, lambda resource, present: self.diffs.get(resource.ref, ()))
        return plan(bound, self.seen, self.owns, policy(**self.rules))


def observation(name: str, how: str) -> Observation | None:
    match how:
        case "absent":
            return Absent()
        case "unknown":
            return Unknown("no answer")
        case "unmarked":
            return there(name, mark=None)
        case "theirs":
            return there(name, mark=Mark("elsewhere", str(ref(name))))
        case "present":
            return there(name, mark=mark(name))
        case _:
            return None


@st.composite
def worlds(draw: st.DrawFn) -> World:
    resources, seen, diffs, owns = [], {}, {}, {}
    for number, name in enumerate(NAMES):
        declared = draw(st.booleans())
        uses = draw(st.lists(st.sampled_from(NAMES[:number]), max_size=2, unique=True)) if number else []
        if declared:
            lifecycle = {"adopt": draw(st.booleans()), "suspend": draw(st.booleans()), "mode": draw(st.sampled_from(["manage", "observe"]))}
            uses = [each for each in uses if ref(each) in {one.ref for one in resources}]
            resources.append(widget(name, *uses, **lifecycle))
            found = observation(name, draw(st.sampled_from(SEEN)))
            if found is not None:
                seen[ref(name)] = found
            diffs[ref(name)] = draw(st.sampled_from([(), (BIG,), (RED,)]))
        if draw(st.booleans()):
            owns[ref(name)] = owned(name, *uses, prune=draw(st.sampled_from(["auto", "confirm", "never"])))
    declared_refs = {each.ref for each in resources}
    outside = [each for each in map(ref, NAMES) if each not in declared_refs]
    rules: dict[str, Any] = {
        "partial": draw(st.booleans()),
        "refused": frozenset(draw(st.lists(st.sampled_from(outside), max_size=2)) if outside else ()),
        "sources": (replace(ROOT, complete=draw(st.booleans()), documents=draw(st.sampled_from([0, 5]))),),
        "recent_deletions": draw(st.lists(st.just(ref("old")), max_size=4)),
        "suspended": dict.fromkeys(draw(st.lists(st.sampled_from(list(map(ref, NAMES))), max_size=1)), ""),
    }
    return World(resources, seen, diffs, owns, rules)


def by_ref(found: Plan) -> dict[Ref, Any]:
    return {each.ref: each for each in found.actions}


@given(worlds())
def test_everything_is_decided_exactly_once(world: World) -> None:
    found = world.plan()
    refs = [each.ref for each in found.actions]
    assert len(set(refs)) == len(refs)
    assert {each.ref for each in world.resources} <= set(refs)


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_files_does_not_matter(world: World, random: Any) -> None:
    """Resources come in any order that keeps dependencies first; the inventory and the tool's answer come in any order at all."""
    resources = list(world.resources)
    random.shuffle(resources)
    ordered: list[Resource[Any]] = []
    while resources:
        for each in resources:
            if not {one.ref for one in resources} & set(each.references):
                ordered.append(each)
                resources.remove(each)
                break
    owns = dict(sorted(world.owns.items(), key=lambda item: random.random()))
    seen = dict(sorted(world.seen.items(), key=lambda item: random.random()))
    other = World(ordered, seen, world.diffs, owns, world.rules)
    first, second = world.plan(), other.plan()
    assert by_ref(first) == by_ref(second)
    assert (first.after, first.confirmation) == (second.after, second.confirmation)


@given(worlds())
def test_a_plan_over_what_a_plan_made_is_empty(world: World) -> None:
    found = world.plan()
    world.rules = {**world.rules, "confirmed": frozenset({found.confirmation} - {""})}
    once = carried_out(world, world.plan())
    left = once.plan()
    assert left.writes == () or all(blocked_before(each.ref, found) for each in left.writes)


def blocked_before(which: Ref, found: Plan) -> bool:
    """It was held by something that is out of the way now: a dependency that was not there yet, or a user that is gone."""
    return isinstance(by_ref(found).get(which), Blocked)


def carried_out(world: World, found: Plan) -> World:
    """The world when every write of the plan has succeeded."""
    seen, diffs, owns = dict(world.seen), dict(world.diffs), dict(world.owns)
    for action in found.writes:
        match action:
            case Delete():
                owns.pop(action.ref)
            case Create() | Update() | Replace() | Adopt():
                name = action.ref.name
                seen[action.ref], diffs[action.ref] = there(name), ()
                uses = [each.name for each in action.resource.references]
                owns[action.ref] = owned(name, *uses, prune=action.resource.prune)
    return World(world.resources, seen, diffs, owns, world.rules)


@given(worlds())
def test_nothing_is_deleted_that_may_still_be_meant(world: World) -> None:
    rules, found = world.rules, world.plan()
    source: Source = rules["sources"][0]
    for action in found.writes:
        if isinstance(action, Delete):
            assert not rules["partial"]
            assert source.complete
            assert source.documents
            assert action.ref not in rules["refused"]
            assert action.ref not in {each.ref for each in world.resources}
            assert action.owned.prune == "auto"
            assert action.ref not in rules["suspended"]


@given(worlds())
def test_nothing_is_deleted_that_is_still_used(world: World) -> None:
    found = world.plan()
    doomed = {each.ref for each in found.writes if isinstance(each, Delete)}
    used = {each for resource in world.resources for each in resource.references}
    used |= {each for which, one in world.owns.items() if which not in doomed for each in one.references if which not in by_declared(world)}
    held = {which for which in world.owns if which not in doomed and which not in by_declared(world)}
    assert not doomed & used, (doomed, held)


def by_declared(world: World) -> Mapping[Ref, Resource[Any]]:
    return {each.ref: each for each in world.resources}


@given(worlds(), st.booleans())
def test_deletions_stay_in_the_budget_until_confirmed(world: World, auto: bool) -> None:
    if auto:
        world.owns = {which: replace(each, prune="auto") for which, each in world.owns.items()}
        world.rules = {**world.rules, "partial": False, "refused": frozenset(), "sources": (ROOT,)}
    found = world.plan()
    gone = sum(isinstance(each, Delete | Replace) for each in found.writes)
    recent = len(world.rules["recent_deletions"])
    allowed = max(BUDGET_COUNT, int((len(world.owns) + recent) * BUDGET_SHARE))
    assert not gone or gone + recent <= allowed


@given(worlds())
def test_no_write_without_a_look_and_none_against_what_people_said(world: World) -> None:
    declared = by_declared(world)
    for action in world.plan().writes:
        if isinstance(action, Delete):
            continue
        resource, seen = declared[action.ref], world.seen.get(action.ref)
        assert not isinstance(seen, Unknown | None)
        assert isinstance(action, Create) is isinstance(seen, Absent)
        assert resource.lifecycle.mode == "manage"
        assert not resource.lifecycle.suspend
        assert action.ref not in world.rules["suspended"]
        if isinstance(seen, Present) and (seen.mark is None or seen.mark.installation != HERE):
            known = action.ref in world.owns and seen.mark is None
            assert resource.lifecycle.adopt or known, "somebody else's"


@given(worlds())
def test_every_write_comes_after_what_it_stands_on(world: World) -> None:
    found = world.plan()
    place = {each.ref: number for number, each in enumerate(found.actions)}
    writes = {each.ref for each in found.writes}
    for which, before in found.after.items():
        assert which in writes
        assert all(each in writes and place[each] < place[which] for each in before)


@given(worlds())
def test_what_is_as_desired_is_kept(world: World) -> None:
    for action in world.plan().actions:
        if isinstance(action, Keep) and action.ref in by_declared(world):
            assert isinstance(world.seen[action.ref], Present)
            assert world.diffs[action.ref] == ()
