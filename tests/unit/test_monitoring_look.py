"""What a window comes to as a whole: its verdict, whatever the data is like, and its report in the workspace."""

from __future__ import annotations

import json
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.model.monitoring import Source
from reconciler.monitoring.__main__ import text_of
from reconciler.monitoring.look import look
from tests.unit.monitoring_world import DAY, NOON, PROJECT, SNAPSHOT, Log, changed, check, looked, person, rows, table

pytestmark = pytest.mark.xdist_group("evidently")
NORMAL = rows(person, 600, seed=1)
SEEN = rows(person, 400, seed=2)


# --- verdicts ----------------------------------------------------------------------------------------------------------


def test_too_few_rows_are_neither_good_nor_bad(tmp_path: Path) -> None:
    found = looked(tmp_path, NORMAL, changed(SEEN[:99], lambda row: {**row, "height": 9.0}))
    assert (found.verdict, found.why, found.rows) == ("hold", "99 of 100 rows", 99)
    silent = look(Log(tmp_path).spec(end=NOON, checks={"drift": {}, "operations": {"minRequests": 5}}))
    assert silent.verdict == "hold"
    Log(tmp_path).traffic([(NOON + 5, 9.0, 0.0, 0.0, [], math.nan, math.nan)])
    silent = look(Log(tmp_path).spec(start=NOON + 500, end=NOON + 900, checks={"drift": {}, "operations": {"minRequests": 5}}))
    assert silent.verdict == "fail"
    assert silent.why.startswith("operations: requests 0")


@pytest.mark.parametrize("what", ["gone", "broken", "small"])
def test_a_reference_that_says_nothing_holds(tmp_path: Path, what: str) -> None:
    if what == "broken":
        (tmp_path / "normal.parquet").write_bytes(b"PAR1")
    found = looked(tmp_path, NORMAL[:20] if what == "small" else [], SEEN)
    assert found.verdict == "hold"
    assert {"gone": "is not a file", "broken": "cannot be read", "small": "the reference has 20 rows"}[what] in found.why


def test_a_reference_that_is_the_log_of_earlier(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(NORMAL)
    middle = log.at
    log.write(changed(SEEN, lambda row: {**row, "colour": "violet"}))
    found = look(
        log.spec(middle, reference=Source("log", "vision", "digits", NOON, middle), checks={"drift": {}, "quality": {}, "predictions": {}})
    )
    assert {each.check: each.verdict for each in found.checks} == {"drift": "fail", "quality": "fail", "predictions": "pass"}
    assert check(found, "quality").columns[0]["to"] == "violet 100 %"


def test_versions_of_data_are_held_against_each_other(tmp_path: Path) -> None:
    table(tmp_path / "normal.parquet", [{**each, "y": each["kids"] > 1} for each in NORMAL])
    table(tmp_path / "new.parquet", [{**each, "kids": 2, "y": True} for each in SEEN])
    spec = Log(tmp_path).spec(current=Source("data", path=str(tmp_path / "new.parquet")), checks={"drift": {}, "labels": {}}, target="y")
    found = look(spec)
    assert {each.check: (each.verdict, each.columns[0]["column"]) for each in found.checks} == {
        "drift": ("fail", "kids"),
        "labels": ("fail", "label"),
    }
    assert found.rows == 400


ODD: list[list[Any]] = [
    [{"x": None}] * 120,
    [{}] * 120,
    [[]] * 120,
    ["text"] * 120,
    [{"x": 10**400}, {"x": float("nan")}, {"x": float("inf")}] * 40,
    [{"x": 5}] * 120,
    [{"x": "five"}] * 120,
    [{"x": {"y": {"z": 1}}}] * 120,
    [{"größe": 1.5, "x": 0.5, "": 3, "a b": True, "目": "日"}] * 120,
    [{f"k{place}": place} for place in range(120)],
    [{"x": "b\ud800", "\ud800": "c"}] * 120,
    [{"x": 1e308}, {"x": -1e308}] * 60,
    [{"x": [1, 2]}, {"x": "a"}, {"x": True}, {"x": {}}] * 30,
]


@pytest.mark.parametrize("seen", ODD)
@pytest.mark.parametrize(
    "normal", [NORMAL[:60], [{"x": place / 7} for place in range(60)], [{"x": 1.5}] * 60, [{"x": "a", "größe": None}] * 60]
)
def test_nothing_that_is_asked_breaks_the_program(tmp_path: Path, normal: list[Any], seen: list[Any]) -> None:
    found = looked(tmp_path, normal, seen, checks={"drift": {}, "quality": {"duplicates": 0.9}, "predictions": {}})
    told = json.loads(text_of(found))
    assert told["verdict"] in ("pass", "fail", "hold")
    assert "could not be computed" not in found.why, found.why
    assert "NaN" not in text_of(found)


def test_what_evidently_cannot_compute_costs_only_itself(tmp_path: Path) -> None:
    normal, seen = ([{**each, "same": 1.5} for each in side] for side in (NORMAL, SEEN))
    ask = {"drift": {"tests": {"same": "anderson"}}, "quality": {}}  # which wants two values at least
    found = looked(tmp_path, normal, seen, checks=ask)
    assert {each.check: each.verdict for each in found.checks} == {"drift": "hold", "quality": "pass"}
    assert found.verdict == "pass"
    assert found.why.startswith("drift: could not be computed: same: ValueError: anderson")
    bad = looked(tmp_path / "2", normal, changed(seen, lambda row: {**row, "height": 5.0}), checks=ask)
    assert check(bad, "drift").verdict == "fail"  # what could be computed is enough for that
    assert "not computed: same" in check(bad, "drift").said


@pytest.mark.parametrize("test", ["t_test", "ks", "psi", "chisquare"])
def test_columns_of_one_value_that_is_still_the_same_have_not_drifted(tmp_path: Path, test: str) -> None:
    normal, seen = ([{"x": 1.5, "c": "a"}] * count for count in (200, 150))
    found = looked(tmp_path, normal, seen, checks={"drift": {"test": test}})
    assert check(found, "drift").said == "none of 2 columns drifted"
    assert all(math.isfinite(each) for each in found.series.values())


@given(st.randoms(use_true_random=False))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_rows_does_not_matter(tmp_path: Path, drawn: random.Random) -> None:
    seen = changed(SEEN, lambda row: {**row, "height": row["height"] + 0.03, "colour": "green" if row["kids"] == 3 else row["colour"]})
    normal = [dict(each) for each in NORMAL]
    found = []
    for _ in range(2):
        state = tmp_path / str(drawn.random())
        found.append(looked(state, normal, seen))
        drawn.shuffle(seen)
        drawn.shuffle(normal)
    one, other = found
    assert (one.verdict, [each.verdict for each in one.checks]) == (other.verdict, [each.verdict for each in other.checks])
    assert {name: pytest.approx(value) for name, value in one.series.items()} == other.series


# --- the snapshot ------------------------------------------------------------------------------------------------------


def test_the_report_is_one_run_in_the_workspace(tmp_path: Path) -> None:
    from evidently.ui.workspace import Workspace

    table(tmp_path / "normal.parquet", [{**each, "y": "a" if place % 2 else "b"} for place, each in enumerate(NORMAL)])
    log = Log(tmp_path)
    log.write(changed(SEEN, lambda row: {**row, "height": row["height"] * 2}), answer=lambda row: "a" if row["kids"] else "b")
    log.label(dict.fromkeys(log.ids, "a"))
    space = Workspace.create(str(tmp_path / "evidently"))
    project = space.create_project("vision/drift")
    ask = {"drift": {}, "quality": {}, "predictions": {}, "labels": {}, "performance": {"minimum": 0.1}}
    spec = log.spec(checks=ask, target="y", workspace=str(tmp_path / "evidently"), project=str(project.id), snapshot=SNAPSHOT, retain=1e9)
    found = look(spec)
    assert (found.snapshot, found.trouble) == (SNAPSHOT, "")
    assert look(spec).snapshot == SNAPSHOT  # a second look replaces the first
    assert [str(each) for each in space.list_runs(project.id)] == [SNAPSHOT]
    run = space.get_run(project.id, SNAPSHOT)
    assert run is not None
    assert run.timestamp.timestamp() == pytest.approx(found.end, abs=DAY)
    assert run.metadata["verdict"] == "fail"
    assert run.metadata["ref"] == "monitor/vision/drift"
    named = {each.display_name for each in run.metric_results.values()}
    assert {"Row count in dataset", "Count of Drifted Columns", "Value drift for height", "Value drift for prediction"} <= named
    assert any("Wasserstein distance, beyond chance" in json.dumps(each.dict(), default=str) for each in run.widgets)
    assert len(run.widgets) > 10


def test_a_workspace_that_cannot_be_written_costs_the_snapshot_only(tmp_path: Path) -> None:
    (tmp_path / "evidently").write_text("a file where the folder should be")
    found = looked(tmp_path, NORMAL, SEEN, workspace=str(tmp_path / "evidently"), project=PROJECT, snapshot=SNAPSHOT)
    assert (found.verdict, found.snapshot) == ("pass", "")
    assert found.trouble.startswith("the snapshot could not be written: ")


def test_old_snapshots_and_halves_are_removed(tmp_path: Path) -> None:
    where = tmp_path / "evidently" / PROJECT / "snapshots"
    where.mkdir(parents=True)
    for name, age in (("old.json", 40 * DAY), ("young.json", 20 * DAY), (".half.json-abc", DAY), (".now.json-abc", 0)):
        (where / name).write_text("{}")
        os.utime(where / name, (time.time() - age,) * 2)
    log = Log(tmp_path, at=time.time() - 3600)
    log.write(SEEN)
    table(tmp_path / "normal.parquet", NORMAL)
    look(log.spec(time.time() - 3600, workspace=str(tmp_path / "evidently"), project=PROJECT, snapshot=SNAPSHOT, retain=30 * DAY))
    assert sorted(each.name for each in where.iterdir()) == sorted([".now.json-abc", f"{SNAPSHOT}.json", "young.json"])


@pytest.mark.parametrize(
    ("checks", "metrics"),
    [
        ({"drift": {}}, {"RowCount", "DriftedColumnsCount", "ValueDrift", "MissingValueCount", "DatasetMissingValueCount", "MeanValue"}),
        ({"predictions": {}}, {"RowCount", "ValueDrift"}),
        ({"performance": {"metric": "f1", "minimum": 0}}, {"RowCount", "F1Score", "F1ByLabel"}),
        ({"performance": {"metric": "accuracy", "minimum": 0}}, {"RowCount", "Accuracy"}),
    ],
)
def test_what_a_dashboard_shows_is_in_the_snapshot(tmp_path: Path, checks: dict[str, Any], metrics: set[str]) -> None:
    table(tmp_path / "normal.parquet", [{**each, "y": "a" if place % 2 else "b"} for place, each in enumerate(NORMAL)])
    log = Log(tmp_path)
    log.write(SEEN, answer=lambda row: "a" if row["kids"] else "b")
    log.label({id_: "ab"[place % 2] for place, id_ in enumerate(log.ids)})
    found = look(log.spec(checks=checks, target="y", workspace=str(tmp_path / "w"), project=PROJECT, snapshot=SNAPSHOT, retain=1e9))
    assert (found.trouble, found.snapshot) == ("", SNAPSHOT)
    kept = json.loads((tmp_path / "w" / PROJECT / "snapshots" / f"{SNAPSHOT}.json").read_text())
    named = {each["metric_value_location"]["metric"]["params"]["type"].rpartition(":")[2] for each in kept["metric_results"].values()}
    assert metrics <= named
    rows_ = next(
        each for each in kept["metric_results"].values() if each["metric_value_location"]["metric"]["params"]["type"].endswith(":RowCount")
    )
    assert rows_["value"] == 400
