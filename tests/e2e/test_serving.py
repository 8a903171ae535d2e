"""From a run to an endpoint that changes under load, through the program alone, on real MLflow, Ray Serve and BentoML.

The tests of this file share one installation and build on each other: each leaves a deployment that serves. Those that take minutes
are part of the long matrix; docs/serving.md walks through a canary and a rollback in any case."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.load import Load
from reconciler.converge import converge
from reconciler.house import open_house
from reconciler.platform.process import fallen
from reconciler.selection import Selection
from reconciler.settings import Settings
from tests.e2e.installation import RECONCILE, Installation
from tests.e2e.serving import deployment, gateway, model, route, train
from tests.e2e.training import until

pytestmark = pytest.mark.xdist_group("serving")
BODY = json.dumps({"instances": [{"x": 2}]}).encode()


@pytest.fixture
def here(serving: Installation) -> Installation:
    return serving


def url(here: Installation, name: str = "double") -> str:
    return f"{gateway(here)[0]}/predict/{here.env['NAME']}/{name}"


def ask(here: Installation, value: float = 2) -> httpx.Response:
    return httpx.post(url(here), json={"instances": [{"x": value}]}, headers=gateway(here)[1], timeout=30, trust_env=False)


def load(here: Installation, workers: int = 4) -> Load:
    return Load(url(here), BODY, gateway(here)[1], workers=workers)


def ref(here: Installation) -> str:
    return f"deployment/{here.env['NAME']}/double"


def told(here: Installation) -> dict[str, Any]:
    found: dict[str, Any] = here.status()[ref(here)]
    return found


def test_a_trained_model_answers_and_says_where_it_comes_from(here: Installation) -> None:
    answer = ask(here)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [4]
    assert answer.headers["x-model-version"] == "1"
    assert len(answer.headers["x-model-run"]) == 32
    again, calls = here.wire()
    assert "No changes" in again.out, again.text
    assert [each for each in calls if each["write"]] == []
    with_no_key = httpx.post(url(here), json={"instances": []}, timeout=10, trust_env=False)
    assert with_no_key.status_code == 401


def test_a_new_version_takes_over_without_a_failed_request(here: Installation) -> None:
    with load(here) as client:
        train(here, factor=3, accuracy=0.6)
        here.ok("--wait", timeout=300)
        time.sleep(1)
    assert client.failed() == []
    assert client.versions().keys() == {"1", "2"}
    assert ask(here).json()["predictions"] == [6]


def test_replicas_come_and_go_and_a_serve_controller_that_is_killed_meanwhile_costs_nothing(here: Installation) -> None:
    with load(here, workers=8) as client:
        deployment(here, "  replicas: {min: 2}\n")
        here.ok("--wait", timeout=300)
        assert _replicas(here) == 2
        deployment(here)
        here.run(timeout=300)
        controller = next(each for each in _processes(here) if "ServeController" in each.name() + " ".join(each.cmdline()))
        controller.kill()  # while one of the two ends: Serve comes back, and may take the wrong one for alive
        until(lambda: _replicas(here) == 1, 180)
        here.ok("--wait", timeout=300)
    assert client.failed() == []
    assert ask(here).json()["predictions"] == [6]


def test_a_gateway_that_dies_is_started_by_the_loop_at_once(here: Installation) -> None:
    log = here.root / "watch.log"
    with log.open("w") as out:
        loop = subprocess.Popen([RECONCILE, "watch", "--every", "300s"], cwd=here.root, env=here.environment, stdout=out, stderr=out)
    try:
        until(lambda: " Ready (" in log.read_text(), 180)  # its first pass
        _kill_gateway(here)
        until(lambda: _answers(here), 120)  # although the next look at the tools is minutes away
    finally:
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(timeout=60) == 0, log.read_text()
    assert "gateway" in here.run("history", "platform/test").out


def test_what_died_is_there_again_before_a_pass_looks_at_anything(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.root)  # as the program: to another path it would be another tree
    _kill_gateway(here)
    house, dead = open_house(Settings()), list[frozenset[str]]()
    assert fallen(house.settings.state) == {"gateway"}
    converge(Selection(), house, on_proposal=lambda _: dead.append(fallen(house.settings.state)))
    assert dead == [frozenset()]
    until(lambda: _answers(here), 120)


CANARY = "  rollout:\n    strategy: canary\n    steps: [{weight: 30, hold: 5s}]\n    gates: {errorRate: 0.02, minRequests: 10}\n"


@pytest.mark.full
def test_a_canary_is_promoted_when_its_gates_say_yes(here: Installation) -> None:
    with load(here) as client:
        deployment(here, CANARY)
        train(here, factor=4, accuracy=0.7)
        here.ok("--wait", timeout=300)
    assert client.failed() == []
    assert ask(here).json()["predictions"] == [8]


@pytest.mark.full
def test_a_canary_that_fails_is_taken_back_and_stays_out(here: Installation) -> None:
    with load(here) as client:
        train(here, factor=5, accuracy=0.8, trouble="late")
        here.run("--wait", timeout=300)
    failed = client.failed()
    assert failed, "the canary was never asked often enough to fail"
    assert len(failed) < len(client.answers) / 4
    assert ask(here).json()["predictions"] == [8], "the old one serves on"
    assert told(here)["health"] == "Degraded"
    assert "was taken back: errors" in told(here)["message"], told(here)
    here.run("--wait", timeout=300)
    assert ask(here).json()["predictions"] == [8], "a later pass does not bring it back"
    assert [each["weight"] for each in route(here)["targets"]] == [100]


@pytest.mark.full
@pytest.mark.parametrize(
    ("trouble", "factor", "said"),
    [
        ("load", 6, "weights do not fit"),
        ("shape", 6.1, "is not as `output` has it"),
        ("slow", 6.2, "latency"),
        ("leak", 6.3, "memory"),
    ],
)
def test_a_broken_model_never_gets_traffic(here: Installation, trouble: str, factor: float, said: str) -> None:
    model(here, "  gates: {latency: 150ms}\n")
    with load(here) as client:
        train(here, factor=factor, accuracy=0.85, trouble=trouble)
        here.run("--wait", timeout=300)
    assert client.failed() == []
    assert len(client.versions()) == 1
    assert said in here.run("status", f"model/{here.env['NAME']}/doubler").out
    assert ask(here).json()["predictions"] == [8], "the old one serves on"


@pytest.mark.full
def test_a_rollback_by_hand_survives_the_next_pass(here: Installation) -> None:
    deployment(here)
    train(here, factor=7, accuracy=0.9)
    here.run("--wait", timeout=300)
    assert ask(here).json()["predictions"] == [14]
    with load(here) as client:
        done = here.run("rollback", ref(here), "--reason", "numbers are too large", timeout=300)
    assert "numbers are too large" in done.text or done.code in (0, 1)
    assert client.failed() == []
    assert ask(here).json()["predictions"] == [8]
    here.run("--wait", timeout=300)
    assert ask(here).json()["predictions"] == [8]
    assert "numbers are too large" in here.run("status", "--all").out


@pytest.mark.full
def test_files_that_are_not_those_that_were_signed_are_refused(here: Installation, mlflow_url: str) -> None:
    key = here.root / ".mlops" / "signing.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)], check=True, capture_output=True)
    model(here, f"  sign: {{key: {{fromFile: '{key}'}}}}\n")
    deployment(here)
    (here.root / "manifests" / "double.yaml").rename(here.root / "double.yaml")
    train(here, factor=8, accuracy=0.95)
    here.run("--wait", "--kind", "Experiment", "--kind", "Model", timeout=300)
    _tamper(here, mlflow_url)
    shutil.rmtree(here.root / ".mlops/serving/models")  # what was verified when it was registered
    (here.root / "double.yaml").rename(here.root / "manifests" / "double.yaml")
    ran = here.run("--wait", timeout=300)
    assert "tampered" in ran.text
    assert ask(here).json()["predictions"] != [17]
    assert "tampered" in here.run("status", "--all").out


def test_everything_of_a_deleted_deployment_goes(here: Installation) -> None:
    (here.root / "manifests" / "model.yaml").rename(here.root / "model.yaml")
    held = here.run("--wait", timeout=300)
    assert "still used by" in held.text or "there is no Model" in held.text
    (here.root / "model.yaml").rename(here.root / "manifests" / "model.yaml")
    (here.root / "manifests" / "double.yaml").unlink()
    here.run("--wait", timeout=300)
    assert httpx.post(url(here), content=BODY, headers=gateway(here)[1], timeout=10, trust_env=False).status_code == 404
    until(lambda: _replicas(here) == 0, 120)
    assert not list((here.root / ".mlops/bentoml/bentos").glob(f"{here.env['NAME']}.double/*"))
    assert ref(here) not in here.status()


def _kill_gateway(here: Installation) -> None:
    gone = psutil.Process(json.loads((here.root / ".mlops/services/gateway/record.json").read_text())["pid"])
    gone.kill()
    psutil.wait_procs([gone], timeout=10)


def _answers(here: Installation) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return ask(here).status_code == 200
    return False


def _tamper(here: Installation, mlflow_url: str) -> None:
    """Exchange a file of the newest version where MLflow keeps it."""
    api = httpx.Client(base_url=f"{mlflow_url}/api/2.0", timeout=30, trust_env=False)
    named = {"filter": f"name='{here.env['NAME']}.doubler'"}
    versions = api.get("/mlflow/model-versions/search", params=named).json()["model_versions"]
    run = max(versions, key=lambda each: int(each["version"]))["run_id"]
    uri = api.get("/mlflow/runs/get", params={"run_id": run}).json()["run"]["info"]["artifact_uri"]
    path = uri.partition("mlflow-artifacts:/")[2].lstrip("/")
    api.put(f"/mlflow-artifacts/artifacts/{path}/model/settings.json", content=b'{"factor": 8.5, "trouble": "none"}').raise_for_status()


def _processes(here: Installation) -> list[psutil.Process]:
    """Of the Ray head of this installation, with all below it."""
    pid = json.loads((here.root / ".mlops/services/ray/record.json").read_text())["pid"]
    return psutil.Process(pid).children(recursive=True)


def _replicas(here: Installation) -> int:
    """Replica processes that live: those that hold their lock."""
    from reconciler.serving.register import standing

    return sum(len(each) for each in standing(here.root / ".mlops").values())
