"""The order of a plan's writes, what a failure stops, and what a stop stops."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import Conflict, Terminal, Transient
from reconciler.model import (
    Blocked,
    Create,
    Done,
    Started,
)
from tests.unit.bench import Bench, create, delete, error
from tests.unit.widgets import HERE, ref


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- order ---------------------------------------------------------------------------------------------------------


def test_dependants_come_after_and_get_fresh_inputs(bench: Bench) -> None:
    results = bench.run(create("top", "base"), create("base"), after={"top": ["base"]})
    assert bench.names == ["base", "top"]
    serial = results["base"].outcome.outputs["serial"]
    assert bench.tool.named("p/top")[0].fields["parts"] == {"base": serial}
    assert results["top"].action.resource.inputs == {ref("base"): {"serial": serial}}


def test_inputs_of_what_was_not_written_come_from_the_inventory(bench: Bench) -> None:
    base = replace(delete("base").owned, outputs={"serial": "old"})
    bench.journal.inventory[base.ref] = base
    bench.run(create("top", "base"))
    assert bench.tool.named("p/top")[0].fields["parts"] == {"base": "old"}


def test_an_input_that_nobody_has_is_a_failure_and_no_call(bench: Bench) -> None:
    assert isinstance(error(bench.run(create("top", "base"))["top"]), Transient)
    assert bench.names == []


def test_independent_writes_run_side_by_side(bench: Bench) -> None:
    meeting = threading.Barrier(3, timeout=10)
    bench.tool.hook = lambda moment, method: meeting.wait() and None if moment == "before" else None
    results = bench.run(create("a"), create("b"), create("c"), parallelism=3)
    assert all(isinstance(each.outcome, Done) for each in results.values())


def test_no_more_than_allowed_at_once(bench: Bench) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def count(moment: str, method: str) -> None:
        with lock:
            now[0] += 1 if moment == "before" else -1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)

    bench.tool.hook = count
    bench.run(*(create(f"w{number}") for number in range(10)), parallelism=2)
    assert most[0] <= 2


def test_a_failure_blocks_its_dependants_and_nothing_else(bench: Bench) -> None:
    bench.tool.hook = lambda moment, method: None
    bench.tool.fail("create", Terminal("no"))
    results = bench.run(create("base"), create("top", "base"), create("far", "top"), after={"top": ["base"], "far": ["top"]})
    assert isinstance(error(results["base"]), Terminal)
    for name in ("top", "far"):
        assert isinstance(results[name].action, Blocked)
        assert results[name].action.reason == "DependencyFailed"
        assert isinstance(results[name].action.wanted, Create)
    assert isinstance(bench.run(create("free"))["free"].outcome, Done)


def test_what_has_started_holds_its_dependants(bench: Bench) -> None:
    results = bench.run(create("base", slow=True), create("top", "base"), create("free"), after={"top": ["base"]})
    assert isinstance(results["base"].outcome, Started)
    assert results["top"].action.reason == "DependencyProgressing"
    assert isinstance(results["free"].outcome, Done)
    assert "record started base" in bench.journal.lines


def test_deletes_come_after_everything_that_is_wanted(bench: Bench) -> None:
    bench.put("old", installation=HERE, ref="widget/p/old")
    bench.tool.latency = 0.02
    bench.run(delete("old"), *(create(f"w{number}") for number in range(5)), parallelism=2)
    calls = [each for each in bench.journal.lines if each.startswith("before") and "list" not in each]
    assert calls == ["before create"] * 5 + ["before delete"]


def test_deletes_go_against_the_dependencies(bench: Bench) -> None:
    for name in ("base", "top"):
        bench.put(name, installation=HERE, ref=f"widget/p/{name}")
    bench.run(delete("base", "1"), delete("top", "2", "base"), after={"base": ["top"]})
    assert [each for each in bench.journal.lines if each.startswith("forget")] == ["forget top", "forget base"]


def test_a_delete_that_failed_keeps_what_it_uses(bench: Bench) -> None:
    bench.put("base", installation=HERE, ref="widget/p/base")
    bench.put("top", installation="elsewhere", ref="widget/p/top")
    results = bench.run(delete("base", "1"), delete("top", "2", "base"), after={"base": ["top"]})
    assert isinstance(error(results["top"]), Conflict)
    assert results["base"].action.reason == "DependencyFailed"
    assert bench.names == ["base", "top"]


# --- stop ----------------------------------------------------------------------------------------------------------


def test_a_stop_finishes_what_runs_and_starts_no_more(bench: Bench) -> None:
    stop = threading.Event()
    bench.tool.hook = lambda moment, method: stop.set() if moment == "before" else None
    results = bench.run(*(create(f"w{number}") for number in range(6)), stop=stop, parallelism=1)
    assert bench.names == ["w0"]
    assert isinstance(results["w0"].outcome, Done)
    assert [each.outcome for each in results.values()][1:] == [None] * 5


def test_a_stop_before_the_start_writes_nothing(bench: Bench) -> None:
    stop = threading.Event()
    stop.set()
    assert bench.run(create("a"), stop=stop)["a"].outcome is None
    assert bench.names == []


def test_a_stop_ends_a_wait_between_tries(bench: Bench) -> None:
    stop = threading.Event()
    bench.tool.fail("create", Transient("busy", retry_after=60), times=99)
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    assert isinstance(error(bench.run(create("a"), stop=stop)["a"]), Transient)
    assert time.monotonic() - began < 20
