"""What somebody changed in a tool: told apart from what the manifest changed, put back or only told, and left alone when it comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.drift import FIGHT, WITHIN, by_hand, fought
from reconciler.model import KNOWN_AFTER_APPLY, Blocked, Change, Update
from tests.unit.widgets import NOW, decide, owned, ref, there, widget

SIZE = Change("spec.size", 9, 2)
"""The manifest asks for 2, as it did when it was applied."""
MINE = owned("a", applied={"version": KNOWN_AFTER_APPLY, "size": 2, "tags": {"a.b": "x", "a": {"c": 1}}})


def one(changes: tuple[Change, ...], mine: Any = MINE, *, lifecycle: Any = None, **rules: Any) -> Any:
    (action,) = decide([widget("a", **(lifecycle or {}))], {"a": there("a")}, {"a": changes}, [mine], **rules).actions
    return action


@pytest.mark.parametrize(
    ("change", "drift"),
    [
        (SIZE, True),
        (Change("spec.size", 2, 3), False),
        (Change("spec.tags.a.b", None, "x"), True),
        (Change("spec.tags.a.c", 2, 1), True),
        (Change("spec.tags.new", "y", None), True),
        (Change("spec.tags.new", None, "y"), False),
        (Change("version", "1", "2"), False),
        (Change("spec.version", "1", KNOWN_AFTER_APPLY), False),
    ],
    ids=[
        "by hand",
        "by the manifest",
        "a key with a dot",
        "nested",
        "added by hand",
        "added by the manifest",
        "no field of the manifest",
        "known after apply",
    ],
)
def test_a_field_that_the_manifest_asked_for_before_was_changed_by_hand(change: Change, drift: bool) -> None:
    assert by_hand((change,), MINE) == ((change,) if drift else ())


def test_what_was_never_applied_has_not_drifted() -> None:
    assert by_hand((SIZE,), None) == ()


def test_drift_is_put_back_and_called_by_its_name() -> None:
    found = one((SIZE,))
    assert isinstance(found, Update)
    assert found.changes[0].note == "changed in the tool since it was applied"


def test_drift_that_is_only_reported_is_written_when_somebody_says_so() -> None:
    report = {"drift": "report"}
    found = one((SIZE,), lifecycle=report)
    assert (found.reason, type(found.wanted)) == ("Drifted", Update)
    assert "--confirm widget/p/a" in found.next
    assert isinstance(one((SIZE,), lifecycle=report, confirmed=frozenset({str(ref("a"))})), Update)


def test_what_the_manifest_changes_is_applied_whatever_becomes_of_drift() -> None:
    assert isinstance(one((Change("spec.size", 2, 3),), lifecycle={"drift": "report"}), Update)
    assert isinstance(one((SIZE, Change("spec.color", "red", "blue")), lifecycle={"drift": "report"}), Update)


def back(times: int, *, ago: timedelta = timedelta(minutes=5)) -> Any:
    return {ref("a"): [(NOW - ago * (1 + number), ["spec.size"]) for number in range(times)]}


def test_a_field_with_two_writers_is_left_alone_and_both_are_named() -> None:
    assert isinstance(one((SIZE,), put_back=back(FIGHT - 1)), Update)
    found = one((SIZE,), put_back=back(FIGHT))
    assert isinstance(found, Blocked)
    assert found.reason == "Fight"
    assert "spec.size" in found.why
    assert str(widget("a").location) in found.why


def test_only_the_field_that_is_fought_over_is_left_alone() -> None:
    other = Change("spec.color", "red", "blue")
    found = one((SIZE, other), put_back=back(FIGHT))
    assert isinstance(found, Update)
    assert found.changes == (other,)
    assert "left alone: spec.size" in found.why


def test_a_fight_is_over_when_nothing_was_put_back_for_long_enough() -> None:
    assert fought((SIZE,), MINE, back(FIGHT)[ref("a")], NOW + WITHIN) == ()
    assert isinstance(one((SIZE,), put_back=back(FIGHT, ago=WITHIN)), Update)


def test_what_a_clock_that_was_ahead_has_noted_is_no_fight_for_years() -> None:
    ahead = [(NOW + timedelta(days=400), ("spec.size",))] * FIGHT
    assert fought((SIZE,), MINE, ahead, NOW) == ()
    assert fought((SIZE,), MINE, [(NOW + timedelta(seconds=2), ("spec.size",))] * FIGHT, NOW) == (SIZE,), "clocks may differ a little"
