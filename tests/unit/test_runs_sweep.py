"""What is removed of jobs that never started and of work that nobody wants, and what is not."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model.jobs import Job
from reconciler.runs.folder import Ending, Folder, acquire, folder_of, write_job, write_result
from reconciler.runs.local import LocalRunner
from reconciler.runs.sweep import KEPT_SECONDS, give_up, place_of, sweep, take_up

SAVED = "0123456789abcdef"


def job(name: str, **more: str) -> Job:
    return replace(Job(name, f"experiment/p/e#{name}", "local", "/", "train.py", (), ()), **more)  # type: ignore[arg-type]


def folder(state: Path, name: str, **more: str) -> Folder:
    """Of a job that was about to start."""
    found = folder_of(state, name)
    found.path.mkdir(parents=True)
    write_job(found, job(name, **more))
    return found


def checkpoint(state: Path, name: str = SAVED) -> Path:
    found = place_of(state, name)
    found.mkdir(parents=True)
    (found / "step").write_text("7")
    return found


def after(days: float) -> float:
    return time.time() + days * KEPT_SECONDS


# --- checkpoints ---


def test_a_checkpoint_that_nobody_gave_up_stays_however_old_it_is(tmp_path: Path) -> None:
    place = checkpoint(tmp_path)
    for each in (place / "step", place):
        os.utime(each, (0, 0))
    sweep(tmp_path, after(1000))
    assert (place / "step").read_text() == "7"


def test_one_that_was_given_up_goes_a_day_later(tmp_path: Path) -> None:
    place, other = checkpoint(tmp_path), checkpoint(tmp_path, "other")
    give_up(tmp_path, SAVED)
    sweep(tmp_path, after(0.99))
    assert place.is_dir()
    sweep(tmp_path, after(1.01))
    assert [each.name for each in place.parent.iterdir()] == ["other"]
    assert other.is_dir()
    sweep(tmp_path, after(1.01))


def test_giving_up_again_does_not_start_the_day_again(tmp_path: Path) -> None:
    place = checkpoint(tmp_path)
    give_up(tmp_path, SAVED)
    note = next(each for each in place.parent.iterdir() if each != place)
    os.utime(note, (0, 0))
    give_up(tmp_path, SAVED)
    sweep(tmp_path, time.time())
    assert not place.exists()


def test_one_that_is_wanted_again_stays(tmp_path: Path) -> None:
    place = checkpoint(tmp_path)
    give_up(tmp_path, SAVED)
    take_up(tmp_path, SAVED)
    sweep(tmp_path, after(2))
    assert place.is_dir()
    assert list(place.parent.iterdir()) == [place]


def test_a_launch_takes_it_up(tmp_path: Path) -> None:
    place = checkpoint(tmp_path)
    give_up(tmp_path, SAVED)
    wanted = job("a", checkpoint=SAVED, cwd=str(tmp_path), project="p")
    runner = LocalRunner(tmp_path, lambda: None)
    runner.launch(wanted)
    runner.stop("a", "the test is over")
    deadline = time.monotonic() + 40
    while runner.look()["a"].state != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while (tmp_path / "runs" / "a").exists():
        assert time.monotonic() < deadline
        try:
            runner.forget("a")
        except Exception:  # its supervisor has not left yet
            time.sleep(0.05)
    sweep(tmp_path, after(2))
    assert place.is_dir()


def test_one_whose_job_is_still_there_stays_until_that_is_gone(tmp_path: Path) -> None:
    place, user = checkpoint(tmp_path), folder(tmp_path, "a", checkpoint=SAVED)
    user.record.touch()
    give_up(tmp_path, SAVED)
    sweep(tmp_path, after(2))
    assert place.is_dir()
    LocalRunner(tmp_path, lambda: None).forget("a")
    sweep(tmp_path, after(2))
    assert not place.exists()


@pytest.mark.parametrize("name", ["", "..", "../runs", "a/b", ".", "absent"])
def test_names_that_lead_elsewhere_and_ones_that_are_not_there_do_nothing(tmp_path: Path, name: str) -> None:
    """The name comes from a tag that anybody can write."""
    checkpoint(tmp_path)
    kept = folder(tmp_path, "a")
    kept.record.touch()
    before = sorted(tmp_path.rglob("*"))
    give_up(tmp_path, name)
    take_up(tmp_path, name)
    sweep(tmp_path, after(2))
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_state_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    give_up(tmp_path / "none", SAVED)
    sweep(tmp_path / "none", after(2))
    assert not (tmp_path / "none").exists()


# --- jobs that never started ---


def test_what_never_started_goes_a_day_later(tmp_path: Path) -> None:
    made = folder(tmp_path, "a")
    empty = folder_of(tmp_path, "b")
    empty.path.mkdir()
    sweep(tmp_path, after(0.99))
    assert made.job.exists()
    assert empty.path.exists()
    sweep(tmp_path, after(1.01))
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_has_started_has_ended_or_may_stand_in_another_queue_stays(tmp_path: Path) -> None:
    started, ended, elsewhere, held = (folder(tmp_path, name) for name in ("started", "ended", "elsewhere", "held"))
    started.record.touch()
    write_result(ended, Ending("ended", "e", "FAILED"))
    write_job(elsewhere, job("elsewhere", backend="ray"))
    lock = acquire(held.lock)
    assert lock is not None
    sweep(tmp_path, after(1000))
    os.close(lock)
    assert sorted(each.name for each in (tmp_path / "runs").iterdir()) == ["elsewhere", "ended", "held", "started"]
