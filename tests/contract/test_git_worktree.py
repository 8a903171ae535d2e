"""The work tree of a clone of ours: exactly the commit, and nothing lost that a person or a program put there; with real git."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from reconciler.errors import Terminal
from reconciler.source.git import Moved, Repository
from tests.contract.git_lab import commit, files, following, git, placed, repository_at


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return repository_at(tmp_path / "origin")


@pytest.fixture
def ours(tmp_path: Path, origin: Path) -> Repository:
    return following(tmp_path / "house" / "clone", origin)


def test_what_is_not_tracked_stays(ours: Repository, origin: Path) -> None:
    commit(origin, {".gitignore": "data/\n"})
    placed(ours)
    (ours.where / "data").mkdir()
    (ours.where / "data" / "big.csv").write_text("1,2,3")
    (ours.where / "deep" / "notes.txt").write_text("mine")
    commit(origin, {"deep/b.yaml": None, "a.yaml": "two\n"})
    placed(ours)
    found = files(ours.where)
    assert (found["data/big.csv"], found["deep/notes.txt"], found["a.yaml"]) == ("1,2,3", "mine", "two\n")
    assert "deep/b.yaml" not in found


@pytest.mark.parametrize("theirs", ["data/x.csv", "data", "notes/more/x.csv", "link/x.csv"])
def test_a_commit_does_not_replace_what_is_not_tracked_even_where_it_is_ignored(ours: Repository, origin: Path, theirs: str) -> None:
    commit(origin, {".gitignore": "data\nnotes\nlink\n"})
    first = placed(ours)
    (ours.where / "data").mkdir()
    (ours.where / "data" / "x.csv").write_text("mine")
    (ours.where / "notes").write_text("mine")
    (ours.where / "link").symlink_to("data")
    commit(origin, {theirs: "theirs"})
    with pytest.raises(Terminal, match=r"is not tracked: (data/x\.csv|notes|link)"):
        ours.check_out(ours.newest())
    assert ours.here() == first
    assert (ours.where / "data" / "x.csv").read_text() == (ours.where / "notes").read_text() == "mine"
    commit(origin, {theirs: None, "a.yaml": "two\n"})
    placed(ours)


def test_a_file_becomes_a_folder_and_a_folder_a_file(ours: Repository, origin: Path) -> None:
    placed(ours)
    commit(origin, {"a.yaml": None, "deep/b.yaml": None})
    commit(origin, {"a.yaml/inner.yaml": "one\n", "deep": "a file\n"})
    placed(ours)
    assert files(ours.where) == {"a.yaml/inner.yaml": "one\n", "deep": "a file\n"}


@pytest.mark.parametrize("how", ["edited", "removed", "staged", "moved"])
def test_what_was_changed_by_hand_is_not_overwritten(ours: Repository, origin: Path, how: str) -> None:
    first = placed(ours)
    match how:
        case "edited":
            (ours.where / "a.yaml").write_text("mine\n")
        case "removed":
            (ours.where / "a.yaml").unlink()
        case "staged":
            (ours.where / "a.yaml").write_text("mine\n")
            git(ours.where, "add", "a.yaml")
        case _:
            git(ours.where, "mv", "a.yaml", "z.yaml")
    before = files(ours.where)
    commit(origin, {"deep/b.yaml": "two\n"})
    newest = ours.newest()
    with pytest.raises(Terminal, match=r"were changed by hand: a\.yaml") as told:
        ours.check_out(newest)
    assert f"git -C {ours.where} status" in told.value.hint
    assert (files(ours.where), ours.here()) == (before, first)
    git(ours.where, "reset", "--quiet", "--hard")
    assert ours.check_out(newest).after == newest


def test_at_most_three_names_are_told(ours: Repository, origin: Path) -> None:
    commit(origin, {f"{number}.yaml": "x" for number in range(5)})
    placed(ours)
    for number in range(5):
        (ours.where / f"{number}.yaml").write_text("mine")
    with pytest.raises(Terminal, match=r"0\.yaml, 1\.yaml, 2\.yaml and 2 more"):
        ours.check_out(ours.newest())


def test_a_file_that_was_only_touched_is_no_edit(ours: Repository, origin: Path) -> None:
    placed(ours)
    os.utime(ours.where / "a.yaml", (1, 1))
    commit(origin, {"a.yaml": "two\n"})
    placed(ours)


def test_commits_that_were_made_in_our_clone_are_not_lost(ours: Repository, origin: Path) -> None:
    placed(ours)
    mine = commit(ours.where, {"a.yaml": "mine\n"})
    commit(origin, {"a.yaml": "two\n"})
    with pytest.raises(Terminal, match=f"has a commit of its own, the newest {mine[:12]}"):
        ours.check_out(ours.newest())
    assert ours.here() == mine


def test_an_older_commit_is_checked_out_again(ours: Repository, origin: Path) -> None:
    first = placed(ours)
    commit(origin, {"a.yaml": "two\n"})
    second = placed(ours)
    assert ours.check_out(first) == Moved(second, first, rewritten=True)
    assert files(ours.where)["a.yaml"] == "one\n"


def failing(folder: Path, commit_id: str) -> Path:
    """A folder for PATH with a git that writes half of a commit's files, and then meets a name that the file system does not take: as
    macOS refuses one that is not UTF-8."""
    real = shutil.which("git")
    program = f"""#!/bin/sh
case "$*" in
*"read-tree -m -u {commit_id}" | *"read-tree --reset -u {commit_id}")
    mkdir new && echo new > new/c.yaml && echo two > a.yaml && rm deep/b.yaml
    echo "error: unable to create file: Illegal byte sequence" >&2
    exit 128 ;;
esac
exec {real} "$@"
"""
    folder.mkdir()
    (folder / "git").write_text(program)
    (folder / "git").chmod(0o755)
    return folder


def half_placed(ours: Repository, commit_id: str) -> None:
    git(ours.where, "update-ref", "refs/mlops/placing", commit_id)
    (ours.where / "a.yaml").write_text("tw")


@pytest.mark.parametrize("killed", [False, True])
def test_a_commit_that_cannot_be_written_here_is_put_back_and_does_not_stop_the_next(
    ours: Repository, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    first = placed(ours)
    before = files(ours.where)
    bad = commit(origin, {"a.yaml": "two\n", "new/c.yaml": "new\n", "deep/b.yaml": None})
    monkeypatch.setenv("PATH", f"{failing(tmp_path / 'bin', bad)}:{os.environ['PATH']}")
    ours.newest()
    for _ in range(2):
        if killed:
            half_placed(ours, bad)
        with pytest.raises(Terminal, match="Illegal byte sequence"):
            ours.check_out(bad)
        assert (files(ours.where), ours.here()) == (before, first)
        assert not (ours.where / "new").exists()
    better = commit(origin, {"d.yaml": "better\n"})
    assert ours.newest() == better
    if killed:
        half_placed(ours, bad)
    ours.check_out(better)
    assert files(ours.where) == {"a.yaml": "two\n", "new/c.yaml": "new\n", "d.yaml": "better\n"}


def test_a_name_that_is_too_long(ours: Repository, origin: Path) -> None:
    first = placed(ours)
    blob = git(origin, "rev-parse", "HEAD:a.yaml")
    git(origin, "update-index", "--add", "--cacheinfo", f"100644,{blob},{'x' * 300}")
    git(origin, "commit", "--quiet", "--message=long")
    with pytest.raises(Terminal, match="cannot stat 'xxx"):
        ours.check_out(ours.newest())
    assert ours.here() == first
    git(origin, "rm", "--quiet", "--cached", "x" * 300)
    git(origin, "commit", "--quiet", "--message=short")
    placed(ours)


def test_two_thousand_files(ours: Repository, origin: Path) -> None:
    commit(origin, {f"projects/{number % 40}/{number}.yaml": f"{number}\n" for number in range(2000)})
    placed(ours)
    assert len(files(ours.where)) == 2002
    commit(origin, {f"projects/{number % 40}/{number}.yaml": "again\n" for number in range(0, 2000, 2)})
    placed(ours)
    assert files(ours.where)["projects/0/40.yaml"] == "again\n"
