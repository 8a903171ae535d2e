"""What nobody can need any more in the state folder: jobs that never started, and checkpoints of work that is not wanted.

No checkpoint goes because it is old or because nothing runs: work may wait, be suspended or stand behind a mistake in a manifest for as
long as it takes. One goes a day after a controller said that nobody wants its work, unless that was launched again."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from reconciler.runs.folder import Folder, acquire, folders, is_held, is_id, read_job

KEPT_SECONDS = 86_400.0
"""How long it is kept: a change that is taken back within a day loses nothing."""
_UNWANTED = ".unwanted"
"""Beside the checkpoint, since the moment at which it was given up."""


def place_of(state_dir: Path, checkpoint: str) -> Path:
    """The folder of the checkpoint of this name (`Job.checkpoint`)."""
    return state_dir / "checkpoints" / checkpoint


def give_up(state_dir: Path, checkpoint: str) -> None:
    """Its work is not wanted any more. One that is not there, or was given up before, is fine."""
    if is_id(checkpoint) and place_of(state_dir, checkpoint).is_dir():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(_note(state_dir, checkpoint), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def take_up(state_dir: Path, checkpoint: str) -> None:
    """Its work is wanted again."""
    if is_id(checkpoint):
        _note(state_dir, checkpoint).unlink(missing_ok=True)


def sweep(state_dir: Path, now: float) -> None:
    """Remove what was given up, or has not started, for a day. `now` in Unix seconds. Safe to repeat."""
    for folder in folders(state_dir):
        _drop_unstarted(folder, now)
    due = [each for each in state_dir.joinpath("checkpoints").glob(f"*{_UNWANTED}") if _old(each, now)]
    needed = {job.checkpoint for folder in folders(state_dir) if (job := read_job(folder)) is not None} if due else set()
    for note in due:
        if note.stem not in needed:
            shutil.rmtree(note.with_suffix(""), ignore_errors=True)
            note.unlink(missing_ok=True)


def _drop_unstarted(folder: Folder, now: float) -> None:
    """Remove the folder if no supervisor ever had it. Should its work still be wanted, the next launch makes it again."""
    if folder.record.exists() or folder.result.exists() or is_held(folder.lock):
        return
    job = read_job(folder)
    if not _old(folder.job if job else folder.path, now) or (job is not None and job.backend != "local"):
        return  # elsewhere it may stand in a queue for days
    handle = acquire(folder.lock)
    if handle is None:
        return
    try:
        if not (folder.record.exists() or folder.result.exists()):
            shutil.rmtree(folder.path, ignore_errors=True)
    finally:
        os.close(handle)


def _old(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime > KEPT_SECONDS
    except FileNotFoundError:
        return False


def _note(state_dir: Path, checkpoint: str) -> Path:
    return place_of(state_dir, checkpoint).with_name(checkpoint + _UNWANTED)
