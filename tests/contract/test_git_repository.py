"""A repository that is followed in a clone of ours, with real git."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.errors import Terminal, Transient
from reconciler.model.lfs import is_lfs_pointer
from reconciler.source.git import Moved, Repository
from tests.contract.git_lab import commit, files, following, git, placed, repository_at


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return repository_at(tmp_path / "origin")


@pytest.fixture
def ours(tmp_path: Path, origin: Path) -> Repository:
    return following(tmp_path / "house" / "clone", origin)


def objects(where: Path) -> list[str]:
    return sorted(str(each) for each in (where / ".git" / "objects").rglob("*"))


# --- what is newest ---


def test_a_first_clone_is_private_shallow_and_exactly_the_commit(ours: Repository, origin: Path) -> None:
    commit(origin, {"a.yaml": "two\n"})
    assert ours.here() == ""
    newest = ours.newest()
    assert (newest, ours.here()) == (git(origin, "rev-parse", "HEAD"), "")
    assert ours.check_out(newest) == Moved("", newest, rewritten=False)
    assert ours.here() == newest
    assert files(ours.where) == {"a.yaml": "two\n", "deep/b.yaml": "one\n"}
    assert stat.S_IMODE(ours.where.stat().st_mode) == 0o700
    assert git(ours.where, "rev-list", "--count", "HEAD") == "1"
    assert git(ours.where, "status", "--porcelain") == ""
    assert git(ours.where, "for-each-ref", "--format=%(refname)").split() == ["refs/mlops/followed", "refs/mlops/placed"]


def test_nothing_is_fetched_twice(ours: Repository, origin: Path) -> None:
    first = placed(ours)
    before = objects(ours.where)
    assert ours.newest() == first
    assert objects(ours.where) == before
    second = commit(origin, {"a.yaml": "two\n", "deep/b.yaml": None, "c.yaml": "new\n"})
    assert ours.newest() == second
    assert ours.here() == first
    assert ours.check_out(second) == Moved(first, second, rewritten=False)
    assert files(ours.where) == {"a.yaml": "two\n", "c.yaml": "new\n"}
    assert ours.check_out(second) == Moved(second, second, rewritten=False)


def test_many_commits_at_once_are_no_rewritten_history(ours: Repository, origin: Path) -> None:
    first = placed(ours)
    for number in range(20):
        newest = commit(origin, {"a.yaml": f"{number}\n"})
    assert ours.newest() == newest
    assert ours.check_out(newest) == Moved(first, newest, rewritten=False)


@pytest.mark.parametrize("dated", ["2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z", ""])
def test_a_forced_push_is_followed_and_told(ours: Repository, origin: Path, dated: str) -> None:
    base = git(origin, "rev-parse", "HEAD")
    commit(origin, {"a.yaml": "two\n"})
    first = placed(ours)
    git(origin, "reset", "--quiet", "--hard", base)
    other = commit(origin, {"a.yaml": "other\n"}, GIT_COMMITTER_DATE=dated)
    assert ours.newest() == other
    assert ours.check_out(other) == Moved(first, other, rewritten=True)
    assert files(ours.where)["a.yaml"] == "other\n"
    git(origin, "reset", "--quiet", "--hard", base)
    assert ours.newest() == base
    assert ours.check_out(base) == Moved(other, base, rewritten=True)


def test_tags_are_followed_to_their_commit_and_when_they_move(tmp_path: Path, origin: Path) -> None:
    first = git(origin, "rev-parse", "HEAD")
    git(origin, "tag", "light")
    git(origin, "tag", "--annotate", "--message=x", "v1")
    light, annotated = following(tmp_path / "light", origin, "light"), following(tmp_path / "v1", origin, "v1")
    assert placed(light) == placed(annotated) == first == annotated.newest()
    second = commit(origin, {"a.yaml": "two\n"})
    git(origin, "tag", "--annotate", "--force", "--message=y", "v1")
    assert (light.newest(), annotated.newest()) == (first, second)
    assert annotated.check_out(second).rewritten is False


def test_a_name_of_a_branch_and_a_tag_is_not_guessed(tmp_path: Path, origin: Path) -> None:
    git(origin, "tag", "main")
    with pytest.raises(Terminal, match="has a branch and a tag main") as told:
        following(tmp_path / "clone", origin).newest()
    assert "refs/heads/main" in told.value.hint
    assert following(tmp_path / "clone", origin, "refs/heads/main").newest() == git(origin, "rev-parse", "HEAD")


def test_a_commit_is_followed_by_its_id(tmp_path: Path, origin: Path) -> None:
    first = git(origin, "rev-parse", "HEAD")
    commit(origin, {"a.yaml": "two\n"})
    repository = following(tmp_path / "clone", origin, first)
    assert placed(repository) == first
    origin.rename(tmp_path / "away")
    assert repository.newest() == first, "it is here, and cannot change"


def test_a_commit_that_is_nowhere_is_told(tmp_path: Path, origin: Path) -> None:
    with pytest.raises(Terminal, match="has no commit deadbeefdead"):
        following(tmp_path / "clone", origin, "deadbeef" * 5).newest()


def test_a_repository_with_sha256_ids(tmp_path: Path) -> None:
    origin = repository_at(tmp_path / "origin", "--object-format=sha256")
    repository = following(tmp_path / "clone", origin)
    assert len(placed(repository)) == 64
    commit(origin, {"a.yaml": "two\n"})
    placed(repository)
    assert files(repository.where)["a.yaml"] == "two\n"


def test_what_a_commit_says_is_safe_to_print(ours: Repository, origin: Path) -> None:
    id = commit(
        origin,
        {"a.yaml": "two\n"},
        message="red \x1b[31m and\u202e back\x07\n\nthe rest",
        GIT_AUTHOR_NAME="Eve\x1b]0;title\x07s",
        GIT_COMMITTER_DATE="2026-03-01T12:00:00+02:00",
    )
    ours.newest()
    found = ours.commit(id)
    assert found.id == id
    assert found.subject == "red \\x1b[31m and\\u202e back\\x07"
    assert found.author == "Eve\\x1b]0;title\\x07s <ada@example.com>"
    assert found.at.isoformat() == "2026-03-01T12:00:00+02:00"
    assert found.at.utcoffset() == timedelta(hours=2)


# --- what goes wrong there ---


def test_a_deleted_branch(ours: Repository, origin: Path) -> None:
    placed(ours)
    git(origin, "checkout", "--quiet", "-b", "other")
    git(origin, "branch", "-D", "main")
    with pytest.raises(Terminal, match=r"source team: .*origin has no branch or tag main"):
        ours.newest()
    assert files(ours.where) == {"a.yaml": "one\n", "deep/b.yaml": "one\n"}


def test_a_path_that_is_gone_comes_back(ours: Repository, origin: Path, tmp_path: Path) -> None:
    first = placed(ours)
    origin.rename(tmp_path / "away")
    with pytest.raises(Transient, match="was asked for main"):
        ours.newest()
    (tmp_path / "away").rename(origin)
    assert ours.newest() == first


def test_a_path_that_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Terminal, match="does not appear to be a git repository"):
        following(tmp_path / "clone", tmp_path / "empty").newest()


def test_a_folder_that_is_not_ours_is_refused_untouched(tmp_path: Path, origin: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    cloned = tmp_path / "cloned"
    git(tmp_path, "clone", "--quiet", str(origin), str(cloned))
    before = files(tmp_path)
    for where in (tmp_path / "mine", cloned, tmp_path / "mine" / "thesis.tex"):
        with pytest.raises(Terminal):
            following(where, origin).newest()
    assert files(tmp_path) == before
    assert git(cloned, "for-each-ref", "refs/mlops") == ""
    with pytest.raises(Terminal, match="there is no clone"):
        following(tmp_path / "none", origin).check_out("deadbeef" * 5)


def test_a_pointer_of_lfs_is_known_by_its_first_line() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    assert is_lfs_pointer(pointer)
    assert is_lfs_pointer(pointer[:64])
    for other in (b"", b"version", b"version https://git-lfs.github.com/spec/v10\n", b" " + pointer, b"\x93NUMPY"):
        assert not is_lfs_pointer(other)
