"""Renaming in git: what was trained, registered and recorded keeps its history under the new name, and nothing starts again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.controller import Call
from reconciler.house import open_house
from reconciler.loop import carry_out, propose
from reconciler.selection import Selection
from reconciler.settings import Settings
from tests.e2e.installation import Installation, dataset, experiment
from tests.e2e.serving import lab
from tests.e2e.training import lab as training_lab
from tests.e2e.training import runs, small, starts, sweep, until
from tests.forked import called

pytestmark = pytest.mark.xdist_group("runs")
PARAMS = "params: {factor: 2, accuracy: [0.7, 0.8]}"


class Lab:
    """One dataset, two runs on it, a model of the better one, and the name of each."""

    def __init__(self, here: Installation, url: str) -> None:
        self.here, self.url, self.name = here, url, here.env["NAME"]

    def declare(self, data: str, trained: str, best: str, moved: dict[str, str] | None = None) -> None:
        """All of them in one file; `moved`: kind -> what it was called before."""
        before = moved or {}
        data_text = dataset(data, self.name, "numbers.csv")
        train = "{entrypoint: train.py, " + PARAMS + ", resources: {memory: 64Mi, cpu: 100m, duration: 2s}}"
        trained_text = f"spec:\n  metric: {{name: accuracy}}\n  datasets: [{data}]\n  runs: {train}\n"
        trial = "  trial: {requests: 20, resources: {memory: 256Mi, cpu: 100m, duration: 5s}}\n"
        best_text = f"spec:\n  experiment: {trained}\n{trial}"
        texts = [data_text, self._head("Experiment", trained) + trained_text, self._head("Model", best) + best_text]
        texts = [self._moved(text, before.get(kind)) for kind, text in zip(("Dataset", "Experiment", "Model"), texts, strict=True)]
        self.here.write({"manifests/all.yaml": "---\n".join(texts)})

    def _head(self, kind: str, name: str) -> str:
        return f"apiVersion: reconciler.mlops/v1\nkind: {kind}\nmetadata: {{name: {name}, project: {self.name}}}\n"

    @staticmethod
    def _moved(text: str, old: str | None) -> str:
        return text.replace("spec:\n", f"lifecycle: {{movedFrom: {old}}}\nspec:\n", 1) if old else text

    def renamed(self) -> None:
        """Everything under another name, in one commit."""
        self.declare("measured", "scaling", "scaler", {"Dataset": "numbers", "Experiment": "doubling", "Model": "doubler"})

    def facts(self) -> dict[str, Any]:
        """What must stay as it is: the runs, the versions with their aliases, the data's versions."""
        names = self.here.root / ".mlops/dvc/projects" / self.name
        kept = sorted(json.dumps([each["info"]["run_id"], each["tags"]["mlops.key"], each["info"]["status"]]) for each in self.runs())
        return {"runs": kept, "versions": self.versions(), "data": sorted(each.parent.name for each in names.glob("_versions/*/*/*.dvc"))}

    def runs(self) -> list[dict[str, Any]]:
        return runs(self.here, self.url, view="ALL")

    def model(self) -> dict[str, Any]:
        """The one registered model of this installation."""
        asked = {"filter": f"tags.`mlops.installation` = '{self.name}'"}
        answer = httpx.get(f"{self.url}/api/2.0/mlflow/registered-models/search", params=asked, trust_env=False, timeout=30).json()
        (found,) = answer["registered_models"]
        return dict(found)

    def versions(self) -> list[Any]:
        asked = {"filter": f"name = '{self.model()['name']}'"}
        answer = httpx.get(f"{self.url}/api/2.0/mlflow/model-versions/search", params=asked, trust_env=False, timeout=30).json()
        aliases = {each["version"]: each["alias"] for each in self.model().get("aliases", [])}
        return sorted([each["version"], each["run_id"], aliases.get(each["version"], "")] for each in answer["model_versions"])


@pytest.fixture
def made(tmp_path: Path, mlflow_url: str) -> Lab:
    """Trained, registered, promoted; the data has one earlier version."""
    here = lab(tmp_path / "root", mlflow_url)
    found = Lab(here, mlflow_url)
    here.write({f"code/{found.name}/numbers.csv": "a\n0\n"})
    here.write({"manifests/all.yaml": dataset("numbers", found.name, "numbers.csv")})
    here.ok("--wait")
    here.write({f"code/{found.name}/numbers.csv": "a\n1\n"})
    found.declare("numbers", "doubling", "doubler")
    here.ok("--wait")
    here.commit("all of it")
    facts = found.facts()
    assert len(facts["runs"]) == 2
    assert [each[2] for each in facts["versions"]].count("champion") == 1
    assert len(facts["data"]) == 1
    return found


def _is_whole(found: Lab, facts: dict[str, Any]) -> None:
    """Everything goes by its new name, with all that it had, and nothing is left to do."""
    assert found.facts() == facts
    assert {each["tags"]["mlops.ref"].partition("#")[0] for each in found.runs()} == {f"experiment/{found.name}/scaling"}
    model = found.model()
    assert model["name"] == f"{found.name}.scaler"
    assert {each["key"]: each["value"] for each in model["tags"]}["mlops.ref"] == f"model/{found.name}/scaler"
    assert "No changes" in found.here.ok().out
    status = found.here.status()
    assert {ref for ref in status if "#" not in ref and ref.startswith(("data", "exp", "mod"))} == {
        f"dataset/{found.name}/measured",
        f"experiment/{found.name}/scaling",
        f"model/{found.name}/scaler",
    }
    assert {each["health"] for each in status.values()} == {"Healthy"}


def test_what_is_renamed_keeps_its_history_and_trains_nothing_again(made: Lab) -> None:
    here, name, facts = made.here, made.name, made.facts()
    made.renamed()
    told = here.run("--dry-run").out
    for kind, old, new in (("dataset", "numbers", "measured"), ("experiment", "doubling", "scaling"), ("model", "doubler", "scaler")):
        assert f"→ {kind}/{name}/{new}" in told
        assert f"moved from {kind}/{name}/{old}" in told
    plan = here.plan()
    assert {key: count for key, count in plan["totals"].items() if count} == {"move": 3, "keep": plan["totals"]["keep"]}
    done = here.ok()
    assert "3 moved" in done.out
    _is_whole(made, facts)
    (line,) = [
        each
        for each in json.loads(here.run("history", f"experiment/{name}/scaling", "-o", "json").out)["entries"]
        if each["action"] == "move"
    ]
    assert line["detail"]["from"] == f"experiment/{name}/doubling"

    made.declare("measured", "scaling", "scaler")  # the fields may go, and new data is a new version as ever
    assert "No changes" in here.ok().out
    here.write({f"code/{name}/numbers.csv": "a\n2\n"})
    here.ok("--wait")
    assert len(made.runs()) == 4


def test_a_pass_that_is_killed_after_each_of_its_writes_gets_there_all_the_same(made: Lab) -> None:
    facts = made.facts()
    made.renamed()
    passes = 0
    while passes < 40:
        done = called(_killed_at_its_first_write, made.here.root, env=made.here.environment)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, (done.stdout + done.stderr)[-3000:]
        passes += 1
    assert passes >= 6, "three names and the marks of two runs at least"
    _is_whole(made, facts)


@pytest.fixture
def bare(tmp_path: Path, mlflow_url: str) -> Installation:
    """An experiment without runs, and a quota."""
    here = training_lab(tmp_path / "root", mlflow_url)
    here.write({"manifests/one.yaml": experiment("one", here.env["NAME"])})
    here.ok()
    return here


def _rename(here: Installation, old: str, new: str) -> None:
    (here.root / f"manifests/{old}.yaml").unlink()
    text = experiment(new, here.env["NAME"]).replace("spec:", f"lifecycle: {{movedFrom: {old}}}\nspec:")
    here.write({f"manifests/{new}.yaml": text})


def _experiments(here: Installation, url: str) -> dict[str, str]:
    """Name -> id of all in the project."""
    body = {"max_results": 100, "filter": f"name LIKE '{here.env['NAME']}/%'"}
    answer = httpx.post(f"{url}/api/2.0/mlflow/experiments/search", json=body, trust_env=False, timeout=30).json()
    return {each["name"].partition("/")[2]: each["experiment_id"] for each in answer["experiments"]}


def test_a_name_that_somebody_else_has_is_left_to_them(bare: Installation, mlflow_url: str) -> None:
    body = {"name": f"{bare.env['NAME']}/two"}
    httpx.post(f"{mlflow_url}/api/2.0/mlflow/experiments/create", json=body, trust_env=False, timeout=30).raise_for_status()
    before = _experiments(bare, mlflow_url)
    _rename(bare, "one", "two")
    ran = bare.run()
    assert ran.code == 3
    assert f"something of this name exists beside experiment/{bare.env['NAME']}/one" in " ".join(ran.out.split())
    assert _experiments(bare, mlflow_url) == before


def test_a_saved_plan_moves_exactly_what_was_reviewed_and_once(bare: Installation, mlflow_url: str) -> None:
    before = _experiments(bare, mlflow_url)
    _rename(bare, "one", "two")
    bare.ok("--dry-run", "--out", "plan.json")
    assert "1 moved" in bare.ok("apply", "plan.json").out
    assert _experiments(bare, mlflow_url) == {"two": before["one"]}
    assert bare.run("apply", "plan.json").code == 1
    _rename(bare, "two", "three")
    bare.ok("--dry-run", "--out", "plan.json")
    _rename(bare, "three", "four")
    text = (bare.root / "manifests/four.yaml").read_text().replace("movedFrom: three", "movedFrom: two")
    bare.write({"manifests/four.yaml": text})
    refused = bare.run("apply", "plan.json")
    assert refused.code == 1
    assert "nothing was done" in refused.text
    assert _experiments(bare, mlflow_url) == {"two": before["one"]}


def test_a_move_outlives_the_loss_of_the_store(bare: Installation, mlflow_url: str) -> None:
    before = _experiments(bare, mlflow_url)
    _rename(bare, "one", "two")
    for each in (bare.root / ".mlops").glob("store.db*"):
        each.unlink()
    bare.ok()
    assert _experiments(bare, mlflow_url) == {"two": before["one"]}
    assert "No changes" in bare.ok().out


def test_a_project_that_wants_a_yes_is_asked_and_nothing_of_it_is_made_anew_meanwhile(bare: Installation, mlflow_url: str) -> None:
    before, path = _experiments(bare, mlflow_url), bare.root / "manifests/project.yaml"
    asks = f"  path: code/{bare.env['NAME']}\n"
    path.write_text(path.read_text().replace(asks, f"{asks}  sync: {{approval: required}}\n"))
    bare.ok()
    _rename(bare, "one", "two")
    ran = bare.run()
    assert ran.code == 3
    assert "waiting for approval" in ran.out
    assert _experiments(bare, mlflow_url) == before
    bare.ok("approve", f"project/{bare.env['NAME']}", "--yes")
    assert "1 moved" in bare.run().out
    assert _experiments(bare, mlflow_url) == {"two": before["one"]}


def test_a_quota_is_renamed_in_place(bare: Installation) -> None:
    path = bare.root / "manifests/project.yaml"
    path.write_text(
        path.read_text()
        .replace("name: share,", "name: portion,")
        .replace("spec: {nominal", "lifecycle: {movedFrom: share}\nspec: {nominal")
    )
    assert "1 moved" in bare.ok().out
    assert "No changes" in bare.ok().out


def test_a_run_that_is_under_way_goes_on_under_the_new_name_and_what_waits_keeps_its_place(tmp_path: Path, mlflow_url: str) -> None:
    here = training_lab(tmp_path / "root", mlflow_url, quota="nominal: {memory: 100Mi, cpu: 1}")
    name = here.env["NAME"]
    sweep(here, "long", f"params: {{rank: [1, 2], seconds: 6}}, {small(6)}")
    here.run()
    until(lambda: len(starts(here)) == 1)
    before = {each["info"]["run_id"] for each in runs(here, mlflow_url)}
    (waits,) = json.loads(here.run("queue", "-o", "json").out)["waiting"]
    text = (here.root / "manifests/long.yaml").read_text()
    (here.root / "manifests/long.yaml").unlink()
    here.write(
        {"manifests/short.yaml": text.replace("name: long,", "name: short,").replace("spec:", "lifecycle: {movedFrom: long}\nspec:")}
    )
    assert "1 moved" in here.run().out
    (still,) = json.loads(here.run("queue", "-o", "json").out)["waiting"]
    assert still["ref"] == waits["ref"].replace("/long#", "/short#")
    assert still["since"] == waits["since"]
    here.ok("--wait")
    assert before < {each["info"]["run_id"] for each in runs(here, mlflow_url)}
    assert len(starts(here)) == 2
    assert {each["tags"]["mlops.ref"].partition("#")[0] for each in runs(here, mlflow_url)} == {f"experiment/{name}/short"}
    assert "No changes" in here.ok().out


def _killed_at_its_first_write(root: Path) -> None:
    """A pass in a process of its own that ends by SIGKILL as soon as a tool has answered to a write."""
    os.chdir(root)
    house = open_house(Settings(root=root, state_dir=root / ".mlops", parallelism=1), actor="test")

    def hook(call: Call) -> None:
        if call.write:
            os.kill(os.getpid(), signal.SIGKILL)

    house.wire.on_call = hook
    report = carry_out(propose(Selection(), house), house)
    failed = [each for each in report.results if type(each.outcome).__name__ == "Failed"]
    assert not failed, failed
