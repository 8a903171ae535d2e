"""Runs as children of an Experiment, against a real MLflow server and real processes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from controllers.runs.observing import with_tag
from controllers.runs.standing import Tag
from controllers.tools import mlflow_runs
from controllers.tools.mlflow import connect
from controllers.tools.mlflow_runs import RunInfo
from reconciler.controller import Call
from reconciler.errors import Terminal, Transient
from reconciler.hardware.detector import detect
from reconciler.model import KNOWN_AFTER_APPLY, Absent, Create, Diff, Done, Health, Job, Owned, Started
from reconciler.model.ranking import Ranking
from reconciler.testing import ServicesAt
from tests.contract.proxy import losing_the_first
from tests.contract.run_lab import TABLE, Lab, Seen, lease

pytestmark = pytest.mark.xdist_group("runs")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def state_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="runs-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lab(tmp_path: Path, mlflow_url: str, state_dir: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, mlflow_url, f"r{os.getpid():x}-{time.time_ns() // 1_000_000:x}-{next(_numbers)}", state_dir)
    yield lab
    lab.end()


def by_hand(lab: Lab, path: str, **body: Any) -> None:
    """MLflow as a person with a client of his own uses it."""
    url = lab.ctx.services.endpoint("mlflow")
    httpx.post(f"{url}/api/2.0/mlflow/{path}", json=body, trust_env=False, timeout=60).raise_for_status()


def running(pass_: Seen) -> bool:
    return all(each.reason == "Running" for each in pass_.health.values()) and bool(pass_.health)


def only(changes: dict[Any, Diff] | Any) -> list[tuple[str, str]]:
    """(path, note) of the differences of the one child."""
    [found] = changes.values()
    return [(each.path, each.note) for each in found]


# --- launch, and nothing more ---


def test_a_grid_is_launched_once_and_then_settles(lab: Lab) -> None:
    grid = lab.experiment({"params": {"rate": [1, 0.5]}})
    first = lab.reconcile(grid)
    assert all(isinstance(each, Absent) for each in first.observations.values())
    assert sorted(ref.key for ref in first.children) == ["rate0.5-s0", "rate1-s0"]
    assert all(isinstance(each, Started) for each in first.outcomes.values())
    assert {each.fresh for each in first.demands.values()} == {True}
    last = lab.settle(grid)
    assert last.whole.message == "2 runs finished"
    assert {name: each.message for name, each in last.health.items()} == {"rate1-s0": "score 2", "rate0.5-s0": "score 1"}
    lab.calls.clear()
    assert lab.reconcile(grid).children == {}
    assert [each.target for each in lab.calls] == ["experiments/search", "runs/search"]
    assert sorted(each.metrics["score"] for each in lab.all_runs()) == [1.0, 2.0]


def test_what_the_program_gets_and_what_the_run_tells(lab: Lab) -> None:
    lab.settle(lab.experiment({"params": {"rate": -0.5, "sleep": 0}, "seeds": [7], "env": {"SHOWN": "yes"}}))
    [run] = lab.all_runs()
    seen = _artifact(lab, run, "seen.json")
    data = str(lab.root / "data" / "table.csv")
    assert seen["argv"][:-1] == ["--data", data, "--rate=-0.5", "--sleep", "0", "--seed", "7", "--out"]
    assert json.loads(seen["datasets"]) == {"table": data}
    assert seen["cwd"] == str(lab.root)
    assert run.params == {"rate": "-0.5", "sleep": "0", "seed": "7"}
    wanted = {
        "mlops.installation": "runs",
        "mlops.ref": f"experiment/demo/{lab.name}#rate-0.5-sleep0-s7",
        "mlops.project": "demo",
        "mlops.attempt": "1",
        "mlops.dataset.table": lab.digest,
        "mlops.data": "table",
        "mlops.entrypoint": "train.py",
        "mlflow.runName": "rate-0.5-sleep0-s7",
        "mlflow.source.name": "train.py",
    }
    assert {name: run.tags.get(name) for name in wanted} == wanted
    assert len(run.tags["mlops.key"]) == len(run.tags["mlops.code"]) == 64


def test_nothing_starts_without_a_lease(lab: Lab) -> None:
    experiment = lab.experiment({})
    with pytest.raises(Terminal, match="has no lease"):
        lab.runs.apply(Create(_children(lab, experiment)[0]), lab.fresh())
    assert (lab.all_runs(), lab.jobs()) == ([], [])


def test_a_launch_is_a_handful_of_calls_and_a_listing_is_one(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"rate": [1, 2, 3, 4, 5, 6]}})
    children = _children(lab, experiment)
    lab.calls.clear()
    ctx = lab.fresh({children[0].ref: lease(children[0].ref)})
    lab.runs.apply(Create(children[0]), ctx)
    told = [each.target for each in lab.calls]
    assert told == ["experiments/get-by-name", "runs/search", "runs/search", "runs/create", "runs/log-batch", "runs/log-inputs"]
    lab.calls.clear()
    lab.runs.observe(children, lab.fresh())
    assert [each.target for each in lab.calls] == ["experiments/get-by-name", "runs/search"]


def test_a_launch_reads_the_runs_of_its_own_key_and_name_only(lab: Lab) -> None:
    """So that a grid of a thousand does not read a thousand runs a thousand times."""
    first, second = _children(lab, lab.experiment({"params": {"rate": [1, 2]}}))
    for child in (first, second):
        lab.runs.apply(Create(child), lab.fresh({child.ref: lease(child.ref)}))
    ours = {each.tags["mlops.ref"]: each for each in lab.all_runs()}
    mine = ours[str(first.ref)]
    mlflow = connect(ctx := lab.fresh())
    for tag in (Tag.KEY, Tag.REF):
        assert [each.id for each in with_tag(mlflow, mine.experiment, tag, mine.tags[tag], ctx)] == [mine.id]
    assert with_tag(mlflow, mine.experiment, Tag.KEY, mine.tags[Tag.KEY], replace(ctx, installation="another")) == []


def test_an_entrypoint_that_is_not_there_never_asks_for_room(lab: Lab) -> None:
    experiment = lab.experiment({"entrypoint": "absent.py"})
    lab.reconcile(lab.experiment(None))
    _, [child], seen = lab.look(experiment)
    assert isinstance(seen[child.ref], Absent)
    with pytest.raises(Terminal, match=r"there is no absent\.py in demo/"):
        lab.runs.demand(Create(child), lab.fresh())
    with pytest.raises(Terminal, match=r"there is no absent\.py in demo/"):
        lab.runs.apply(Create(child), lab.fresh({child.ref: lease(child.ref)}))
    assert lab.all_runs() == []


def test_code_that_changes_between_plan_and_launch_is_not_launched_under_the_old_name(lab: Lab) -> None:
    [child] = _children(lab, lab.experiment({}))
    (lab.root / "train.py").write_text((lab.root / "train.py").read_text() + "# later\n")
    with pytest.raises(Transient, match="its code changed"):
        lab.runs.apply(Create(child), lab.fresh({child.ref: lease(child.ref)}))
    assert lab.all_runs() == []


# --- crashes and lost answers ---


def test_a_run_that_was_made_and_never_started_is_started_under_the_same_id(lab: Lab) -> None:
    experiment = lab.experiment({})
    [child] = _children(lab, experiment)
    ctx = lab.fresh({child.ref: lease(child.ref)})
    with pytest.raises(RuntimeError, match="killed here"):
        lab.runs.apply(Create(child), replace(ctx, jobs=_Dies(lab)))
    [made] = lab.all_runs()
    pass_ = lab.reconcile(experiment)
    assert only(pass_.diffs) == [("status", "was made in MLflow, and its program never started")]
    assert [each.fresh for each in pass_.demands.values()] == [False]
    lab.settle(experiment)
    [run] = lab.all_runs()
    assert (run.id, run.status) == (made.id, "FINISHED")


def test_a_create_whose_answer_was_lost_makes_no_twin(lab: Lab) -> None:
    experiment = lab.experiment({})
    [child] = _children(lab, experiment)
    with losing_the_first("runs/create", lab.ctx.services.endpoint("mlflow")) as url:
        ctx = replace(lab.fresh({child.ref: lease(child.ref)}), services=ServicesAt({"mlflow": url}))
        with pytest.raises(Transient) as lost:
            lab.runs.apply(Create(child), ctx)
        assert lost.value.maybe_done
    again = lab.runs.apply(Create(child), lab.fresh({child.ref: lease(child.ref)}))
    assert [Started(each.id) for each in lab.all_runs()] == [again]


def test_the_same_launch_twice_is_one_run_and_one_process(lab: Lab) -> None:
    [child] = _children(lab, lab.experiment({"params": {"sleep": 30}}))
    first = lab.runs.apply(Create(child), lab.fresh({child.ref: lease(child.ref)}))
    second = lab.runs.apply(Create(child), lab.fresh({child.ref: lease(child.ref)}))
    assert isinstance(first, Started)
    assert second == Done(first.token, {"run": first.token})
    assert [each.id for each in lab.all_runs()] == [each.id for each in lab.jobs()] == [first.token]


@pytest.mark.parametrize("dies_after", ["runs/create", "runs/log-batch", "runs/log-inputs", "launch"])
def test_killed_at_any_boundary_of_a_launch_there_is_one_run_in_the_end(lab: Lab, dies_after: str) -> None:
    experiment = lab.experiment({})
    [child] = _children(lab, experiment)

    def wire(call: Call) -> None:
        if call.target == dies_after:
            raise RuntimeError("killed here")

    ctx = replace(lab.fresh({child.ref: lease(child.ref)}), wire=wire)
    if dies_after == "launch":
        ctx = replace(ctx, jobs=_Dies(lab, launched=True))
    with pytest.raises(RuntimeError, match="killed here"):
        lab.runs.apply(Create(child), ctx)
    assert lab.settle(experiment).whole.message == "1 run finished"
    assert [each.status for each in lab.all_runs()] == ["FINISHED"]


def test_a_new_reconciler_finds_what_runs(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"sleep": 1}})
    lab.until("running", experiment, running)
    lab.ctx = replace(lab.ctx, memo=Lab(lab.ctx.root.parent / "other", "", lab.name, lab.ctx.state_dir).ctx.memo)
    pass_ = lab.reconcile(experiment)
    assert (pass_.diffs, pass_.outcomes) == (dict.fromkeys(pass_.children, ()), {})
    lab.settle(experiment)
    assert [each.status for each in lab.all_runs()] == ["FINISHED"]


def test_a_run_whose_job_nobody_knows_any_more_is_not_started_a_second_time(lab: Lab) -> None:
    """Its folder is gone, or its end was refused: it did start, and what it did is not known."""
    experiment = lab.experiment({"params": {"sleep": 30}})
    lab.until("running", experiment, running)
    deadline = time.monotonic() + 20
    while "mlops.node" not in lab.all_runs()[0].tags:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    supervisor = _program(lab).parent()
    assert supervisor is not None
    for each in (supervisor, _program(lab)):
        each.kill()
        each.wait(10)
    shutil.rmtree(lab.ctx.state_dir / "runs" / lab.jobs()[0].id)
    [health] = lab.settle(experiment).health.values()
    assert (health.reason, "it ended without a result" in health.message) == ("RunFailed", True)
    assert [each.status for each in lab.all_runs()] == ["FAILED"]


# --- failure ---


def test_a_failure_is_tried_again_after_a_pause_and_then_stands_with_its_last_words(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"code": 3}, "retries": 1})
    pass_ = lab.until("failed once", experiment, lambda told: any(each.reason == "Retrying" for each in told.health.values()))
    assert only(pass_.diffs) == [("attempt", "tried again: exit 3; 1 of 1 retries")]
    [run] = lab.all_runs()
    [demand] = pass_.demands.values()
    assert demand.not_before is not None
    assert demand.not_before.timestamp() == pytest.approx(run.ended + 10, abs=0.01)
    assert demand.fresh is False
    lab.ahead = timedelta(seconds=11)
    done = lab.settle(experiment)
    [health] = done.health.values()
    assert (health.health, health.reason, health.stalled) == (Health.DEGRADED, "RunFailed", True)
    assert "failed 2 times: exit 3" in health.message
    assert "the loss is not a number" in health.message
    assert (done.whole.health, done.whole.message) == (Health.DEGRADED, "0 of 1 runs finished, 1 failed")
    assert [each.tags["mlops.attempt"] for each in lab.all_runs()] == ["1", "2"]
    again = lab.reconcile(lab.experiment({"params": {"code": 3}, "retries": 1, "rerun": "now"}))
    assert only(again.diffs) == [("spec.runs.rerun", "starts again: its `rerun` changed")]
    assert len(lab.all_runs()) == 3


def test_a_retry_that_works_ends_the_story(lab: Lab, tmp_path: Path) -> None:
    experiment = lab.experiment({"params": {"flaky": str(tmp_path / "tried")}, "retries": 2})
    lab.ahead = timedelta(minutes=20)
    assert lab.settle(experiment).whole.message == "1 run finished"
    assert [each.status for each in lab.all_runs()] == ["FAILED", "FINISHED"]


def test_a_killed_program_is_tried_again(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"sleep": 30}, "retries": 1})
    lab.until("running", experiment, running)
    _program(lab).kill()
    pass_ = lab.until("noticed", experiment, lambda told: any(each.reason == "Retrying" for each in told.health.values()))
    assert only(pass_.diffs) == [("attempt", "tried again: killed (SIGKILL); 1 of 1 retries")]


def test_when_supervisor_and_program_are_gone_the_end_is_told_for_them(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"sleep": 30}})
    lab.until("running", experiment, running)
    program = _program(lab)
    supervisor = program.parent()
    assert supervisor is not None
    supervisor.send_signal(signal.SIGKILL)
    program.kill()
    pass_ = lab.until("noticed", experiment, lambda told: any(each.reason == "Ended" for each in told.health.values()))
    [(path, note)] = only(pass_.diffs)
    assert (path, note.startswith("its process is gone: ")) == ("status", True)
    assert not pass_.demands
    [health] = lab.settle(experiment).health.values()
    assert (health.health, health.stalled) == (Health.DEGRADED, True)
    [run] = lab.all_runs()
    assert (run.status, run.ended > 0) == ("FAILED", True)


# --- what changes, and what does not ---


def test_a_new_version_of_the_data_starts_the_run_again_and_the_old_version_brings_the_old_run_back(lab: Lab) -> None:
    experiment = lab.experiment({})
    lab.settle(experiment)
    unknown = replace(experiment, inputs={TABLE: {"*": KNOWN_AFTER_APPLY}})
    _, [child], seen = lab.look(unknown)
    [change] = lab.runs.diff(child, seen[child.ref])  # type: ignore[arg-type]
    assert (change.path, change.want, change.note) == ("spec.datasets.table", KNOWN_AFTER_APPLY, "starts again: its dataset changes")
    old, lab.digest = lab.digest, "b" * 32
    newer = lab.experiment({})
    assert only(lab.reconcile(newer).diffs) == [("spec.datasets.table", "starts again: its dataset changes")]
    lab.settle(newer)
    assert [each.tags.get("mlops.superseded") for each in lab.all_runs()] == ["true", None]
    lab.digest = old
    back = lab.reconcile(lab.experiment({}))
    assert {path for path, _ in only(back.diffs)} == {"tags.mlops.superseded", "superseded"}
    assert (back.demands, [type(each) for each in back.outcomes.values()]) == ({}, [Done])
    assert lab.settle(lab.experiment({})).whole.message == "1 run finished"
    assert [each.tags.get("mlops.superseded") for each in lab.all_runs()] == ["false", "true"]


def test_other_code_starts_it_again_other_resources_do_not(lab: Lab) -> None:
    lab.settle(lab.experiment({}))
    same = lab.reconcile(lab.experiment({"resources": {"memory": "1Gi"}, "retries": 5, "priority": 9}))
    assert (same.children, same.outcomes) == ({}, {})
    (lab.root / "train.py").write_text((lab.root / "train.py").read_text() + "# other\n")
    assert only(lab.reconcile(lab.experiment({})).diffs) == [("spec.code", "starts again: its code changes")]


def test_what_still_runs_under_the_name_ends_before_the_new_one_starts(lab: Lab) -> None:
    lab.until("running", lab.experiment({"params": {"sleep": 30}}), running)
    lab.digest = "c" * 32
    newer = lab.experiment({"params": {"sleep": 30}})
    pass_ = lab.reconcile(newer)
    assert ("job", "an older run of this name ends first: it is not wanted any more") in only(pass_.diffs)
    assert not pass_.demands
    lab.until("the old one ended", newer, lambda told: bool(told.demands))
    first, second = lab.all_runs()
    assert (first.status, first.tags["mlops.superseded"], second.status) == ("KILLED", "true", "RUNNING")
    assert first.ended <= second.started


def test_what_is_not_wanted_any_more_is_stopped_and_kept(lab: Lab) -> None:
    lab.until(
        "running",
        lab.experiment({"params": {"sleep": [0.1, 30]}}),
        lambda told: "HEALTHY" in _words(told) and "PROGRESSING" in _words(told),
    )
    smaller = lab.experiment({"params": {"sleep": 0.2}})
    pass_ = lab.reconcile(smaller)
    gone = {ref.key for ref in pass_.outcomes} - {"sleep0.2-s0"}
    assert gone == {"sleep0.1-s0", "sleep30-s0"}
    lab.settle(smaller)
    deadline = time.monotonic() + 20
    while any(each.active for each in lab.all_runs()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    found = {each.tags["mlflow.runName"]: (each.status, each.tags.get("mlops.superseded"), each.deleted) for each in lab.all_runs()}
    assert found == {
        "sleep0.1-s0": ("FINISHED", "true", False),
        "sleep30-s0": ("KILLED", "true", False),
        "sleep0.2-s0": ("FINISHED", None, False),
    }
    assert lab.reconcile(smaller).outcomes == {}


def test_runs_taken_out_of_the_manifest_are_let_go(lab: Lab) -> None:
    lab.until("running", lab.experiment({"params": {"sleep": 30}}), running)
    none = lab.experiment(None)
    assert [ref.key for ref in lab.reconcile(none).outcomes] == ["sleep30-s0"]
    lab.until("let go", none, lambda told: not told.outcomes)
    assert [(each.status, each.tags["mlops.superseded"]) for each in lab.all_runs()] == [("KILLED", "true")]


def test_an_experiment_that_goes_stops_its_runs(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"sleep": 30}})
    lab.until("running", experiment, running)
    [run] = lab.all_runs()
    lab.kind.delete(Owned(experiment.ref, run.experiment, "root", "", {}, "auto"), lab.fresh())
    deadline = time.monotonic() + 20
    while any(each.state == "running" for each in lab.jobs()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_nobody_wants_gives_up_its_checkpoint_and_what_may_go_on_keeps_it(lab: Lab) -> None:
    def given_up() -> set[bool]:
        return {place.with_name(f"{place.name}.unwanted").exists() for place in places}

    experiment = lab.experiment({"params": {"code": 3}})
    lab.settle(experiment)
    places = [lab.ctx.state_dir / "checkpoints" / each.tags["mlops.key"][:32] for each in lab.all_runs()]
    assert [each.is_dir() for each in places] == [True]
    assert given_up() == {False}
    lab.digest = "d" * 32
    lab.settle(lab.experiment({"params": {"code": 3}}))
    assert given_up() == {True}, "its name is taken by other work"
    places = [lab.ctx.state_dir / "checkpoints" / lab.all_runs()[-1].tags["mlops.key"][:32]]
    assert given_up() == {False}
    lab.runner.sweep()
    assert places[0].is_dir()
    lab.settle(lab.experiment(None))
    assert given_up() == {True}, "it was taken out of the manifest"


def test_an_experiment_that_goes_gives_up_the_checkpoints_of_all_its_runs(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"code": 3}})
    lab.settle(experiment)
    [run] = lab.all_runs()
    place = lab.ctx.state_dir / "checkpoints" / run.tags["mlops.key"][:32]
    assert place.is_dir()
    lab.kind.delete(Owned(experiment.ref, run.experiment, "root", "", {}, "auto"), lab.fresh())
    assert place.with_name(f"{place.name}.unwanted").exists()


def test_a_finished_run_that_goes_by_another_name_is_the_same_run(lab: Lab) -> None:
    experiment = lab.experiment({})
    lab.settle(experiment)
    [run] = lab.all_runs()
    by_hand(lab, "runs/set-tag", run_id=run.id, key="mlops.ref", value=f"{run.tags['mlops.ref']}-older")
    by_hand(lab, "runs/update", run_id=run.id, run_name="s0-older")
    lab.ctx.memo(experiment.ref).clear()
    pass_ = lab.reconcile(experiment)
    assert [path for path, _ in only(pass_.diffs)] == ["tags.mlops.ref"]
    assert (pass_.demands, set(pass_.observations)) == ({}, set(pass_.children))
    assert lab.settle(experiment).whole.message == "1 run finished"
    [same] = lab.all_runs()
    assert (same.id, same.tags["mlops.ref"], same.tags["mlflow.runName"]) == (run.id, run.tags["mlops.ref"], "s0")


# --- people ---


def test_deleted_in_mlflow_is_told_and_comes_back_only_when_asked(lab: Lab) -> None:
    experiment = lab.experiment({})
    lab.settle(experiment)
    [run] = lab.all_runs()
    by_hand(lab, "runs/delete", run_id=run.id)
    pass_ = lab.reconcile(experiment)
    [health] = pass_.health.values()
    assert (health.health, health.reason, health.stalled) == (Health.MISSING, "DeletedInTool", True)
    assert (pass_.outcomes, pass_.whole.message) == ({}, "0 of 1 runs finished, 1 deleted in MLflow")
    by_hand(lab, "runs/restore", run_id=run.id)
    assert lab.reconcile(experiment).whole.message == "1 run finished"
    by_hand(lab, "runs/delete", run_id=run.id)
    again = lab.experiment({"rerun": "again"})
    assert only(lab.reconcile(again).diffs) == [("spec.runs.rerun", "starts again: its `rerun` changed")]
    assert lab.settle(again).whole.message == "1 run finished"


def test_ended_by_hand_in_mlflow_is_stopped_and_stays_so(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"sleep": 30}, "retries": 3})
    lab.until("running", experiment, running)
    lab.until("said so in MLflow", experiment, lambda _: all("mlops.node" in each.tags for each in lab.all_runs()))
    [run] = lab.all_runs()
    by_hand(lab, "runs/update", run_id=run.id, status="KILLED")
    assert only(lab.reconcile(experiment).diffs) == [("job", "its run was ended in MLflow")]
    [health] = lab.settle(experiment).health.values()
    assert (health.health, health.reason) == (Health.SUSPENDED, "StoppedInTool")
    lab.until("reported", experiment, lambda _: lab.jobs() == [])


def test_stopped_for_others_goes_on_without_counting_as_a_failure(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"sleep": 30}})
    lab.until("running", experiment, running)
    [run] = lab.all_runs()
    lab.runner.stop(run.id, "preempted: demo takes back what it lent")
    pass_ = lab.until("noticed", experiment, lambda told: bool(told.demands))
    assert only(pass_.diffs) == [("status", "goes on: it was stopped (stopped: preempted: demo takes back what it lent)")]
    assert [each.fresh for each in pass_.demands.values()] == [False]
    first, second = lab.all_runs()
    assert (first.status, second.status, second.tags["mlops.attempt"]) == ("KILLED", "RUNNING", "2")


def test_a_program_that_speaks_to_mlflow_itself_is_running_until_it_has_ended(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"sleep": 2}})
    lab.until("running", experiment, running)
    [run] = lab.all_runs()
    by_hand(lab, "runs/update", run_id=run.id, status="FINISHED")
    assert running(pass_ := lab.reconcile(experiment))
    assert pass_.outcomes == {}
    assert lab.settle(experiment).whole.message == "1 run finished"


def test_runs_that_people_add_are_theirs(lab: Lab) -> None:
    experiment = lab.experiment({})
    lab.settle(experiment)
    [run] = lab.all_runs()
    by_hand(lab, "runs/create", experiment_id=run.experiment, run_name="mine", tags=[{"key": "mlops.ref", "value": run.tags["mlops.ref"]}])
    (lab.root / "train.py").write_text((lab.root / "train.py").read_text() + "# other\n")
    pass_ = lab.reconcile(lab.experiment({}))
    assert set(pass_.observations) == set(pass_.children)
    ours = {each.id for each in lab.all_runs()}
    everything = mlflow_runs.search(connect(lab.fresh()), [run.experiment], {})
    assert [(each.status, "mlops.superseded" in each.tags) for each in everything if each.id not in ours] == [("RUNNING", False)]


# ---


class _Dies:
    """A reconciler that is killed between the run in MLflow and its process."""

    def __init__(self, lab: Lab, *, launched: bool = False) -> None:
        self.look, self._launch = lab.runner.look, lab.runner.launch if launched else None

    def launch(self, job: Job) -> None:
        if self._launch is not None:
            self._launch(job)
        raise RuntimeError("killed here")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not called")


def _children(lab: Lab, experiment: Any) -> Any:
    """Of an experiment that is there already."""
    lab.reconcile(lab.experiment(None))
    return lab.look(experiment)[1]


def _artifact(lab: Lab, run: RunInfo, name: str) -> Any:
    """A file that the program left, from MLflow."""
    url = f"{lab.ctx.services.endpoint('mlflow')}/api/2.0/mlflow-artifacts/artifacts/{run.experiment}/{run.id}/artifacts/{name}"
    return httpx.get(url, trust_env=False, timeout=60).raise_for_status().json()


def _program(lab: Lab) -> psutil.Process:
    """The process of the one program that runs."""
    [job] = [each for each in lab.jobs() if each.state == "running"]
    told = json.loads((lab.ctx.state_dir / "runs" / job.id / "program.json").read_text())
    return psutil.Process(told["pid"])


def _words(pass_: Seen) -> set[str]:
    return {each.health.name for each in pass_.health.values()}


# --- what leads ---


def test_the_ranking_holds_what_is_finished_and_wanted_the_best_first(lab: Lab) -> None:
    experiment = lab.experiment({"params": {"rate": [1, 3, 2]}})
    lab.settle(experiment)
    assert [(each.ref.key, each.value) for each in _ranking(lab, experiment).runs] == [
        ("rate3-s0", 6.0),
        ("rate2-s0", 4.0),
        ("rate1-s0", 2.0),
    ]
    best = _ranking(lab, experiment).runs[0]
    assert best.params == {"rate": "3", "seed": "0"}
    assert best.metrics["score"] == 6.0
    assert (best.seconds or 0) > 0
    assert best.hardware == detect().chip
    down = lab.experiment({"params": {"rate": [1, 3]}}, metric={"name": "score", "goal": "minimize"}, techniques=["b", "a"])
    lab.until("let go", down, lambda told: not told.outcomes)
    assert [each.ref.key for each in _ranking(lab, down).runs] == ["rate1-s0", "rate3-s0"]
    assert _ranking(lab, down).techniques == ("a", "b")
    other = lab.experiment({"params": {"rate": [1, 3]}}, metric={"name": "absent"})
    assert [(each.ref.key, each.value) for each in _ranking(lab, other).runs] == [("rate1-s0", None), ("rate3-s0", None)]


def _ranking(lab: Lab, experiment: Any) -> Ranking:
    return lab.kind.ranking([experiment], lab.fresh())[experiment.ref]
