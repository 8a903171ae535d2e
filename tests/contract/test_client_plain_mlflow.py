"""Plain `mlflow` code in a project is tagged through MLflow's own plugins, as the package's metadata declares them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from reconciler.client.mlflow_context import PlatformContext
from tests.contract.client_lab import Seen, client, installed, tags
from tests.e2e.installation import REPOSITORY

pytestmark = pytest.mark.xdist_group("mlflow")
PROGRAM = """
import mlflow, sys
mlflow.set_experiment(sys.argv[1])
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 1.0)
print(run.info.run_id)
"""


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """The package's entry points for MLflow, as an installation of this tree would have them."""
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"]["mlflow.run_context_provider"]
    place = tmp_path / "metadata" / "client_of_this_tree-1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: client-of-this-tree\nVersion: 1\n")
    lines = [f"{name} = {value}" for name, value in declared.items()]
    (place / "entry_points.txt").write_text("\n".join(["[mlflow.run_context_provider]", *lines, ""]))
    return place.parent


def test_a_run_of_plain_mlflow_says_project_data_and_machine(tmp_path: Path, mlflow_url: str, metadata: Path) -> None:
    here, name = installed(tmp_path / "lab", mlflow_url)
    here.write({f"code/{name}/words.csv": "x\n1\n"})
    made = client(here, name).version_dataset("words", "words.csv")
    paths = os.pathsep.join([str(metadata), str(REPOSITORY)])
    env = {**here.environment, "PYTHONPATH": paths, "MLFLOW_TRACKING_URI": mlflow_url}
    command = [sys.executable, "-c", PROGRAM, f"{name}/plain"]
    done = subprocess.run(command, cwd=here.root / "code" / name, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = tags(Seen(mlflow_url).run(done.stdout.split()[-1]))
    assert (told["mlops.project"], told["mlops.ref"], told["mlops.installation"]) == (name, f"unmanaged:{name}", "client-test")
    assert told["mlops.context.python"] == ".".join(map(str, sys.version_info[:3]))
    assert json.loads(told["mlops.data"]) == {"words": made.version}
    assert "mlops.dataset.words" not in told


def test_what_a_run_was_given_to_read_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, name = installed(tmp_path, "http://127.0.0.1:9")
    here.write({f"code/{name}/words.csv": "x\n1\n"})
    made = client(here, name).version_dataset("words", "words.csv")
    monkeypatch.chdir(here.root / "code" / name)
    monkeypatch.setenv("MLOPS_DATASETS", json.dumps({"words": "words.csv", "other": "x"}))
    assert PlatformContext().in_context()
    assert PlatformContext().tags()["mlops.dataset.words"] == made.version


def test_outside_of_an_installation_it_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not PlatformContext().in_context()
    assert PlatformContext().tags() == {}
    here, name = installed(tmp_path / "lab", "http://127.0.0.1:9")
    monkeypatch.chdir(here.root)  # in an installation, in no project's folder
    assert not PlatformContext().in_context()
    monkeypatch.setenv("MLOPS_PROJECT", name)
    assert PlatformContext().tags()["mlops.project"] == name
