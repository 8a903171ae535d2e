"""Techniques side by side and what projects spent, from values."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest

from reconciler.model import Ref
from reconciler.model.performance import Performance, performance
from reconciler.model.ranking import Fell, Ranked, Ranking

DATA = {"digits": "aa11"}


def run(label: str, value: float | None, seconds: float | None = 10.0, **more: Any) -> Ranked:
    given: dict[str, Any] = {"peak_memory": 1 << 30, "joules": None, "hardware": "M4", "data": DATA, **more}
    return Ranked(Ref("Experiment", "p", "e", label), f"id-{label}", value, seconds=seconds, **given)


def board(
    name: str,
    *runs: Ranked,
    techniques: tuple[str, ...] = (),
    project: str = "p",
    goal: Literal["maximize", "minimize"] = "maximize",
    metric: str = "accuracy",
    failed: tuple[Fell, ...] = (),
) -> Ranking:
    return Ranking(Ref("Experiment", project, name), metric, goal, runs, techniques, failed)


def marks(found: Performance) -> dict[str, bool]:
    (only,) = found.comparisons
    return {each.technique: each.pareto for each in only.entries}


def test_the_best_run_of_each_technique_stands_for_it_and_no_dominated_one_is_marked() -> None:
    found = performance(
        [
            board("a", run("a1", 0.9, 20.0), run("a2", 0.8, 5.0), techniques=("lora",)),
            board("b", run("b1", 0.85, 10.0), techniques=("pruning",), project="q"),
            board("c", run("c1", 0.7, 30.0), techniques=("none",)),
        ]
    )
    (only,) = found.comparisons
    assert [(each.technique, each.value, each.best.seconds, each.runs, each.seconds) for each in only.entries] == [
        ("lora", 0.9, 20.0, 2, 12.5),
        ("pruning", 0.85, 10.0, 1, 10.0),
        ("none", 0.7, 30.0, 1, 30.0),
    ]
    assert marks(found) == {"lora": True, "pruning": True, "none": False}
    assert only.judged == ("value", "seconds", "memory")
    assert [each.project for each in found.projects] == ["p", "q"]


def test_ties_are_all_marked() -> None:
    assert marks(performance([board(each, run(each, 0.5), techniques=(each,)) for each in "ab"])) == {"a": True, "b": True}


def test_where_less_is_better_the_least_leads_and_nothing_is_told_per_cost() -> None:
    found = performance(
        [
            board("a", run("a", 0.2), techniques=("a",), goal="minimize"),
            board("b", run("b", 0.1), techniques=("b",), goal="minimize"),
        ]
    )
    (only,) = found.comparisons
    assert [each.technique for each in only.entries] == ["b", "a"]
    assert only.per(only.entries[0], "seconds") is None
    assert marks(found) == {"b": True, "a": False}


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_not_ranked(value: float | None) -> None:
    found = performance([board("a", run("a", value), techniques=("a",)), board("b", run("b", 0.1), techniques=("b",))])
    assert not found.comparisons
    assert found.without == (Ref("Experiment", "p", "a"),)
    assert [each.entries[0].technique for each in found.alone] == ["b"]


@pytest.mark.parametrize(
    "other",
    [
        board("b", run("b", 0.1), techniques=("b",), metric="f1"),
        board("b", run("b", 0.1), techniques=("b",), goal="minimize"),
        board("b", run("b", 0.1, data={"digits": "bb22"}), techniques=("b",)),
        board("b", run("b", 0.1, data={}), techniques=("b",)),
        board("b", run("b", 0.1, hardware="M1"), techniques=("b",)),
        board("b", run("b", 0.1), techniques=("a",)),
    ],
    ids=["metric", "goal", "data", "no data", "hardware", "technique"],
)
def test_only_what_is_alike_is_compared(other: Ranking) -> None:
    assert not performance([board("a", run("a", 0.2), techniques=("a",)), other]).comparisons


def test_data_is_the_same_by_digest_whatever_it_is_called() -> None:
    found = performance(
        [
            board("a", run("a", 0.2), techniques=("a",)),
            board("b", run("b", 0.1, data={"p/digits": "aa11"}), techniques=("b",), project="q"),
        ]
    )
    assert [each.data for each in found.comparisons] == [(("digits", "aa11"),)]


def test_energy_counts_only_where_it_was_metered() -> None:
    found = performance(
        [
            board("a", run("a", 0.9, joules=7200.0), techniques=("a",), failed=(Fell("f", 4.0, None, 3 << 30), Fell("g"))),
            board("b", run("b", 0.9), techniques=("b",)),
        ]
    )
    (only,) = found.comparisons
    assert "joules" not in only.judged
    assert only.per(only.entries[0], "joules") == pytest.approx(0.45)
    assert only.per(only.entries[1], "joules") is None
    (spent,) = found.projects
    assert (spent.finished, spent.failed, spent.timed, spent.seconds) == (2, 2, 3, 24.0)
    assert (spent.metered, spent.joules, spent.peak_memory) == (1, 7200.0, 3 << 30)


def test_of_nothing_nothing_is_told() -> None:
    assert performance([]) == Performance()
    (spent,) = performance([board("a")]).projects
    assert (spent.seconds, spent.joules, spent.peak_memory) == (None, None, None)
