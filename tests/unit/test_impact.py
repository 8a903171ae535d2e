"""Why an action is in a plan, seen from another revision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.impact import Impact, impact
from reconciler.model import Blocked, Change, Create, Delete, Keep, Move, Ref, Resource, Update
from reconciler.source.base import Base
from reconciler.thresholds import LOOSENED, TIGHTENED, judged
from schemas.model import ModelSpec
from tests.unit.widgets import owned, ref, there, widget


def _base(*resources: Resource[Any], changed: tuple[str, ...] = ()) -> Base:
    return Base("main", "a" * 40, 1, {each.ref: each for each in resources}, frozenset(), frozenset(changed))


def _impact(actions: list[Any], resources: list[Resource[Any]], base: Base) -> Impact:
    return impact(actions, {each.ref: each for each in resources}, {ref("d"): owned("d")}, base, "root")


def test_what_is_new_changed_and_gone_is_by_this_change_and_the_rest_is_not() -> None:
    a, b, c = widget("a"), widget("b"), widget("c")
    now = replace(b, digest="other", labels={"x": "1"})
    actions = [
        Create(a),
        Update(now, there("b"), (Change("spec.size", 1, 2),)),
        Update(c, there("c"), (Change("spec.size", 1, 2),)),
        Delete(owned("d")),
    ]
    found = _impact(actions, [a, now, c], _base(b, c, widget("d")))
    assert {each.name: cause.by for each, cause in found.causes.items()} == {"a": "added", "b": "manifest", "c": "before", "d": "removed"}
    assert [each.path for each in found.causes[ref("b")].changes] == ["metadata.labels.x"]
    assert [found.by_this(ref(name)) for name in "abcd"] == [True, True, False, True]


def test_what_follows_is_told_along_the_references_and_only_where_nothing_is_to_be_done_yet() -> None:
    a, b, c, d = widget("a"), widget("b", "a"), widget("c", "b"), widget("d")
    changed = replace(a, digest="other")
    actions = [Update(changed, there("a"), (Change("spec.size", 1, 2),)), Keep(ref("b")), Keep(ref("c")), Keep(ref("d"))]
    found = _impact(actions, [changed, b, c, d], _base(a, b, c, d))
    assert found.follows == {ref("b"): ref("a"), ref("c"): ref("b")}
    at_once = _impact([actions[0], Update(b, there("b"), ()), Keep(ref("c")), Keep(ref("d"))], [changed, b, c, d], _base(a, b, c, d))
    assert at_once.causes[ref("b")].by == "upstream"
    assert at_once.follows == {ref("c"): ref("b")}


def test_a_wish_that_is_blocked_has_the_cause_of_what_it_wants() -> None:
    a = widget("a")
    found = _impact([Blocked(ref("a"), "ConfirmDelete", "", wanted=Delete(owned("a")))], [], _base(a))
    assert found.causes[ref("a")].by == "removed"


def test_a_move_is_by_this_change_with_what_changes_along() -> None:
    old, new = widget("a"), replace(widget("b", movedFrom="a"), labels={"x": "1"}, digest="other")
    found = _impact([Move(new, there("a"), (), owned("a"))], [new], _base(old))
    assert {each.name: (cause.by, cause.why) for each, cause in found.causes.items()} == {
        "b": ("manifest", "it is called widget/p/a there")
    }
    assert "metadata.labels.x" in [each.path for each in found.causes[ref("b")].changes]


def test_what_was_wrong_in_the_base_is_not_told_to_be_new() -> None:
    a = widget("a")
    base = replace(_base(), refused=frozenset({ref("a")}))
    assert _impact([Create(a)], [a], base).causes[ref("a")].by == "before"


@pytest.mark.parametrize(
    ("path", "have", "want", "way"),
    [
        ("spec.gates.minimum.accuracy", 0.6, 0.5, LOOSENED),
        ("spec.gates.minimum.accuracy", 0.5, 0.6, TIGHTENED),
        ("spec.gates.maximum.loss", 1, 2, LOOSENED),
        ("spec.gates.latency", "1s", "500ms", TIGHTENED),
        ("spec.gates.memory", "1Gi", "1500Mi", LOOSENED),
        ("spec.gates.latency", "50ms", None, LOOSENED),
        ("spec.gates.minimum.accuracy", None, 0.5, TIGHTENED),
        ("spec.gates.latency", "1s", "1000ms", ""),
        ("spec.experiment", "a", "b", ""),
    ],
)
def test_a_bar_says_which_way_it_went(path: str, have: Any, want: Any, way: str) -> None:
    assert [each.note for each in judged((Change(path, have, want),), ModelSpec)] == [way]


@given(st.floats(0, 1), st.floats(0, 1))
def test_back_again_is_the_other_way(one: float, other: float) -> None:
    there_, back = (judged((Change("spec.gates.minimum.a", *sides),), ModelSpec)[0].note for sides in ((one, other), (other, one)))
    assert {there_, back} == ({""} if one == other else {LOOSENED, TIGHTENED})


def test_a_ref_of_another_source_is_not_held_against_this_base() -> None:
    far = replace(widget("a"), source="team")
    assert _impact([Create(far)], [far], _base()).causes[Ref("Widget", "p", "a")].by == "before"
