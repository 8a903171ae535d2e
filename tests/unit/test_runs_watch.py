"""When a program has to end, and in which words."""

from __future__ import annotations

import pytest

from reconciler.model.units import memory
from reconciler.runs.ending import ended_by
from reconciler.runs.watch import Bounds, Breach, duration, over_memory, proposal

GIB = 1 << 30


def walk(bounds: Bounds, *steps: tuple[float, int, bool]) -> list[Breach | None]:
    return [bounds.step(*each) for each in steps]


def test_a_short_excess_is_forgiven() -> None:
    bounds = Bounds(memory=100, timeout=None)
    assert walk(bounds, (0, 150, False), (2, 150, False), (2.5, 90, False), (3, 150, False), (5.9, 150, False)) == [None] * 5


def test_a_lasting_excess_ends_it_with_the_most_that_was_seen() -> None:
    bounds = Bounds(memory=GIB, timeout=None)
    found = walk(bounds, (0, 2 * GIB, False), (1, 3 * GIB, False), (3.1, 2 * GIB, False))
    assert found[-1] == Breach("used 3 GiB of 1 GiB granted: set resources.memory to 3.5Gi", at_once=True)


def test_exactly_the_grant_is_fine() -> None:
    assert walk(Bounds(memory=100, timeout=None), (0, 100, False), (60, 100, False)) == [None, None]


def test_no_bound_is_no_bound() -> None:
    assert walk(Bounds(memory=0, timeout=None), (0, 1 << 60, False), (1e6, 1 << 60, False)) == [None, None]


def test_pauses_do_not_count_to_the_timeout() -> None:
    bounds = Bounds(memory=0, timeout=10)
    assert walk(bounds, (0, 0, False), (5, 0, False), (5, 0, True), (500, 0, True), (500.5, 0, False), (504.9, 0, False)) == [None] * 6
    assert bounds.step(505.6, 0, False) == Breach("timeout after 10s", at_once=False)


@pytest.mark.parametrize(
    ("used", "text", "propose"),
    [
        (int(1.9 * GIB), "1.9 GiB", "2.2Gi"),
        (300 << 20, "300 MiB", "350Mi"),
        ((300 << 20) + 1, "301 MiB", "350Mi"),
        (1 << 20, "1 MiB", "10Mi"),
        (GIB, "1 GiB", "1.2Gi"),
        (900 << 20, "900 MiB", "1.1Gi"),
    ],
)
def test_amounts(used: int, text: str, propose: str) -> None:
    assert memory(used) == text
    assert proposal(used) == propose


@pytest.mark.parametrize("used", [1, 1 << 20, 63 << 20, 300 << 20, GIB - 1, GIB, 7 * GIB + 12345, 200 * GIB])
def test_what_is_proposed_would_have_been_enough(used: int) -> None:
    number, unit = float(proposal(used)[:-2]), proposal(used)[-2:]
    assert number * {"Mi": 1 << 20, "Gi": GIB}[unit] >= used


def test_over_memory_names_the_field() -> None:
    assert over_memory(2 * GIB, GIB) == "used 2 GiB of 1 GiB granted: set resources.memory to 2.3Gi"


@pytest.mark.parametrize(("seconds", "text"), [(120, "2m"), (90, "90s"), (3600, "1h"), (1.5, "1.5s"), (0, "0s"), (5400, "90m")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, ""), (3, "exit 3"), (-9, "killed (SIGKILL)"), (-11, "killed (SIGSEGV)"), (-200, "killed (signal 200)"), (None, "it never ran")],
)
def test_ends(code: int | None, text: str) -> None:
    assert ended_by(code) == text
