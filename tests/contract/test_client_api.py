"""The client asks the API where MLOPS_API says so: the same answers, and a clear word when it is away or says no."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.client import MLOpsClient, MLOpsWarning, NotConfigured, Patience, Refused
from tests.contract.api_lab import Lab, until

QUICK = Patience(tries=2, first=0.01, longest=0.02, timeout=10, connect=1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("client-api"))
    found.project("p")
    found.project("q")
    found.widget("p", "w")
    with found.looping():
        with found.client() as client:
            until(lambda: client.get("/status").json()["ready"] == 4, "everything is Ready")
        yield found
    found.house.store.close()


def client_of(lab: Lab) -> MLOpsClient:
    return MLOpsClient.from_project("p", lab.root, patience=QUICK)


def test_room_and_state_come_from_the_api(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_API", lab.url)
    monkeypatch.setenv("MLOPS_TOKEN", lab.token("viewer", "p"))
    with client_of(lab) as client:
        assert client.should_run_task(memory="1Mi", duration="1m")
        assert client.should_run_task(memory="9000Gi").reason == "ExceedsMachine"
        status = client.get_status()
        assert status.ready
        assert status.resources["widget/p/w"].startswith("Healthy")


def test_a_token_that_may_not_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_API", lab.url)
    monkeypatch.setenv("MLOPS_TOKEN", "mlops_nobody")
    with client_of(lab) as client, pytest.raises(Refused, match="MLOPS_TOKEN"):
        client.should_run_task(memory="1Mi")


def test_an_api_that_is_away_is_told_and_not_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_API", "http://127.0.0.1:9")
    began = time.monotonic()
    with client_of(lab) as client:
        with pytest.warns(MLOpsWarning, match="does not answer"):
            assert client.should_run_task(memory="1Mi").reason == "Unknown"
        assert "does not answer" in client.get_status().troubles["reconcile"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("url", ["http://example.org", "ftp://127.0.0.1", "http://u:p@127.0.0.1:1", "127.0.0.1:8480"])
def test_a_token_goes_to_no_unsafe_address(lab: Lab, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MLOPS_API", url)
    with client_of(lab) as client, pytest.raises(NotConfigured, match="MLOPS_API"):
        client.should_run_task(memory="1Mi")


@pytest.fixture
def nowhere(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that belongs to no installation, and the API's address."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLOPS_ROOT", "MLOPS_PROJECT", "MLOPS_STATE_DIR", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLOPS_API", lab.url)
    monkeypatch.setenv("MLOPS_TOKEN", lab.token("viewer", "p"))
    return tmp_path


def test_without_a_checkout_the_api_configures(nowhere: Path) -> None:
    with MLOpsClient.from_project("p", patience=QUICK) as client:
        assert client.place.installation == "lab"
        assert client.place.state == nowhere / "state" / "mlops-reconciler" / "lab"
        assert client.should_run_task(memory="1Mi", duration="1m")
        assert client.get_status().resources["widget/p/w"].startswith("Healthy")
        for ask in (
            lambda: client.deploy_model("m@champion"),
            lambda: client.datasets.update("d", settle="1s"),
            lambda: client.version_dataset("d"),
            lambda: list(client.logged_predictions("d")),
        ):
            with pytest.raises(NotConfigured, match="clone of the installation"):
                ask()
    assert not (nowhere / "manifests").exists()


def test_what_the_api_does_not_know_is_told(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotConfigured, match="no project of that name here that you may see"):
        MLOpsClient.from_project("q")
    with pytest.raises(NotConfigured, match="which project is meant"):
        MLOpsClient.from_project()
    monkeypatch.setenv("MLOPS_API", "http://127.0.0.1:9")
    with pytest.raises(NotConfigured, match="does not answer"):
        MLOpsClient.from_project("p", patience=QUICK)
    monkeypatch.setenv("MLOPS_API", "http://elsewhere.example")
    with pytest.raises(NotConfigured, match="not an address that is asked"):
        MLOpsClient.from_project("p")
