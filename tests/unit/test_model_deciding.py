"""Who gets a model's alias: rules over made-up scenes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.models.deciding import decide
from controllers.models.evidence import LONGEST, evidence, is_written, written
from controllers.models.scene import Scene, Tag, Tries, Version
from controllers.models.selecting import MOST, criterion, ranked
from controllers.models.steps import Point, Register, Step, Try, needs_room, steps
from controllers.models.telling import health
from controllers.models.trials import LAUNCHES, How, counted, data_digest, job_id, key_of, standing
from controllers.tools.mlflow_registry import VersionInfo
from controllers.tools.mlflow_runs import RunInfo
from reconciler.model import Health, Progress, Ref, Resource
from reconciler.model.serving import TrialResult
from reconciler.testing import make_resource
from schemas.model import KIND

EXPERIMENT, DATA = Ref("Experiment", "demo", "grid"), Ref("Dataset", "demo", "table")


def model(digest: str = "d1", **spec: Any) -> Resource[Any]:
    inputs = {DATA: {"digest": digest, "path": "t.csv"}}
    return make_resource(KIND, "m", {"experiment": "grid", **spec}, references=[EXPERIMENT, DATA], inputs=inputs)


def run(id: str, *, status: str = "FINISHED", superseded: bool = False, ended: float = 0.0, **metrics: float) -> RunInfo:
    tags = {"mlops.ref": f"experiment/demo/grid#{id}", **({"mlops.superseded": "true"} if superseded else {})}
    return RunInfo(id, "1", status, False, 0.0, ended, tags, {"rank": id[-1]}, metrics, f"mlflow-artifacts:/1/{id}/artifacts")


def version(number: int, run: str, resource: Resource[Any], *, result: dict[str, Any] | None = None, **tags: str) -> Version:
    """Tried under the present conditions, unless `result` is None."""
    digest = f"files-of-{run}"
    found = {Tag.RUN: run, Tag.ARTIFACT: "model", Tag.DIGEST: digest, **{f"mlops.{key}": each for key, each in tags.items()}}
    if result is not None:
        told = {"digest": digest, "runtime": "sklearn", "p95": 0.01, "memory": 1, **result}
        found[Tag.TRIAL] = json.dumps({"key": key_of(resource.spec, digest, data_digest(resource) or ""), **asdict(TrialResult(**told))})
    return Version(VersionInfo("demo.m", str(number), run, "", 0.0, found))


def scene(*runs: RunInfo, versions: tuple[Version, ...] = (), **given: Any) -> Scene:
    newest_first = tuple(sorted(versions, key=lambda each: -int(each.number)))
    return Scene("demo.m", newest_first, experiment=EXPERIMENT, there=True, metric="accuracy", runs=runs, **given)


def kinds(found: tuple[Step, ...]) -> list[type]:
    return [type(each) for each in found]


# --- selection ---


def test_the_best_comes_first_and_an_equal_one_does_not_overtake() -> None:
    here = scene(
        run("late", accuracy=0.9, ended=2.0), run("early", accuracy=0.9, ended=1.0), run("nan", accuracy=float("nan")), run("untold")
    )
    assert [each.run.id for each in ranked(model().spec, here)] == ["early", "late"]
    assert [each.run.id for each in ranked(model(select={"goal": "minimize"}).spec, replace(here, metric=""))] == [
        "late",
        "early",
        "nan",
        "untold",
    ]


def test_params_and_superseded_runs() -> None:
    runs = (run("r1", accuracy=0.9, superseded=True), run("r2", accuracy=0.8), run("r3", accuracy=0.7))
    assert [each.run.id for each in ranked(model().spec, scene(*runs))] == ["r2", "r3"]
    assert [each.run.id for each in ranked(model(select={"params": {"rank": [1, 3]}}).spec, scene(*runs))] == ["r3"]
    assert [each.run.id for each in ranked(model().spec, scene(runs[0]))] == ["r1"], "better than nothing"


def test_the_experiments_own_goal_goes_with_its_own_metric_only() -> None:
    here = replace(scene(), metric="loss", goal="minimize")
    assert criterion(model().spec, here) == ("loss", "minimize")
    assert criterion(model(select={"metric": "loss"}).spec, here) == ("loss", "minimize")
    assert criterion(model(select={"metric": "f1"}).spec, here) == ("f1", "maximize")


# --- decisions ---


def test_a_run_is_registered_then_tried_then_gets_the_alias() -> None:
    m, best = model(), run("best", accuracy=0.9)
    assert kinds(steps(m, scene(best))) == [Register]
    untried = version(1, "best", m)
    assert kinds(steps(m, scene(best, versions=(untried,)))) == [Try]
    passed = version(1, "best", m, result={})
    last = steps(m, scene(best, versions=(passed,)))
    assert isinstance(last[-1], Point)
    assert last[-1].number == "1"


def test_only_a_trial_waits_for_room() -> None:
    m, best = model(), run("best", accuracy=0.9)
    assert needs_room(steps(m, scene(best)))
    assert needs_room(steps(m, scene(best, versions=(version(1, "best", m),))))
    assert not needs_room(steps(m, scene(best, versions=(version(1, "best", m, result={}),))))
    assert not needs_room(())


def test_a_promotion_is_told_beside_what_it_takes_the_place_of() -> None:
    m, old, new = model(), run("old", accuracy=0.8), run("new", accuracy=0.9)
    versions = (
        version(1, "old", m, result={"p95": 0.01}, size=str(4 << 20), metrics='{"accuracy": 0.8, "loss": 0.5, "f1": 0.7}', verdict="pass"),
        version(2, "new", m, result={"p95": 0.05}, size=str(12 << 20), metrics='{"accuracy": 0.9, "loss": 0.2, "f1": 0.7}'),
    )
    here = scene(old, new, versions=versions, tags={Tag.CHAMPION: "1"}, aliases={"champion": "1"})
    point = next(each for each in steps(m, here) if isinstance(each, Point))
    assert (point.change.have, point.change.want) == ("1", "2")
    assert point.change.note.partition(", ")[2] == (
        "accuracy 0.9 (was 0.8), loss 0.2 (was 0.5), size 12 MiB (was 4 MiB), p95 50 ms (was 10 ms)"
    )
    first = scene(old, versions=versions[:1])
    assert next(each for each in steps(m, first) if isinstance(each, Point)).change.note.endswith(", accuracy 0.8")
    register = next(each for each in steps(m, replace(here, versions=versions[:1])) if isinstance(each, Register))
    assert register.change.note == "accuracy 0.9 (the champion's is 0.8)"


def test_no_candidate_while_runs_are_awaited_but_the_alias_is_kept() -> None:
    m = model()
    here = scene(
        run("old", accuracy=0.8),
        run("new", accuracy=0.9),
        versions=(version(1, "old", m, result={}, promoted="t", verdict="pass"),),
        tags={Tag.CHAMPION: "1"},
        aliases={"champion": "9"},
        awaited=True,
    )
    assert [each.number for each in steps(m, here) if isinstance(each, Point)] == ["1"]
    assert not any(isinstance(each, Register) for each in steps(m, here))
    assert health(m, here).reason == "WaitingForRuns"


def test_the_trash_does_not_make_a_worse_run_the_best() -> None:
    m = model()
    gone = replace(run("gone", accuracy=0.9), deleted=True)
    old = version(1, "gone", m, result={}, promoted="t", verdict="pass")
    here = scene(gone, run("worse", accuracy=0.8), versions=(old,), tags={Tag.CHAMPION: "1"}, aliases={"champion": "1"})
    assert decide(m, here).alias == "1"
    assert decide(m, here).register is None
    better = replace(here, runs=(*here.runs, run("better", accuracy=0.95)))
    assert decide(m, better).register == better.runs[-1]


def test_a_superseded_champion_is_replaced_by_what_is_declared_now() -> None:
    """It was trained on other data: the numbers say nothing about each other."""
    m = model()
    old = version(1, "old", m, result={}, promoted="t", verdict="pass")
    new = version(2, "new", m, result={})
    here = scene(run("old", accuracy=0.99, superseded=True), run("new", accuracy=0.8), versions=(old, new), tags={Tag.CHAMPION: "1"})
    assert decide(m, here).alias == "2"


def test_the_champion_is_tried_before_its_challenger() -> None:
    m = model("d2", gates={"champion": {}, "evaluation": {"dataset": "table", "target": "y"}})
    here = scene(
        run("old", accuracy=0.8),
        run("new", accuracy=0.9),
        versions=(version(1, "old", m, promoted="t", verdict="pass"), version(2, "new", m)),
        tags={Tag.CHAMPION: "1"},
        aliases={"champion": "1"},
    )
    [first] = steps(m, here)
    assert isinstance(first, Try)
    assert first.judged.number == "1"


def test_a_reviewed_way_back_needs_no_comparison() -> None:
    m = model(approval="required", approved="1", gates={"champion": {"minEffect": 0.1}})
    one = version(1, "one", m, result={}, promoted="t1", verdict="pass")
    two = version(2, "two", m, result={}, promoted="t2", verdict="pass")
    here = scene(
        run("one", accuracy=0.8), run("two", accuracy=0.9), versions=(one, two), tags={Tag.CHAMPION: "2"}, aliases={"champion": "2"}
    )
    assert decide(m, here).alias == "1"
    never = replace(here, versions=(two, version(1, "one", m, result={}, verdict="pass")))
    assert decide(m, never).alias == "2"
    assert health(m, never).reason == "ApprovalRefused"


def test_approved_names_nothing() -> None:
    m = model(approval="required", approved="7")
    found = health(m, scene(run("one", accuracy=0.8), versions=(version(1, "one", m, result={}, verdict="pass"),)))
    assert (found.health, found.message) == (Health.DEGRADED, "`approved: 7` names no version and no finished run")


def test_an_alias_on_what_people_registered_is_left_alone_until_there_is_one_of_ours() -> None:
    m = model(gates={"minimum": {"accuracy": 0.9}})
    assert steps(m, scene(run("one", accuracy=0.8), aliases={"champion": "4"})) == ()


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from(["no", "bad", "good", "quarantined"])), max_size=8),
    st.booleans(),
    st.integers(0, 8),
)
def test_nothing_that_fails_or_is_quarantined_ever_gets_the_alias(
    drawn: list[tuple[float, bool, str]], approval: bool, champion: int
) -> None:
    m = model(gates={"minimum": {"accuracy": 0.3}}, **({"approval": "required", "approved": "2"} if approval else {}))
    runs = tuple(run(f"r{place}", accuracy=value, superseded=old) for place, (value, old, _) in enumerate(drawn))
    versions = tuple(
        version(place + 1, f"r{place}", m, result={"why": "" if how == "good" else "broken"}, verdict="pass", promoted="t")
        if how != "quarantined"
        else version(place + 1, f"r{place}", m, result={}, quarantined="why", promoted="t", verdict="pass")
        for place, (_, _, how) in enumerate(drawn)
        if how != "no"
    )
    here = scene(*runs, versions=versions, tags={Tag.CHAMPION: str(champion)} if champion else {})
    found = decide(m, here)
    assert len(found.walked) <= MOST
    chosen = here.version(found.alias)
    assert chosen is None or not chosen.quarantined
    if found.promote is not None:
        place = int(found.alias) - 1
        assert drawn[place][2] == "good"
        assert drawn[place][0] >= 0.3
        assert not approval or found.alias == "2"
    assert health(m, here).message or health(m, here).health is Health.HEALTHY


# --- trials ---


def test_a_trial_stands_as_notebook_runner_and_results_say() -> None:
    m, one = model(), version(1, "one", model())
    key = key_of(m.spec, one.digest, "")
    id = job_id(m.ref, key, 1)
    assert standing(m, scene(), one).how is How.WANTED
    live = scene(jobs={id: Progress(id, str(m.ref), "running")})
    assert standing(m, live, one).how is How.RUNS
    launched = Tries(key, 1)
    ended = scene(tries=launched, jobs={id: Progress(id, str(m.ref), "ended", why="used 2 GiB of 1 GiB granted", exit_code=-9)})
    assert (counted(ended, key).failed, standing(m, ended, one).how) == (1, How.WANTED)
    put_back = scene(tries=launched, jobs={id: Progress(id, str(m.ref), "ended", why="stopped: preempted")})
    assert counted(put_back, key).failed == 0
    last = standing(m, scene(tries=Tries(key, LAUNCHES, LAUNCHES - 1, "timeout after 5m")), one)
    assert last.how is How.DONE
    assert last.result is not None
    assert "timeout after 5m" in last.result.why
    lying_here = scene(results={key: TrialResult(one.digest, "sklearn")})
    assert standing(m, lying_here, one).how is How.DONE


def test_a_trial_waits_for_its_data_and_is_made_again_on_other_data() -> None:
    asked = {"gates": {"evaluation": {"dataset": "table", "target": "y", "minimum": 0.5}}}
    one = version(1, "one", model(**asked), result={})
    assert standing(model(**asked), scene(), one).how is How.DONE
    assert standing(model("d2", **asked), scene(), one).how is How.WANTED
    assert standing(model("", **asked), scene(), one).how is How.WAITS
    assert job_id(Ref("Model", "demo", "m"), "k" * 32, 1) != job_id(Ref("Model", "demo", "n"), "k" * 32, 1)


# --- evidence ---


def test_evidence_is_written_once_and_fits_into_a_tag() -> None:
    many = {f"metric_{number:03d}_{'x' * 100}": 0.5 for number in range(60)}
    m = model(gates={"minimum": many})
    one = version(1, "one", m, result={}, verdict="fail")
    judged = decide(m, scene(run("one", accuracy=0.9), versions=(one,))).judged[0]
    found = evidence(judged, False, "", m.spec)
    text = written(found, "2027-01-01T00:00:00Z")
    assert len(text) <= LONGEST
    tagged = Version(replace(one.info, tags={**one.info.tags, Tag.EVIDENCE: text}))
    assert is_written(found, tagged)
    assert not is_written({**found, "model": "other"}, tagged) or "model" not in json.loads(text)
    assert not is_written(found, Version(replace(tagged.info, tags={**tagged.info.tags, Tag.VERDICT: "pass"})))


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"key": 1}', '{"digest": "d", "runtime": "r", "metrics": {"accuracy": "high"}}'])
def test_what_people_wrote_over_a_trial_is_no_trial(text: str) -> None:
    assert Version(VersionInfo("demo.m", "1", "r", "", 0.0, {Tag.TRIAL: text})).trial is None
