"""The client's parts for themselves: patience, the spool, edits of manifests, what the machine tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.client import MLOpsWarning, NotAsked, Patience, Refused, Unavailable, hardware
from reconciler.client.errors import warn
from reconciler.client.manifests import append, documents, in_file, rewrite
from reconciler.client.patience import Circuit
from reconciler.client.resources import merged
from reconciler.client.spool import Record, Spool
from reconciler.overlay import merge
from tests.e2e.installation import REPOSITORY

QUICK = Patience(tries=3, first=0.001, longest=0.002, trip=2, rest=10.0, longest_rest=40.0, timeout=5.0)

# --- patience ----------------------------------------------------------------------------------------------------------


class Tool:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.calls, self.up = 0, False

    def __call__(self) -> str:
        self.calls += 1
        if not self.up:
            raise Unavailable("nobody is there")
        return "here"


def test_a_call_is_tried_again_then_the_tool_is_left_alone_with_growing_pauses() -> None:
    clock, tool = [0.0], Tool()
    circuit = Circuit(QUICK, clock=lambda: clock[0])
    for _ in range(2):
        with pytest.raises(Unavailable):
            circuit.call(tool)
    assert tool.calls == 6
    assert circuit.open
    with pytest.raises(Unavailable, match="asked again in 10 s"):
        circuit.call(tool)
    assert tool.calls == 6
    clock[0] = 10.0
    assert not circuit.open
    with pytest.raises(Unavailable):
        circuit.call(tool)  # the probe is one try
    assert tool.calls == 7
    clock[0] = 29.0
    with pytest.raises(Unavailable, match="asked again in 1 s"):
        circuit.call(tool)
    clock[0], tool.up = 30.0, True
    assert circuit.call(tool) == "here"
    assert not circuit.open


def test_a_tool_that_hangs_takes_a_tenth_of_the_time_at_most() -> None:
    clock = [0.0]
    circuit = Circuit(Patience(tries=1, trip=1, rest=1.0, longest_rest=2.0, timeout=15.0), clock=lambda: clock[0])

    def hang() -> None:
        clock[0] += 15.0
        raise Unavailable("no answer in 15 s")

    with pytest.raises(Unavailable):
        circuit.call(hang)
    clock[0] += 134.0
    assert circuit.open
    clock[0] += 1.0
    assert not circuit.open


def test_a_refusal_is_an_answer() -> None:
    circuit, calls = Circuit(QUICK), list[int]()

    def refuse() -> None:
        calls.append(1)
        raise Refused("no")

    for _ in range(5):
        with pytest.raises(Refused):
            circuit.call(refuse)
    assert len(calls) == 5
    assert not circuit.open


def test_of_many_that_wait_one_probes() -> None:
    clock, tool = [0.0], Tool()
    circuit = Circuit(Patience(tries=1, trip=1, rest=1.0, timeout=5.0), clock=lambda: clock[0])
    with pytest.raises(Unavailable):
        circuit.call(tool)
    clock[0], within, leave = 1.0, threading.Event(), threading.Event()

    def slow() -> str:
        within.set()
        leave.wait(5)
        return "here"

    prober = threading.Thread(target=circuit.call, args=(slow,))
    prober.start()
    within.wait(5)
    with pytest.raises(Unavailable):
        circuit.call(tool)
    assert tool.calls == 1
    leave.set()
    prober.join()
    tool.up = True
    assert circuit.call(tool) == "here"


# --- the spool ---------------------------------------------------------------------------------------------------------


def numbers(*found: int) -> list[Record]:
    return [{"op": "log", "n": each} for each in found]


def test_of_two_that_deliver_at_once_each_record_goes_through_one(tmp_path: Path) -> None:
    left = Spool(tmp_path)
    for record in numbers(*range(50)):
        left.put(record)
    assert left._file is not None
    left._file.close()  # its process is gone
    got, lock = list[int](), threading.Lock()

    def deliver(record: Record, ids: dict[str, str]) -> None:
        time.sleep(0.001)
        with lock:
            got.append(record["n"])

    threads = [threading.Thread(target=Spool(tmp_path).deliver, args=(deliver,)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert got == list(range(50))
    assert not list(tmp_path.glob("*.jsonl"))


def test_what_lives_is_left_to_itself(tmp_path: Path) -> None:
    living = Spool(tmp_path)
    living.put({"op": "log", "n": 1})
    got = list[Any]()
    assert Spool(tmp_path).deliver(lambda record, ids: got.append(record)) == 0
    assert living.deliver(lambda record, ids: got.append(record)) == 1
    assert len(got) == 1


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    spool, got = Spool(tmp_path), list[int]()
    for record in numbers(0, 1, 2):
        spool.put(record)

    def deliver(record: Record, ids: dict[str, str]) -> None:
        if len(got) == 2 and record["n"] == 2 and not ids:
            ids["again"] = "1"
            raise Unavailable("gone in the middle")
        got.append(record["n"])

    with pytest.raises(Unavailable):
        spool.deliver(deliver)
    assert spool.waiting == 1
    spool.put(*numbers(3))
    assert spool.deliver(deliver) == 2
    assert got == [0, 1, 2, 3]
    assert spool.left() == 0


def test_half_a_line_of_a_killed_writer_harms_nothing(tmp_path: Path) -> None:
    spool, got = Spool(tmp_path), list[int]()
    for record in numbers(0, 1):
        spool.put(record)
    assert spool._file is not None
    spool._file.write('{"op": "log", "n"')
    spool._file.close()
    assert Spool(tmp_path).deliver(lambda record, ids: got.append(record["n"])) == 3
    assert got == [0, 1]


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "client")
    spool.put({"op": "log", "n": 1})
    assert {oct(each.stat().st_mode & 0o777) for each in (tmp_path / "client").iterdir()} == {"0o600"}
    assert oct((tmp_path / "client").stat().st_mode & 0o777) == "0o700"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "client").write_text("a file")
    with pytest.raises(NotAsked, match="cannot be kept"):
        Spool(tmp_path / "client").put({"op": "log"})


def test_a_forked_process_writes_a_file_of_its_own(tmp_path: Path) -> None:
    spool, got = Spool(tmp_path), list[int]()
    spool.put(*numbers(0))
    program = f"""
import os, pathlib
from reconciler.client.spool import Spool
spool = Spool(pathlib.Path({str(tmp_path)!r}) / "inner")
spool.put({{"op": "log", "n": 1}})
if not (child := os.fork()):
    spool.put({{"op": "log", "n": 2}})
    os._exit(0)
os.waitpid(child, 0)
print(len(list(spool.folder.glob("*.jsonl"))), spool.waiting)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "1"]
    assert Spool(tmp_path / "inner").deliver(lambda record, ids: got.append(record["n"])) == 2
    assert sorted(got) == [1, 2]


# --- edits of manifests ------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_change_is_merged_as_overlays_are(target: Any, patch: Any) -> None:
    assert merged(target, patch) == merge(target, patch)


@given(st.integers(0, 2), st.booleans(), st.booleans())
def test_the_neighbours_of_a_changed_document_keep_every_byte(at: int, dashes: bool, remove: bool) -> None:
    import tempfile

    parts = [f"# about {n}\nkind: Thing\nmetadata: {{name: t{n}}}   # {n}\nspec: {{n: {n}, text: 'a: b'}}\n" for n in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "things.yaml"
        file.write_text(("---\n" if dashes else "") + "---\n".join(parts))
        document = in_file(file)[at]
        rewrite(document, None if remove else {**document.value, "spec": {"n": 7}})
        text = file.read_text()
        assert all(part in text for number, part in enumerate(parts) if number != at)
        names = [(each.named("name"), each.spec["n"]) for each in documents(Path(folder))]
    wanted = [(f"t{n}", 7 if n == at else n) for n in range(3)]
    assert names == [each for number, each in enumerate(wanted) if not (remove and number == at)]


def test_a_document_that_changed_meanwhile_or_hides_a_line_of_dashes_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "things.yaml"
    append(file, {"kind": "Thing", "metadata": {"name": "a"}, "spec": {"n": 1}})
    append(file, {"kind": "Thing", "metadata": {"name": "b"}, "spec": {"n": 2}})
    first, second = in_file(file)
    rewrite(first, {**first.value, "spec": {"n": 3}})
    with pytest.raises(NotAsked, match="changed meanwhile"):
        rewrite(first, None)
    rewrite(second, None)
    assert [each.named("name") for each in documents(tmp_path)] == ["a"]
    tricky = tmp_path / "tricky.yaml"
    tricky.write_text('kind: Thing\nspec:\n  text: |-\n    one\n---\nkind: Thing\nspec: {text: "x\n  ---\n  y"}\n--- # last\nkind: Thing\n')
    with pytest.raises(NotAsked, match="cannot be told apart"):
        rewrite(in_file(tricky)[0], None)


# --- the machine, warnings ---------------------------------------------------------------------------------------------


def test_heat_and_power_are_told_while_they_are_new(tmp_path: Path) -> None:
    found = hardware.metrics(tmp_path)
    assert found["process_memory_megabytes"] > 1
    assert 0 < found["system_memory_usage_percentage"] < 100
    assert "thermal_level" not in found
    sensors = tmp_path / "sensors.json"
    sensors.write_text(json.dumps({"heat": {"level": 2}, "history": [[time.time(), 12.5, 0.4]]}))
    assert {"thermal_level": 2.0, "power_watts": 12.5}.items() <= hardware.metrics(tmp_path).items()
    old = time.time() - hardware.FRESH_SECONDS - 1
    sensors.write_text(json.dumps({"heat": {"level": 2}, "history": [[old, 12.5, 0.4]]}))
    os.utime(sensors, (old, old))
    assert "thermal_level" not in hardware.metrics(tmp_path)
    sensors.write_text("{")
    assert "thermal_level" not in hardware.metrics(tmp_path)


def test_the_sensors_file_is_the_one_that_the_reconciler_writes(tmp_path: Path) -> None:
    from reconciler.hardware.sampler import open_sampler
    from schemas.platform import Admission

    (tmp_path / "heat.jsonl").write_text('{"at": 0, "level": "serious", "used": 1.2, "watts": 40}\n')
    admission = Admission.model_validate({"sensors": {"trace": "heat.jsonl"}})
    state = tmp_path / "state"
    state.mkdir()
    open_sampler(admission, tmp_path, state).sample()
    assert hardware.metrics(state)["power_watts"] == 40


def test_what_mlx_holds_is_told_once_it_is_in_use(tmp_path: Path) -> None:
    program = f"""
import json, pathlib, sys
from reconciler.client import hardware
before = hardware.metrics(pathlib.Path({str(tmp_path)!r}))
assert "mlx.core" not in sys.modules
import mlx.core as mx
held = mx.ones((256, 256)); mx.eval(held)
after = hardware.metrics(pathlib.Path({str(tmp_path)!r}))
print(json.dumps([sorted(set(after) - set(before)), after["mlx_peak_memory_megabytes"]]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    names, peak = json.loads(done.stdout)
    assert names == ["mlx_active_memory_megabytes", "mlx_cache_memory_megabytes", "mlx_peak_memory_megabytes"]
    assert peak >= 256 * 256 * 4 / 1e6


def test_a_warning_points_at_the_line_of_the_caller() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warn("going on without it")
    assert (seen[0].category, Path(seen[0].filename).name) == (MLOpsWarning, Path(__file__).name)
