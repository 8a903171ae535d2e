"""The performance report as text, Markdown, HTML and JSON, from values."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from reconciler.errors import UsageError
from reconciler.model.performance import Performance, performance
from reconciler.model.ranking import Fell, Ranking
from reconciler.report.performance import entered, performance_json, performance_markdown, performance_text
from reconciler.report.performance_page import performance_html
from reconciler.views.performance import performance_of
from tests.unit.test_performance import board, run

AT = datetime(2026, 1, 2, tzinfo=UTC)
BOARDS: list[Ranking] = [
    board("tune", run("a", 0.9, 20.0, joules=7200.0, meter="simulated"), techniques=("lora",), failed=(Fell("f", 4.0),)),
    board("cut", run("b", 0.85, 10.0), techniques=("pruning", "int8"), project="q"),
    board("plain", run("c", 0.7, 30.0)),
    board("other", run("d", 3.0), metric="loss <b>", goal="minimize", techniques=("x",), project="q"),
    board("none", run("e", None), techniques=("x",), project="q"),
]
FOUND = performance(BOARDS)


def test_text() -> None:
    assert performance_text(FOUND, width=80).splitlines() == [
        "  project  finished  failed  time  energy                          peak memory",
        "  p        2         1       54 s  2 Wh (1 of 3 runs) [simulated]  1,024 MiB",
        "  q        3         0       30 s  -                               1,024 MiB",
        "",
        "accuracy (higher is better) on digits, M4",
        "     technique              best  time  energy            memory     per Wh  per s   per GiB  runs  run",
        "  *  lora                   0.9   20 s  2 Wh [simulated]  1,024 MiB  0.45    0.045   0.9      1     experiment/p/e#a",
        "  *  int8 + pruning         0.85  10 s  -                 1,024 MiB  -       0.085   0.85     1     experiment/p/e#b",
        "     no technique declared  0.7   30 s  -                 1,024 MiB  -       0.0233  0.7      1     experiment/p/e#c",
        "",
        "x: nothing to compare with for loss <b> (lower is better) on digits, M4.",
        "Without a value to compare: experiment/q/none.",
        "* = no other technique is at least as good in all that every one of them has and",
        "better in something (Pareto). Compared are runs with the same metric, data (by",
        "digest) and processor; energy is the machine's meter shared by processor time, a",
        "dash = not measured.",
        "Next: `reconcile compare -o html` writes the report as a page.",
    ]


def test_what_cannot_be_compared_is_told() -> None:
    said = performance_text(FOUND)
    assert "x: nothing to compare with for loss <b> (lower is better) on digits, M4." in said
    assert "Without a value to compare: experiment/q/none." in said
    assert performance_text(Performance()).startswith("No experiment is declared.\nNext: ")
    assert "No two techniques can be compared" in performance_text(performance([board("a")]))


def test_markdown() -> None:
    said = performance_markdown(FOUND, "lab", AT)
    assert said.startswith("## Performance of lab\n\nAs of 2026-01-02T00:00:00Z.\n\n| project | finished | failed |")
    assert "| \\* | lora | 0.9 | 20 s | 2 Wh \\[simulated\\] | 1,024 MiB | 0.45 | 0.045 | 0.9 | 1 |" in said
    assert "<b>" not in said.replace("\\<b>", "")


def test_the_page_needs_nothing_else_and_shows_foreign_text_as_text() -> None:
    said = performance_html(FOUND, "lab <script>", AT)
    assert "<script" not in said
    assert "http" not in said
    assert "loss &lt;b&gt;" in said
    assert said.count('<tr class="pareto">') == 2


def test_json_tells_what_is_not_known_as_null() -> None:
    told = json.loads(performance_json(FOUND, AT))
    assert (told["formatVersion"], told["kind"], told["at"]) == (1, "comparison", "2026-01-02T00:00:00Z")
    p, q = told["projects"]
    assert (p["wattHours"], p["meteredRuns"], p["energySources"]) == (2.0, 1, ["simulated"])
    assert (q["joules"], q["wattHours"], q["finished"]) == (None, None, 3)
    (only,) = told["comparisons"]
    assert [(each["place"], each["technique"], each["pareto"]) for each in only["techniques"]] == [
        (1, "lora", True),
        (2, "int8 + pruning", True),
        (3, None, False),
    ]
    assert told["withoutValue"] == ["experiment/q/none"]


def test_what_is_logged_is_named_as_mlflow_takes_it_and_is_the_same_for_the_same() -> None:
    (only,) = FOUND.comparisons
    said = entered(only)
    assert said.digest == entered(performance(reversed(BOARDS)).comparisons[0]).digest
    assert set(said.metrics) >= {"lora/value", "int8 _ pruning/seconds", "no technique declared/pareto"}
    assert "int8 _ pruning/joules" not in said.metrics
    assert said.tags["mlops.runs"] == "id-a,id-b,id-c"
    assert set(said.files) == {"comparison.json", "comparison.md", "sources.json"}


@pytest.mark.parametrize("name", ["q", "q/cut", "cut", "experiment/q/cut"])
def test_a_name_chooses_a_project_or_an_experiment(name: str) -> None:
    assert [each.project for each in performance_of(BOARDS, [name]).projects] == ["q"]


def test_a_name_that_means_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(UsageError, match="'nobody' is neither") as refused:
        performance_of(BOARDS, ["nobody"])
    assert "p, q" in str(refused.value.hint)
