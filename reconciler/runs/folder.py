"""The folder of one job: all that the reconciler and the job's supervisor share.

::

    runs/<job id>/       0700
      job.json           what is to be run; never changes
      lock               held (flock) for as long as a supervisor lives
      record.json        PID and birth of the supervisor
      program.json       PID and birth of the program
      progress.json      how it is, about once a second
      result.json        how it ended; there is none before the end
      log, log.head, log.tail    its output, and what is kept of a very long one
      out/               what the program leaves behind
      stop, paused       wishes of the reconciler; their text says why
      told.json          how much of the program's metrics the tracking server has
      supervisor.log     what the supervisor itself has to say

Liveness is the lock, not a PID: it ends with the process that holds it, whatever ends that, and no other process can be taken for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from reconciler.errors import Terminal
from reconciler.files import write_private
from reconciler.model.jobs import Job, Progress

TAIL_BYTES = 4000
"""Of the output that `Progress.tail` shows."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

Status: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]
"""MLflow's RunStatus of a run that has ended (RunStatus in MLflow's REST API 2.0)."""


@dataclass(frozen=True)
class Ending:
    """How a job ended: `result.json`."""

    id: str
    ref: str
    status: Status
    why: str = ""
    """Empty when all went well."""
    lost: bool = False
    """True: its supervisor died before it could tell."""
    exit_code: int | None = None
    """Of the program; negative = the signal that ended it; None = it never ran, or nobody saw it end."""
    since: float = 0.0
    ended: float = 0.0
    peak: int = 0
    watts: float | None = None
    tail: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of its run: on what it ran, and what it took."""
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the parts of one job are."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def state_dir(self) -> Path:
        """The installation's state folder, two above."""
        return self.path.parent.parent

    @property
    def job(self) -> Path:
        return self.path / "job.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def program(self) -> Path:
        return self.path / "program.json"

    @property
    def progress(self) -> Path:
        return self.path / "progress.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def out(self) -> Path:
        return self.path / "out"

    @property
    def stop(self) -> Path:
        return self.path / "stop"

    @property
    def paused(self) -> Path:
        return self.path / "paused"

    @property
    def credentials(self) -> Path:
        """User name and password of the tracking server, on their way to the supervisor, which removes the file as it starts."""
        return self.path / "credentials"

    @property
    def sensors(self) -> Path:
        """Which sensors the Platform asks for."""
        return self.path / "sensors.json"

    @property
    def environment(self) -> Path:
        """Environment of a supervisor that somebody else starts for us, on its way there; removed as it starts."""
        return self.path / "environment.json"

    @property
    def stats(self) -> Path:
        """Memory of the program's numeric framework, written by bootstrap.py inside the program."""
        return self.path / "stats.json"

    @property
    def told(self) -> Path:
        return self.path / "told.json"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"


def is_id(name: str) -> bool:
    """True when it may name a file of ours: a job, a checkpoint."""
    return _ID.fullmatch(name) is not None


def folder_of(state_dir: Path, job_id: str) -> Folder:
    """The folder of the job, which need not exist. Raises Terminal for an id that is no file name."""
    if not is_id(job_id):
        raise Terminal(f"not a job's id: {job_id!r}", hint="allowed: letters, digits, `_`, `.`, `-`; at most 128")
    return Folder(state_dir / "runs" / job_id)


def folders(state_dir: Path) -> Iterator[Folder]:
    """Every job's folder. A folder without `job.json` is not one."""
    with contextlib.suppress(FileNotFoundError), os.scandir(state_dir / "runs") as entries:
        yield from (Folder(Path(entry.path)) for entry in entries if not entry.name.startswith("."))


def write_job(folder: Folder, job: Job) -> None:
    """Write `job.json`, readable by the owner only: it holds the environment that the program declares."""
    write_private(folder.job, json.dumps(asdict(job)))


def read_job(folder: Folder) -> Job | None:
    """The job; None when there is none yet."""
    raw = _read(folder.job)
    return None if raw is None else job_of(raw)


def job_of(raw: Mapping[str, Any]) -> Job:
    """A job from its plain values."""
    words = ("arguments", "requirements", "outputs")
    return Job(**{**_only(Job, raw), **{name: tuple(raw[name]) for name in words if name in raw}})


def write_result(folder: Folder, ending: Ending) -> None:
    """Write `result.json`, all or nothing, on disk before this returns."""
    write_private(folder.result, json.dumps(asdict(ending)))


def read_result(folder: Folder) -> Ending | None:
    raw = _read(folder.result)
    return None if raw is None else Ending(**_only(Ending, raw))


def write_progress(folder: Folder, progress: Progress) -> None:
    """Write `progress.json`, all or nothing; it need not survive a power cut, so it is not forced to disk."""
    shown = {name: getattr(progress, name) for name in ("since", "state", "memory", "peak", "watts")}
    write_private(folder.progress, json.dumps(shown), durable=False)


def progress_of(folder: Folder, ref: str) -> Progress:
    """How the job is. Reads only."""
    if (ending := read_result(folder)) is not None:
        return _ended(ending)
    if is_held(folder.lock):
        raw = _only(Progress, _read(folder.progress) or {})
        return Progress(folder.id, ref, **{"state": "starting", **raw})
    if (ending := read_result(folder)) is not None:  # it ended between the two looks
        return _ended(ending)
    raw = {key: value for key, value in _only(Progress, _read(folder.progress) or {}).items() if key != "state"}
    why = "its supervisor ended without a result" if folder.record.exists() else "never started: the reconciler ended while launching it"
    return Progress(folder.id, ref, "lost", why=why, tail=tail(folder), **raw)


def _ended(ending: Ending) -> Progress:
    return Progress(
        ending.id,
        ending.ref,
        "lost" if ending.lost else "ended",
        since=ending.since,
        ended=ending.ended,
        exit_code=ending.exit_code,
        why=ending.why,
        tail=ending.tail,
        memory=ending.peak,
        peak=ending.peak,
        watts=ending.watts,
        reported=ending.reported,
    )


def tail(folder: Folder, size: int = TAIL_BYTES) -> str:
    """The last lines of the output, at most `size` bytes, as text."""
    found = b""
    for path in (folder.log, folder.path / "log.tail"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - (size - len(found))))
            found = file.read() + found
        if len(found) >= size:
            break
    text = found.decode("utf-8", errors="replace")
    return text.partition("\n")[2] if len(found) >= size and "\n" in text[:-1] else text


# --- the lock ------------------------------------------------------------------------------------------------------


def acquire(path: Path, wait: float = 1.0) -> int | None:
    """Hold the lock; the handle that holds it, or None when somebody else does for longer than `wait` seconds.

    Waits a little even so, because a look takes the lock for a moment. The folder may be removed and made again meanwhile:
    a lock on a file that has no name any more is worth nothing, so it is taken anew."""
    deadline = time.monotonic() + wait
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                return None
        os.close(handle)
        time.sleep(0.01)


def is_held(path: Path) -> bool:
    """True when some process holds the lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _only(kind: type[Job | Ending | Progress], raw: Mapping[str, Any]) -> dict[str, Any]:
    """What `kind` knows of: a supervisor that another version of this program started may write more."""
    known = {each.name for each in fields(kind)}
    return {name: value for name, value in raw.items() if name in known}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None
