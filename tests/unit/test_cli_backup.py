"""`reconcile platform backup` and `restore` over a real Store and real DVC data; no service is needed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from reconciler.platform.data import beside
from reconciler.state import open_store
from schemas.platform import PlatformSpec
from tests.unit.test_cli import ROOT, reconcile

PLATFORM = "apiVersion: reconciler.mlops/v1\nkind: Platform\nmetadata: {name: p}\nspec:\n  installation: shop\n"
HELLO = (
    "apiVersion: reconciler.mlops/v1\nkind: Project\nmetadata: {name: hello}\nspec: {path: hello}\n---\n"
    "apiVersion: reconciler.mlops/v1\nkind: Dataset\nmetadata: {name: flowers, project: hello}\nspec: {path: flowers.csv, settle: 0s}\n"
)


@pytest.fixture(scope="module")
def reconciled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with one dataset after its first pass, and its backup `b.zip`."""
    folder = tmp_path_factory.mktemp("backup") / "tree"
    folder.mkdir()
    for name, text in {"manifests/a.yaml": PLATFORM, "manifests/b.yaml": HELLO, "hello/flowers.csv": "petals\n5\n"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for words in (["--wait"], ["platform", "backup", "b.zip"]):
        said = reconcile(*words, cwd=folder)
        assert said.returncode == 0, said.stdout + said.stderr
    return folder.rename(folder.with_name("kept"))


@pytest.fixture
def tree(reconciled: Path) -> Path:
    """The same again, at the same place: DVC's settings name it."""
    folder = reconciled.with_name("tree")
    shutil.rmtree(folder, ignore_errors=True)
    return shutil.copytree(reconciled, folder, symlinks=True)


def lose_the_store(tree: Path) -> None:
    for path in (tree / ".mlops").glob("store.db*"):
        path.unlink()


def test_a_backup_says_what_is_in_it_and_what_is_not(tree: Path) -> None:
    said = reconcile("platform", "backup", "new.zip", cwd=tree).stdout.splitlines()
    assert re.fullmatch(r"Backed up shop: 3 resources, 3 history entries in new\.zip \(\d KiB, [\d.]+ s\)\.", said[0])
    assert "  .mlops/dvc  the DVC cache: the bytes of every version of a dataset" in said
    assert "  secrets     the variables and files that the manifests name" in said
    assert said[-1] == "Next: keep it on another disk; `reconcile platform restore new.zip` brings it back."
    assert (tree / "new.zip").stat().st_mode & 0o777 == 0o600
    again = reconcile("platform", "backup", "new.zip", cwd=tree)
    assert (again.returncode, again.stdout) == (1, "")
    assert "new.zip is there already; nothing was written\n  name another file, or say --force" in again.stderr
    assert reconcile("platform", "backup", "new.zip", "--force", cwd=tree).returncode == 0


def test_a_lost_store_comes_back_and_the_next_pass_has_nothing_to_do(tree: Path) -> None:
    assert reconcile("suspend", "flowers", "--reason", "by hand", cwd=tree).returncode == 0
    assert reconcile("platform", "backup", "b.zip", "--force", cwd=tree).returncode == 0
    assert reconcile("resume", "flowers", cwd=tree).returncode == 0
    lose_the_store(tree)
    said = reconcile("platform", "restore", "b.zip", cwd=tree)
    assert said.returncode == 0, said.stderr
    assert re.match(r"Restored shop as it was \d+ s ago \(.*Z\): 3 resources, 4 history entries, 1 suspension \(", said.stdout)
    assert "What was here before" not in said.stdout
    assert reconcile("--dry-run", "--detailed-exitcode", cwd=tree).stdout.startswith("No changes: 3 resources match")
    assert reconcile("--wait", cwd=tree).stdout.startswith("No changes")
    assert "by hand" in reconcile("resume", "flowers", cwd=tree).stdout + reconcile("history", "flowers", cwd=tree).stdout
    assert "restore   the installation   by " in reconcile("history", cwd=tree).stdout


def test_a_store_that_is_there_is_kept_and_then_put_aside(tree: Path) -> None:
    (tree / "hello/flowers.csv").write_text("petals\n6\n")
    assert reconcile("--wait", cwd=tree).returncode == 0
    refused = reconcile("platform", "restore", "b.zip", cwd=tree)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "store.db is not empty\n  --force restores over it, and backs it up first" in refused.stderr
    said = reconcile("platform", "restore", "b.zip", "--force", cwd=tree)
    (aside,) = (tree / ".mlops").glob("store-before-*.zip")
    assert f"What was here before is in .mlops/{aside.name}." in said.stdout
    assert reconcile("--dry-run", "--detailed-exitcode", cwd=tree).returncode == 0, "DVC tells that the newest version is there"
    done = json.loads(reconcile("platform", "restore", str(aside), "--force", "-o", "json", cwd=tree).stdout)
    assert (done["kind"], done["installation"], done["rows"]["inventory"]) == ("restore", "shop", 3)
    assert Path(done["before"]).parent == tree / ".mlops"


def test_another_database_may_take_it(tree: Path) -> None:
    env = {"MLOPS_STORE": f"sqlite:///{tree}/other.db"}
    assert reconcile("platform", "restore", "b.zip", cwd=tree, **env).returncode == 0
    assert reconcile("--dry-run", "--detailed-exitcode", cwd=tree, **env).returncode == 0
    with open_store(tree / "other.db", read_only=True) as store:
        assert len(store.inventory()) == 3


def test_the_backup_of_another_installation_is_refused(tree: Path) -> None:
    lose_the_store(tree)
    (tree / "manifests/a.yaml").write_text(PLATFORM.replace("shop", "lab"))
    said = reconcile("platform", "restore", "b.zip", "--force", cwd=tree)
    assert said.returncode == 1
    assert "b.zip is of the installation shop, and the one here is lab" in said.stderr
    assert not (tree / ".mlops/store.db").exists()


def test_nothing_is_written_when_the_file_is_not_whole(tree: Path) -> None:
    lose_the_store(tree)
    (tree / "b.zip").write_bytes((tree / "b.zip").read_bytes()[:-500])
    before = sorted(tree.rglob("*"))
    said = reconcile("platform", "restore", "b.zip", cwd=tree)
    assert said.returncode == 1
    assert "b.zip is not a whole backup" in said.stderr
    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["restore", "nope.zip"], "nope.zip cannot be read: No such file or directory"),
        (["backup", "nowhere/b.zip"], "cannot be written: No such file or directory"),
        (["backup", "b.zip", "--state-dir", "other"], "there is no Store at"),
        (["restore"], "missing argument 'FILE'"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], message: str, tree: Path) -> None:
    said = reconcile("platform", *words, cwd=tree)
    assert (said.returncode, said.stdout) == (1, "")
    assert message in said.stderr


def test_a_damaged_store_says_how_a_backup_takes_its_place(tree: Path) -> None:
    lose_the_store(tree)
    (tree / ".mlops/store.db").write_bytes(b"no database" * 1000)
    said = reconcile("platform", "restore", "b.zip", "--force", cwd=tree)
    assert "is damaged" in said.stderr
    assert "move it away (SQLite: with its -wal and -shm files), then restore a backup (`reconcile platform restore FILE`)" in said.stderr
    lose_the_store(tree)
    assert reconcile("platform", "restore", "b.zip", cwd=tree).returncode == 0


def test_every_key_of_the_json_is_documented(tree: Path) -> None:
    page = re.sub(r"```.*?```", "", (ROOT / "docs/reference/plan-json.md").read_text(), flags=re.DOTALL)
    told = set(re.findall(r"[A-Za-z]+", " ".join(re.findall(r"`([^`]+)`", page))))
    made = json.loads(reconcile("platform", "backup", "j.zip", "-o", "json", cwd=tree).stdout)
    done = json.loads(reconcile("platform", "restore", "j.zip", "--force", "-o", "json", cwd=tree).stdout)
    assert {*made, *done, *made["notIncluded"][0]} <= told
    assert (made["kind"], made["file"], made["bytes"]) == ("backup", str(tree / "j.zip"), (tree / "j.zip").stat().st_size)
    assert made["rows"] == done["rows"]


def test_what_lies_beside_the_store_is_named_where_it_is(tmp_path: Path) -> None:
    assert beside(tmp_path, None) == ()
    for name in ("services/mlflow", "serving", "environments"):
        (tmp_path / name).mkdir(parents=True)
    spec = {"installation": "x", "dvc": {"cacheDir": "/big/cache"}, "mlflow": {"managed": False, "endpoint": "http://ml:5000"}}
    found = [each.where for each in beside(tmp_path, PlatformSpec.model_validate(spec))]
    assert found == [f"{tmp_path}/services/mlflow", f"{tmp_path}/serving", "/big/cache", "http://ml:5000"]
