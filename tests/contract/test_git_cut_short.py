"""A clone of ours that several work in, or that was left in the middle by one that was killed; with real git."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from reconciler.errors import Terminal, Transient
from reconciler.source.git import Repository
from tests.contract.git_lab import KEPT, as_it_should_be, commit, files, following, git, one_behind, placed, repository_at


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return repository_at(tmp_path / "origin")


@pytest.fixture
def ours(tmp_path: Path, origin: Path) -> Repository:
    return one_behind(tmp_path / "clone", origin)


def half_moved(ours: Repository, *names: str) -> str:
    """As a kill leaves it: some files written, the index as before."""
    newest = ours.newest()
    git(ours.where, "update-ref", "refs/mlops/placing", newest)
    for name in names:
        (ours.where / name).parent.mkdir(exist_ok=True)
        (ours.where / name).write_text(git(ours.where, "show", f"{newest}:{name}") + "\n")
    return newest


def test_a_move_that_was_cut_short_is_finished(ours: Repository, origin: Path) -> None:
    newest = half_moved(ours, "a.yaml")
    (ours.where / "deep" / "b.yaml").unlink()
    (ours.where / "c").mkdir()
    (ours.where / "c" / "new.yaml").write_text("ne")  # the disk had no more of it
    ours.check_out(newest)
    assert as_it_should_be(ours, origin)


def test_a_move_that_was_cut_short_is_finished_before_the_next(ours: Repository, origin: Path) -> None:
    half_moved(ours, "a.yaml", "c/new.yaml")
    commit(origin, {"c/new.yaml": None, "a.yaml": "three\n"})
    placed(ours)
    assert files(ours.where) == KEPT | {"a.yaml": "three\n"}


@pytest.mark.parametrize("name", ["a.yaml", "c/new.yaml", "deep/b.yaml"])
def test_what_a_person_wrote_after_a_kill_is_not_taken_for_ours(ours: Repository, name: str) -> None:
    newest = half_moved(ours, "a.yaml", "c/new.yaml")
    (ours.where / name).write_text("neither one nor the other\n")
    before = files(ours.where)
    for _ in range(2):
        with pytest.raises(Terminal, match=f"changed by hand: {name}"):
            ours.check_out(newest)
    assert files(ours.where) == before


def test_a_move_that_had_not_begun(ours: Repository, origin: Path) -> None:
    half_moved(ours)
    placed(ours)
    assert as_it_should_be(ours, origin)


def test_the_journal_is_written_before_the_first_file(ours: Repository, origin: Path) -> None:
    """The last step alone is missing: everything is in place but the references."""
    newest = ours.newest()
    git(ours.where, "update-ref", "refs/mlops/placing", newest)
    git(ours.where, "read-tree", "-m", "-u", newest)
    ours.check_out(newest)
    assert as_it_should_be(ours, origin)


# --- several at once ---


def child(*steps: str) -> subprocess.Popen[bytes]:
    """A reconciler of its own, for a kill."""
    program = "import sys\nfrom pathlib import Path\nfrom tests.contract.git_lab import following\n" + "\n".join(steps)
    return subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2], start_new_session=True)


def test_a_git_that_outlives_its_reconciler_is_waited_for(ours: Repository, origin: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/team"
        with child(f"following(Path({str(ours.where)!r}), {url!r}).newest()") as dead:
            asked, _ = silent.accept()
            dead.kill()
        with pytest.raises(Transient, match="another process works in"):
            following(ours.where, origin, deadline=0.5).newest()
        asked.close()
    placed(ours)
    assert as_it_should_be(ours, origin)


def test_killed_at_any_moment(ours: Repository, origin: Path) -> None:
    """What the next one finds it finishes, or begins again."""
    chance = random.Random(7)
    folders = {f"d{number % 9}/{number}.yaml": "x\n" * 200 for number in range(150)}
    where = f"r = following(Path({str(ours.where)!r}), {str(origin)!r})"
    with child(where, "r.check_out(r.newest())") as whole:
        began = time.monotonic()
        assert whole.wait() == 0
    length = time.monotonic() - began
    for turn in range(6):
        newest = commit(origin, {name: f"{turn}\n{content}" for name, content in folders.items()})
        with child(where, "r.check_out(r.newest())") as killed:
            time.sleep(length * chance.uniform(0.5, 1.2))
            started = psutil.Process(killed.pid).children(recursive=True) if turn % 2 and killed.poll() is None else []
            killed.kill()
            for each in started:  # git too, at every other turn
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        assert ours.newest() == newest
        ours.check_out(newest)
        assert git(ours.where, "status", "--porcelain", "--untracked-files=no") == ""
        assert (ours.where / "d1" / "1.yaml").read_text().startswith(f"{turn}\n")
    git(ours.where, "fsck", "--strict")
    assert {name: files(ours.where)[name] for name in KEPT} == KEPT


def test_many_threads_at_once(ours: Repository, origin: Path) -> None:
    failed: list[Exception] = []

    def pass_() -> None:
        try:
            ours.check_out(ours.newest())
        except Exception as error:  # collected for the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=pass_) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed
    assert as_it_should_be(ours, origin)
