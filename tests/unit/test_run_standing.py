"""Which run in MLflow stands for a wanted one, and what follows: every case as one line, without a server."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.runs import expanding, launch
from controllers.runs.identity import key, parts
from controllers.runs.launch import LONGEST_PAUSE, pause
from controllers.runs.observing import SETTLED, Listing, extras, fields_of, seen_of
from controllers.runs.standing import REPORT_SECONDS, How, leftover, standing
from controllers.runs.telling import Step, asks, differences, health, step
from controllers.tools.mlflow_runs import RunInfo
from reconciler.errors import Terminal
from reconciler.model import Absent, Condition, Create, Health, HealthReport, JobState, Progress, Ref, Resource, Status, Update
from reconciler.model.demand import Amounts
from reconciler.record import summed
from reconciler.registry import discover
from reconciler.testing import make_context, make_resource
from schemas.experiment import KIND
from schemas.run import ModelFacts, RunSpec

NOW = 1_000_000.0
NAME = "experiment/demo/x#s0"
_numbers = itertools.count(1)


def run(status: str, wanted: str = "K", *, deleted: bool = False, ended: float = 0.0, id: str = "", **tags: str) -> RunInfo:
    """A run as MLflow tells it; `tags` are written without their `mlops.`."""
    marks = {"mlops.key": wanted, "mlops.ref": NAME, "mlops.installation": "contract"}
    return RunInfo(id or f"r{next(_numbers)}", "7", status, deleted, 0.0, ended, {**marks, **{f"mlops.{k}": v for k, v in tags.items()}})


def job(
    state: JobState, *, why: str = "", ended: float = 0.0, reported: bool = False, code: int | None = None, since: float = 1.0
) -> Progress:
    return Progress("", NAME, state, since=since, ended=ended, exit_code=code, why=why, reported=reported)


FINISHED, RUNNING, FAILED, KILLED = (run(status) for status in ("FINISHED", "RUNNING", "FAILED", "KILLED"))
GONE = run("FINISHED", deleted=True)
STARTED = run("RUNNING", node="here")


@pytest.mark.parametrize(
    ("runs", "jobs", "how"),
    [
        ([], None, How.NONE),
        ([run("FINISHED", "other")], None, How.NONE),
        ([FINISHED], None, How.FINISHED),
        ([FAILED, FINISHED], None, How.FINISHED),
        ([RUNNING, FINISHED], [job("running")], How.FINISHED),
        ([KILLED, FAILED, RUNNING], [None, None, job("running")], How.ACTIVE),
        ([RUNNING], None, How.ACTIVE),
        ([RUNNING], [job("starting")], How.ACTIVE),
        ([RUNNING], [job("paused")], How.ACTIVE),
        ([run("SCHEDULED")], [job("running")], How.ACTIVE),
        ([RUNNING], [], How.UNLAUNCHED),
        ([RUNNING], [job("lost", since=0.0)], How.UNLAUNCHED),
        ([STARTED], [], How.UNREPORTED),
        ([STARTED], [job("lost", since=0.0)], How.UNREPORTED),
        ([RUNNING], [job("lost")], How.UNREPORTED),
        ([RUNNING], [job("ended", ended=NOW - 1)], How.ACTIVE),
        ([RUNNING], [job("ended", ended=NOW - REPORT_SECONDS - 1)], How.UNREPORTED),
        ([RUNNING], [job("ended", ended=NOW - 1, reported=True)], How.UNREPORTED),
        ([FINISHED], [job("running")], How.ACTIVE),
        ([FAILED], [job("running")], How.ACTIVE),
        ([FAILED], [job("ended", ended=NOW)], How.FAILED),
        ([FAILED], [], How.FAILED),
        ([KILLED], [job("running")], How.STOPPED),
        ([KILLED], [], How.STOPPED),
        ([run("KILLED", **{"receipt.exit": "stopped: ended in MLflow"})], [], How.STOPPED),
        ([run("KILLED", **{"receipt.exit": "stopped: preempted: x"})], [], How.PUT_BACK),
        ([run("KILLED", stopped="not wanted any more")], [], How.PUT_BACK),
        ([KILLED], [job("running", why="stopped: preempted: x")], How.ACTIVE),
        ([KILLED], [job("ended", why="stopped: preempted: x")], How.PUT_BACK),
        ([GONE], [], How.DELETED),
        ([run("RUNNING", deleted=True)], [job("running")], How.DELETED),
        ([GONE, FAILED], [], How.DELETED),
        ([FAILED, GONE], [], How.FAILED),
        ([GONE, RUNNING], [None, job("running")], How.ACTIVE),
        ([run("FAILED", rerun="old")], [], How.AGAIN),
        ([run("FINISHED", deleted=True, rerun="old")], [], How.AGAIN),
        ([run("FINISHED", rerun="old")], [], How.FINISHED),
        ([FAILED, run("FAILED", rerun="old")], [], How.FAILED),
    ],
)
def test_truth_table(runs: Sequence[RunInfo], jobs: Sequence[Progress | None] | None, how: How) -> None:
    known = None if jobs is None else {each.id: told for each, told in zip(runs, jobs, strict=False) if told is not None}
    assert standing("K", "", runs, known, NOW).how is how


def test_attempts_are_counted_since_the_last_rerun() -> None:
    runs = [
        run("FAILED", rerun="b"),
        run("KILLED", rerun="b", stopped="x"),
        run("FAILED", rerun="b"),
        run("FAILED", rerun="a"),
        run("FAILED", "other"),
    ]
    here = standing("K", "b", runs, {}, NOW)
    assert (here.failed, here.attempts) == (2, 4)


STATUSES = st.sampled_from(["FINISHED", "RUNNING", "FAILED", "KILLED"])


@given(st.lists(st.tuples(STATUSES, st.booleans(), st.sampled_from(["K", "L"])), max_size=6))
def test_runs_of_other_keys_never_matter(given: list[tuple[str, bool, str]]) -> None:
    runs = [run(status, wanted, deleted=deleted) for status, deleted, wanted in given]
    own = [each for each in runs if each.tags["mlops.key"] == "K"]
    assert standing("K", "", runs, {}, NOW) == standing("K", "", own, {}, NOW)


@given(st.lists(st.tuples(STATUSES, st.booleans()), min_size=1, max_size=6))
def test_what_is_finished_is_never_started_again(given: list[tuple[str, bool]]) -> None:
    runs = [run(status, deleted=deleted) for status, deleted in given]
    here = standing("K", "", runs, {}, NOW)
    assert (here.how is How.FINISHED) == (("FINISHED", False) in given)


def test_leftovers_are_of_this_name_and_of_another_key_or_a_second_active_one() -> None:
    chosen, twin, failed = run("FINISHED"), run("RUNNING"), run("FAILED")
    old, done, gone = run("FINISHED", "old"), run("FINISHED", "old", superseded="true"), run("FINISHED", "old", deleted=True)
    late = run("RUNNING", "old", superseded="true")
    other = run("FINISHED", "old", ref="experiment/demo/x#s1")
    assert leftover("K", NAME, [chosen, twin, failed, old, done, gone, late, other], chosen) == (twin, old, late)


# --- what follows ---


def child(**runs: Any) -> Resource[RunSpec]:
    facts = {"code": "c", "lock": "", "trouble": runs.pop("trouble", "")}
    model = runs.pop("model", None)
    given: dict[str, Any] = {"metric": {"name": "score"}, "runs": {"entrypoint": "train.py", **runs}}
    made: Resource[Any] = make_resource(KIND, "x", given | ({"model": model} if model else {}))
    return expanding.children(made, Absent(), facts)[0]


def seen(of: Resource[RunSpec], runs: Sequence[RunInfo], tmp_path: Path, jobs: Mapping[str, Progress] | None = None) -> Any:
    parent = Ref("Experiment", "demo", "x")
    here = [each for each in runs if each.tags["mlops.key"] == key(of)]
    found = Listing({parent: runs}, {(parent, key(of)): here}, {str(of.ref): runs})
    return seen_of(of, found, jobs or {}, make_context(tmp_path, now=lambda: datetime.fromtimestamp(NOW, UTC)))


@pytest.mark.parametrize(
    ("status", "tags", "runs", "doing", "well", "reason"),
    [
        ("FINISHED", {}, {}, Step.NOTHING, Health.HEALTHY, ""),
        ("FINISHED", {"superseded": "true"}, {}, Step.MARK, Health.HEALTHY, ""),
        ("RUNNING", {}, {}, Step.LAUNCH, Health.PROGRESSING, "Waiting"),
        ("RUNNING", {"node": "n"}, {}, Step.REPORT, Health.PROGRESSING, "Ended"),
        ("FAILED", {}, {}, Step.NOTHING, Health.DEGRADED, "RunFailed"),
        ("FAILED", {}, {"retries": 1}, Step.LAUNCH, Health.PROGRESSING, "Retrying"),
        ("FAILED", {}, {"rerun": "x"}, Step.LAUNCH, Health.PROGRESSING, "Waiting"),
        ("KILLED", {}, {"retries": 3}, Step.NOTHING, Health.SUSPENDED, "StoppedInTool"),
        ("KILLED", {"stopped": "y"}, {}, Step.LAUNCH, Health.PROGRESSING, "Waiting"),
    ],
)
def test_step_difference_demand_and_health_agree(
    tmp_path: Path, status: str, tags: dict[str, str], runs: dict[str, Any], doing: Step, well: Health, reason: str
) -> None:
    of = child(**runs)
    found = seen(of, [run(status, key(of), ended=NOW, **tags)], tmp_path)
    assert step(of, found) is doing
    assert bool(differences(of, found)) is (doing is not Step.NOTHING)
    assert (asks(Update(of, found, ())) is not None) is (doing is Step.LAUNCH)
    told = health(of, found)
    assert (told.health, told.reason) == (well, reason)
    assert told.stalled is (doing is Step.NOTHING and well is not Health.HEALTHY)


def test_a_run_of_another_key_is_shown_with_what_differs(tmp_path: Path) -> None:
    of = child(params={"rate": 2})
    old = run("FINISHED", "old", code="b", entrypoint="train.py", seed="0", id="old", ref=str(of.ref))
    found = seen(of, [old], tmp_path)
    assert [(each.path, each.have, each.want) for each in differences(of, found)] == [
        ("spec.code", "b", "c"),
        ("spec.params.rate", None, "2"),
    ]
    assert (step(of, found), found.raw["leftover"]) == (Step.LAUNCH, ["old"])


def test_what_runs_under_an_older_key_has_to_end_first(tmp_path: Path) -> None:
    of = child()
    old = run("RUNNING", "old", id="old", code="b", node="n")
    found = seen(of, [old], tmp_path, {"old": job("running")})
    assert step(of, found) is Step.TIDY
    assert asks(Update(of, found, ())) is None
    assert differences(of, found)[-1].note == "an older run of this name ends first: it is not wanted any more"


def test_what_cannot_start_asks_for_nothing_and_says_why(tmp_path: Path) -> None:
    of = child(trouble="there is no train.py in demo/")
    with pytest.raises(Terminal, match=r"there is no train\.py"):
        asks(Create(of))
    found = seen(of, [run("FINISHED", "old")], tmp_path)
    assert [each.note for each in differences(of, found)] == ["there is no train.py in demo/"]
    assert (health(of, found).reason, health(of, found).stalled) == ("CannotStart", True)


def test_what_a_launch_asks_for() -> None:
    asked = asks(Create(child(resources={"memory": "1Gi", "cpu": "500m", "gpu": 1, "watts": 20, "duration": "2m"}, priority=8)))
    assert asked is not None
    assert asked.peak == asked.steady == Amounts(1 << 30, 500, 1000, 20_000)
    assert (asked.seconds, asked.priority, asked.work, asked.declared, asked.fresh) == (120.0, 8, "batch", True, True)
    assert asked.template == "demo/x/train.py/1Gi"
    plain = asks(Create(child(model={"parameters": 1000, "bits": 16, "optimizer": "adam"})))
    assert plain is not None
    assert (plain.peak, plain.declared) == (Amounts(0, 1000), False)
    assert (plain.template, plain.facts) == ("demo/x/train.py/1000/16/adam", ModelFacts(parameters=1000, bits=16, optimizer="adam"))


def test_a_retry_waits_longer_each_time(tmp_path: Path) -> None:
    of = child(retries=3)
    for failed, seconds in ((1, 10), (2, 20), (3, 40)):
        found = seen(of, [run("FAILED", key(of), ended=NOW) for _ in range(failed)], tmp_path)
        asked = asks(Update(of, found, ()))
        assert asked is not None
        assert asked.not_before == datetime.fromtimestamp(NOW + seconds, UTC)
        assert asked.fresh is False
    assert pause(50) == timedelta(seconds=LONGEST_PAUSE)


def test_a_failure_is_told_with_its_last_words(tmp_path: Path) -> None:
    of = child()
    tail = "\n".join(["Traceback (most recent call last):", '  File "train.py", line 3', "ValueError: no rows", ""])
    found = seen(of, [run("FAILED", key(of), **{"receipt.exit": "exit 1", "receipt.tail": tail})], tmp_path)
    assert health(of, found).message == (
        'failed: exit 1; its last words: Traceback (most recent call last): | File "train.py", line 3 | ValueError: no rows; '
        "change its code, data or parameters, or spec.runs.rerun, to launch it again"
    )


def test_extras_are_ours_of_no_child_and_still_there() -> None:
    of, parent = child(), Ref("Experiment", "demo", "x")
    runs = [
        run("FINISHED", key(of)),
        run("FINISHED", "old", ref="experiment/demo/x#a", id="a"),
        run("RUNNING", "old", ref="experiment/demo/x#a", id="b"),
        run("FINISHED", "old", ref="experiment/demo/x#c", superseded="true"),
        run("RUNNING", "old", ref="experiment/demo/x#d", superseded="true", id="d"),
        run("FINISHED", "old", ref="experiment/demo/x#e", deleted=True),
        run("FINISHED", key(of), ref="experiment/demo/x#renamed"),
        run("FINISHED", "old", ref="experiment/demo/other#f"),
        run("FINISHED", "old", ref="not a ref"),
    ]
    found = dict(extras(Listing({parent: runs}, {}, {}), [of], "contract"))
    assert {ref.key: each.external_id for ref, each in found.items()} == {"a": "b", "d": "d"}
    assert all(each.mark is not None and each.mark.ref == str(ref) for ref, each in found.items())


def test_what_is_written_on_a_run_is_what_is_read_from_it(tmp_path: Path) -> None:
    """The difference to a run of the same key, read back from MLflow's tags and parameters, is empty."""
    of = child(params={"rate": 0.1, "deep": True}, seeds=[4])
    ctx = make_context(tmp_path)
    written = RunInfo("r", "7", "FINISHED", False, 0.0, 0.0, launch.tags(of, ctx, 1), launch.params(of))
    assert fields_of(written) == parts(of)


# --- the experiment as a whole ---


def whole(*told: tuple[Health, str], tmp_path: Path) -> Any:
    given = {"runs": {"entrypoint": "train.py", "seeds": list(range(len(told)))}}
    made: Resource[Any] = make_resource(KIND, "x", given)
    children = expanding.children(made, Absent(), {"code": "c", "lock": "", "trouble": ""})
    summed = [(each, health, reason) for each, (health, reason) in zip(children, told, strict=True)]
    return expanding.sum_up(made, HealthReport(Health.HEALTHY), summed, make_context(tmp_path))


OK, RUNS, WAITS, BAD = (
    (Health.HEALTHY, "Healthy"),
    (Health.PROGRESSING, "Running"),
    (Health.PROGRESSING, "WaitingForMemory"),
    (Health.DEGRADED, "RunFailed"),
)


@pytest.mark.parametrize(
    ("told", "health", "reason", "stalled", "message"),
    [
        ([OK, OK], Health.HEALTHY, "", False, "2 runs finished"),
        ([OK, RUNS, WAITS, WAITS], Health.PROGRESSING, "RunsProgressing", False, "1 of 4 runs finished, 1 running, 2 waiting for memory"),
        ([OK, BAD, RUNS], Health.DEGRADED, "RunFailed", False, "1 of 3 runs finished, 1 failed, 1 running"),
        ([OK, BAD], Health.DEGRADED, "RunFailed", True, "1 of 2 runs finished, 1 failed"),
        ([OK, (Health.MISSING, "LaunchBudget")], Health.MISSING, "LaunchBudget", False, "1 of 2 runs finished, 1 waiting for a yes"),
        ([(Health.MISSING, "DeletedInTool")], Health.MISSING, "DeletedInTool", True, "0 of 1 runs finished, 1 deleted in MLflow"),
    ],
)
def test_the_sum(tmp_path: Path, told: list[tuple[Health, str]], health: Health, reason: str, stalled: bool, message: str) -> None:
    found = whole(*told, tmp_path=tmp_path)
    assert (found.health, found.reason, found.stalled, found.message) == (health, reason, stalled, message)


def test_what_could_not_be_let_go_is_not_forgotten(tmp_path: Path) -> None:
    made: Resource[Any] = make_resource(KIND, "x", {"runs": {"entrypoint": "train.py"}})
    ctx, kinds = make_context(tmp_path), discover()
    [wanted] = expanding.children(made, Absent(), {"code": "c", "lock": "", "trouble": ""})
    fine = [Status(each, Health.HEALTHY, (Condition("Ready", True, "Healthy"),)) for each in (made.ref, wanted.ref)]
    old = Status(replace(made.ref, key="old"), Health.DEGRADED, (Condition("Ready", False, "Transient"),), message="MLflow is away")
    resources = {made.ref: made, wanted.ref: wanted}
    parent = summed([*fine, old], resources, ctx, kinds)[0]
    assert (parent.health, parent.message) == (Health.DEGRADED, "old: MLflow is away")
    assert not ctx.memo(made.ref).get(SETTLED), "a settled experiment is not looked at, and the old run would go on"
    assert summed(fine, resources, ctx, kinds)[0].ready
    assert ctx.memo(made.ref).get(SETTLED)
