"""Rollback and quarantine on a plain folder, without a loop: over a real Store, real git and real DVC data."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_cli import reconcile

DATA = "dataset/hello/flowers"


def git(tree: Path, *words: str) -> str:
    named = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(["git", *named, *words], cwd=tree, capture_output=True, text=True, check=True).stdout.strip()


def commit(tree: Path, message: str) -> str:
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "--allow-empty", "-m", message)
    return git(tree, "rev-parse", "HEAD")


def say(*words: str, tree: Path, code: int = 0) -> str:
    said = reconcile(*words, cwd=tree)
    assert said.returncode == code, said.stdout + said.stderr
    return said.stdout + said.stderr


def status(tree: Path) -> Any:
    return json.loads(say("status", "--all", "-o", "json", tree=tree))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A reconciled tree under git, with one project and one dataset, all Ready."""
    say("init", ".", tree=tmp_path)
    manifest = tmp_path / "manifests/hello.yaml"
    manifest.write_text("---\n".join(manifest.read_text().split("---\n")[:2]).replace("data/flowers.csv", "data/flowers.csv\n  settle: 0s"))
    (tmp_path / ".gitignore").write_text(".mlops/\n")
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "good")
    say("--wait", "--timeout", "60s", tree=tmp_path)
    return tmp_path


def without_dataset(tree: Path) -> None:
    manifest = tree / "manifests/hello.yaml"
    manifest.write_text(manifest.read_text().split("---\n")[0])


def test_the_bad_revision_is_taken_back_by_a_commit_and_kept_out(tree: Path) -> None:
    good = git(tree, "rev-parse", "HEAD")
    without_dataset(tree)
    bad = commit(tree, "the dataset goes")
    assert "ConfirmDelete" in json.dumps(json.loads(say("--dry-run", "-o", "json", tree=tree, code=3)))
    told = say("rollback", "--reason", "we need it", tree=tree)
    assert f"is as it was at {good[:7]} again" in told
    assert "push origin HEAD:main" in told
    assert git(tree, "rev-parse", "HEAD~1") == bad
    assert [each["commit"] for each in status(tree)["quarantined"]] == [bad]
    assert "No changes: 3 resources" in say(tree=tree)
    assert "rollback" in say("history", "--limit", "1", tree=tree)

    git(tree, "checkout", "-q", "-b", "again", bad)  # here it is once more
    before = status(tree)["resources"]
    told = say("--confirm", DATA, tree=tree, code=1)
    assert f"{bad[:7]} is quarantined since" in told
    assert "we need it" in told
    assert [each["ref"] for each in status(tree)["resources"]] == [each["ref"] for each in before], "nothing was deleted"

    git(tree, "checkout", "-q", "main")
    without_dataset(tree)
    same = commit(tree, "the dataset goes, once more")
    assert f"{same[:7]} (its manifests are those of {bad[:7]}) is quarantined" in say("--dry-run", tree=tree, code=1)
    assert "names no quarantined revision" in say("resume", "revision/0000", tree=tree, code=1)
    say("resume", f"revision/{bad[:7]}", tree=tree)
    assert status(tree)["quarantined"] == []
    assert "1 deleted" in say("--confirm", DATA, tree=tree)


def test_a_rollback_that_cannot_be_made_leaves_everything_as_it_was(tree: Path) -> None:
    assert "say which with --to" in say("rollback", "--reason", "x", tree=tree, code=1), "it is the good one"
    good = git(tree, "rev-parse", "HEAD")
    without_dataset(tree)
    assert "changed by hand: manifests/hello.yaml" in say("rollback", "--to", good, "--reason", "x", tree=tree, code=1)
    bad = commit(tree, "the dataset goes")
    assert "there is no commit 'nothing'" in say("rollback", "--to", "nothing", "--reason", "x", tree=tree, code=1)
    assert "as it was at" in say("rollback", "--to", bad, "--reason", "x", tree=tree, code=1)
    assert "without a REF" in say("rollback", DATA, "--to", good, "--reason", "x", tree=tree, code=1)
    assert "there is no repository 'team'" in say("rollback", "--source", "team", "--to", good, "--reason", "x", tree=tree, code=1)
    assert git(tree, "rev-parse", "HEAD") == bad
    assert status(tree)["quarantined"] == []


def test_approval_on_the_command_line(tree: Path) -> None:
    manifest = tree / "manifests/hello.yaml"
    assert "asks nobody for approval" in say("approve", "hello", tree=tree, code=1)
    manifest.write_text(manifest.read_text().replace("spec:\n", "spec:\n  sync: {approval: required}\n", 1))
    commit(tree, "ask first")
    say("--wait", tree=tree)
    assert "Nothing of project/hello waits" in say("approve", "project/hello", tree=tree)
    (tree / "hello/data/flowers.csv").write_text("petal_length\n1\n")
    assert "1 changed" in say("--wait", tree=tree), "what was approved follows its data"
    without_dataset(tree)
    commit(tree, "the dataset goes")
    told = say("--dry-run", tree=tree, code=3)
    assert "1 waiting for approval" in told
    plan = json.loads(say("--dry-run", "-o", "json", tree=tree, code=3))
    [waits] = plan["approvals"]
    assert (waits["project"], waits["refs"]) == ("hello", [DATA])
    assert "without --project" in say("approve", "hello", "--project", "hello", tree=tree, code=1)
    assert "names; now it is" in say("approve", "hello", "--plan-digest", "0" * 12, tree=tree, code=1)
    assert f"- {DATA}" in say("approve", "hello", "--plan-digest", waits["digest"], tree=tree)
    assert "now nothing waits" in say("approve", "hello", "--plan-digest", waits["digest"], tree=tree, code=1)
    assert "1 deleted" in say(tree=tree)
    [entry] = [each for each in json.loads(say("history", "-o", "json", tree=tree))["entries"] if each["action"] == "approve"]
    assert (entry["ref"], entry["detail"]["author"]) == (DATA, "Ada <ada@example.org>: the dataset goes")
