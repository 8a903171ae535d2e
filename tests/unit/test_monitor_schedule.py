"""Which window of a monitor is looked at, and when: exactly once, on a grid that nothing moves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.monitors.notes import Looked, Notes, Pending
from controllers.monitors.schedule import RELABEL, SETTLE, begin, due, next_look
from schemas.monitor import MonitorSpec

HOUR = 3600.0
NOON = 1_764_504_000.0  # a multiple of an hour


def spec(**more: Any) -> MonitorSpec:
    return MonitorSpec.model_validate({"deployment": "d", **more})


def at(wanted: MonitorSpec, notes: Notes, now: float, rows: int = 0, labels: int = 0, version: str = "") -> Pending | None:
    return due(wanted, notes, "about", now, rows, labels, version)


def test_a_window_ends_on_the_grid_and_is_looked_at_when_its_rows_are_there() -> None:
    hourly = spec(window="1h")
    notes = begin(hourly, Notes(), NOON + 600, 0)
    assert at(hourly, notes, NOON + HOUR + SETTLE - 1) is None
    found = at(hourly, notes, NOON + HOUR + SETTLE)
    assert found is not None
    assert (found.start, found.end) == (NOON, NOON + HOUR)
    assert next_look(hourly, notes) == NOON + HOUR + SETTLE
    assert at(hourly, replace(notes, cursor=found.end), NOON + HOUR + 1800) is None, "it was looked at"


def test_windows_may_overlap() -> None:
    found = at(spec(window="1h", every="15m"), Notes(since=NOON, cursor=NOON), NOON + 15 * 60 + SETTLE)
    assert found is not None
    assert (found.start, found.end) == (NOON - 45 * 60, NOON + 15 * 60)


@pytest.mark.parametrize(("catch_up", "end"), [(False, NOON + 5 * HOUR), (True, NOON + HOUR)])
def test_what_was_missed_is_one_window_or_each_in_turn(catch_up: bool, end: float) -> None:
    found = at(spec(window="1h", catchUp=catch_up), Notes(since=NOON, cursor=NOON), NOON + 5 * HOUR + 100)
    assert found is not None
    assert found.end == end


def test_what_is_being_looked_at_is_finished_first() -> None:
    pending = Pending("k", NOON, NOON + HOUR, tries=1)
    notes = Notes(since=NOON, cursor=NOON, pending=pending)
    assert at(spec(window="1h"), notes, NOON + 9 * HOUR) is pending


def test_another_every_goes_on_on_its_own_grid() -> None:
    found = at(spec(window="10m"), Notes(since=NOON, cursor=NOON + 15 * 60), NOON + 20 * 60 + SETTLE)
    assert found is not None
    assert found.end == NOON + 20 * 60


def test_windows_by_count_take_every_row_once() -> None:
    counted = spec(window={"count": 100})
    notes = begin(counted, Notes(), NOON, 40)
    assert at(counted, notes, NOON + 10, rows=139) is None
    found = at(counted, notes, NOON + 10, rows=140)
    assert found is not None
    assert (found.start, found.end, found.count) == (NOON, 0.0, 100)
    more = at(counted, notes, NOON + 10, rows=395)
    assert more is not None
    assert more.count == 300, "what was missed is one longer window"


def test_a_version_is_looked_at_once() -> None:
    wanted = MonitorSpec.model_validate({"dataset": "a", "reference": {"dataset": "b"}})
    notes = begin(wanted, Notes(), NOON, 0)
    first = at(wanted, notes, NOON, version="v1")
    assert first is not None
    assert at(wanted, replace(notes, version="v1"), NOON + HOUR, version="v1") is None
    later = at(wanted, replace(notes, version="v1"), NOON + HOUR, version="v2")
    assert later is not None
    assert later.key != first.key
    for unknown in ("", "*"):
        assert at(wanted, notes, NOON, version=unknown) is None


def test_labels_that_come_late_have_their_window_judged_again() -> None:
    judged = spec(window="1h", checks={"performance": {"minimum": 0.8, "wait": "6h"}})
    old = Looked("k", NOON - HOUR, NOON, "pass", rows=100, labels=0, at=NOON + 20, labels_then=5)
    notes = Notes(since=NOON - HOUR, cursor=NOON, windows=(old,))
    assert at(judged, notes, NOON + 30 * 60, labels=5) is None, "none came"
    waiting = replace(notes, cursor=NOON + 2 * HOUR)
    assert at(judged, waiting, NOON + 20 + HOUR - 1, labels=90) is None, "not more often than windows end"
    found = at(judged, waiting, NOON + 2 * HOUR, labels=90)
    assert found is not None
    assert (found.start, found.end, found.again) == (old.start, old.end, 1)
    assert found.key != "k"
    assert at(judged, replace(waiting, cursor=NOON + 8 * HOUR), NOON + 8 * HOUR, labels=90) is None, "too late"
    full = replace(waiting, windows=(replace(old, labels=100),))
    assert at(judged, full, NOON + 2 * HOUR, labels=90) is None, "it has them all"
    assert at(spec(window="1h"), waiting, NOON + 2 * HOUR, labels=90) is None, "nobody asks for them"
    assert RELABEL <= HOUR


@given(
    st.lists(st.floats(0.1, 5 * HOUR), min_size=1, max_size=40),
    st.booleans(),
    st.sampled_from([("1h", None), ("1h", "15m"), ("10m", None), ("1h", "2h")]),
)
def test_no_window_is_looked_at_twice_and_with_catch_up_none_is_left_out(
    steps: list[float], catch_up: bool, times: tuple[str, str | None]
) -> None:
    """However passes fall, restarts included: each has nothing but the notebook."""
    wanted = spec(window=times[0], catchUp=catch_up, **({"every": times[1]} if times[1] else {}))
    now, seen = NOON + 1, list[float]()
    notes = begin(wanted, Notes(), now, 0)
    for step in steps:
        now += step
        for _ in range(500):
            if (found := at(wanted, notes, now)) is None:
                break
            seen.append(found.end)
            notes = replace(notes, cursor=found.end)
    assert seen == sorted(set(seen))
    assert all(end <= now - SETTLE for end in seen)
    if catch_up and len(seen) > 1:
        gaps = {round(later - earlier, 3) for earlier, later in pairwise(seen)}
        assert len(gaps) == 1
