"""A model from its runs to its alias, with a real MLflow: which run wins, what it must prove, who may stop it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.tools import artifacts, signing
from reconciler.errors import Terminal
from reconciler.model import Health, Resource, Started
from reconciler.runs.local import LocalRunner
from reconciler.testing import ServicesAt, make_context
from tests.contract.model_lab import DATA, ModelLab, digest, model_files

pytestmark = pytest.mark.xdist_group("mlflow")
_numbers = itertools.count(1)
OTHER = model_files(0.4)
"""Another model than the usual one."""


@pytest.fixture
def lab(tmp_path: Path, mlflow_url: str) -> ModelLab:
    ctx = make_context(tmp_path, services=ServicesAt({"mlflow": mlflow_url}))
    return ModelLab(ctx, mlflow_url, f"m{os.getpid():x}-{time.time_ns() // 1_000_000:x}-{next(_numbers)}")


def promoted(lab: ModelLab, **spec: Any) -> Resource[Any]:
    """A model with its first version in place."""
    lab.run("first", 0.90)
    model = lab.model(**spec)
    lab.tried(model)
    lab.settle(model)
    return model


# --- selection and gates ---


def test_the_best_run_becomes_a_version_with_evidence(lab: ModelLab) -> None:
    lab.run("worse", 0.8)
    best = lab.run("best", 0.93)
    model = lab.model(gates={"minimum": {"accuracy": 0.9}, "latency": "50ms"})
    lab.tried(model)
    last = lab.settle(model)
    assert last.health.health is Health.HEALTHY
    assert last.health.message == "v1 from best (accuracy 0.93), champion"
    [tags] = lab.versions().values()
    assert (tags["mlops.run"], tags["mlops.digest"], tags["mlops.dataset.digits"], tags["mlops.code"]) == (
        best,
        digest(model_files()),
        "aa11",
        "c0de",
    )
    assert tags["mlops.verdict"] == "pass"
    evidence = json.loads(tags["mlops.evidence"])
    assert evidence["trained"] == {"digits": "aa11"}
    assert [(each["name"], each["state"]) for each in evidence["gates"]] == [("accuracy", "pass"), ("trial", "pass"), ("latency", "pass")]
    outputs = last.outputs
    assert (outputs["alias"], outputs["version"], outputs["run"], outputs["memory"]) == ("champion", "1", best, str(64 << 20))
    assert outputs["source"] == f"{lab.experiment}/{best}/artifacts/model"
    assert json.loads(outputs["runtimes"]) == ["sklearn"]
    assert json.loads(outputs["needs"])["madeWith"] == {"scikit-learn": "1.9.1"}
    assert json.loads(outputs["versions"])["1"]["verdict"] == "pass"


def test_a_failing_best_run_leads_to_the_next_best(lab: ModelLab) -> None:
    lab.run("fast", 0.95, loss=0.9)
    lab.run("good", 0.91, OTHER, loss=0.1)
    model = lab.model(gates={"maximum": {"loss": 0.5}})
    lab.tried(model, OTHER)
    last = lab.settle(model)
    assert last.health.message.startswith("v1 from good (accuracy 0.91), champion")
    assert len(lab.versions()) == 1, "a run that fails what it has logged is never registered"


def test_no_run_passes(lab: ModelLab) -> None:
    lab.run("only", 0.85)
    last = lab.settle(lab.model(gates={"minimum": {"accuracy": 0.9}}))
    assert last.health.health is Health.DEGRADED
    assert last.health.stalled
    assert last.health.message == "no run passes: of the best, only (accuracy 0.85), accuracy is 0.85, and at least 0.9 is asked for"
    assert last.outputs["version"] == ""


def test_runs_without_the_files_are_passed_over(lab: ModelLab) -> None:
    empty = lab.tracking.run(lab.experiment, lab.name, "empty", {}, accuracy=0.99)
    broken = lab.tracking.run(lab.experiment, lab.name, "broken", {"mlops.json": b"{}"}, accuracy=0.98)
    model = promoted(lab)
    last = lab.settle(model)
    assert last.health.message.startswith("v1 from first (accuracy 0.9), champion")
    refused = lab.ctx.memo(model.ref)["refused"]
    assert "no artifact" in refused[f"{empty}/model"]
    assert "runtimes" in refused[f"{broken}/model"]


def test_a_failed_trial_leads_to_the_next_best(lab: ModelLab) -> None:
    lab.run("slow", 0.95)
    lab.run("quick", 0.91, OTHER)
    model = lab.model(gates={"latency": "10ms"})
    lab.tried(model, p95=0.2)
    lab.tried(model, OTHER)
    last = lab.settle(model)
    assert last.health.message.startswith("v2 from quick (accuracy 0.91), champion")
    assert lab.versions()["1"]["mlops.verdict"] == "fail"
    assert "at most 10 ms" in lab.versions()["1"]["mlops.evidence"]


def test_it_waits_for_the_experiments_runs(lab: ModelLab) -> None:
    lab.run("first", 0.9)
    page = lab.ctx.memo(lab.experiment_ref)
    page.pop("settled")
    page["open"] = ["abc"]
    model = lab.model()
    lab.tried(model)
    last = lab.settle(model)
    assert (last.health.health, last.health.reason) == (Health.PROGRESSING, "WaitingForRuns")
    assert lab.versions() == {}
    page["open"] = []
    assert lab.settle(model).health.health is Health.HEALTHY


# --- the champion ---


def test_a_challenger_must_be_better_by_the_minimum_effect(lab: ModelLab) -> None:
    model = promoted(lab, gates={"champion": {"minEffect": 0.02}})
    lab.run("slightly", 0.91, OTHER)
    last = lab.settle(model)
    assert last.outputs["version"] == "1"
    assert len(lab.versions()) == 1
    lab.run("clearly", 0.92, OTHER)
    lab.tried(model, OTHER)
    last = lab.settle(model)
    assert last.health.message == "v2 from clearly (accuracy 0.92), champion"
    assert "0.92 against 0.9" in lab.versions()["2"]["mlops.evidence"]
    assert lab.tracking.aliases(lab.registered) == {"champion": "2"}


def test_a_quarantined_champion_gives_way_to_the_last_good_version(lab: ModelLab) -> None:
    model = promoted(lab)
    lab.run("second", 0.95, OTHER)
    lab.tried(model, OTHER)
    assert lab.settle(model).outputs["version"] == "2"
    lab.tracking.tag_version(lab.registered, "2", "mlops.quarantined", "answers nonsense")
    assert lab.see(model).outputs["version"] == "1", "told at once, before anything is written"
    pass_ = lab.reconcile(model)
    assert [(each.path, each.have, each.want) for each in pass_.diff] == [("alias.champion", "2", "1")]
    assert "answers nonsense" in pass_.diff[0].note
    assert lab.tracking.aliases(lab.registered) == {"champion": "1"}
    lab.tracking.tag_version(lab.registered, "1", "mlops.quarantined", "this one too")
    last = lab.settle(model)
    assert lab.tracking.aliases(lab.registered) == {}
    assert last.health.health is Health.DEGRADED
    assert "quarantined" in last.health.message
    assert json.loads(last.outputs["versions"])["2"]["quarantined"] == "answers nonsense"


# --- approval ---


def test_approval_is_asked_for_and_given(lab: ModelLab) -> None:
    lab.run("first", 0.9)
    model = lab.model(approval="required")
    lab.tried(model)
    last = lab.settle(model)
    assert (last.health.health, last.health.reason) == (Health.SUSPENDED, "AwaitingApproval")
    assert 'approved: "1"' in last.health.message
    assert lab.tracking.aliases(lab.registered) == {}
    approved = lab.model(approval="required", approved="1")
    assert lab.reconcile(approved).paths == ["alias.champion"]
    lab.run("second", 0.95, OTHER)
    lab.tried(model, OTHER)
    last = lab.settle(approved)
    assert (last.outputs["version"], last.health.reason) == ("1", "AwaitingApproval")
    assert last.health.health is Health.HEALTHY
    assert 'approved: "2"' in last.health.message


def test_an_approved_version_that_failed_is_refused(lab: ModelLab) -> None:
    run = lab.run("only", 0.9)
    model = lab.model(approval="required", approved=run, gates={"latency": "1ms"})
    lab.tried(model)
    last = lab.settle(model)
    assert (last.health.health, last.health.reason) == (Health.DEGRADED, "ApprovalRefused")
    assert "latency is 4 ms" in last.health.message
    assert lab.tracking.aliases(lab.registered) == {}


# --- evaluation ---


def test_new_evaluation_data_judges_champion_and_challenger_again(lab: ModelLab) -> None:
    lab.inputs[DATA] = {"digest": "d1", "path": "data/table.csv"}
    evaluation = {"dataset": "table", "target": "label", "minimum": 0.5}
    lab.run("first", 0.90)
    model = lab.model(gates={"evaluation": evaluation, "champion": {"minEffect": 0.05}})
    lab.tried(model, data="d1", rows=100, metrics={"accuracy": 0.8})
    assert lab.settle(model).outputs["version"] == "1"
    lab.run("second", 0.95, OTHER)
    lab.tried(model, OTHER, data="d1", rows=100, metrics={"accuracy": 0.82})
    assert lab.settle(model).outputs["version"] == "1", "better in training, not on the data that counts"
    lab.inputs[DATA] = {"digest": "d2", "path": "data/table.csv"}
    later = lab.model(gates={"evaluation": evaluation, "champion": {"minEffect": 0.05}})
    lab.tried(later, OTHER, data="d2", rows=100, metrics={"accuracy": 0.9})
    pass_ = lab.reconcile(later, grant=False)
    assert lab.see(later).outputs["version"] == "1", "the champion has not been asked yet"
    lab.tried(later, data="d2", rows=100, metrics={"accuracy": 0.6})
    last = lab.settle(later)
    assert last.outputs["version"] == "2", pass_.diff
    assert json.loads(lab.versions()["2"]["mlops.evidence"])["evaluation"] == {"dataset": "table", "digest": "d2", "rows": 100}


def test_too_few_rows_give_no_verdict(lab: ModelLab) -> None:
    lab.inputs[DATA] = {"digest": "d1", "path": "data/table.csv"}
    lab.run("first", 0.90)
    model = lab.model(gates={"evaluation": {"dataset": "table", "target": "label", "minimum": 0.5}})
    lab.tried(model, data="d1", rows=12, metrics={"accuracy": 0.8})
    last = lab.settle(model)
    assert (last.health.health, last.health.reason) == (Health.DEGRADED, "NoVerdict")
    assert lab.versions()["1"]["mlops.verdict"] == "hold"


# --- the trial itself ---


@pytest.fixture
def trying(lab: ModelLab) -> Iterator[ModelLab]:
    """With a runner; its folder is short-lived."""
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir="/tmp"))
    runner = LocalRunner(folder, lambda: None)
    lab.ctx = replace(lab.ctx, state_dir=folder, jobs=runner)
    yield lab
    for each in runner.look().values():
        runner.stop(each.id, "the test is over")
    deadline = time.monotonic() + 20
    while any(each.state not in ("ended", "lost") for each in runner.look().values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def tried(lab: ModelLab, model: Resource[Any], seconds: float = 120.0) -> Any:
    """Passes until nothing runs and nothing is left to do."""
    deadline = time.monotonic() + seconds
    while (last := lab.reconcile(model)).outcome is not None or last.health.health is Health.PROGRESSING:
        assert time.monotonic() < deadline, f"{last.health} {lab.ctx.jobs.look() if lab.ctx.jobs else None}"
        time.sleep(0.3)
    return last


def test_a_real_trial_on_real_data(trying: ModelLab) -> None:
    """The best one breaks when it is asked, the next one passes on the data."""
    (trying.ctx.root / "data").mkdir()
    table = "x,label\n" + "".join(f"{i / 40},{int(i > 20)}\n" for i in range(40))
    (trying.ctx.root / "data" / "table.csv").write_text(table)
    saved = hashlib.md5(table.encode()).hexdigest()
    trying.inputs[DATA] = {"digest": saved, "path": "data/table.csv"}
    broken = {**model_files(), "network.py": b"def load(folder):\n    raise RuntimeError('no weights')\n"}
    trying.run("broken", 0.95, broken)
    trying.run("sound", 0.90)
    model = trying.model(gates={"evaluation": {"dataset": "table", "target": "label", "minimum": 0.9}}, trial={"requests": 10})
    first = trying.reconcile(model)
    assert isinstance(first.outcome, Started), "the registered model is there; a trial waits for its lease"
    last = tried(trying, model)
    assert last.health.message.startswith("v2 from sound (accuracy 0.9), champion")
    assert "no weights" in trying.versions()["1"]["mlops.evidence"]
    shown = json.loads(trying.versions()["2"]["mlops.trial"])
    assert (shown["rows"], shown["metrics"]["accuracy"], shown["data"]) == (40, 1.0, saved)
    assert int(last.outputs["memory"]) > 8 << 20


def test_a_trial_needs_a_lease_and_room_is_asked_for_it_alone(trying: ModelLab) -> None:
    trying.run("first", 0.9)
    model = trying.model(trial={"resources": {"memory": "300Mi", "cpu": "500m"}})
    trying.reconcile(model)
    trying.tracking.post("registered-models/set-tag", name=trying.registered, key="mlops.alias", value="other")
    both = trying.reconcile(model)
    assert both.demand is None, "what needs no room does not wait for any"
    waiting = trying.reconcile(model, grant=False)
    assert waiting.demand is not None
    assert (waiting.demand.peak.memory, waiting.demand.peak.cpu, waiting.demand.fresh) == (300 << 20, 500, False)
    assert trying.ctx.jobs is not None
    assert not trying.ctx.jobs.look()


def test_files_changed_in_mlflow_never_get_the_alias(trying: ModelLab) -> None:
    run = trying.run("first", 0.9)
    model = trying.model()
    trying.reconcile(model)
    trying.tracking.upload(trying.experiment, run, "model/network.py", b"import os\n")
    shutil.rmtree(trying.ctx.state_dir / "serving" / "models")
    last = tried(trying, model)
    assert last.health.health is Health.DEGRADED
    assert "tampered" in last.health.message
    assert trying.tracking.aliases(trying.registered) == {}


# --- signatures ---


def test_versions_are_signed_and_a_changed_signature_is_found(trying: ModelLab, monkeypatch: pytest.MonkeyPatch) -> None:
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
    monkeypatch.setenv("MODEL_KEY", subprocess.run(make, capture_output=True, text=True, check=True).stdout)
    run = trying.run("first", 0.9)
    model = trying.model(sign={"key": {"fromEnv": "MODEL_KEY"}})
    trying.tried(model)
    last = trying.settle(model)
    folder = artifacts.fetch(trying.fresh(), last.outputs["source"], last.outputs["digest"])
    signature = artifacts.read(trying.fresh(), last.outputs["signature"])
    signing.verify(folder, signature, last.outputs["publicKey"])
    monkeypatch.setenv("MODEL_KEY", subprocess.run(make, capture_output=True, text=True, check=True).stdout)
    again = trying.reconcile(model)
    assert again.paths == ["versions.1.signature"], "another key signs anew"
    signing.verify(folder, artifacts.read(trying.fresh(), again.outputs["signature"]), again.outputs["publicKey"])
    trying.tracking.upload(trying.experiment, run, again.outputs["signature"].partition("/artifacts/")[2], b"{}")
    other = trying.model(sign={"key": {"fromEnv": "MODEL_KEY"}}, trial={"requests": 11})
    last = tried(trying, other)
    assert "signature does not cover" in last.health.message
    monkeypatch.delenv("MODEL_KEY")
    locked = trying.see(model)
    assert trying.kind.health(model, locked).reason == "CannotSign"
    assert locked.outputs["publicKey"] == again.outputs["publicKey"], "without the key, files are still checked"
    with pytest.raises(Terminal):
        signing.verify(folder, b"{}", locked.outputs["publicKey"])
