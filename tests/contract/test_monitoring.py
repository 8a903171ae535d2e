"""The program that looks at a window, as the process that it is, on logs that the gateway's own writers wrote."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.gateway.predictions import PredictionWriter
from reconciler.model.monitoring import Source, WindowSpec
from reconciler.monitoring.__main__ import text_of
from reconciler.monitoring.look import look
from tests.unit.monitoring_world import DAY, NOON, PROJECT, ROUTE, SNAPSHOT, TARGET, Log, person, rows, table

pytestmark = pytest.mark.xdist_group("evidently")
WATCHED = """
import os, runpy, sys
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        os.write(2, f"it went to the network: {event} {args}".encode())
        os._exit(99)
sys.addaudithook(hook)
sys.argv = ["reconciler.monitoring", *sys.argv[1:]]
runpy.run_module("reconciler.monitoring", run_name="__main__")
"""
"""The program, ended by its first attempt to reach anything over a network."""
NORMAL, SEEN = rows(person, 600, seed=1), rows(person, 400, seed=2)


def start(spec: WindowSpec, limit: int | None = None) -> subprocess.Popen[str]:
    """The program with this spec; `limit`: bytes of the largest file that it can write."""
    path = Path(spec.result).with_suffix(".spec")
    if path.parent.parent.is_dir() or not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(spec)))
    env = {name: each for name, each in os.environ.items() if name != "DO_NOT_TRACK"}  # it sees to that itself
    return subprocess.Popen(
        [sys.executable, "-B", "-c", WATCHED, str(path)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def run(spec: WindowSpec, limit: int | None = None) -> dict[str, Any]:
    """What it found."""
    child = start(spec, limit)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, out + err
    assert err == ""
    return dict(json.loads(Path(spec.result).read_text()))


def answer(instance: Mapping[str, Any]) -> str:
    return "many" if instance.get("kids") or 0 > 1 else "few"


def changed(change: Callable[[dict[str, Any]], Any]) -> list[Any]:
    return [change(dict(each)) for each in SEEN]


# --- windows of every sort ---------------------------------------------------------------------------------------------


def _clean(state: Path) -> WindowSpec:
    log = Log(state)
    log.write(SEEN, answer)
    return log.spec(workspace=str(state / "evidently"), project=PROJECT, snapshot=SNAPSHOT, retain=1e9)


def _units(state: Path) -> WindowSpec:
    log = Log(state)
    log.write(changed(lambda row: {**row, "height": row["height"] * 100}), answer)
    return log.spec()


def _spoiled(state: Path) -> WindowSpec:
    log = Log(state)
    log.write(
        changed(
            lambda row: {
                "height": row["height"],
                "colour": "violet" if row["kids"] else row["colour"],
                "kids": row["kids"],
                "home": row["home"],
            }
        ),
        answer,
    )
    return log.spec()


def _shifted(state: Path) -> WindowSpec:
    log = Log(state)
    log.write([each for each in SEEN if each["kids"] > 1], answer)
    log.label(dict.fromkeys(log.ids, "many"))
    return log.spec(checks={"predictions": {}, "labels": {}}, target="truth")


def _late(state: Path) -> WindowSpec:
    log = Log(state)
    log.write(SEEN, answer)
    ids, before = log.ids, log.at
    log.label(dict.fromkeys(ids, "wrong"))
    log.label({id_: answer(each) for id_, each in zip(ids, SEEN, strict=True)}, at=NOON + 3 * DAY)
    return log.spec(end=before, checks={"performance": {"minimum": 0.99}})


def _counted(state: Path) -> WindowSpec:
    log = Log(state)
    log.write(SEEN[:149], answer)
    log.write(SEEN[149:155], answer, step=0.0)
    log.at += 1
    log.write(SEEN[155:], answer)
    return log.spec(current=Source("log", "vision", "digits", NOON, 0.0, 150))


def _midnight(state: Path) -> WindowSpec:
    log = Log(state, at=NOON + DAY / 2 - 200)
    log.write(SEEN, answer)
    return log.spec(NOON + DAY / 2 - 100, NOON + DAY / 2 + 100)


def _sampled(state: Path) -> WindowSpec:
    log = Log(state)
    log.write(SEEN, answer)
    log.label({id_: answer(each) for id_, each in zip(log.ids, SEEN, strict=True)})
    return log.spec(max_rows=120, checks={"drift": {}, "performance": {"minimum": 0.99}})


def _empty(state: Path) -> WindowSpec:
    return Log(state).spec()


CASES: Mapping[str, Callable[[Path], WindowSpec]] = {
    "clean": _clean,
    "units": _units,
    "spoiled": _spoiled,
    "shifted": _shifted,
    "late": _late,
    "counted": _counted,
    "midnight": _midnight,
    "sampled": _sampled,
    "empty": _empty,
}


PROCESSES = frozenset({"clean", "empty"})
"""Looked at by a process; the others here, where Evidently is imported once for all of them."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dict[str, Any]]:
    """What the program found in each of them."""
    specs = {}
    for name, make in CASES.items():
        state = tmp_path_factory.mktemp(name)
        table(state / "normal.parquet", [{**each, "truth": answer(each)} for each in NORMAL])
        spec = make(state)
        specs[name] = replace(spec, target="truth", expected=("height", "colour", "kids", "member", "home.rooms"))
    return {name: run(spec) if name in PROCESSES else json.loads(text_of(look(spec))) for name, spec in specs.items()}


def check(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in result["checks"] if each["check"] == name)


def test_a_clean_window(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["clean"]
    assert (result["verdict"], result["why"], result["trouble"], result["rows"]) == ("pass", "", "", 400)
    assert result["revisions"] == {TARGET.digest: 400}
    assert result["snapshot"] == SNAPSHOT
    assert result["memory"] > 100 << 20
    assert 0 < result["seconds"] < 300


def test_another_unit(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["units"]
    assert result["verdict"] == "fail"
    assert [each["column"] for each in check(result, "drift")["columns"]] == ["height"]
    assert check(result, "drift")["suggestion"] == "height looks as if it came in other units: 100 times what it was"


def test_a_missing_column_and_a_category_that_was_never_seen(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["spoiled"]
    assert [each["column"] for each in check(result, "drift")["columns"]] == ["member", "colour"]
    assert [(each["column"], each["what"]) for each in check(result, "quality")["columns"]] == [
        ("member", "missing"),
        ("colour", "unseen values"),
    ]


def test_answers_and_truths_that_have_shifted(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["shifted"]
    assert [(each["check"], each["verdict"], each["columns"][0]["column"]) for each in result["checks"]] == [
        ("predictions", "fail", "prediction"),
        ("labels", "fail", "label"),
    ]


def test_labels_that_came_late_count_and_the_last_one_does(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["late"]
    assert (result["verdict"], result["labels"], result["measured"]) == ("pass", 400, {"accuracy": 1.0})


def test_a_window_by_count_keeps_a_moment_together(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["counted"]
    assert (result["verdict"], result["rows"]) == ("pass", 155)
    assert result["end"] == pytest.approx(NOON + 149, abs=1e-4)


def test_a_window_over_midnight(found: Mapping[str, dict[str, Any]]) -> None:
    assert (found["midnight"]["verdict"], found["midnight"]["rows"]) == ("pass", 200)


def test_a_large_window_is_sampled(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["sampled"]
    assert (result["verdict"], result["rows"], result["labels"], result["measured"]) == ("pass", 400, 120, {"accuracy": 1.0})


def test_a_window_without_rows_holds_and_needs_no_evidently(found: Mapping[str, dict[str, Any]]) -> None:
    result = found["empty"]
    assert (result["verdict"], result["why"], result["rows"]) == ("hold", "0 of 100 rows", 0)
    assert result["memory"] < found["clean"]["memory"] / 2


# --- what the machine may do to it -------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_snapshot_not_the_verdict(tmp_path: Path) -> None:
    table(tmp_path / "normal.parquet", NORMAL)
    log = Log(tmp_path)
    log.write(SEEN, answer)
    spec = log.spec(workspace=str(tmp_path / "evidently"), project=PROJECT, snapshot=SNAPSHOT, retain=1e9)
    result = run(spec, limit=50_000)
    assert (result["verdict"], result["snapshot"]) == ("pass", "")
    assert result["trouble"].startswith("the snapshot could not be written: ")
    assert list((tmp_path / "evidently" / PROJECT / "snapshots").iterdir()) == []  # no half of it


def test_a_result_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    spec = Log(tmp_path).spec(result=str(tmp_path / "file" / "k1.json"))
    (tmp_path / "file").write_text("a file where the folder should be")
    path = tmp_path / "k1.spec"
    path.write_text(json.dumps(asdict(spec)))
    child = subprocess.run(
        [sys.executable, "-m", "reconciler.monitoring", str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert child.returncode != 0
    assert "file" in child.stderr


def test_killed_in_the_middle_it_leaves_no_halves_and_the_next_look_is_whole(tmp_path: Path) -> None:
    table(tmp_path / "normal.parquet", NORMAL)
    log = Log(tmp_path)
    log.write(SEEN, answer)
    spec = log.spec(workspace=str(tmp_path / "evidently"), project=PROJECT, snapshot=SNAPSHOT, retain=1e9)
    where = tmp_path / "evidently" / PROJECT / "snapshots"
    child = start(spec)
    deadline = time.monotonic() + 120
    while not (where.is_dir() and any(where.iterdir())):  # it has begun to write the snapshot, or has just written it
        assert child.poll() is None
        assert time.monotonic() < deadline
    child.send_signal(signal.SIGKILL)
    child.communicate()
    for each in where.glob("*.json"):
        json.loads(each.read_text())
    for each in where.iterdir():  # what a killed one left is old by the next hour
        os.utime(each, (NOON - DAY, NOON - DAY))
    before = Path(spec.result)
    assert not before.exists() or json.loads(before.read_text())["verdict"] == "pass"
    result = run(spec)
    assert (result["verdict"], result["snapshot"]) == ("pass", SNAPSHOT)
    assert [each.name for each in where.iterdir()] == [f"{SNAPSHOT}.json"]


def test_memory_goes_with_the_window_and_not_with_the_log(tmp_path: Path) -> None:
    table(tmp_path / "normal.parquet", NORMAL)
    small, large = Log(tmp_path / "small"), Log(tmp_path / "large")
    small.write(SEEN, answer)
    _fill(large.state, NOON - 7200, SEEN, 150_000)
    large.write(SEEN, answer)
    _fill(large.state, large.at + 60, SEEN, 50_000)
    results = []
    for log in (small, large):
        reference = Source("data", path=str(tmp_path / "normal.parquet"))
        results.append(run(log.spec(NOON, reference=reference, current=Source("log", "vision", "digits", NOON, 0.0, 400))))
    assert [each["rows"] for each in results] == [400, 400]
    assert [each["verdict"] for each in results] == ["pass", "pass"]
    assert results[1]["memory"] - results[0]["memory"] < 64 << 20, results


def _fill(state: Path, at: float, people: Sequence[Mapping[str, Any]], count: int) -> None:
    """So many predictions within half an hour."""
    state.mkdir(parents=True, exist_ok=True)
    drawn, now = random.Random(1), at
    writer = PredictionWriter(state, clock=lambda: now)
    for batch in range(count // 1000):
        now += 0.01
        while batch * 1000 - writer.written > 20_000:
            time.sleep(0.01)
        writer.write(ROUTE, TARGET, f"f{at}-{batch}", drawn.choices(people, k=1000), ["few"] * 1000, 0.004)
    writer.close()
    assert (writer.dropped, writer.written) == (0, count)
