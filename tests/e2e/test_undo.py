"""`reconcile undo` on a real git repository, with real DVC and MLflow: what goes back, what stays, and what refuses it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.installation import Installation, Ran, dataset, experiment, project, start
from tests.e2e.training import lab, small, starts, sweep

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    """An installation that is applied at its first commit, and nothing of it before."""
    name = f"undo-{uuid.uuid4().hex[:6]}"
    found = start(tmp_path / "root", mlflow_url, name)
    found.env = {"NAME": name}
    found.write(
        {
            "manifests/project.yaml": project(name),
            "manifests/rows.yaml": dataset("rows", name, "rows.csv"),
            "manifests/probe.yaml": experiment("probe", name, "  tags: {owner: one}\n  datasets: [rows]\n"),
            "manifests/old.yaml": experiment("old", name),
            f"code/{name}/rows.csv": "id,value\n1,2\n",
            f"code/{name}/more.csv": "id,value\n3,4\n",
        }
    )
    found.commit("first")
    found.ok()
    return found


def _second(here: Installation) -> None:
    """A commit that creates, changes and prunes, applied."""
    name = here.env["NAME"]
    here.write(
        {
            "manifests/probe.yaml": experiment("probe", name, "  tags: {owner: two, team: vision}\n  datasets: [rows]\n"),
            "manifests/new.yaml": experiment("new", name),
            "manifests/more.yaml": dataset("more", name, "more.csv"),
        }
    )
    (here.root / "manifests/old.yaml").unlink()
    here.commit("second")
    here.ok("--confirm", f"experiment/{name}/old")


def _undo(here: Installation, *words: str, code: int = 3) -> dict[str, Any]:
    ran = here.run("undo", *words, "-o", "json")
    assert ran.code == code, ran.text
    found: dict[str, Any] = json.loads(ran.out)
    return found


def _fates(told: dict[str, Any]) -> dict[str, str]:
    return {f"{each['ref'].rpartition('/')[2]}{'#' if 'children' in each else ''}": each["fate"] for each in told["verdicts"]}


def _why(told: dict[str, Any], name: str) -> str:
    return next(each["why"] for each in told["verdicts"] if each["ref"].endswith(f"/{name}") and "children" not in each)


def _state(here: Installation) -> dict[str, Any]:
    """What MLflow and DVC hold of this installation, and what its manifests are."""
    plan = here.plan("--all")
    held = {ref: (each["health"], each["ready"]) for ref, each in here.status().items()}
    files = {each.name: each.read_text() for each in sorted((here.root / "manifests").iterdir())}
    return {"plan": plan["outcome"], "held": held, "files": files, "tags": _tags(here)}


def _tags(here: Installation) -> dict[str, dict[str, str]]:
    platform = (here.root / "manifests/platform.yaml").read_text()
    url, name = platform.partition("endpoint: '")[2].partition("'")[0], here.env["NAME"]
    query = {"view_type": "ACTIVE_ONLY", "max_results": 100, "filter": f"name LIKE '{name}/%'"}
    found = httpx.post(f"{url}/api/2.0/mlflow/experiments/search", json=query, trust_env=False).raise_for_status().json()
    return {
        each["name"]: {tag["key"]: tag["value"] for tag in each["tags"] if tag["key"] in ("owner", "team")}
        for each in found.get("experiments", [])
    }


def _tag(here: Installation, url: str, name: str, value: str) -> None:
    asked = {"experiment_name": f"{here.env['NAME']}/{name}"}
    found = httpx.get(f"{url}/api/2.0/mlflow/experiments/get-by-name", params=asked, trust_env=False).raise_for_status().json()
    edit = {"experiment_id": found["experiment"]["experiment_id"], "key": "owner", "value": value}
    httpx.post(f"{url}/api/2.0/mlflow/experiments/set-experiment-tag", json=edit, trust_env=False).raise_for_status()


def _refused(here: Installation, *words: str) -> Ran:
    """Run undo, which must refuse and leave the work tree, the index and the log as they are."""
    before = here.git("status", "--porcelain"), here.ok("history").out.splitlines()[1:]
    ran = here.run("undo", *words)
    assert ran.code == 1, ran.text
    assert (here.git("status", "--porcelain"), here.ok("history").out.splitlines()[1:]) == before
    return ran


def test_an_apply_is_taken_back_and_that_is_taken_back_again(here: Installation) -> None:
    name, before = here.env["NAME"], _state(here)
    _second(here)
    after = _state(here)
    assert after["tags"] == {f"{name}/probe": {"owner": "two", "team": "vision"}, f"{name}/new": {}}

    asked = _undo(here, "--dry-run")
    assert here.git("status", "--porcelain") == "", "a dry run writes nothing"
    assert {each["path"]: each["does"] for each in asked["files"]} == {
        "manifests/more.yaml": "remove",
        "manifests/new.yaml": "remove",
        "manifests/old.yaml": "write",
        "manifests/probe.yaml": "write",
    }
    assert _fates(asked) == {"probe": "takenBack", "old": "takenBack", "new": "takenBackBut", "more": "takenBackBut"}
    assert "waits for a yes" in _why(asked, "new")
    assert "stays in MLflow" in _why(asked, "new")

    told = here.run("undo")
    assert told.code == 3, told.text
    assert "Undid the manifests of apply 2 @" in told.out
    assert f"~ experiment/{name}/probe changed: taken back\n" in told.out
    assert "Next: look at them (`git diff`), and commit this; `reconcile` applies it" in told.out.splitlines()[-1]
    assert here.git("diff", "--cached", "--name-only") == "", "nothing is staged"
    assert here.git("log", "--format=%s").split("\n")[0] == "second", "nothing is committed"
    assert _state(here)["files"] == before["files"]
    kept = ("action", "ref", "reason")
    assert [[each.get(key) for key in kept] for each in here.plan()["actions"]] == [
        [each.get(key) for key in kept] for each in asked["plan"]["actions"]
    ], "the dry run's plan is the one that the files lead to"
    assert "Nothing to write" in here.run("undo").out

    here.commit("take it back")
    here.ok("--confirm", f"experiment/{name}/new", "--confirm", f"dataset/{name}/more")
    assert _state(here) == before
    assert {each["fate"] for each in _undo(here, "2", code=0)["verdicts"]} <= {"takenBack", "takenBackBut"}

    again = _undo(here)
    assert again["apply"] == 3
    here.commit("after all")
    here.ok("--confirm", f"experiment/{name}/old")
    assert _state(here)["tags"] == after["tags"]
    assert _state(here)["files"] == after["files"]


def test_what_cannot_be_taken_back_is_told_with_the_reason(here: Installation, mlflow_url: str) -> None:
    name = here.env["NAME"]
    (here.root / "manifests/old.yaml").unlink()
    here.write({"manifests/new.yaml": experiment("new", name)})
    here.commit("old goes, when somebody says yes")
    here.run()
    here.write(
        {
            "manifests/probe.yaml": experiment("probe", name, "  tags: {owner: two}\n  datasets: [rows]\n"),
            "manifests/keep.yaml": experiment("keep", name).replace("spec:", "lifecycle: {prune: never}\nspec:"),
            "manifests/more.yaml": dataset("more", name, "more.csv"),
        }
    )
    here.commit("more")
    here.ok("--confirm", f"experiment/{name}/old")
    (here.root / f"code/{name}/rows.csv").write_text("id,value\n1,2\n5,6\n")
    here.ok()
    _tag(here, mlflow_url, "probe", "by hand")
    here.ok()

    told = _undo(here, "--dry-run")
    assert _fates(told) == {"probe": "takenBackBut", "keep": "cannot", "more": "takenBackBut", "old": "cannot", "rows": "cannot"}
    assert "lifecycle.prune was `never`" in _why(told, "keep")
    assert "was gone at" in _why(told, "old")
    assert "git log -- manifests/old.yaml" in _why(told, "old")
    assert "its manifest did not change" in _why(told, "rows")
    assert _why(told, "probe") == "datasets.rows stays as it is, which no manifest says"

    here.git("commit", "-q", "--allow-empty", "-m", "nothing")
    here.ok()
    _tag(here, mlflow_url, "probe", "by hand")
    here.ok()
    [drift] = _undo(here)["verdicts"]
    assert drift["fate"] == "cannot"
    assert "it put back what somebody had changed" in drift["why"]
    assert here.git("status", "--porcelain", "manifests") == "", "no manifest asked for it"


def test_a_dataset_that_was_pruned_comes_back_without_its_versions(here: Installation) -> None:
    name = here.env["NAME"]
    (here.root / f"code/{name}/rows.csv").write_text("id,value\n1,2\n5,6\n")
    here.ok()
    (here.root / "manifests/rows.yaml").unlink()
    here.write({"manifests/probe.yaml": experiment("probe", name, "  tags: {owner: one}\n")})
    here.commit("no data")
    here.ok("--confirm", f"dataset/{name}/rows")
    told = _undo(here, code=0)
    assert _fates(told) == {"rows": "takenBackBut", "probe": "takenBack"}
    assert "earlier versions are gone" in _why(told, "rows")
    assert {each["action"] for each in told["plan"]["actions"] if each["ref"].endswith("/rows")} == {"create"}


def test_what_a_tool_does_not_tell_is_not_known(here: Installation) -> None:
    _second(here)
    path = here.root / "manifests/platform.yaml"
    before, _, after = path.read_text().partition("endpoint: '")
    path.write_text(f"{before}endpoint: 'http://127.0.0.1:9'{after.partition(chr(39))[2]}")
    told = _undo(here, "--dry-run")
    assert _fates(told)["probe"] == "unknown"
    assert {each["path"] for each in told["files"]} >= {"manifests/probe.yaml"}, "git tells all the same"


def test_work_that_was_done_is_not_undone(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "first", f"params: {{rank: [1]}}, {small()}")
    here.commit("first")
    here.ok("--wait")
    sweep(here, "second", f"params: {{rank: [2, 3]}}, {small()}", "two")
    here.commit("second")
    here.ok("--wait")
    told = _undo(here, "--dry-run")
    assert _fates(told) == {"second": "takenBackBut", "second#": "takenBackBut"}
    [runs] = [each for each in told["verdicts"] if "children" in each]
    assert runs["children"] == 2
    assert "what it made is kept" in runs["why"]

    (here.root / "code" / here.env["NAME"] / "two.csv").write_text("a\n7\n")
    here.commit("other data")
    here.ok("--wait")
    assert len(starts(here)) == 5
    told = _undo(here)
    assert {"two": "cannot", "second#": "cannot"}.items() <= _fates(told).items()
    assert told["files"] == []


def test_nobodys_later_work_is_overwritten(here: Installation) -> None:
    name = here.env["NAME"]
    first = _refused(here)
    assert "apply 1 is the first that is known" in first.err
    _second(here)
    probe, new = here.root / "manifests/probe.yaml", here.root / "manifests/new.yaml"
    probe.write_text(probe.read_text() + "# mine\n")
    ran = _refused(here)
    assert "manifests/probe.yaml has changes that are not committed" in ran.err
    assert "git restore" in ran.err
    here.git("checkout", "-q", "--", "manifests/probe.yaml")

    (here.root / "manifests/old.yaml").write_text("# mine, and not known to git\n")
    assert "manifests/old.yaml has changes that are not committed" in _refused(here).err
    (here.root / "manifests/old.yaml").unlink()

    new.write_text(experiment("new", name, "  description: better\n"))
    here.commit("a better text")
    ran = _refused(here, "--dry-run")
    assert "manifests/new.yaml was changed since by" in ran.err
    assert "(test: a better text)" in ran.err
    assert "git revert" in ran.err

    here.write({"manifests/late.yaml": experiment("late", name)})
    here.git("revert", "--no-edit", "HEAD")
    assert _undo(here, "2")["files"], "what others left elsewhere is no hindrance"
    assert (here.root / "manifests/late.yaml").exists()


def test_what_git_does_not_know_is_refused(here: Installation, tmp_path: Path) -> None:
    name = here.env["NAME"]
    probe = here.root / "manifests/probe.yaml"
    probe.write_text(experiment("probe", name, "  tags: {owner: mine}\n"))
    here.ok()
    ran = _refused(here)
    assert "was of manifests that were not committed" in ran.err
    assert "git restore" in ran.err
    here.commit("mine")
    here.write({"manifests/new.yaml": experiment("new", name)})
    here.commit("new")
    here.ok()
    assert "what was applied before apply 3 was not committed" in _refused(here).err
    assert "there is no apply 9" in _refused(here, "9").err
    assert "as a whole" in _refused(here, "--project", name).err
    (here.root / ".git").rename(tmp_path / "git")
    ran = here.run("undo")
    assert ran.code == 1
    assert "the manifests are not in git" in ran.err


def test_where_nothing_was_applied_nothing_is_made(tmp_path: Path, mlflow_url: str) -> None:
    here = start(tmp_path / "root", mlflow_url, "undo-nothing")
    here.commit("first")
    ran = here.run("undo")
    assert ran.code == 1
    assert "nothing was applied here yet" in ran.err
    assert not (here.root / ".mlops").exists()


def test_history_tells_which_lines_are_one_apply(here: Installation) -> None:
    _second(here)
    name = here.env["NAME"]
    entries = json.loads(here.ok("history", "--apply", "2", "-o", "json").out)["entries"]
    assert {each["ref"].rpartition("/")[2] for each in entries} == {"probe", "new", "more", "old"}
    assert {each["detail"]["apply"] for each in entries} == {2}
    one = json.loads(here.ok("history", f"experiment/{name}/new", "--apply", "2", "-o", "json").out)["entries"]
    assert [each["action"] for each in one] == ["create"]
    assert ", apply 2" in here.ok("history", "--limit", "1").out
    assert here.run("history", "--apply", "7").code == 1


def test_the_patches_of_an_environment_go_back_too(here: Installation) -> None:
    name = here.env["NAME"]
    patch = (
        f"apiVersion: reconciler.mlops/v1\nkind: Experiment\nmetadata: {{name: probe, project: {name}}}\nspec:\n  tags: {{owner: OWNER}}\n"
    )
    here.write({"manifests/overlays/prod/probe.yaml": patch.replace("OWNER", "three")})
    here.commit("an overlay")
    here.ok("--switch-env", "--env", "prod")
    here.write({"manifests/overlays/prod/probe.yaml": patch.replace("OWNER", "four")})
    here.commit("another owner")
    here.ok("--env", "prod")
    told = _undo(here, code=0)
    assert [each["path"] for each in told["files"]] == ["manifests/overlays/prod/probe.yaml"]
    assert _fates(told) == {"probe": "takenBack"}
    assert "owner: three" in (here.root / "manifests/overlays/prod/probe.yaml").read_text()
    here.ok("--env", "prod")
    assert _tags(here)[f"{name}/probe"] == {"owner": "three"}
