"""What a change brings about, told from what waits whatever becomes of it: with git, DVC and MLflow."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import httpx
import pytest

from tests.e2e.installation import Installation, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    """An installation that is as it is declared on `main`, and a branch that is checked out."""
    name = f"base-{uuid.uuid4().hex[:6]}"
    found = start(tmp_path / "root", mlflow_url, name)
    found.env = {"NAME": name}
    found.write(
        {
            "manifests/project.yaml": project(name),
            "manifests/data.yaml": dataset("rows", name, "rows.csv"),
            "manifests/probe.yaml": experiment("probe", name, "  tags: {owner: one}\n  datasets: [rows]\n"),
            "manifests/other.yaml": experiment("other", name, "  tags: {owner: one}\n"),
            "manifests/old.yaml": experiment("old", name),
            f"code/{name}/rows.csv": "id,value\n1,2\n",
        }
    )
    found.commit("first")
    found.ok()
    found.git("checkout", "-q", "-b", "change")
    return found


def _by(here: Installation, *more: str) -> dict[str, str]:
    told = here.plan("--base", "main", *more)["against"]
    return {ref.rpartition("/")[2]: cause["by"] for ref, cause in told["causes"].items()}


def test_a_change_is_told_from_drift_and_with_what_it_leads_to(here: Installation, mlflow_url: str) -> None:
    name = here.env["NAME"]
    here.write(
        {
            "manifests/probe.yaml": experiment("probe", name, "  tags: {owner: two}\n  datasets: [rows]\n"),
            "manifests/new.yaml": experiment("new", name),
            f"code/{name}/rows.csv": "id,value\n1,2\n3,4\n",
        }
    )
    (here.root / "manifests/old.yaml").unlink()
    here.commit("a change")
    found = httpx.get(f"{mlflow_url}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": f"{name}/other"}, trust_env=False)
    edit = {"experiment_id": found.json()["experiment"]["experiment_id"], "key": "owner", "value": "by hand"}
    httpx.post(f"{mlflow_url}/api/2.0/mlflow/experiments/set-experiment-tag", json=edit, trust_env=False).raise_for_status()
    assert _by(here) == {"probe": "manifest", "new": "added", "old": "removed", "rows": "files", "other": "before"}

    text = here.run("--dry-run", "--base", "main").out
    mine, _, rest = text.partition("Whatever becomes of this change:")
    assert "Because of what changed since main (" in mine
    assert f"experiment/{name}/probe" in mine
    assert f"changed: code/{name}/rows.csv" in mine
    assert f"experiment/{name}/other" not in mine
    assert f"experiment/{name}/other" in rest
    assert "This change: 1 to create, 2 to change, 1 blocked.   Pending anyway: 1 to change." in text

    comment = here.run("--dry-run", "--base", "main", "-o", "markdown").out
    assert "Pending whatever becomes of this change: 1" in comment.partition(f"experiment/{name}/other")[0]


def test_commits_of_the_base_that_are_not_in_the_change_are_not_undone_by_it(here: Installation) -> None:
    name = here.env["NAME"]
    here.write({"manifests/new.yaml": experiment("new", name)})
    here.commit("a change")
    here.git("checkout", "-q", "main")
    here.write({"manifests/late.yaml": experiment("late", name)})
    here.commit("meanwhile")
    here.git("checkout", "-q", "change")
    assert _by(here) == {"new": "added"}


def test_without_any_tool_it_tells_what_the_manifests_change_and_what_is_not_known(here: Installation) -> None:
    name = here.env["NAME"]
    here.write({"manifests/probe.yaml": experiment("probe", name, "  tags: {owner: two}\n  datasets: [rows]\n")})
    here.commit("a change")
    shutil.rmtree(here.root / ".mlops")
    platform = here.root / "manifests/platform.yaml"
    platform.write_text(_elsewhere(platform.read_text()))
    ran = here.run("--dry-run", "--base", "main")
    assert ran.code == 3
    assert "mlflow could not be read" in ran.out
    assert "tags.owner" in ran.out
    assert "one -> two" in ran.out


def _elsewhere(text: str) -> str:
    """The Platform with an MLflow where nobody listens."""
    before, _, after = text.partition("endpoint: '")
    return f"{before}endpoint: 'http://127.0.0.1:9'{after.partition(chr(39))[2]}"


def test_what_is_declared_and_needs_nothing_done_is_told_too(here: Installation) -> None:
    name = here.env["NAME"]
    here.write({"manifests/old.yaml": experiment("old", name).replace("spec:", "lifecycle: {prune: never}\nspec:")})
    here.commit("keep it")
    text = here.run("--dry-run", "--base", "main").out
    assert "its manifest changed, and nothing is to be done for it now" in text
    assert "prune" in text
    assert json.loads(here.run("--dry-run", "--base", "main", "-o", "json").out)["outcome"] == "noChanges"


def test_a_base_that_is_not_there_is_an_error_that_says_what_to_do(here: Installation, tmp_path: Path) -> None:
    ran = here.run("--dry-run", "--base", "origin/none")
    assert ran.code == 1
    assert "--base origin/none: there is no such revision" in ran.err
    assert "fetch" in ran.err
    assert here.run("--base", "main").code == 1
    assert here.run("--dry-run", "--base", "--upload-pack=x").code == 1
