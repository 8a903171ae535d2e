"""Techniques held against each other, and what was spent: only what was measured, only what can be compared."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from reconciler.dashboard.pages import compare
from reconciler.model import Ref
from reconciler.model.performance import Performance, performance
from reconciler.model.ranking import Ranked, Ranking
from reconciler.report.performance import (
    performance_digest,
    performance_html,
    performance_json,
    performance_markdown,
    performance_text,
    performance_value,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHIP = "Apple M2 Max, 12 cores, 64 GiB"


def run(
    project: str, key: str, value: float | None, seconds: float | None = 10.0, joules: float | None = None, memory: int = 1 << 30
) -> Ranked:
    return Ranked(Ref("Experiment", project, "e", key), f"id-{project}-{key}", value, seconds=seconds, peak_memory=memory, joules=joules)


def board(
    project: str,
    techniques: tuple[str, ...],
    *runs: Ranked,
    data: tuple[str, ...] = ("shared/digits",),
    goal: str = "maximize",
    name: str = "e",
) -> Ranking:
    assert goal in ("maximize", "minimize")
    return Ranking(Ref("Experiment", project, name), "accuracy", "maximize" if goal == "maximize" else "minimize", runs, techniques, data)


def some() -> Performance:
    return performance(
        [
            board("lora", ("lora",), run("lora", "a", 0.9, 100, 3600.0), run("lora", "b", 0.8, 50)),
            board("quant", ("quantization", "lora"), run("quant", "a", 0.89, 20, 900.0)),
            board("base", (), run("base", "a", 0.7, 200, 7200.0)),
            board("far", ("clip",), run("far", "a", 0.99), data=("far/other",)),
        ]
    )


TEXT = """\
5 finished runs of 4 projects on Apple M2 Max, 12 cores, 64 GiB; energy is of the 3 runs that a sensor measured.

accuracy on shared/digits (higher is better)
  Techniques           Best   Time   Energy   Memory     Runs  Run
  lora                 0.9*   2 min  1 Wh     1,024 MiB  2     experiment/lora/e#a
  lora + quantization  0.89*  20 s   0.25 Wh  1,024 MiB  1     experiment/quant/e#a
  (none declared)      0.7    3 min  2 Wh     1,024 MiB  1     experiment/base/e#a
  * no other is at least as good in value, time, energy and memory, and better in one.

accuracy on far/other (higher is better)
  Techniques  Best   Time  Energy  Memory     Runs  Run
  clip        0.99*  10 s  -       1,024 MiB  1     experiment/far/e#a

By project
  Project  Runs  Time   Energy     Most memory  Time of one  Energy of one
  base     1     3 min  2 Wh       1,024 MiB    3 min        2 Wh
  far      1     10 s   -          1,024 MiB    10 s         -
  lora     2     2 min  1 Wh of 1  1,024 MiB    75 s         1 Wh
  quant    1     20 s   0.25 Wh    1,024 MiB    20 s         0.25 Wh

By technique
  Technique     Runs  Time   Energy        Most memory  Time of one  Energy of one
  clip          1     10 s   -             1,024 MiB    10 s         -
  lora          3     3 min  1.25 Wh of 2  1,024 MiB    50 s         0.625 Wh
  quantization  1     20 s   0.25 Wh       1,024 MiB    20 s         0.25 Wh
  A run counts for each technique of its experiment: these overlap.

Next: `reconcile compare --log` keeps this in MLflow; `-o html` makes a page of it."""


def test_only_results_on_the_same_data_are_held_against_each_other() -> None:
    first, second = some().contests
    assert [each.techniques for each in first.entries] == [("lora",), ("lora", "quantization"), ()]
    assert [each.techniques for each in second.entries] == [("clip",)]
    assert first.data == ("shared/digits",)


def test_what_is_worse_in_everything_is_dominated() -> None:
    marked = {each.techniques: each.undominated for each in some().contests[0].entries}
    assert marked == {("lora",): True, ("lora", "quantization"): True, (): False}


def test_equal_ones_dominate_neither_and_what_is_unknown_does_not_count() -> None:
    [contest] = performance([board("a", ("x",), run("a", "1", 0.5)), board("b", ("y",), run("b", "1", 0.5))]).contests
    assert all(each.undominated for each in contest.entries)
    [contest] = performance([board("a", ("x",), run("a", "1", 0.6, None)), board("b", ("y",), run("b", "1", 0.5, 1.0))]).contests
    assert [each.undominated for each in contest.entries] == [True, False]


def test_the_goal_decides_what_is_best() -> None:
    [contest] = performance([board("a", ("x",), run("a", "1", 0.6), run("a", "2", 0.2), goal="minimize")]).contests
    assert contest.entries[0].best.value == 0.2
    found = performance([board("a", ("x",), run("a", "1", 0.6), goal="minimize"), board("b", ("x",), run("b", "1", 0.6))])
    assert len(found.contests) == 2


def test_sums_are_of_what_was_measured() -> None:
    found = some()
    lora = found.projects["lora"]
    assert (lora.runs, lora.seconds, lora.joules, lora.metered, lora.typical_seconds) == (2, 150, 3600.0, 1, 75)
    assert found.projects["far"].joules is None
    assert found.techniques["lora"].runs == 3, "a run counts for each of its techniques"
    nothing = performance([board("a", ("x",), run("a", "1", None, None, None))])
    assert nothing.contests == ()
    assert nothing.projects["a"].seconds is None
    assert performance([Ranking(Ref("Experiment", "p", "e"))]) == Performance({}, {}, ())


def test_it_reads_as_text() -> None:
    assert performance_text(some(), CHIP) == TEXT
    assert "No run has finished yet" in performance_text(Performance({}, {}, ()), CHIP)


def test_pages_hold_what_is_foreign_as_text() -> None:
    evil = performance([board("p", ("<script>alert(1)</script>|x",), run("p", "a", 0.5))])
    assert "<script>" not in performance_html(evil, "<b>", NOW)
    assert "<script>" not in performance_markdown(evil, "<b>", NOW)
    value = json.loads(performance_json(evil, CHIP, NOW))
    assert value["contests"][0]["entries"][0]["value"] == 0.5
    shown = compare.contest_table(value["contests"][0])
    assert "<script>" not in shown
    assert "not dominated" not in shown, "there is nothing to be held against"


def test_the_same_comparison_has_the_same_digest() -> None:
    assert performance_digest(some(), CHIP) == performance_digest(some(), CHIP) != performance_digest(some(), "another machine")
    value = performance_value(some(), CHIP)
    page = compare.techniques(value) + compare.projects(value)
    assert "1.25 Wh of 2" in page
    points = compare.options("accuracy", value["contests"][0]["entries"])["series"][0]["data"]
    assert points[1] == {"name": "lora + quantization", "value": [20, 0.89]}
