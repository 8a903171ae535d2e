"""Every method of the client with each tool in turn down: it works all the same, keeps what it is given until the tool is back, or says
who does not answer. None hangs, none loses anything silently."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from reconciler.client import ClientError, MLOpsClient, MLOpsWarning, Unavailable
from reconciler.client.asynchronous import Aio
from tests.contract.client_lab import Line, Seen, client, installed, line
from tests.e2e.installation import Installation, dataset, experiment

pytestmark = pytest.mark.xdist_group("mlflow")
Tool = Literal["mlflow", "remote", "gateway", "installation"]
TOOLS: tuple[Tool, ...] = ("mlflow", "remote", "gateway", "installation")
Outcome = Literal["works", "kept", "unavailable", "unknown"]
"""`kept`: taken, with a warning, and delivered later. `unknown`: an answer that says that it is none."""
BOUND = 20.0
"""Seconds that a call may take while a tool is away: with patience for tests a call gives up after two tries."""


@dataclass
class Lab:
    """An applied installation with data, a remote, a model's folder, and a line to MLflow that can be cut."""

    here: Installation
    name: str
    wire: Line
    seen: Seen
    note: Path
    model: Path
    version: str


@dataclass(frozen=True)
class Case:
    """A method: how it is called, and what comes of it while each tool is away (left out: it works)."""

    call: Callable[[MLOpsClient, Lab], Any]
    away: dict[Tool, Outcome]


def _within(what: Callable[[MLOpsClient, Lab], Any]) -> Callable[[MLOpsClient, Lab], Any]:
    """In a run."""

    def call(ours: MLOpsClient, lab: Lab) -> Any:
        with ours.start_run("words"):
            return what(ours, lab)

    return call


def _tracked(ours: MLOpsClient, _: Lab) -> None:
    @ours.track_experiment("words")
    def train(rate: float) -> float:
        return rate

    train(rate=0.1)


KEPT: dict[Tool, Outcome] = {"mlflow": "kept"}
CASES: dict[str, Case] = {
    "create_experiment": Case(lambda ours, _: ours.create_experiment("words"), KEPT),
    "start_run": Case(_within(lambda ours, _: None), KEPT),
    "log_params": Case(_within(lambda ours, _: ours.log_params({"rate": 0.1})), KEPT),
    "log_metrics": Case(_within(lambda ours, _: ours.log_metrics({"loss": 1.0})), KEPT),
    "log_metrics_batch": Case(_within(lambda ours, _: ours.log_metrics_batch([{"loss": 1.0}, {"loss": 0.5}])), KEPT),
    "log_artifact": Case(_within(lambda ours, lab: ours.log_artifact(lab.note)), KEPT),
    "log_model": Case(_within(lambda ours, lab: ours.log_model(lab.model)), KEPT),
    "set_tags": Case(_within(lambda ours, _: ours.set_tags({"stage": "test"})), KEPT),
    "track_experiment": Case(_tracked, KEPT),
    "log_apple_silicon_metrics": Case(_within(lambda ours, _: ours.log_apple_silicon_metrics()), KEPT),
    "collect_apple_silicon_metrics": Case(lambda ours, _: ours.collect_apple_silicon_metrics(), {}),
    "version_dataset": Case(lambda ours, _: ours.version_dataset("words"), {}),
    "dvc_add": Case(lambda ours, _: ours.dvc_add("words.csv"), {}),
    "load_data_version": Case(lambda ours, lab: ours.load_data_version("words", lab.version).path.read_text(), {}),
    "dvc_push": Case(lambda ours, _: ours.dvc_push("words"), {"remote": "unavailable"}),
    "dvc_pull": Case(lambda ours, _: ours.dvc_pull("words"), {}),
    "should_run_task": Case(lambda ours, _: ours.should_run_task(memory="64Mi"), {"installation": "unknown"}),
    "get_status": Case(lambda ours, _: ours.get_status(), {"installation": "unknown"}),
    "get_workspace_path": Case(lambda ours, _: ours.get_workspace_path("tmp"), {}),
    "resources": Case(lambda ours, _: ours.resources("Dataset").list(), {"installation": "unknown"}),
    "datasets": Case(lambda ours, _: ours.datasets.get("words").spec["path"], {"installation": "unknown"}),
    "experiments": Case(lambda ours, _: ours.experiments.list(), {"installation": "unknown"}),
    "models": Case(lambda ours, _: ours.models.list(), {"installation": "unknown"}),
    "deployments": Case(lambda ours, _: ours.deployments.list(), {"installation": "unknown"}),
    "monitors": Case(lambda ours, _: ours.monitors.list(), {"installation": "unknown"}),
    "workflows": Case(lambda ours, _: ours.workflows.list(), {"installation": "unknown"}),
    "deploy_model": Case(lambda ours, _: ours.deploy_model("urgent@champion"), {}),
    "monitor_predictions": Case(lambda ours, _: ours.monitor_predictions("urgent", window="1h"), {}),
    "set_reference_data": Case(lambda ours, _: ours.set_reference_data("urgent", "words"), {}),
    "predict": Case(lambda ours, _: ours.predict("urgent", [{"x": 1}]), {"gateway": "unavailable"}),
    "log_labels": Case(lambda ours, _: ours.log_labels("urgent", {"1": "yes"}), {"gateway": "unavailable"}),
    "logged_predictions": Case(lambda ours, _: list(ours.logged_predictions("urgent")), {}),
    "flush": Case(lambda ours, _: ours.flush(), {}),
    "waiting": Case(lambda ours, _: ours.waiting(), {}),
    "close": Case(lambda ours, _: ours.close(), {}),
    "aio": Case(lambda ours, _: asyncio.run(ours.aio.create_experiment("words")), KEPT),
}
BELOW_A_GATEWAY = ("predict", "log_labels")
"""Those that need a gateway which serves: with the other tools down they are tried in tests/e2e/test_client_example.py."""
NOT_CALLS = frozenset({"project", "from_project", "place"})
"""What asks no tool: a client is made before any tool is there."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("down")
    with line(mlflow_url) as wire:
        here, name = installed(folder, wire.url)
        platform = here.root / "manifests" / "platform.yaml"
        platform.write_text(f"{platform.read_text()}  dvc: {{remotes: [{{name: shelf, url: shelf}}]}}\n")
        model = (
            f"---\napiVersion: reconciler.mlops/v1\nkind: Model\nmetadata: {{name: urgent, project: {name}}}\nspec: {{experiment: rate}}\n"
        )
        here.write({"manifests/words.yaml": dataset("words", name, "words.csv")})
        here.write({f"manifests/{name}-models.yaml": experiment("rate", name) + model, f"code/{name}/words.csv": "x,y\n1,2\n"})
        here.ok()
        note, made = folder / "note.txt", folder / "model"
        note.write_text("kept")
        made.mkdir()
        (made / "MLmodel").write_text("flavors: {}\n")
        version = client(here, name).version_dataset("words", "words.csv").version
        with client(here, name) as ours:
            ours.deploy_model("urgent@champion")
            ours.monitor_predictions("urgent", window="1h")
        yield Lab(here, name, wire, Seen(mlflow_url), note, made, version)


@pytest.fixture
def ours(lab: Lab, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MLOpsClient]:
    """A client that meets one tool which is down."""
    tool: Tool = request.param
    platform = lab.here.root / "manifests" / "platform.yaml"
    before = platform.read_text()
    if tool == "remote":
        away = (
            "{name: shelf, url: 's3://b/p', endpointUrl: 'http://127.0.0.1:9', accessKeyId: {fromEnv: AK}, secretAccessKey: {fromEnv: SK}}"
        )
        platform.write_text(before.replace("{name: shelf, url: shelf}", away))
        for key, value in {"AK": "key", "SK": "hunter2hunter2", "AWS_MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(key, value)
        (lab.here.root / ".mlops" / "dvc" / "projects" / lab.name / ".dvc" / "config").unlink(missing_ok=True)
    if tool == "installation":
        monkeypatch.setenv("MLOPS_API", "http://127.0.0.1:9")
    if tool == "mlflow":
        lab.wire.cut()
    try:
        yield client(lab.here, lab.name)
    finally:
        platform.write_text(before)
        if tool == "mlflow":
            lab.wire.mend()
            time.sleep(0.3)  # the circuit is open for so long at most


def test_the_table_has_every_method() -> None:
    named = {name for name in vars(MLOpsClient) if not name.startswith("_")} - NOT_CALLS
    assert named == set(CASES)
    assert {name for name in vars(Aio) if not name.startswith("_")} <= named


def _pairs() -> Iterator[Any]:
    for tool in TOOLS:
        for name in CASES:
            if name not in BELOW_A_GATEWAY or tool == "gateway":
                yield pytest.param(tool, name, id=f"{tool}-{name}")


@pytest.mark.parametrize(("ours", "name"), list(_pairs()), indirect=["ours"])
def test_a_tool_that_is_down(ours: MLOpsClient, name: str, lab: Lab, request: pytest.FixtureRequest) -> None:
    tool = request.node.callspec.params["ours"]
    case, began = CASES[name], time.monotonic()
    outcome = case.away.get(tool, "works")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if outcome == "unavailable":
            with pytest.raises(Unavailable) as refused:
                case.call(ours, lab)
            assert str(refused.value)
            assert "hunter2" not in str(refused.value)
        else:
            answer = case.call(ours, lab)
    assert time.monotonic() - began < BOUND
    ones = [str(each.message) for each in told if issubclass(each.category, MLOpsWarning)]
    if outcome == "works":
        assert not ones
    if outcome == "kept":
        assert len(ones) == 1, "said once"
        assert "does not answer" in ones[0]
        waiting = ours.waiting()
        assert waiting > 0
        with pytest.raises(ClientError):
            ours.flush()
        lab.wire.mend()
        time.sleep(0.3)
        assert ours.flush() == waiting
        assert ours.waiting() == 0
    if name == "get_status":  # it tells of each, in place of a warning
        assert set(answer.troubles) == {"installation": {"reconcile"}, "mlflow": {"mlflow"}}.get(tool, set())
    elif outcome == "unknown":
        assert ones
    if name == "should_run_task" and outcome == "unknown":
        assert not answer
        assert answer.reason == "Unknown"
