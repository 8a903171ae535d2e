"""A clone of ours that was cut short or damaged, with real git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.errors import Terminal, Transient
from reconciler.source.git import Moved, Repository
from tests.contract.git_lab import as_it_should_be, commit, files, following, git, one_behind, placed, repository_at


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return repository_at(tmp_path / "origin")


@pytest.fixture
def ours(tmp_path: Path, origin: Path) -> Repository:
    return one_behind(tmp_path / "clone", origin)


def test_the_locks_of_a_dead_git(ours: Repository, origin: Path) -> None:
    for lock in ("index.lock", "shallow.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "refs/mlops/followed.lock"):
        (ours.where / ".git" / lock).touch()
    (ours.where / ".git" / "objects" / "pack" / "tmp_pack_x1y2").write_text("half")
    placed(ours)
    assert as_it_should_be(ours, origin)
    assert not list((ours.where / ".git").glob("objects/pack/tmp_*"))


def emptied(store: Path) -> None:
    shutil.rmtree(store / "objects")
    (store / "objects").mkdir()


def packed_and_emptied(store: Path) -> None:
    git(store.parent, "pack-refs", "--all")
    (store / "HEAD").write_text("")
    emptied(store)


def garbled(store: Path) -> None:
    for each in (store / "objects").rglob("*"):
        if each.is_file():
            each.chmod(0o600)
            each.write_bytes(b"\0" * each.stat().st_size)


def without_reference(store: Path) -> None:
    (store / "refs" / "mlops" / "followed").write_text("")


def without_head(store: Path) -> None:
    (store / "HEAD").write_text("")


def bad_index(store: Path) -> None:
    (store / "index").write_bytes(b"DIRC" + b"\0" * 100)


def bad_configuration(store: Path) -> None:
    (store / "config").write_text("[core\n")


@pytest.mark.parametrize("when", ["before the fetch", "after it"])
@pytest.mark.parametrize("harm", [emptied, packed_and_emptied, garbled, without_reference, without_head, bad_index, bad_configuration])
def test_a_damaged_store_is_made_again_around_the_work_tree(ours: Repository, origin: Path, harm: object, when: str) -> None:
    assert callable(harm)
    before = ours.here()
    newest = git(origin, "rev-parse", "HEAD")
    if when == "after it":
        assert ours.newest() == newest
    harm(ours.where / ".git")
    if when == "before the fetch":
        assert ours.newest() == newest
    assert ours.check_out(newest) == Moved(before, newest, rewritten=False)
    assert ours.newest() == newest
    assert as_it_should_be(ours, origin)


def test_a_repository_around_it_is_not_taken_for_it(tmp_path: Path, origin: Path) -> None:
    around = repository_at(tmp_path / "around")
    head = git(around, "rev-parse", "HEAD")
    ours = following(around / "clone", origin)
    placed(ours)
    without_head(ours.where / ".git")
    newest = commit(origin, {"a.yaml": "two\n"})
    assert (ours.here(), ours.newest()) == ("", newest)
    ours.check_out(newest)
    assert (ours.here(), git(around, "rev-parse", "HEAD")) == (newest, head)
    assert git(around, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert git(around, "status", "--porcelain") == "?? clone/"


@pytest.mark.parametrize("kind", ["blob", "tree", "commit"])
def test_one_missing_object(ours: Repository, origin: Path, kind: str) -> None:
    newest = ours.newest()
    name = {"blob": f"{newest}:c/new.yaml", "tree": f"{newest}^{{tree}}", "commit": newest}[kind]
    id = git(ours.where, "rev-parse", name)
    for pack in list((ours.where / ".git" / "objects" / "pack").glob("*.pack")):
        aside = pack.rename(ours.where.parent / pack.name)
        with aside.open("rb") as file:
            subprocess.run(["git", "unpack-objects", "-q"], cwd=ours.where, stdin=file, check=True)
    (ours.where / ".git" / "objects" / id[:2] / id[2:]).unlink()
    ours.check_out(newest)
    assert as_it_should_be(ours, origin)


def test_a_commit_that_the_remote_no_longer_has_does_not_stop_the_healing(ours: Repository, origin: Path) -> None:
    git(origin, "checkout", "--quiet", "--orphan", "fresh")
    commit(origin, {}, message="all new")
    git(origin, "branch", "-D", "main")
    git(origin, "branch", "-m", "main")
    git(origin, "reflog", "expire", "--expire=now", "--all")
    git(origin, "gc", "--quiet", "--prune=now")
    emptied(ours.where / ".git")
    placed(ours)
    assert as_it_should_be(ours, origin)


def test_an_edit_is_seen_although_the_store_was_made_again(ours: Repository) -> None:
    (ours.where / "a.yaml").write_text("mine\n")
    emptied(ours.where / ".git")
    with pytest.raises(Terminal, match=r"changed by hand: a\.yaml"):
        ours.check_out(ours.newest())
    assert (ours.where / "a.yaml").read_text() == "mine\n"


def test_a_damaged_store_with_commits_of_its_own_is_left_alone(ours: Repository) -> None:
    commit(ours.where, {"a.yaml": "mine\n"})
    emptied(ours.where / ".git")
    with pytest.raises(Terminal, match="has commits that were made there"):
        ours.check_out(ours.newest())
    assert (ours.where / "a.yaml").read_text() == "mine\n"


def test_a_damaged_store_stays_while_the_remote_is_away(ours: Repository, origin: Path, tmp_path: Path) -> None:
    emptied(ours.where / ".git")
    origin.rename(tmp_path / "away")
    before = files(ours.where)
    for _ in range(2):
        with pytest.raises(Transient):
            ours.newest()
    assert files(ours.where) == before
    (tmp_path / "away").rename(origin)
    placed(ours)
    assert as_it_should_be(ours, origin)


def test_killed_between_the_two_renames_of_an_exchange(ours: Repository, origin: Path) -> None:
    (ours.where / ".mlops-making-x").mkdir()
    (ours.where / ".git").rename(ours.where / ".mlops-making-x" / ".git")
    (ours.where / ".mlops-broken-y" / ".git").mkdir(parents=True)
    placed(ours)
    assert as_it_should_be(ours, origin)


def test_killed_while_the_first_clone_was_made(tmp_path: Path, origin: Path) -> None:
    half = tmp_path / "clone" / ".mlops-making-x" / ".git" / "objects"
    half.mkdir(parents=True)
    placed(following(tmp_path / "clone", origin))
    assert not half.exists()
