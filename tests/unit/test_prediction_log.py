"""The log of predictions: what is in it, what never is, and that no request suffers from it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Terminal, UsageError
from reconciler.gateway import parts
from reconciler.gateway.feedback import Feedback
from reconciler.gateway.feedback import read as labels_of
from reconciler.gateway.parquet import read_parts
from reconciler.gateway.parts import Parts
from reconciler.gateway.predictions import COLUMNS, PredictionWriter, ids_of, read, sampled, without
from reconciler.model.serving import PredictionLog, Route, Target

TARGET = Target("vision.digits.0a1b2c3d", 100, "stable", "3", "vision/digits", "run-1", "0a1b2c3d4e", "sklearn")
LOGGED = PredictionLog(log=True)
ROUTE = Route("vision", "digits", (TARGET,), predictions=LOGGED)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY = 86400.0


def until(told: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def files(state: Path) -> list[str]:
    root = state / "serving/predictions"
    return sorted(str(each.relative_to(root)) for each in root.rglob("*") if each.is_file() and each.name not in (".retain", ".rows"))


def ask(writer: PredictionWriter, number: int = 1, route: Route = ROUTE, instance: Any = None) -> list[str]:
    return writer.write(route, TARGET, f"r{number}", [instance if instance is not None else {"x": number}], [number * 2], 0.004)


def test_what_was_asked_and_answered_can_be_read_back(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, clock=lambda: NOON)
    assert writer.write(ROUTE, TARGET, "req", [{"x": 1.5, "who": "Zoë"}, [1, None]], ["cat", {"p": 0.9}], 0.25) == ["req-0", "req-1"]
    writer.close()
    found = read(tmp_path, "vision", "digits").to_pylist()
    assert found[0] == {
        "time": datetime.fromtimestamp(NOON, UTC),
        "request_id": "req",
        "id": "req-0",
        "deployment": "vision/digits",
        "model": "vision/digits",
        "version": "3",
        "revision": "0a1b2c3d4e",
        "run": "run-1",
        "seconds": 0.25,
        "instance": '{"x":1.5,"who":"Zoë"}',
        "prediction": '"cat"',
    }
    assert (found[1]["instance"], found[1]["prediction"]) == ("[1,null]", '{"p":0.9}')
    assert (writer.written, writer.dropped) == (2, 0)
    assert all(each.startswith("vision/digits/date=2026-11-20/part-20261120T120000") for each in files(tmp_path))
    modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.rglob("*")}
    assert modes == {0o700, 0o600}


def test_nothing_is_written_unless_the_route_asks_for_it_and_ids_are_given_all_the_same(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    assert ask(writer, route=replace(ROUTE, predictions=PredictionLog())) == ["r1-0"]
    writer.close()
    assert files(tmp_path) == []
    assert read(tmp_path, "vision", "digits").num_rows == 0
    assert read(tmp_path, "vision", "digits").column_names == list(COLUMNS)


def test_an_instance_may_name_itself() -> None:
    route = replace(ROUTE, predictions=PredictionLog(id="order"))
    instances = [{"order": "A7"}, {"order": 12}, {"order": True}, {"order": "x" * 201}, {"order": 10**400}, {}, [1], "A7", {"order": ""}]
    assert ids_of(route, "r", instances) == ["A7", "12", *[f"r-{number}" for number in range(2, 9)]]
    hidden = replace(route, predictions=PredictionLog(id="order", redact=("order",)))
    assert ids_of(hidden, "r", instances[:1]) == ["r-0"], "what is never written is no id either"


def test_a_row_comes_to_disk_by_itself_and_a_part_grows_until_it_is_full(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, flush=0.02, clock=lambda: NOON)
    for number in range(3):
        ask(writer, number)
        until(lambda wanted=number + 1: writer.written == wanted)  # type: ignore[misc]
    assert len(files(tmp_path)) == 1
    assert [each["request_id"] for each in read(tmp_path, "vision", "digits").to_pylist()] == ["r0", "r1", "r2"]
    many = [{"x": number} for number in range(parts.PART_ROWS // 10)]
    for number in range(10):
        writer.write(ROUTE, TARGET, f"b{number}", many, many, 0.1)
    until(lambda: writer.written == parts.PART_ROWS + 3)
    ask(writer, 9)
    writer.close()
    assert len(files(tmp_path)) == 2
    assert read(tmp_path, "vision", "digits").num_rows == parts.PART_ROWS + 4


@pytest.mark.parametrize("harm", [Path.unlink, lambda part: part.write_bytes(part.read_bytes()[:-20])])
def test_a_part_that_is_removed_or_damaged_takes_nothing_with_it(harm: Callable[[Path], Any], tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, flush=0.02)
    ask(writer, 1)
    until(lambda: writer.written == 1)
    part = next(tmp_path.rglob("*.parquet"))
    harm(part)
    ask(writer, 2)
    writer.close()
    assert (writer.written, writer.dropped) == (2, 0)
    part.unlink(missing_ok=True)
    assert [each["request_id"] for each in read(tmp_path, "vision", "digits").to_pylist()] == ["r2"]


def test_days_are_apart_and_can_be_left_out(tmp_path: Path) -> None:
    now = [NOON]
    writer = PredictionWriter(tmp_path, flush=0.02, clock=lambda: now[0])
    ask(writer, 1)
    now[0] += DAY
    ask(writer, 2)
    now[0] += 60
    ask(writer, 3)
    writer.close()
    assert [each.split("/")[2] for each in files(tmp_path)] == ["date=2026-11-20", "date=2026-11-21"]
    since = datetime.fromtimestamp(NOON + DAY + 30, UTC)
    assert [each["request_id"] for each in read(tmp_path, "vision", "digits", since).to_pylist()] == ["r3"]


def test_a_day_goes_when_its_time_is_over_that_of_a_deployment_that_is_gone_too(tmp_path: Path) -> None:
    short = replace(ROUTE, predictions=PredictionLog(log=True, retain=2 * DAY))
    for route, days in ((short, 0), (replace(ROUTE, name="kept"), 0), (short, 2)):
        writer = PredictionWriter(tmp_path, clock=lambda days=days: NOON + days * DAY)  # type: ignore[misc]
        ask(writer, route=route)
        writer.close()
    day = "vision/digits/date=2026-11-20"
    half = tmp_path / "serving/predictions/vision/kept/date=2026-11-20/.part-half"
    half.write_text("")
    os.utime(half, (NOON, NOON))
    before = files(tmp_path)
    assert any(each.startswith(day) for each in before), "it is kept for two days from its end"
    PredictionWriter(tmp_path, clock=lambda: NOON + 2.6 * DAY).close()
    after = files(tmp_path)
    assert after == [each for each in before if not each.startswith(day) and not each.endswith("half")]


# --- what is never written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "instance", "left"),
    [
        ("name", {"name": "Ann", "x": 1}, {"x": 1}),
        ("who.name", {"who": {"name": "Ann", "age": 3}}, {"who": {"age": 3}}),
        ("who.name", {"who.name": "Ann", "who": {"name": "Ann"}}, {"who": {}}),
        ("1", [5, "Ann", 6], [5, None, 6]),
        ("items.name", {"items": [{"name": "Ann"}, {"name": "Bob", "n": 1}]}, {"items": [{}, {"n": 1}]}),
        ("items.1.name", {"items": [{"name": "x"}, {"name": "Bob"}]}, {"items": [{"name": "x"}, {}]}),
        ("0", {"0": "Ann"}, {}),
        ("²", ["Ann"], ["Ann"]),
        ("absent.deep", {"x": 1}, {"x": 1}),
        ("x.y", {"x": 1}, {"x": 1}),
        ("x", 7, 7),
        ("a.b.c", {"a.b": {"c": 1, "d": 2}, "a": {"b.c": 1}}, {"a.b": {"d": 2}, "a": {}}),
    ],
)
def test_a_redacted_field_is_left_out_and_nothing_else(path: str, instance: Any, left: Any) -> None:
    before = json.dumps(instance)
    assert without(instance, path.split(".")) == left
    assert json.dumps(instance) == before, "the answer is made from the instance itself"


TREES = st.recursive(
    st.integers() | st.text(max_size=3) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "secret"]), inner, max_size=3),
    max_leaves=10,
)


@given(TREES, st.sampled_from(["", "a.", "a.b.", "b.a."]))
def test_no_redacted_value_is_left_wherever_it_stands(tree: Any, above: str) -> None:
    path = tuple(f"{above}secret".split("."))

    def at(found: Any, names: tuple[str, ...]) -> bool:
        if isinstance(found, list):
            return any(at(each, names) for each in found)
        return isinstance(found, dict) and names[0] in found and (len(names) == 1 or at(found[names[0]], names[1:]))

    assert not at(without(tree, path), path)
    if not at(tree, path):
        assert without(tree, path) == tree


def test_redacted_values_are_nowhere_in_the_files(tmp_path: Path) -> None:
    route = replace(ROUTE, predictions=PredictionLog(log=True, redact=("card", "who.mail")))
    writer = PredictionWriter(tmp_path)
    ask(writer, route=route, instance={"card": "4111-CANARY", "who": {"mail": "CANARY@x", "age": 3}})
    writer.close()
    assert json.loads(read(tmp_path, "vision", "digits")["instance"][0].as_py()) == {"who": {"age": 3}}
    assert not any(b"CANARY" in each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())


def test_the_same_requests_are_sampled_whoever_asks(tmp_path: Path) -> None:
    chosen = [number for number in range(4000) if sampled(f"r{number}", 0.25)]
    assert 850 < len(chosen) < 1150
    assert set(chosen) < {number for number in range(4000) if sampled(f"r{number}", 0.5)}
    assert sampled("r", 1.0)
    assert isinstance(sampled("\ud800", 0.5), bool)
    writer = PredictionWriter(tmp_path)
    for number in range(200):
        assert ask(writer, number, replace(ROUTE, predictions=PredictionLog(log=True, sample=0.25)))
    writer.close()
    assert {each["request_id"] for each in read(tmp_path, "vision", "digits").to_pylist()} == {f"r{each}" for each in chosen if each < 200}


# --- no request suffers --------------------------------------------------------------------------------------------------


def test_what_json_can_hold_can_be_written(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    odd = [{"x": "\ud800"}, {"x": 10**300}, deep, "", 0, None, {"": {}}]
    writer.write(ROUTE, TARGET, "r", odd, odd, 0.1)
    writer.close()
    assert [json.loads(each) for each in read(tmp_path, "vision", "digits")["instance"].to_pylist()] == odd
    assert writer.dropped == 0


def test_nothing_is_raised_whatever_comes(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    endless: list[Any] = []
    endless.append(endless)
    for instances, predictions in (([endless], [1]), ([1, 2], [1]), ([object()], [1])):
        assert len(writer.write(ROUTE, TARGET, "r", instances, predictions, 0.1)) == len(instances)
    assert writer.write(replace(ROUTE, project="../up"), TARGET, "r", [1], [1], 0.1) == ["r-0"]
    ask(writer)
    writer.close()
    assert (writer.written, writer.dropped) == (1, 5)
    assert not (tmp_path / "serving/up").exists()
    ask(writer)
    assert writer.dropped == 6, "nobody writes it any more"


def test_what_a_disk_refuses_waits_and_comes_to_disk_in_its_order(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, flush=0.02)
    (tmp_path / "serving").write_text("in the way")
    ask(writer, 1)
    time.sleep(0.2)
    ask(writer, 2)
    assert (writer.written, writer.dropped) == (0, 0)
    (tmp_path / "serving").unlink()
    until(lambda: writer.written == 2)
    ask(writer, 3)
    writer.close()
    assert [each["request_id"] for each in read(tmp_path, "vision", "digits").to_pylist()] == ["r1", "r2", "r3"]


def test_a_full_disk_takes_no_label_that_it_could_lose(tmp_path: Path) -> None:
    """What was acknowledged is written once there is room; what cannot wait is refused, so that the client sends it again."""
    feedback = Feedback(tmp_path, flush=0.02)
    (tmp_path / "serving").write_text("in the way")
    labels = [{"id": f"a{number}", "label": number} for number in range(1000)]
    taken = [feedback.add(ROUTE, labels) for _ in range(parts.QUEUE_ROWS // 1000 + 5)]
    assert taken == [1000] * (parts.QUEUE_ROWS // 1000) + [0] * 5
    busy = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - busy < 0.25, "it does not try all the time"
    (tmp_path / "serving").unlink()
    until(lambda: feedback.written == sum(taken))
    assert feedback.add(ROUTE, labels) == 1000
    feedback.close()
    assert labels_of(tmp_path, "vision", "digits").num_rows == sum(taken) + 1000


FULL = """
import resource, sys
sys.dont_write_bytecode = True  # a compiled module that is cut off would stay in everybody's way
from pathlib import Path
from reconciler.gateway.predictions import PredictionWriter
from tests.unit.test_prediction_log import ROUTE, TARGET
writer = PredictionWriter(Path(sys.argv[1]), flush=0.02)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
writer.write(ROUTE, TARGET, "r", [{"x": 1}], [1], 0.1)
writer.close()
print(writer.written, writer.dropped)
"""


def test_a_full_disk_leaves_no_halves(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-B", "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.split() == ["0", "1"]
    assert "File too large" in said.stderr
    assert files(tmp_path) == []


def test_more_than_can_wait_is_dropped_and_counted(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, flush=60)
    large = "x" * (parts.QUEUE_BYTES // 3)
    (tmp_path / "serving").write_text("in the way")  # so that nothing is written meanwhile, however fast the disk is
    for number in range(50):
        ask(writer, number, instance=large)
    writer.close()
    assert writer.written == 0
    assert writer.dropped == 50


def test_a_request_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """The thread is stopped in the middle of a write; requests go on, up to what may wait."""
    pipe = tmp_path / "serving/predictions/vision/digits"
    pipe.mkdir(parents=True)
    os.mkfifo(pipe / ".retain")  # whoever looks into it waits for a writer
    began = time.monotonic()
    writer = PredictionWriter(tmp_path, flush=0.01)
    time.sleep(0.1)
    for number in range(1000):
        ask(writer, number)
    assert time.monotonic() - began < 5
    (pipe / ".retain").write_text("1000000000")
    writer.close()
    assert writer.written + writer.dropped == 1000


STEADY = """
import signal, sys, time
from pathlib import Path
from reconciler.gateway.predictions import PredictionWriter
from tests.unit.test_prediction_log import ROUTE, TARGET
writer = PredictionWriter(Path(sys.argv[1]), flush=float(sys.argv[2]))
signal.signal(signal.SIGTERM, lambda *_: (writer.close(), sys.exit(0)))
number = 0
while True:
    writer.write(ROUTE, TARGET, f"r{number}", [{"x": number}], [number], 0.1)
    number += 1
    if number == 100:
        print("asked", flush=True)
    time.sleep(0.0005)
"""


@pytest.mark.parametrize(("end", "flush"), [(signal.SIGKILL, 0.02), (signal.SIGTERM, 60)])
def test_readers_see_whole_files_only_and_an_end_costs_at_most_what_waited(end: signal.Signals, flush: float, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STEADY, str(tmp_path), str(flush)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        if end is signal.SIGKILL:
            until(lambda: read(tmp_path, "vision", "digits").num_rows > 0)
            sizes = [read(tmp_path, "vision", "digits").num_rows for _ in range(20)]
            assert sizes == sorted(sizes)
        process.send_signal(end)
        process.wait(20)
    names = read(tmp_path, "vision", "digits")["request_id"].to_pylist()
    assert len(names) >= 100 or end is signal.SIGKILL
    assert names == [f"r{number}" for number in range(len(names))], "the first ones, without a gap"


# --- readers -------------------------------------------------------------------------------------------------------------


def test_parts_of_other_versions_are_read_together(tmp_path: Path) -> None:
    day = tmp_path / "serving/predictions/vision/digits/date=2026-11-19"
    day.mkdir(parents=True)
    at = pa.array([int((NOON - DAY) * 1e6)], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"time": at, "id": ["old"], "colour": ["blue"]}), day / "part-1-1.parquet")
    (day / ".part-half").write_text("PAR1")
    (day.parent / "date=never").mkdir()
    writer = PredictionWriter(tmp_path, clock=lambda: NOON)
    ask(writer)
    writer.close()
    found = read(tmp_path, "vision", "digits").to_pylist()
    assert [(each["id"], each["version"], each["colour"]) for each in found] == [("old", None, "blue"), ("r1-0", "3", None)]


def test_a_damaged_part_is_named_and_a_deployment_must_be_one(tmp_path: Path) -> None:
    day = tmp_path / "serving/predictions/vision/digits/date=2026-11-19"
    day.mkdir(parents=True)
    (day / "part-1-1.parquet").write_text("PAR1 and no more")
    with pytest.raises(Terminal, match=r"part-1-1\.parquet cannot be read"):
        read(tmp_path, "vision", "digits")
    for project, name in (("..", "digits"), ("vision", "../../x"), ("vision", ""), ("/etc", "x"), ("Vision", "digits")):
        with pytest.raises(UsageError):
            read(tmp_path, project, name)


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    rows = Parts(tmp_path / "rows", {"time": "time", "text": "text"}, flush=0.01)
    askers = [
        threading.Thread(target=lambda: [rows.put("p", f"n{number % 3}", [(NOON, "x")], 1, DAY) for number in range(300)]) for _ in range(4)
    ]
    for each in askers:
        each.start()
    for each in askers:
        each.join()
    rows.close()
    assert (rows.written, rows.dropped) == (1200, 0)
    assert sum(read_parts(tmp_path / "rows", {"time": "time", "text": "text"}, "p", f"n{each}").num_rows for each in range(3)) == 1200
