"""A person's clone that is moved forward: nothing of the person's work is lost, with real git."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import Terminal, Transient
from reconciler.source.git import Moved, Repository
from tests.contract.git_lab import commit, files, following, git, placed, repository_at

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return repository_at(tmp_path / "origin")


@pytest.fixture
def desk(tmp_path: Path, origin: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(origin), "desk")
    return tmp_path / "desk"


@pytest.fixture
def theirs(desk: Path) -> Repository:
    return following(desk, "origin", ours=False)


def untouched(desk: Path) -> str:
    """What we never change."""
    refs = git(desk, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags", "refs/stash")
    return refs + (desk / ".git" / "config").read_text()


def test_the_branch_that_is_checked_out_moves_and_nothing_else(theirs: Repository, origin: Path, desk: Path) -> None:
    git(desk, "branch", "mine")
    (desk / "a.yaml").write_text("stashed\n")
    git(desk, "stash", "--quiet")
    (desk / "notes.txt").write_text("mine")
    before, was = untouched(desk), theirs.here()
    git(origin, "tag", "v1")
    newest = commit(origin, {"a.yaml": "two\n"})
    assert theirs.newest() == newest
    assert (theirs.here(), untouched(desk)) == (was, before)
    assert theirs.check_out(newest) == Moved(was, newest, rewritten=False)
    assert untouched(desk) == before.replace(f"refs/heads/main {was}", f"refs/heads/main {newest}")
    assert git(desk, "status", "--short", "--branch") == "## main...origin/main\n?? notes.txt"
    assert files(desk) == {"a.yaml": "two\n", "deep/b.yaml": "one\n", "notes.txt": "mine"}
    assert "mlops-reconciler: placed" in git(desk, "reflog", "-1")


def test_a_detached_head_moves_detached(theirs: Repository, origin: Path, desk: Path) -> None:
    git(desk, "checkout", "--quiet", "--detach")
    before = untouched(desk)
    commit(origin, {"a.yaml": "two\n"})
    placed(theirs)
    assert untouched(desk) == before
    assert (desk / ".git" / "HEAD").read_text().strip() == theirs.here()


def test_local_edits_are_refused(theirs: Repository, origin: Path, desk: Path) -> None:
    (desk / "a.yaml").write_text("mine\n")
    commit(origin, {"deep/b.yaml": "two\n"})
    with pytest.raises(Terminal, match=r"changed by hand: a\.yaml"):
        theirs.check_out(theirs.newest())
    assert files(desk) == {"a.yaml": "mine\n", "deep/b.yaml": "one\n"}


def test_local_commits_are_refused_until_they_are_pushed(theirs: Repository, origin: Path, desk: Path) -> None:
    mine = [commit(desk, {"mine.yaml": f"{number}\n"}) for number in range(2)][-1]
    newest = commit(origin, {"a.yaml": "two\n"})
    for _ in range(2):
        with pytest.raises(Terminal, match=f"has 2 commits of its own, the newest {mine[:12]}"):
            theirs.check_out(theirs.newest())
    assert theirs.here() == mine
    git(desk, "fetch", "--quiet")
    git(desk, "merge", "--quiet", "--no-edit", newest)
    git(origin, "checkout", "--quiet", "--detach")
    git(desk, "push", "--quiet", "origin", "main")
    assert placed(theirs) == git(desk, "rev-parse", "main")


def test_local_commits_ahead_of_the_newest_are_refused_too(theirs: Repository, desk: Path) -> None:
    mine = commit(desk, {"mine.yaml": "x\n"})
    with pytest.raises(Terminal, match="has a commit of its own"):
        theirs.check_out(theirs.newest())
    assert theirs.here() == mine


def test_a_forced_push_replaces_what_we_placed_and_no_more(theirs: Repository, origin: Path, desk: Path) -> None:
    base = git(origin, "rev-parse", "HEAD")
    commit(origin, {"a.yaml": "two\n"})
    first = placed(theirs)
    git(origin, "reset", "--quiet", "--hard", base)
    other = commit(origin, {"a.yaml": "other\n"})
    assert theirs.check_out(theirs.newest()) == Moved(first, other, rewritten=True)
    git(origin, "reset", "--quiet", "--hard", base)
    commit(origin, {"a.yaml": "third\n"})
    mine = commit(desk, {"mine.yaml": "x\n"})
    with pytest.raises(Terminal, match=f"the newest {mine[:12]}"):
        theirs.check_out(theirs.newest())
    assert theirs.here() == mine


def test_a_person_who_pulled_first(theirs: Repository, origin: Path, desk: Path) -> None:
    newest = commit(origin, {"a.yaml": "two\n"})
    git(desk, "pull", "--quiet")
    assert theirs.check_out(theirs.newest()) == Moved(newest, newest, rewritten=False)
    assert git(desk, "rev-parse", "refs/mlops/placed") == newest


@pytest.mark.parametrize("what", ["merge", "rebase", "bisect"])
def test_what_is_under_way_is_left_alone(theirs: Repository, origin: Path, desk: Path, what: str) -> None:
    git(origin, "checkout", "--quiet", "-b", "side")
    commit(origin, {"a.yaml": "side\n"})
    git(origin, "checkout", "--quiet", "main")
    commit(desk, {"a.yaml": "mine\n"})
    git(desk, "fetch", "--quiet")
    match what:
        case "bisect":
            git(desk, "bisect", "start", "HEAD", "HEAD~1")
        case _:
            with pytest.raises(AssertionError, match=f"'{what}', 'origin/side'"):
                git(desk, what, "origin/side")
    before = files(desk)
    with pytest.raises(Terminal, match="is under way in"):
        theirs.check_out(theirs.newest())
    assert files(desk) == before


def test_a_living_lock_is_not_broken(theirs: Repository, origin: Path, desk: Path) -> None:
    commit(origin, {"a.yaml": "two\n"})
    newest = theirs.newest()
    (desk / ".git" / "index.lock").touch()
    with pytest.raises(Transient, match=r"index\.lock"):
        theirs.check_out(newest)
    assert (desk / ".git" / "index.lock").exists()
    (desk / ".git" / "index.lock").unlink()
    theirs.check_out(newest)


def test_the_lock_of_a_reference_that_only_we_write_is_nobodys(theirs: Repository, origin: Path, desk: Path) -> None:
    placed(theirs)
    newest = commit(origin, {"a.yaml": "two\n"})
    for name in ("placing", "placed", "followed"):
        (desk / ".git" / "refs" / "mlops" / f"{name}.lock").touch()
    assert placed(theirs) == newest


KILLED = """
import resource, sys
from pathlib import Path
from reconciler.errors import ReconcilerError
from tests.contract.git_lab import following

desk = following(Path(sys.argv[1]), "origin", ours=False)
newest = desk.newest()
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    desk.check_out(newest)
except ReconcilerError as error:
    print(error)
"""


@pytest.mark.parametrize("begun", [False, True], ids=["at its first reference", "at the index"])
def test_a_git_of_ours_that_is_killed_leaves_no_lock(theirs: Repository, origin: Path, desk: Path, begun: bool) -> None:
    """By the kernel's signal, when a file grows beyond a limit (RLIMIT_FSIZE); one that is out of memory is killed as well."""
    placed(theirs)
    newest = commit(origin, {"a.yaml": "two\n" * 1000})
    if begun:
        git(desk, "fetch", "--quiet")
        git(desk, "update-ref", "refs/mlops/placing", newest)
    done = subprocess.run(
        [sys.executable, "-B", "-c", KILLED, str(desk)], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert "failed in" in done.stdout, done.stdout + done.stderr
    assert not list((desk / ".git").rglob("*.lock"))
    assert placed(theirs) == newest
    assert git(desk, "status", "--porcelain") == ""


def test_a_damaged_clone_is_told_and_not_touched(theirs: Repository, origin: Path, desk: Path) -> None:
    commit(origin, {"a.yaml": "two\n"})
    newest = theirs.newest()
    was = theirs.here()
    (desk / ".git" / "objects" / was[:2] / was[2:]).unlink()
    with pytest.raises(Terminal) as told:
        theirs.check_out(newest)
    assert "fsck" in told.value.hint
    assert (desk / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"


def test_the_whole_history_is_there_unless_the_clone_is_shallow(tmp_path: Path, origin: Path, theirs: Repository, desk: Path) -> None:
    commit(origin, {"a.yaml": "two\n"})
    git(tmp_path, "clone", "--quiet", "--depth=1", origin.as_uri(), "shallow")
    commit(origin, {"a.yaml": "three\n"})
    placed(theirs)
    assert git(desk, "rev-list", "--count", "HEAD") == "3"
    shallow = following(tmp_path / "shallow", "origin", ours=False)
    before = shallow.here()
    newest = shallow.newest()
    assert shallow.check_out(newest) == Moved(before, newest, rewritten=False)
    assert git(tmp_path / "shallow", "rev-list", "--count", "HEAD") == "2"


def test_a_linked_work_tree(tmp_path: Path, origin: Path, desk: Path) -> None:
    git(desk, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    commit(origin, {"a.yaml": "two\n"})
    placed(following(tmp_path / "linked", "origin", ours=False))
    assert (files(tmp_path / "linked")["a.yaml"], files(desk)["a.yaml"]) == ("two\n", "one\n")


def test_what_is_no_clone_or_no_remote_of_it(tmp_path: Path, desk: Path) -> None:
    (desk / "sub").mkdir()
    with pytest.raises(Terminal, match="is no git repository"):
        following(desk / "sub", "origin", ours=False).newest()
    with pytest.raises(Terminal, match="there is no folder"):
        following(tmp_path / "none", "origin", ours=False).here()
    with pytest.raises(Terminal, match="has no remote upstream"):
        following(desk, "upstream", ours=False).newest()


def test_a_persons_own_ssh_is_used_and_asks_nobody(desk: Path, origin: Path, tmp_path: Path) -> None:
    own = tmp_path / "own-ssh"
    own.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/argv\nexec git-upload-pack {origin}\n')
    own.chmod(0o755)
    git(desk, "config", "core.sshCommand", f"{own} -F mine")
    git(desk, "remote", "set-url", "origin", "git@example.com:team")
    assert following(desk, "origin", ours=False).newest() == git(origin, "rev-parse", "HEAD")
    assert "-F mine -o BatchMode=yes" in (tmp_path / "argv").read_text()


def test_a_password_in_a_remotes_url_is_not_told(desk: Path) -> None:
    git(desk, "remote", "set-url", "origin", "http://ada:canary@127.0.0.1:9/team?key=canary")
    with pytest.raises(Transient, match=r"http://127\.0\.0\.1:9/team was asked for main") as told:
        following(desk, "origin", ours=False).newest()
    assert "canary" not in str(told.value)
