"""`reconcile import` over a real Store and real DVC data; no service is needed for what these trees hold."""

from __future__ import annotations

import json
import shutil
import sqlite3
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.unit.test_cli import reconcile

REST = """
apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: hello, labels: {team: nlp}}
spec: {path: hello, owners: [ann], level: easy}
---
apiVersion: reconciler.mlops/v1
kind: Dataset
metadata: {name: flowers, project: hello, labels: {team: nlp}}
lifecycle: {prune: never, drift: report}
spec: {path: data/flowers.csv, settle: 0s, versions: 3, expect: {minRows: 1}}
---
apiVersion: reconciler.mlops/v1
kind: ResourceQuota
metadata: {name: share, project: hello}
spec: {nominal: {memory: 1Gi, cpu: 1}, weight: 1.0, priority: 7}
---
apiVersion: reconciler.mlops/v1
kind: AlertPolicy
metadata: {name: ops}
spec:
  receivers: [{name: chat, webhook: {url: "https://127.0.0.1:9/", secret: {fromFile: SECRET}}}]
  routes: [{receivers: [chat]}]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A reconciled tree with one of each kind that needs no service."""
    assert reconcile("init", ".", cwd=tmp_path).returncode == 0
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "manifests/hello.yaml").write_text(REST.replace("SECRET", str(tmp_path / "secret")))
    done = reconcile("--wait", cwd=tmp_path)
    assert done.stdout.startswith("Done: 5 created"), done.stdout + done.stderr
    return tmp_path


def imported(folder: Path) -> dict[str, dict[str, object]]:
    """What was written, by kind."""
    files = sorted(folder.rglob("*.yaml"))
    return {each["kind"]: each for path in files for each in yaml.safe_load_all(path.read_text())}


def forget_database_rows(tree: Path, statement: str) -> None:
    with sqlite3.connect(tree / ".mlops" / "store.db") as store:
        store.execute(statement)
    store.close()


def unmarked(tree: Path, project: str, name: str) -> None:
    """A dataset that somebody recorded past the reconciler, its data included."""
    theirs = tree / ".mlops/dvc/projects" / project / name
    ours = tree / ".mlops/dvc/projects/hello/flowers/flowers.csv.dvc"
    theirs.mkdir(parents=True)
    if not (theirs.parent / ".dvc").exists():
        shutil.copytree(ours.parents[1] / ".dvc", theirs.parent / ".dvc")
    entry = yaml.safe_load(ours.read_text())
    del entry["meta"]
    (theirs / "flowers.csv.dvc").write_text(yaml.safe_dump(entry))
    data = tree / project / "flowers.csv"
    data.parent.mkdir(exist_ok=True)
    data.write_bytes((tree / "hello/data/flowers.csv").read_bytes())


def test_lost_manifests_come_back_and_plan_to_nothing(tree: Path) -> None:
    (tree / "manifests").rename(tree / "lost")
    said = reconcile("import", "--all", "--to", "manifests", cwd=tree)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Wrote 5 manifests into manifests.\n")
    assert said.stdout.endswith("Next: `reconcile --dry-run -f manifests` shows that nothing would change.\n")
    found = imported(tree / "manifests")
    assert found["Dataset"]["metadata"] == {"name": "flowers", "project": "hello", "labels": {"team": "nlp"}}
    assert found["Dataset"]["lifecycle"] == {"prune": "never", "drift": "report"}
    assert found["Dataset"]["spec"] == {"path": "data/flowers.csv", "settle": "0s", "versions": 3, "expect": {"minRows": 1}}
    assert found["Project"]["metadata"] == {"name": "hello", "labels": {"team": "nlp"}}
    assert found["Project"]["spec"] == {"path": "hello", "owners": ["ann"]}, "what is at its default is left out"
    assert found["ResourceQuota"]["spec"] == {"nominal": {"memory": "1Gi", "cpu": "1"}, "priority": 7}
    assert found["AlertPolicy"]["spec"]["receivers"][0]["webhook"] == {  # type: ignore[index]
        "url": "https://127.0.0.1:9/",
        "secret": {"fromFile": str(tree / "secret")},
    }
    assert "hush" not in "".join(each.read_text() for each in (tree / "manifests").rglob("*.yaml"))
    assert reconcile("validate", cwd=tree).stdout.startswith("Valid: 5 resources")
    assert reconcile("--dry-run", "--detailed-exitcode", cwd=tree).stdout.startswith("No changes: 5 resources match manifests")


def test_what_has_a_manifest_is_left_out(tree: Path) -> None:
    said = reconcile("import", "--all", "--to", "imported", cwd=tree)
    assert (said.returncode, said.stdout.splitlines()[0]) == (0, "Nothing to import: 5 resources had one already.")
    assert not (tree / "imported").exists()
    text = (tree / "manifests/hello.yaml").read_text().replace("settle: 0s", "setle: 0s")
    (tree / "manifests/hello.yaml").write_text(text)
    wrong = reconcile("import", "--all", "--to", "imported", cwd=tree)
    assert wrong.stdout.startswith("Nothing to import: 5 resources"), "a wrong manifest is one all the same"


def test_nothing_is_overwritten_and_nothing_is_written_in_part(tree: Path) -> None:
    (tree / "manifests").rename(tree / "lost")
    mine = tree / "imported/projects/hello/project.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine\n")
    said = reconcile("import", "--all", "--to", "imported", cwd=tree)
    assert (said.returncode, said.stdout) == (1, "")
    assert f"{Path('imported/projects/hello/project.yaml')} would be overwritten; nothing was written" in said.stderr
    assert list((tree / "imported").rglob("*.yaml")) == [mine]
    assert mine.read_text() == "mine\n"


def test_filters_narrow_it_down(tree: Path) -> None:
    (tree / "manifests").rename(tree / "lost")
    assert reconcile("import", "--all", "--tool", "store", "--kind", "alertpolicy", "--to", "a", cwd=tree).returncode == 0
    assert imported(tree / "a").keys() == {"AlertPolicy"}
    assert reconcile("import", "--all", "--kind", "dataset", "--to", "b", cwd=tree).returncode == 0
    assert imported(tree / "b").keys() == {"Dataset", "Project"}, "the project that it belongs to comes with it"
    assert reconcile("import", "--all", "--project", "hello", "--to", "c", cwd=tree).returncode == 0
    assert imported(tree / "c").keys() == {"Dataset", "Project", "ResourceQuota"}


def test_what_carries_no_mark_is_taken_over_once(tree: Path) -> None:
    unmarked(tree, "garden", "roses")
    said = reconcile("import", "--all", "--to", "manifests/imported", cwd=tree)
    assert said.returncode == 0, said.stderr
    assert "taken over (lifecycle.adopt): dataset/garden/roses\n" in said.stdout
    assert imported(tree / "manifests/imported")["Dataset"]["lifecycle"] == {"adopt": True}
    assert imported(tree / "manifests/imported")["Project"]["spec"] == {"path": "garden"}, "nobody registered it: its folder has its name"
    planned = reconcile("--dry-run", cwd=tree).stdout
    assert "» dataset/garden/roses" in planned
    assert "2 to adopt, 5 unchanged." in planned
    assert reconcile("--wait", cwd=tree).returncode == 0
    assert reconcile("--dry-run", "--detailed-exitcode", cwd=tree).returncode == 0


def test_what_cannot_be_a_manifest_is_named_and_the_rest_is_written(tree: Path) -> None:
    unmarked(tree, "hello", "My_Roses")
    unmarked(tree, "nowhere", "tulips")
    (tree / "nowhere/flowers.csv").unlink()
    (tree / "nowhere").rmdir()
    (tree / "manifests").rename(tree / "lost")
    said = reconcile("import", "--all", "--to", "manifests", cwd=tree)
    assert said.returncode == 0, said.stderr
    told = " ".join(said.stdout.split())
    assert "No manifest can be written for:" in told
    assert "dataset hello/My_Roses: its name cannot be that of a manifest (lower case letters, digits and hyphens" in told
    assert "project nowhere: the folder of project 'nowhere' is not known" in told
    assert "dataset nowhere/tulips: " in told, "it would belong to a project that nobody declares"
    assert reconcile("validate", cwd=tree).stdout.startswith("Valid: 5 resources")
    assert "My_Roses" not in " ".join(each.read_text() for each in (tree / "manifests").rglob("*.yaml"))


def test_a_tool_that_does_not_answer_is_named_and_the_rest_is_written(tree: Path) -> None:
    (tree / ".mlops/services/mlflow").mkdir(parents=True)
    (tree / "manifests").rename(tree / "lost")
    said = reconcile("import", "--all", "--to", "manifests", cwd=tree)
    assert said.returncode == 3, said.stdout + said.stderr
    told = " ".join(said.stdout.split())
    assert "Could not be read: Experiment: mlflow" in told
    assert "Next: `reconcile platform up` starts what does not answer" in told
    assert len(imported(tree / "manifests")) == 5


def test_what_an_older_program_recorded_is_kept_from_the_next_pass_on(tree: Path) -> None:
    forget_database_rows(tree, "DELETE FROM manifests")
    one = reconcile("import", "dataset", "hello/flowers", cwd=tree).stdout
    assert one.split("spec:\n")[1] == "  path: data/flowers.csv\n", "only what DVC holds"
    assert "prune: never" in one, "protection was always remembered"
    assert reconcile(cwd=tree).stdout.startswith("No changes: 5 resources")
    assert "expect:\n    minRows: 1\n" in reconcile("import", "dataset", "hello/flowers", cwd=tree).stdout


def test_drift_is_imported_as_it_is(tree: Path) -> None:
    path = tree / ".mlops/dvc/projects/hello/flowers/flowers.csv.dvc"
    path.write_text(path.read_text().replace('"type": "data"', '"type": "model"'))
    assert "type: model\n" in reconcile("import", "dataset", "hello/flowers", cwd=tree).stdout


def test_programs_are_told_what_would_be_written_and_what_was(tree: Path) -> None:
    unmarked(tree, "garden", "roses")
    unmarked(tree, "hello", "My_Roses")
    only = ("import", "--all", "--tool", "dvc", "-o", "json")
    would = json.loads(reconcile(*only, cwd=tree).stdout)
    assert (would["formatVersion"], would["kind"], would["written"], would["folder"]) == (1, "import", False, None)
    assert not (tree / "imported").exists()
    assert [(each["ref"], each["file"], each["adopt"]) for each in would["manifests"]] == [
        ("dataset/garden/roses", "projects/garden/datasets.yaml", True),
        ("project/garden", "projects/garden/project.yaml", False),
    ]
    assert would["declared"] == ["dataset/hello/flowers", "project/hello"]
    [refused] = would["refused"]
    assert (refused["kind"], refused["name"]) == ("Dataset", "hello/My_Roses")
    assert refused["why"].startswith("its name cannot be that of a manifest")
    said = reconcile(*only, "--to", "imported", cwd=tree)
    done = json.loads(said.stdout)
    assert (said.returncode, done["written"], done["folder"]) == (0, True, "imported")
    assert {key: done[key] for key in ("manifests", "declared", "refused", "unread")} == {
        key: would[key] for key in ("manifests", "declared", "refused", "unread")
    }
    written = imported(tree / "imported")
    assert {each["kind"]: each["manifest"] for each in done["manifests"]} == written


def test_one_object_is_told_to_programs_too(tree: Path) -> None:
    text = reconcile("import", "dataset", "hello/flowers", cwd=tree).stdout
    told = json.loads(reconcile("import", "dataset", "hello/flowers", "-o", "json", cwd=tree).stdout)
    [one] = told["manifests"]
    assert (one["ref"], one["file"], one["adopt"], told["written"]) == ("dataset/hello/flowers", None, False, False)
    assert one["manifest"] == yaml.safe_load(text)
    (tree / ".mlops/services/mlflow").mkdir(parents=True)
    away = reconcile("import", "--all", "-o", "json", cwd=tree)
    assert (away.returncode, [each["kind"] for each in json.loads(away.stdout)["unread"]]) == (3, ["Experiment", "Model"])


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ([], "what is to be imported?", "reconcile import --all --to DIR"),
        (["dataset"], "what is to be imported?", "reconcile import KIND NAME"),
        (["dataset", "hello/flowers", "--to", "x"], "what is to be imported?", ""),
        (["--all"], "--all writes a tree of files", "--to DIR"),
        (["--all", "dataset", "--to", "x"], "--all writes a tree of files", ""),
        (["--all", "--tool", "mlfow", "--to", "x"], "there is no tool 'mlfow'", "airflow, dvc, evidently, mlflow, serve, store"),
        (["--all", "--selector", "team=nlp", "--to", "x"], "--selector does not narrow an import down", "--project, --kind or --tool"),
        (["--all", "-f", "manifsts", "--to", "x"], "there are no manifests at manifsts", "check what -f names"),
        (["--all", "--kind", "datset", "--to", "x"], "there is no kind 'datset'", "did you mean Dataset?"),
        (["dataset", "hello/nothing"], "neither a dataset in DVC nor data of a project", "project/name"),
        (["alertpolicy", "nobody"], "no alert policy 'nobody' was applied here", ""),
        (["project", "nobody"], "the folder of project 'nobody' is not known", "by hand"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(words: list[str], message: str, hint: str, tree: Path) -> None:
    said = reconcile("import", *words, cwd=tree)
    assert (said.returncode, said.stdout) == (1, "")
    assert message in said.stderr
    assert hint in textwrap.dedent(said.stderr)
    assert not (tree / "x").exists()
