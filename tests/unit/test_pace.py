"""What fails is tried again by and by, and a tool that does not answer is left alone: the others lose no time over either."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply import ATTEMPTS, apply
from reconciler.backoff import FIRST, FIRST_TERMINAL, LONGEST, Backoff
from reconciler.breaker import FIRST as FIRST_PROBE
from reconciler.breaker import LONGEST as LONGEST_PROBE
from reconciler.breaker import TRIP, Breaker
from reconciler.controller import Call
from reconciler.errors import Rejected, StoreError, Transient
from reconciler.looks import Looks, bounds, kinds_read, looks, note_looks
from reconciler.model import Absent, Create, Done, Failed, Plan, Result, Unknown
from reconciler.observe import observe
from reconciler.selection import Selection
from reconciler.state import open_store
from tests.unit.bench import Bench, create, error, widget
from tests.unit.widgets import ref


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def call(status: str, tool: str = "mlflow") -> Call:
    return Call(tool, "GET", "experiments/search", write=False, status=status, seconds=0.1)


def trip(breaker: Breaker, tool: str = "mlflow") -> None:
    for _ in range(TRIP):
        breaker.heard(call("no answer", tool))


# --- a tool --------------------------------------------------------------------------------------------------------


def test_a_tool_that_is_silent_again_and_again_is_left_alone(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(TRIP - 1):
        breaker.heard(call("no answer"))
    assert breaker.may_ask("mlflow")
    breaker.heard(call("503"))
    assert not breaker.may_ask("mlflow")
    assert breaker.may_ask("airflow"), "each tool has its own"


def test_any_answer_begins_the_count_anew(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(TRIP - 1):
        breaker.heard(call("no answer"))
    breaker.heard(call("404"))
    breaker.heard(call("no answer"))
    assert breaker.may_ask("mlflow")


def test_one_probe_is_let_through_after_each_pause_and_pauses_grow(clock: Clock) -> None:
    breaker, pauses = Breaker(clock), list[float]()
    trip(breaker)
    for _ in range(8):
        began = clock.now
        while not breaker.may_ask("mlflow"):
            clock.now += 0.05
        assert not breaker.may_ask("mlflow"), "one at a time"
        pauses.append(clock.now - began)
        breaker.heard(call("no answer"))
        breaker.heard(call("no answer"))  # what else the probe's look asked, at the same time
    assert pauses[0] == pytest.approx(FIRST_PROBE, rel=0.2)
    assert pauses[2] == pytest.approx(4 * FIRST_PROBE, rel=0.2)
    assert pauses[-1] == pytest.approx(LONGEST_PROBE, rel=0.2)


def test_the_first_answer_closes_it(clock: Clock) -> None:
    answered: list[str] = []
    breaker = Breaker(clock, answered.append)
    trip(breaker)
    clock.now += 2 * FIRST_PROBE
    assert breaker.may_ask("mlflow")
    breaker.heard(call("200"))
    assert (answered, breaker.may_ask("mlflow"), breaker.due()) == (["mlflow"], True, None)
    breaker.heard(call("200"))
    assert answered == ["mlflow"], "told once"


def test_a_probe_that_made_no_call_does_not_keep_it_open_for_good(clock: Clock) -> None:
    breaker = Breaker(clock)
    trip(breaker)
    clock.now += 2 * FIRST_PROBE
    assert breaker.may_ask("mlflow")
    clock.now += 2 * FIRST_PROBE
    assert breaker.may_ask("mlflow")


def test_what_was_started_anew_is_asked_at_once(clock: Clock) -> None:
    breaker = Breaker(clock)
    trip(breaker)
    breaker.forgive()
    assert breaker.may_ask("mlflow")


def test_a_tool_that_is_left_alone_is_as_unknown_as_it_was(tmp_path: Path, clock: Clock) -> None:
    bench, breaker = Bench(tmp_path), Breaker(clock)
    ctx = replace(bench.ctx, wire=breaker.heard)
    bench.tool.down = True
    said = []
    for _ in range(TRIP + 3):
        seen = observe([widget("a")], ctx, bench.kinds, breaker=breaker)
        found = seen.seen[ref("a")]
        assert isinstance(found, Unknown)
        said.append((found.reason, seen.tools))
    assert len({str(each) for each in said}) == 1, "a status does not flap between two ways to say it"
    asked: list[str] = []
    bench.tool.hook = lambda moment, method: asked.append(method)
    bench.tool.down = False
    observe([widget("a")], ctx, bench.kinds, breaker=breaker)
    assert asked == []
    clock.now += 2 * FIRST_PROBE
    assert isinstance(observe([widget("a")], ctx, bench.kinds, breaker=breaker).seen[ref("a")], Absent)


# --- a resource ----------------------------------------------------------------------------------------------------


def failed(backoff: Backoff, write: Any, error: Exception) -> None:
    backoff.tried(write, "", Failed(error))


def wait_of(backoff: Backoff, write: Any, clock: Clock) -> float:
    """Seconds until it may be tried; the clock stands there then."""
    began = clock.now
    while backoff.holds(write, "") is not None:
        clock.now += 0.5
    return clock.now - began


def test_the_waits_of_a_resource_grow_up_to_a_limit(clock: Clock) -> None:
    backoff, waits = Backoff(clock), list[float]()
    for _ in range(9):
        failed(backoff, create("a"), Transient("no"))
        waits.append(wait_of(backoff, create("a"), clock))
    assert waits[0] == pytest.approx(FIRST, abs=1)
    assert waits[1] == pytest.approx(2 * FIRST, abs=2)
    assert waits[-1] == pytest.approx(LONGEST, rel=0.15)
    assert backoff.holds(create("b"), "") is None, "others do not wait"


def test_what_was_refused_waits_longer_and_what_the_tool_asks_for_is_kept(clock: Clock) -> None:
    backoff = Backoff(clock)
    failed(backoff, create("a"), Rejected("no"))
    assert wait_of(backoff, create("a"), clock) == pytest.approx(FIRST_TERMINAL, rel=0.15)
    failed(backoff, create("b"), Transient("busy", retry_after=77))
    assert wait_of(backoff, create("b"), clock) == pytest.approx(77, abs=1)


def test_a_new_revision_is_tried_at_once_and_begins_anew(clock: Clock) -> None:
    backoff = Backoff(clock)
    for _ in range(5):
        failed(backoff, create("a"), Transient("no"))
    assert backoff.holds(create("a", size=2), "") is None
    failed(backoff, create("a", size=2), Transient("no"))
    assert wait_of(backoff, create("a", size=2), clock) == pytest.approx(FIRST, abs=1)


def test_success_ends_it_and_so_does_a_plan_without_it(clock: Clock) -> None:
    backoff = Backoff(clock)
    failed(backoff, create("a"), Transient("no"))
    backoff.tried(create("a"), "", Done("1", {}))
    assert backoff.holds(create("a"), "") is None
    failed(backoff, create("a"), Transient("no"))
    backoff.keep({ref("b")})
    assert backoff.holds(create("a"), "") is None


def test_a_store_that_is_away_says_nothing_about_the_resource(clock: Clock) -> None:
    backoff = Backoff(clock)
    failed(backoff, create("a"), StoreError("disk full"))
    assert backoff.holds(create("a"), "") is None


def test_what_failed_while_its_tool_was_away_is_due_when_it_answers(clock: Clock) -> None:
    backoff = Backoff(clock)
    for _ in range(6):
        backoff.tried(create("a"), "mlflow", Failed(Transient("no answer")))
    backoff.tried(create("b"), "mlflow", Failed(Rejected("no")))
    trip(backoff.breaker)
    assert (backoff.due(), str(backoff.holds(create("a"), "mlflow"))) == (frozenset(), "no answer")
    clock.now += 2 * FIRST_PROBE
    assert backoff.breaker.may_ask("mlflow")
    backoff.breaker.heard(call("200"))
    assert backoff.due() == {ref("a")}, "what it refused, it will refuse"
    assert backoff.holds(create("a"), "mlflow") is None


# --- apply ---------------------------------------------------------------------------------------------------------


def carried(bench: Bench, backoff: Backoff, *writes: Create, **more: Any) -> dict[str, Result]:
    results = apply(
        Plan(writes), bench.ctx, bench.kinds, bench.journal, bench.journal.inventory, tell=bench.events.append, backoff=backoff, **more
    )
    return {each.action.ref.name: each for each in results}


def test_what_waits_ends_as_it_did_and_touches_nothing(tmp_path: Path, clock: Clock) -> None:
    bench, backoff = Bench(tmp_path), Backoff(clock)
    bench.tool.fail("create", Transient("busy", retry_after=0), times=ATTEMPTS)
    first = carried(bench, backoff, create("a"))["a"]
    bench.journal.lines.clear()
    bench.events.clear()
    second = carried(bench, backoff, create("a"))["a"]
    assert (second.outcome, second.attempts) == (first.outcome, 0)
    assert (bench.journal.lines, bench.events) == ([], []), "no line in the history, no word on the terminal"
    clock.now += 2 * FIRST
    assert isinstance(carried(bench, backoff, create("a"))["a"].outcome, Done)


def test_the_rest_of_a_plan_does_not_wait_for_a_tool_that_is_away(tmp_path: Path, clock: Clock) -> None:
    bench, backoff = Bench(tmp_path), Backoff(clock)
    bench.ctx = replace(bench.ctx, wire=backoff.breaker.heard)
    bench.tool.down = True
    calls: list[str] = []
    count = backoff.breaker.heard
    bench.ctx = replace(bench.ctx, wire=lambda each: (calls.append(each.method), count(each))[1])
    many = [create(f"w{number:02d}") for number in range(30)]
    found = carried(bench, backoff, *many, parallelism=2)
    assert all(isinstance(each.outcome, Failed) for each in found.values())
    assert len(calls) <= TRIP + ATTEMPTS * 2, f"30 actions with {ATTEMPTS} tries each would have been {30 * ATTEMPTS}"
    assert "does not answer" in str(error(found["w29"]))


def test_a_pass_gives_way_between_two_writes(tmp_path: Path, clock: Clock) -> None:
    bench, urgent = Bench(tmp_path), False

    def after(moment: str, method: str) -> None:
        nonlocal urgent
        urgent = urgent or (moment, method) == ("after", "create")

    bench.tool.hook = after
    found = carried(bench, Backoff(clock), create("a"), create("b"), create("c"), parallelism=1, gives_way=lambda: urgent)
    assert isinstance(found["a"].outcome, Done)
    assert (found["b"].outcome, found["c"].outcome, bench.names) == (None, None, ["a"])


# --- how old things may be -----------------------------------------------------------------------------------------


def test_each_kind_is_due_by_its_own_time(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        found = Looks(30.0)
        found.take({"Workflow": "5m", "Dataset": "10s"}, store)
        kinds = {"Workflow", "Dataset", "Experiment"}
        assert found.whole(kinds) == 300
        assert found.whole({"Dataset", "Experiment"}) == 30, "what there is nothing of makes nobody wait"
        found.note(kinds, 1000.0)
        assert found.due(kinds, 1009.0) == frozenset()
        assert found.due(kinds, 1010.0) == {"Dataset"}
        assert found.due(kinds, 1030.0) == {"Dataset", "Experiment"}
        assert found.due(kinds, 1300.0) == kinds
        assert bounds(store) == {"*": 30.0, "Workflow": 300.0, "Dataset": 10.0}


def test_only_what_was_read_as_a_whole_is_as_old_as_the_pass(tmp_path: Path) -> None:
    seen = {ref("a"): Absent(), ref("b"): Unknown("away")}
    assert kinds_read(Selection(), {ref("a"): Absent()}) == {"Widget"}
    assert kinds_read(Selection(), seen) == frozenset()
    assert kinds_read(Selection(projects=frozenset({"p"})), {ref("a"): Absent()}) == frozenset()
    assert kinds_read(Selection(kinds=frozenset({"Widget"})), {ref("a"): Absent()}) == {"Widget"}
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    with open_store(tmp_path / "store.db") as store:
        note_looks(store, {"Widget"}, at)
        note_looks(store, {"Dataset"}, at.replace(hour=13))
        assert looks(store) == {"Widget": at, "Dataset": at.replace(hour=13)}
        store.set_meta("looked_at", "{broken")
        assert looks(store) == {}
