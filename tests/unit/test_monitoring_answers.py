"""What is made of answers and labels: their drift, and how right they were."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.monitoring import Source, WindowResult
from reconciler.monitoring.look import look
from reconciler.serving.metrics import accuracy, f1, mae, r2, rmse
from tests.unit.monitoring_world import DAY, NOON, Log, check, looked, person, rows, table

pytestmark = pytest.mark.xdist_group("evidently")
NORMAL = rows(person, 600, seed=1)
SEEN = rows(person, 400, seed=2)


def labelled(state: Path, answers: Sequence[Any], labels: Sequence[Any], **more: Any) -> WindowResult:
    log = Log(state)
    told = iter(answers)
    log.write([{"x": place} for place in range(len(answers))], answer=lambda _: next(told))
    log.label(dict(zip(log.ids, labels, strict=False)))
    return look(log.spec(**{"reference": Source("data", path=str(state / "none.parquet")), **more}))


CLASSES = (["cat", "dog", "cow", "cat"] * 30, ["cat", "dog", "cat", "cow"] * 30)
TWO = ([1, 0, 1, 1] * 30, [1.0, 0, 0, 1] * 30)
NUMBERS = ([1.5, 2.0, 7.0, -1.0] * 30, [1.0, 2.5, 7.0, 0.0] * 30)


@pytest.mark.parametrize(
    ("metric", "pair", "value"),
    [
        ("accuracy", CLASSES, accuracy(CLASSES[1], CLASSES[0])),
        ("f1", CLASSES, f1(CLASSES[1], CLASSES[0])),
        ("accuracy", TWO, 0.75),
        ("f1", TWO, f1(TWO[1], TWO[0])),
        ("precision", TWO, (2 / 3 + 1) / 2),
        ("recall", TWO, (1 + 1 / 2) / 2),
        ("mae", NUMBERS, mae(NUMBERS[1], NUMBERS[0])),
        ("rmse", NUMBERS, rmse(NUMBERS[1], NUMBERS[0])),
        ("r2", NUMBERS, r2(NUMBERS[1], NUMBERS[0])),
        ("accuracy", ([True] * 60, [1] * 60), 0.0),  # JSON's sorts stay apart
        ("accuracy", ([3] * 60, [3.0] * 60), 1.0),
        ("f1", ([3] * 60, [3.0] * 60), 1.0),
    ],
)
def test_performance_is_what_a_trial_calls_by_the_same_name(
    tmp_path: Path, metric: str, pair: tuple[Sequence[Any], Sequence[Any]], value: float
) -> None:
    ask = {"performance": {"metric": metric, "minimum": value - 0.01, "maximum": value + 0.01}}
    found = labelled(tmp_path, *pair, checks=ask, min_rows=10)
    assert found.verdict == "pass", found.why
    assert found.measured[metric] == pytest.approx(value)
    assert look_again(tmp_path, {"performance": {"metric": metric, "minimum": value + 0.01}}).verdict == "fail"


def look_again(state: Path, checks: Mapping[str, Any], **more: Any) -> WindowResult:
    return look(Log(state).spec(end=NOON + DAY, checks=checks, min_rows=10, **more))


def test_too_few_labels_hold_and_do_not_block(tmp_path: Path) -> None:
    ask = {"performance": {"minimum": 0.9}, "operations": {"minRequests": 0}}
    found = labelled(tmp_path, ["a"] * 120, ["b"] * 49, checks=ask)
    assert (found.verdict, found.labels) == ("hold", 49)
    assert "49 of 50 labels" in found.why
    Log(tmp_path).traffic([(NOON + 5, 9.0, 0.0, 0.0, [], math.nan, math.nan)])
    found = look_again(tmp_path, ask)
    assert (found.verdict, found.why) == ("pass", "performance: 49 of 50 labels")
    assert look_again(tmp_path, {"performance": {"minimum": 0.9, "minLabels": 49}}).verdict == "fail"


def test_the_loss_is_held_against_the_first_window(tmp_path: Path) -> None:
    ask = {"performance": {"metric": "mae", "maxLoss": 0.2}}
    found = labelled(tmp_path, [1.0] * 60, [2.0] * 60, checks=ask, min_rows=10)
    assert (found.verdict, found.measured) == ("hold", {"mae": 1.0})
    assert look_again(tmp_path, ask, baseline={"mae": 0.9}).verdict == "pass"
    assert look_again(tmp_path, ask, baseline={"mae": 0.7}).verdict == "fail"


def test_labels_that_are_no_numbers_hold(tmp_path: Path) -> None:
    found = labelled(tmp_path, ["a"] * 60, [1.0] * 60, checks={"performance": {"metric": "mae", "maximum": 1}}, min_rows=10)
    assert (found.verdict, found.why) == ("hold", "performance: mae needs numbers: labels or answers are none")


def shares(drawn: random.Random, cats: float) -> str:
    return "cat" if drawn.random() < cats else "dog"


def answering(state: Path, cats: float, labels: float | None = None, **more: Any) -> WindowResult:
    drawn = random.Random(3)
    table(state / "normal.parquet", [{"x": place / 3, "truth": shares(drawn, 0.5)} for place in range(600)])
    log = Log(state)
    log.write([{"x": place / 3} for place in range(400)], answer=lambda _: {"prediction": shares(drawn, cats), "p": 0.5})
    if labels is not None:
        log.label({id_: shares(drawn, labels) for id_ in log.ids})
    return look(log.spec(checks={"predictions": {}, "labels": {}}, target="truth", **more))


def test_classes_that_are_answered_more_often_and_truths_that_are_true_more_often(tmp_path: Path) -> None:
    same = answering(tmp_path / "1", 0.5, 0.5)
    assert [each.verdict for each in same.checks] == ["pass", "pass"]
    answers = answering(tmp_path / "2", 0.9, 0.5)
    assert [each.verdict for each in answers.checks] == ["fail", "pass"]
    assert check(answers, "predictions").columns[0]["column"] == "prediction"
    truths = answering(tmp_path / "3", 0.5, 0.9)
    assert [each.verdict for each in truths.checks] == ["pass", "fail"]
    none = answering(tmp_path / "4", 0.5)
    assert check(none, "labels").said == "0 of 100 labels"


def test_numbers_that_are_answered_are_held_against_the_mean_of_the_truth(tmp_path: Path) -> None:
    drawn = random.Random(3)
    table(tmp_path / "normal.parquet", [{"x": place / 3, "y": drawn.gauss(100, 20)} for place in range(600)])
    log = Log(tmp_path)
    log.write([{"x": place / 3} for place in range(300)], answer=lambda _: [drawn.gauss(100, 8)])  # a model spreads less than the truth
    middle = log.at
    log.write([{"x": place / 3} for place in range(300)], answer=lambda _: [drawn.gauss(110, 8)])
    ask = {"checks": {"predictions": {}}, "target": "y"}
    assert look(log.spec(end=middle, **ask)).verdict == "pass"
    bad = look(log.spec(start=middle, **ask))
    assert (bad.verdict, check(bad, "predictions").columns[0]["test"]) == ("fail", "distance of means")
    then = Source("log", "vision", "digits", NOON, middle)
    own = look(log.spec(start=middle, checks={"predictions": {}}, reference=then))
    assert check(own, "predictions").columns[0]["test"] == "Wasserstein"


def test_a_reference_without_answers_or_truth_holds(tmp_path: Path) -> None:
    found = looked(tmp_path, NORMAL, SEEN, checks={"predictions": {}, "labels": {}})
    assert found.verdict == "hold"
    assert "the reference has no answers" in found.why
    assert "the reference has no truth" in found.why
