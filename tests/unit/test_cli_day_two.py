"""Day-two commands over a real Store and real DVC data; no service is needed for a project that only has datasets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_cli import reconcile

DATA = "dataset/hello/flowers"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A reconciled tree with one project and one dataset."""
    assert reconcile("init", ".", cwd=tmp_path).returncode == 0
    manifest = tmp_path / "manifests/hello.yaml"
    manifest.write_text("---\n".join(manifest.read_text().split("---\n")[:2]).replace("data/flowers.csv", "data/flowers.csv\n  settle: 0s"))
    said = reconcile("--wait", "--timeout", "60s", cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    return tmp_path


def without_dataset(tree: Path) -> None:
    manifest = tree / "manifests/hello.yaml"
    manifest.write_text(manifest.read_text().split("---\n")[0])


def test_status_history_and_diff_tell_of_what_was_done(tree: Path) -> None:
    assert "3 Ready" in reconcile("status", cwd=tree).stdout
    one = reconcile("status", "flowers", cwd=tree).stdout
    assert one.startswith(f"{DATA}  Healthy   manifests/hello.yaml:")
    digest = json.loads(reconcile("status", "flowers", "-o", "json", cwd=tree).stdout)["resources"][0]["outputs"]["digest"]
    assert f"digest           {digest}\n" in one
    assert f"digest: {digest}\n" in reconcile("history", "flowers", cwd=tree).stdout, "what a `pin` takes"
    assert {each["ref"] for each in json.loads(reconcile("history", "-o", "json", cwd=tree).stdout)["entries"]} >= {DATA, "project/hello"}
    assert reconcile("diff", "--detailed-exitcode", cwd=tree).stdout.startswith("No differences: 3 resources")
    assert reconcile("import", "dataset", "hello/flowers", cwd=tree).stdout.split("spec:\n")[1].startswith("  path: data/flowers.csv\n")
    assert reconcile(cwd=tree).stdout.startswith("No changes: 3 resources match manifests")


def test_suspended_things_are_held_until_they_are_resumed(tree: Path) -> None:
    assert reconcile("suspend", "flowers", "--reason", "labels are corrected by hand", cwd=tree).returncode == 0
    (tree / "hello/data/flowers.csv").write_text("petal_length\n1\n")
    said = reconcile("--wait", cwd=tree)
    assert said.returncode == 3
    assert "labels are corrected by hand" in said.stdout
    assert said.stdout.startswith("Nothing done: 1 suspended, 2 unchanged")
    assert reconcile("resume", "flowers", cwd=tree).returncode == 0
    assert "1 changed" in reconcile("--wait", cwd=tree).stdout
    assert "suspend" in reconcile("history", "flowers", cwd=tree).stdout


def test_delete_touches_only_what_was_named_and_asks(tree: Path) -> None:
    refused = reconcile("delete", "flowers", "--confirm", cwd=tree)
    assert "has a manifest" in refused.stderr
    without_dataset(tree)
    shown = reconcile("delete", "flowers", "--dry-run", cwd=tree)
    assert shown.stdout.startswith("1 to delete:")
    assert reconcile("delete", "flowers", cwd=tree).returncode == 1, "nobody said yes"
    done = reconcile("delete", "flowers", "--confirm", cwd=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[0] == "1 to delete:"
    assert "Done: 1 deleted" in done.stdout
    assert reconcile("--dry-run", "--detailed-exitcode", cwd=tree).returncode == 0
    assert "2 Ready" in reconcile("status", cwd=tree).stdout


def test_a_deletion_waits_for_its_digest(tree: Path) -> None:
    without_dataset(tree)
    held = reconcile(cwd=tree)
    assert held.returncode == 3
    digest = held.stdout.rsplit("--confirm ", 1)[1].split("`")[0]
    assert reconcile("--confirm", "00000000", cwd=tree).returncode == 3
    assert "1 deleted" in reconcile("--confirm", digest, cwd=tree).stdout


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["status", "--project", "helo"], "there is no project 'helo'", "did you mean hello?"),
        (["history", "--project", "nobody"], "there is no project 'nobody'", "there are: hello"),
        (["status", "--kind", "datset"], "there is no kind 'datset'", "did you mean Dataset?"),
        (["history", "--kind", "datset"], "there is no kind 'datset'", "did you mean Dataset?"),
        (["status", "--selector", "team=nobody"], "has the label team=nobody", "metadata.labels"),
        (["--dry-run", "--selector", "team=nobody"], "has the label team=nobody", "metadata.labels"),
        (["--selector", "team=nobody"], "has the label team=nobody", "metadata.labels"),
    ],
)
def test_a_misspelt_filter_is_an_error_and_not_an_empty_success(words: list[str], message: str, hint: str, tree: Path) -> None:
    said = reconcile(*words, cwd=tree)
    assert (said.returncode, said.stdout) == (1, "")
    assert message in said.stderr
    assert hint in said.stderr


def test_filters_of_history_and_status_add_up(tree: Path) -> None:
    found = json.loads(reconcile("history", "--kind", "dataset", "--kind", "project", "--limit", "2", "-o", "json", cwd=tree).stdout)
    assert {each["ref"] for each in found["entries"]} == {DATA, "project/hello"}
    found = json.loads(reconcile("status", "--project", "hello", "--kind", "dataset", "-o", "json", cwd=tree).stdout)
    assert [each["ref"] for each in found["resources"]] == [DATA]


def test_a_folder_inside_a_tree_is_told_apart_from_an_empty_place(tree: Path) -> None:
    below = tree / "hello" / "data"
    for words in ([], ["--dry-run"], ["status"], ["platform", "status"]):
        said = reconcile(*words, cwd=below)
        assert said.returncode == 1, said.stdout
        assert f"{tree} has some: go there, or say `reconcile --root ../..`" in said.stderr
    assert reconcile("--root", "../..", "--dry-run", cwd=below).stdout.startswith("No changes: 3 resources")
