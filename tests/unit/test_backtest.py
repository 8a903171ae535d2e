"""Forecasts held against what came."""

from __future__ import annotations

import random

import pytest

from reconciler.admission.backtest import Foretold, backtest, backtests, score
from reconciler.admission.memory import learn
from reconciler.model import Learned
from reconciler.report.forecasts import forecasts_text, forecasts_value

MIB = 1 << 20


def _learned(lengths: list[float], peaks: list[int]) -> Learned:
    known = Learned()
    for seconds, peak in zip(lengths, peaks, strict=True):
        known = learn(known, peak, seconds, None, overran=False)
    return known


@pytest.mark.parametrize("scatter", [0.1, 0.35, 0.6])
def test_intervals_hold_about_as_often_as_they_say(scatter: float) -> None:
    rng = random.Random(7)
    found = [
        one
        for _ in range(60)
        for one in backtest(_learned([60 * rng.lognormvariate(0, scatter) for _ in range(20)], [100 * MIB] * 20), 0.15).lengths
    ]
    told = score(found)
    assert told.runs == 60 * 18
    assert told.share >= 0.72, "they hold no less than they say"
    assert told.share <= 0.97


def test_a_run_is_foretold_from_those_before_it_alone() -> None:
    found = backtest(_learned([10, 10, 10, 100], [100 * MIB] * 4), 0.15)
    assert [each.actual for each in found.lengths] == [10, 100]
    assert found.lengths[1].middle == pytest.approx(10)
    assert not found.lengths[1].held
    assert found.lengths[1].off == pytest.approx(10)


def test_memory_is_held_against_what_was_charged() -> None:
    found = backtest(_learned([1, 1, 1], [100 * MIB, 110 * MIB, 200 * MIB]), 0.15)
    assert [each.held for each in found.memory] == [True, False]
    assert 100 * MIB < found.memory[0].high <= 115 * MIB, "the margin, narrower for what was measured"


def test_what_has_nothing_before_it_is_not_judged() -> None:
    assert backtests({"once": _learned([5.0], [MIB])}, 0.15) == {}
    assert "Nothing can be judged yet" in forecasts_text({}, {})
    assert score(()).share == 0.0


def test_the_report_begins_with_the_outcome() -> None:
    learned = {"p/e/train.py": _learned([10, 11, 9, 12], [100 * MIB] * 4)}
    found = backtests(learned, 0.15)
    lines = forecasts_text(found, learned, width=100).splitlines()
    assert lines[0].startswith("2 of 2 runs (100%) took as long as the interval said that should hold 80%; the middle was off by 1.")
    assert lines[1] == "3 of 3 runs (100%) stayed within the memory that was charged."
    assert all(len(line) <= 100 for line in lines[2:])
    told = forecasts_value(found)
    assert told["lengths"]["runs"] == len(told["work"][0]["lengths"]) == 2
    assert Foretold(1, 2, 3, 4).held is False
