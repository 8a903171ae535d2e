"""What differs: three-way, key by key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.diff import compare, without_ignored
from reconciler.model import Change
from schemas.base import IgnoreRule
from tests.unit.widgets import NOW

CASES: list[tuple[str, Any, Any, Any, dict[str, tuple[Any, Any]]]] = [
    ("equal", {"a": 1, "b": {"c": [1]}}, {"a": 1, "b": {"c": [1]}}, None, {}),
    ("other value", {"a": 1}, {"a": 2}, None, {"spec.a": (2, 1)}),
    ("missing", {"a": 1}, {}, None, {"spec.a": (None, 1)}),
    ("not ours, never was", {}, {"a": 1}, None, {}),
    ("not ours, never was, deep", {"t": {"x": "1"}}, {"t": {"x": "1", "y": "2"}}, {"t": {"x": "1"}}, {}),
    ("dropped from the manifest", {}, {"a": 1}, {"a": 1}, {"spec.a": (1, None)}),
    ("dropped, and somebody changed it meanwhile", {}, {"a": 3}, {"a": 1}, {"spec.a": (3, None)}),
    ("dropped, and gone already", {}, {}, {"a": 1}, {}),
    ("dropped key of a mapping", {"t": {}}, {"t": {"x": "1"}}, {"t": {"x": "1"}}, {"spec.t.x": ("1", None)}),
    ("dropped mapping takes only what is ours", {}, {"t": {"x": "1", "y": "2"}}, {"t": {"x": "1"}}, {"spec.t.x": ("1", None)}),
    ("a mapping where there was none is told key by key", {"t": {"x": "1"}}, {}, None, {"spec.t.x": (None, "1")}),
    ("an empty mapping is no difference", {"t": {}}, {}, None, {}),
    ("a mapping where there was none, deep", {"t": {"x": {"y": 1, "z": None}}}, {}, None, {"spec.t.x.y": (None, 1)}),
    ("a list is one value", {"l": [1, 2]}, {"l": [1, 3]}, None, {"spec.l": ([1, 3], [1, 2])}),
    ("mapping in the place of a value", {"a": {"x": 1}}, {"a": 5}, None, {"spec.a": (5, {"x": 1})}),
    ("value in the place of a mapping", {"a": 5}, {"a": {"x": 1}}, None, {"spec.a": ({"x": 1}, 5)}),
    ("nothing is wanted where there is nothing", {"a": None}, {}, None, {}),
    ("nothing is wanted where there is something", {"a": None}, {"a": 1}, None, {"spec.a": (1, None)}),
    ("drift beside a dropped field", {"a": 1}, {"a": 2, "b": 3}, {"a": 1, "b": 3}, {"spec.a": (2, 1), "spec.b": (3, None)}),
]


@pytest.mark.parametrize(("want", "have", "last", "expected"), [each[1:] for each in CASES], ids=[each[0] for each in CASES])
def test_compare(want: Any, have: Any, last: Any, expected: dict[str, tuple[Any, Any]]) -> None:
    assert {each.path: (each.have, each.want) for each in compare(want, have, last)} == expected


def test_paths_come_sorted_and_under_the_prefix() -> None:
    assert [each.path for each in compare({"b": 1, "a": 1}, {}, prefix="meta")] == ["meta.a", "meta.b"]


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("spec.a", "a", True),
        ("spec.a", "ab", False),
        ("spec.a.*.c", "a", False),
    ],
)
def test_immutable_fields(pattern: str, path: str, covered: bool) -> None:
    (change,) = compare({path: 1}, {path: 2}, immutable=frozenset({pattern}))
    assert change.forces_replace is covered


def test_what_stands_below_an_immutable_field_is_immutable_and_a_star_stands_for_any_key() -> None:
    want, have = {"a": {"k": {"c": 1, "d": 1}}}, {"a": {"k": {"c": 2, "d": 2}}}
    told = {each.path: each.forces_replace for each in compare(want, have, immutable=frozenset({"spec.a.*.c"}))}
    assert told == {"spec.a.k.c": True, "spec.a.k.d": False}
    assert all(each.forces_replace for each in compare(want, have, immutable=frozenset({"spec.a"})))


def test_a_secret_is_marked_for_the_printer() -> None:
    (change,) = compare({"token": "digest-2"}, {"token": "digest-1"}, secret=frozenset({"spec.token"}))
    assert change.secret


def rule(path: str, days: int | None = None) -> IgnoreRule:
    return IgnoreRule.model_validate({"path": path, "reason": "somebody else's", "until": NOW + timedelta(days=days) if days else None})


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ((), ["spec.size", "spec.tags.owner", "spec.tagsx"]),
        ((rule("spec.size"),), ["spec.tags.owner", "spec.tagsx"]),
        ((rule("spec.tags"),), ["spec.size", "spec.tagsx"]),
        ((rule("spec.size", days=1),), ["spec.tags.owner", "spec.tagsx"]),
        ((rule("spec.size", days=-1),), ["spec.size", "spec.tags.owner", "spec.tagsx"]),
    ],
    ids=["no rule", "exact", "all below", "in force", "expired"],
)
def test_ignored_fields(rules: tuple[IgnoreRule, ...], left: list[str]) -> None:
    changes = tuple(Change(path, 1, 2) for path in ("spec.size", "spec.tags.owner", "spec.tagsx"))
    assert [each.path for each in without_ignored(changes, rules, NOW)] == left
