"""The client finds its installation, says what is wrong where it does not, and costs nothing to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.client import MLOpsClient, NotConfigured
from reconciler.client.place import secret
from tests.contract.client_lab import installed
from tests.e2e.installation import REPOSITORY, project

URL = "http://127.0.0.1:9"


def test_from_within_the_projects_folder_nothing_has_to_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, _ = installed(tmp_path, URL, "speech")
    here.write({"manifests/inner.yaml": project("inner").replace("code/inner", "code/speech/inner"), "code/speech/inner/x.py": ""})
    monkeypatch.chdir(here.root / "code" / "speech")
    assert MLOpsClient.from_project().project == "speech"
    monkeypatch.chdir(here.root / "code" / "speech" / "inner")
    found = MLOpsClient.from_project()
    assert found.project == "inner"
    assert found.get_workspace_path("x.py") == here.root / "code" / "speech" / "inner" / "x.py"


def test_the_environment_of_a_run_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, _ = installed(tmp_path / "a", URL, "speech")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_ROOT", str(here.root))
    monkeypatch.setenv("MLOPS_PROJECT", "speech")
    monkeypatch.setenv("MLOPS_STATE_DIR", str(tmp_path / "state"))
    found = MLOpsClient.from_project().place
    assert (found.project, found.root, found.state) == ("speech", here.root, tmp_path / "state")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("speach", "did you mean 'speech'"),
        ("vision", "it has: speech"),
        ("Speech/..", "not the name of a project"),
        (None, "which project"),
    ],
)
def test_a_project_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, said: str) -> None:
    here, _ = installed(tmp_path, URL, "speech")
    monkeypatch.chdir(here.root)
    with pytest.raises(NotConfigured, match=said):
        MLOpsClient.from_project(name)


def test_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotConfigured, match="no installation at or above"):
        MLOpsClient.from_project("speech")
    with pytest.raises(NotConfigured, match="holds no Platform"):
        MLOpsClient.from_project("speech", root=tmp_path)


def test_a_file_that_is_no_yaml_harms_nobody(tmp_path: Path) -> None:
    here, name = installed(tmp_path, URL)
    here.write({"manifests/a.yaml": "kind: [", "manifests/overlays/prod/x.yaml": project("only-in-prod")})
    assert MLOpsClient.from_project(name, root=here.root).project == name
    with pytest.raises(NotConfigured, match="no project 'only-in-prod'"):
        MLOpsClient.from_project("only-in-prod", root=here.root)


def test_addresses_come_from_environment_manifest_or_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, name = installed(tmp_path, None)
    place = MLOpsClient.from_project(name, root=here.root).place
    with pytest.raises(NotConfigured, match="mlflow was never started in"):
        place.mlflow()
    here.write({".mlops/services/mlflow/port": "20123\n"})
    assert place.mlflow() == "http://127.0.0.1:20123"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5/")
    assert place.mlflow() == "http://127.0.0.1:5"


def test_secrets_come_from_the_environment_and_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, name = installed(tmp_path, None)
    platform = here.root / "manifests" / "platform.yaml"
    server = "  mlflow: {managed: false, endpoint: 'http://127.0.0.1:9', username: ada, password: {fromEnv: CLIENT_PASSWORD}}\n"
    platform.write_text(platform.read_text() + server)
    place = MLOpsClient.from_project(name, root=here.root).place
    with pytest.raises(NotConfigured, match="CLIENT_PASSWORD is not set"):
        place.credentials()
    monkeypatch.setenv("CLIENT_PASSWORD", "hunter2hunter2")
    assert place.credentials() == ("ada", "hunter2hunter2")
    assert "hunter2" not in repr(place)
    (tmp_path / "key").write_text("from-file\n")
    assert secret({"fromFile": str(tmp_path / "key")}) == "from-file"
    with pytest.raises(NotConfigured, match="a secret is missing"):
        secret("plain")


def test_importing_it_imports_nothing_else_of_ours_and_no_tool() -> None:
    program = "import sys, reconciler.client; print(*sorted({each.partition('.')[0] for each in sys.modules}), *sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    ours = {each for each in found if each.startswith("reconciler.") and not each.startswith("reconciler.client")}
    assert not ours
    assert not {"httpx", "tenacity", "yaml", "psutil", "mlflow", "dvc", "pydantic", "schemas", "controllers", "asyncio"} & set(found)
