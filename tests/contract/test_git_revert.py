"""Some folders as they were, as one new commit: nobody's work lost, nothing else touched, with real git."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import Terminal
from reconciler.source.git import Repository
from tests.contract.git_lab import commit, files, following, git, repository_at


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    found = repository_at(tmp_path / "desk")
    git(found, "remote", "add", "origin", str(tmp_path / "nowhere"))
    return found


@pytest.fixture
def theirs(desk: Path) -> Repository:
    return following(desk, "origin", ours=False)


def test_only_the_named_folders_go_back(theirs: Repository, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(desk.parent))  # nobody has told git who he is
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    good = commit(desk, {"deep/b.yaml": "good\n", "deep/old.yaml": "old\n"})
    bad = commit(desk, {"deep/b.yaml": "bad\n", "deep/old.yaml": None, "deep/new/c.yaml": "new\n", "a.yaml": "two\n"})
    (desk / "a.yaml").write_text("an edit elsewhere\n")
    (desk / "staged.txt").write_text("staged elsewhere")
    git(desk, "add", "staged.txt")
    (desk / "notes.txt").write_text("mine")
    made = theirs.revert(good, ["deep"], "Roll back\n\nbecause", "ann")
    assert files(desk) == {
        "a.yaml": "an edit elsewhere\n",
        "deep/b.yaml": "good\n",
        "deep/old.yaml": "old\n",
        "notes.txt": "mine",
        "staged.txt": "staged elsewhere",
    }
    assert git(desk, "rev-parse", "HEAD", "HEAD~1") == f"{made}\n{bad}"
    assert git(desk, "status", "--short", "--branch").splitlines() == ["## main", " M a.yaml", "A  staged.txt", "?? notes.txt"]
    assert git(desk, "log", "-1", "--format=%an <%ae>|%s|%b") == "ann <ann@localhost>|Roll back|because"
    changed = git(desk, "diff", "--name-status", "HEAD~1", "HEAD").splitlines()
    assert changed == ["M\tdeep/b.yaml", "D\tdeep/new/c.yaml", "A\tdeep/old.yaml"]
    assert theirs.contents(made, ["deep"]) == theirs.contents(good, ["deep"]) != theirs.contents(bad, ["deep"])


def test_the_author_is_whom_the_clone_names(theirs: Repository, desk: Path) -> None:
    good = commit(desk, {"deep/b.yaml": "two\n"})
    commit(desk, {"deep/b.yaml": "three\n"})
    git(desk, "config", "user.name", "Grace")
    git(desk, "config", "user.email", "grace@example.org")
    theirs.revert(good, ["deep"], "back", "ann")
    assert git(desk, "log", "-1", "--format=%an <%ae> %cn") == "Grace <grace@example.org> Grace"


@pytest.mark.parametrize(
    ("folders", "after"),
    [(["."], {"a.yaml": "one\n", "deep/b.yaml": "one\n"}), (["a.yaml"], {"a.yaml": "one\n", "deep/b.yaml": "two\n", "c.yaml": "new\n"})],
    ids=["everything", "a file"],
)
def test_it_may_be_everything_or_a_file(theirs: Repository, desk: Path, folders: list[str], after: dict[str, str]) -> None:
    good = git(desk, "rev-parse", "HEAD")
    commit(desk, {"a.yaml": "two\n", "deep/b.yaml": "two\n", "c.yaml": "new\n"})
    theirs.revert(good, folders, "back", "ann")
    assert files(desk) == after


def test_a_folder_that_was_not_there_yet_goes(theirs: Repository, desk: Path) -> None:
    good = git(desk, "rev-parse", "HEAD")
    bad = commit(desk, {"more/x.yaml": "x\n"})
    assert theirs.contents(good, ["more"]) == {"more": ""}
    theirs.revert(good, ["more"], "back", "ann")
    assert not (desk / "more").exists()
    assert git(desk, "rev-parse", "HEAD~1") == bad


@pytest.mark.parametrize("how", ["edited", "staged", "not tracked", "merging"])
def test_work_that_is_not_committed_there_stays_and_refuses(theirs: Repository, desk: Path, how: str) -> None:
    good = git(desk, "rev-parse", "HEAD")
    bad = commit(desk, {"deep/b.yaml": "two\n"})
    name = "deep/mine.yaml" if how == "not tracked" else "deep/b.yaml"
    if how == "merging":
        (desk / ".git" / "MERGE_HEAD").write_text(f"{good}\n")
    else:
        (desk / name).write_text("mine\n")
    if how == "staged":
        git(desk, "add", name)
    before = files(desk)
    with pytest.raises(Terminal, match="merge" if how == "merging" else name):
        theirs.revert(good, ["deep"], "back", "ann")
    assert (files(desk), git(desk, "rev-parse", "HEAD")) == (before, bad)


def test_what_is_so_already_needs_no_commit(theirs: Repository, desk: Path) -> None:
    good = git(desk, "rev-parse", "HEAD")
    bad = commit(desk, {"a.yaml": "two\n"})
    with pytest.raises(Terminal, match="as it was at"):
        theirs.revert(good, ["deep"], "back", "ann")
    assert git(desk, "rev-parse", "HEAD") == bad


def test_nothing_of_the_repository_runs(theirs: Repository, desk: Path) -> None:
    good = git(desk, "rev-parse", "HEAD")
    commit(desk, {"deep/b.yaml": "two\n"})
    for name in ("pre-commit", "post-checkout", "reference-transaction"):
        hook = desk / ".git" / "hooks" / name
        hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
        hook.chmod(0o755)
    theirs.revert(good, ["deep"], "back", "ann")
    assert not (desk / "ran").exists()


def test_a_commit_is_named_as_people_do(theirs: Repository, desk: Path) -> None:
    head = git(desk, "rev-parse", "HEAD")
    assert [theirs.resolve(each) for each in (head, head[:7], "main", "HEAD")] == [head] * 4
    assert [theirs.resolve(each) for each in ("", "--all", "nothing", "0" * 40)] == [""] * 4
