"""Resource clients: what is declared and how it stands; changes are made in manifests and nowhere else. Admission is asked, read only."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.client import MLOpsClient, MLOpsWarning, NotAsked, Refused, Unavailable
from reconciler.client.manifests import documents
from reconciler.client.place import find
from tests.contract.client_lab import QUICK, client, installed
from tests.e2e.installation import Installation, dataset, experiment

HEAD = "# yaml-language-server: $schema=x\n# What serves.\n"


@pytest.fixture
def lab(tmp_path: Path) -> tuple[Installation, MLOpsClient]:
    """Applied: a project with one dataset, and nothing that needs a service."""
    here, name = installed(tmp_path, "http://127.0.0.1:9", "speech")
    here.write({"manifests/words.yaml": dataset("words", name, "words.csv"), "code/speech/words.csv": "x,y\n1,2\n"})
    here.ok("--wait")
    return here, client(here, name)


def declare_a_model(here: Installation) -> None:
    model = "---\napiVersion: reconciler.mlops/v1\nkind: Model\nmetadata: {name: urgent, project: speech}\nspec: {experiment: rate}\n"
    here.write({"manifests/speech-serving.yaml": HEAD + experiment("rate", "speech") + model})


def test_what_is_declared_and_how_it_stands(lab: tuple[Installation, MLOpsClient]) -> None:
    here, ours = lab
    (words,) = ours.datasets.list()
    assert (words.ref, words.health, words.spec["path"]) == ("dataset/speech/words", "Healthy", "words.csv")
    assert words.outputs["digest"] == ours.load_data_version("words").version
    declare_a_model(here)
    assert [(each.name, each.health) for each in ours.models.list()] == [("urgent", "Unknown")]  # no pass has seen it
    with pytest.raises(NotAsked, match="has no model 'other'"):
        ours.models.get("other")


def test_a_change_is_a_manifest_and_says_so(lab: tuple[Installation, MLOpsClient], caplog: pytest.LogCaptureFixture) -> None:
    here, ours = lab
    declare_a_model(here)
    done = ours.deploy_model("urgent@champion", resources={"memory": "512Mi"})
    assert done.action == "added"
    assert "commit it, and the next pass does it" in str(done)
    assert [each.levelno for each in caplog.records if each.getMessage() == str(done)] == [logging.WARNING]
    (served,) = ours.deployments.list()
    assert served.spec == {"model": "urgent@champion", "resources": {"memory": "512Mi"}}
    assert here.ok("validate").out.startswith("Valid")
    assert ours.deploy_model("urgent@champion").action == "unchanged"
    changed = ours.monitor_predictions("urgent", window="1h")
    assert [(each.ref, each.action) for each in changed] == [("deployment/speech/urgent", "changed"), ("monitor/speech/urgent", "added")]
    assert ours.deployments.get("urgent").spec["predictions"] == {"log": True}
    (reference,) = ours.set_reference_data("urgent", "words")
    assert ours.monitors.get("urgent").spec["reference"] == {"dataset": "words"}
    assert reference.file == Path("manifests/projects/speech/monitors.yaml")
    assert here.ok("validate").out.startswith("Valid")
    assert ours.monitors.delete("urgent").action == "removed"
    assert not (here.root / reference.file).exists()


def test_the_rest_of_a_file_keeps_its_text(lab: tuple[Installation, MLOpsClient]) -> None:
    here, ours = lab
    declare_a_model(here)
    file = here.root / "manifests" / "speech-serving.yaml"
    before = file.read_text()
    ours.models.update("urgent", gates={"minimum": {"accuracy": 0.7}})
    after = file.read_text()
    assert after.startswith(before.partition("---\n")[0])
    assert [each.kind for each in documents(here.root / "manifests") if each.path == file] == ["Experiment", "Model"]
    ours.models.delete("urgent")
    assert file.read_text() == before.partition("---\n")[0]


def test_what_would_be_wrong_is_not_written(lab: tuple[Installation, MLOpsClient]) -> None:
    here, ours = lab
    before = {path: path.read_text() for path in (here.root / "manifests").rglob("*") if path.is_file()}
    with pytest.raises(Refused, match="there is no Model 'urgnt'"):
        ours.deploy_model("urgnt")
    with pytest.raises(Refused, match=r"spec\.setle: unknown field"):
        ours.datasets.update("words", setle="1s")
    with pytest.raises(NotAsked, match=r"is declared in manifests/words\.yaml"):
        ours.datasets.create("words", path="words.csv")
    with pytest.raises(NotAsked, match="has no manifest"):
        ours.deployments.update("urgent", auth="none")
    assert {path: path.read_text() for path in (here.root / "manifests").rglob("*") if path.is_file()} == before


def test_mistakes_that_were_there_before_stop_nobody(lab: tuple[Installation, MLOpsClient]) -> None:
    here, ours = lab
    here.write({"manifests/wrong.yaml": experiment("wrong", "speech", "  descripton: x\n")})
    assert ours.experiments.create("rate", description="of learning").action == "added"


def test_admission_is_asked_and_nothing_is_queued(lab: tuple[Installation, MLOpsClient]) -> None:
    here, ours = lab
    fit = ours.should_run_task(memory="64Mi", duration="1m")
    assert fit
    assert fit.reason == "Admitted"
    never = ours.should_run_task(memory="4000Gi")
    assert not never
    assert never.reason == "ExceedsMachine"
    assert "of memory" in never.message
    with pytest.raises(NotAsked, match="is not a quantity"):
        ours.should_run_task(memory="plenty")
    assert here.run("queue").out.startswith("Nothing runs and nothing waits.")


class Away:
    """An installation that does not answer."""

    def status(self, kinds: Sequence[str] = ()) -> Mapping[str, Any]:
        raise Unavailable("nobody is there")

    def fits(self, wanted: Mapping[str, str]) -> Mapping[str, Any]:
        raise Unavailable("nobody is there")

    def mistakes(self, root: Path) -> Sequence[Mapping[str, Any]]:
        raise Unavailable("nobody is there")


def test_without_the_installation_it_goes_on_as_far_as_it_can(lab: tuple[Installation, MLOpsClient]) -> None:
    here, _ = lab
    ours = MLOpsClient(find("speech", here.root), patience=QUICK, answers=Away())
    with pytest.warns(MLOpsWarning, match="admission could not be asked"):
        fit = ours.should_run_task(memory="64Mi")
    assert (fit.now, fit.reason) == (False, "Unknown")
    with pytest.warns(MLOpsWarning, match="how the datasets stand is not known"):
        assert [(each.name, each.health) for each in ours.datasets.list()] == [("words", "Unknown")]
    with pytest.warns(MLOpsWarning, match="could not be checked"):
        assert ours.experiments.create("rate").action == "added"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = ours.get_status()
    assert told.ready is None
    assert set(told.troubles) == {"reconcile", "mlflow"}


def test_the_status_tells_of_resources_and_of_tools_that_are_away(lab: tuple[Installation, MLOpsClient]) -> None:
    _, ours = lab
    told = ours.get_status()
    assert told.ready
    assert told.resources == {"dataset/speech/words": "Healthy", "project/speech": "Healthy"}
    assert set(told.troubles) == {"mlflow"}
    assert "does not answer" in told.troubles["mlflow"]


def test_a_gateway_that_is_away_is_told_so(lab: tuple[Installation, MLOpsClient]) -> None:
    here, ours = lab
    with pytest.raises(Unavailable, match="gateway was never started"):
        ours.predict("urgent", [{"text": "x"}])
    here.write({".mlops/services/gateway/port": "9\n"})
    with pytest.raises(Unavailable, match="gave no answer"):
        client(here, "speech").log_labels("urgent", {"a-0": 1})
    with pytest.raises(NotAsked, match="is not a deployment"):
        ours.predict("../urgent", [])
    assert ours.logged_predictions("urgent", datetime.now(UTC)) == []
