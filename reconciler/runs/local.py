"""Jobs as processes of this machine, each under a supervisor of its own that outlives the reconciler."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from reconciler.controller import JobRunner
from reconciler.errors import Terminal, Transient
from reconciler.files import private_append, write_private
from reconciler.model.demand import Amounts
from reconciler.model.jobs import Job, Progress
from reconciler.platform.process import is_alive, read_record
from reconciler.runs.folder import Folder, acquire, folder_of, folders, is_held, progress_of, read_job, read_result, write_job
from reconciler.runs.program import checkpoint
from reconciler.runs.sweep import give_up, sweep, take_up
from schemas.platform import Admission

Credentials = Callable[[], tuple[str, str] | None]
"""User name and password of the tracking server; None = it asks for none."""

Sensors = Callable[[], tuple[Admission, Path]]
"""What the Platform says of sensors, and the installation's root."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "XDG_CACHE_HOME")
"""What a supervisor gets of our environment, with uv's own settings: it installs packages. The program gets less."""
AT_ONCE = 4
"""Supervisors that one `tend` starts: each that finds the tracking server away stays for ten minutes."""


class Known(NamedTuple):
    """What a launch settles."""

    ref: str
    backend: str
    granted: Amounts

    def on(self, progress: Progress) -> Progress:
        """The progress of this job, with what the job itself says."""
        return replace(progress, granted=self.granted, backend=self.backend)


class LocalRunner(JobRunner):
    """Every method is safe to repeat and to call from several threads and several reconcilers at once."""

    backend = "local"
    """Whose jobs these are: `Job.backend`."""

    def __init__(self, state_dir: Path, credentials: Credentials, sensors: Sensors | None = None) -> None:
        self._state_dir = state_dir.resolve()
        self._credentials, self._sensors = credentials, sensors
        self._jobs: dict[str, tuple[int, Known]] = {}
        """By id, each with the time stamp of the `job.json` that it was read from."""
        self._children: list[subprocess.Popen[bytes]] = []
        self._guard = threading.Lock()

    def launch(self, job: Job) -> None:
        """Start it. A job of this id that was started is left alone. Raises Terminal when its folder of work does not exist."""
        folder = prepare_folder(self._state_dir, job)
        self.tend()
        with holding(folder) as handle:
            if handle is None or folder.record.exists() or folder.result.exists():
                return
            take_up(self._state_dir, job.checkpoint)
            write_job(folder, job)
            self._supervise(folder, handle)

    def look(self) -> Mapping[str, Progress]:
        """Every local job, by id."""
        self._reap()
        found = {}
        for folder in folders(self._state_dir):
            known = self.known(folder)
            if known is not None and known.backend == self.backend:
                found[folder.id] = known.on(progress_of(folder, known.ref))
        return found

    def stop(self, job_id: str, why: str) -> None:
        """Ask it to end: SIGTERM to the program, SIGKILL ten seconds later. What a dead supervisor left running is ended too."""
        folder = folder_of(self._state_dir, job_id)
        if not folder.job.exists() or folder.result.exists():
            return
        if not folder.stop.exists():
            write_private(folder.stop, why)
        if is_held(folder.lock):
            wake(folder, signal.SIGTERM)
        else:
            self._finish(folder)

    def pause(self, job_id: str) -> None:
        """Halt it within a second; paused time does not count towards its timeout."""
        folder = folder_of(self._state_dir, job_id)
        if folder.job.exists() and not folder.result.exists() and not folder.paused.exists():
            write_private(folder.paused, "")
            wake(folder, signal.SIGUSR1)

    def resume(self, job_id: str) -> None:
        """Let it go on."""
        folder = folder_of(self._state_dir, job_id)
        folder.paused.unlink(missing_ok=True)
        wake(folder, signal.SIGUSR1)

    def forget(self, job_id: str) -> None:
        """Remove its folder. Raises Transient while it runs."""
        folder = folder_of(self._state_dir, job_id)
        if not folder.path.exists():
            return
        with holding(folder) as handle:
            if handle is None:
                raise Transient(f"{job_id} still runs", retry_after=1.0, hint="stop it first")
            if read_result(folder) is None and folder.record.exists():
                from reconciler.runs.leftovers import end_leftovers

                end_leftovers(folder)
            self._drop_checkpoint(folder)
            shutil.rmtree(folder.path, ignore_errors=True)
        self._jobs.pop(job_id, None)

    @staticmethod
    def _drop_checkpoint(folder: Folder) -> None:
        """What came to its end needs no place to go on from; what failed or was stopped keeps it for the next try."""
        job, result = read_job(folder), read_result(folder)
        if job is not None and result is not None and result.exit_code == 0 and not result.why and (place := checkpoint(job, folder)):
            shutil.rmtree(place, ignore_errors=True)

    def tend(self) -> None:
        """See to jobs whose supervisor died: end what it left running, and tell the tracking server how it ended.

        Also for ends that could not be told while the tracking server was away."""
        self._reap()
        started = 0
        for folder in folders(self._state_dir):
            known = self.known(folder)
            if (
                known is None
                or known.backend != self.backend
                or is_held(folder.lock)
                or not (folder.record.exists() or folder.result.exists())
            ):
                continue
            ending = read_result(folder)
            if ending is None or not ending.reported:
                self._finish(folder)
                started += 1
            if started == AT_ONCE:
                return

    def give_up(self, checkpoint: str) -> None:
        """What the work of this name would go on from may be removed, unless it is launched again within a day."""
        give_up(self._state_dir, checkpoint)

    def sweep(self) -> None:
        """Remove what was given up a day ago, and folders of jobs that should have started then and never did."""
        sweep(self._state_dir, time.time())

    def _finish(self, folder: Folder) -> None:
        """Start a supervisor that only sees to the end of a job that has lost its own."""
        with holding(folder) as handle:
            if handle is not None:
                self._supervise(folder, handle)

    def _supervise(self, folder: Folder, lock: int) -> None:
        equip(folder, self._credentials, self._sensors)
        with private_append(folder.supervisor_log) as output:
            # the lock goes over with its handle: there is no moment at which nobody holds it
            child = subprocess.Popen(
                [*supervisor_argv(folder), "--lock", str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder.path,
                env=supervisor_environment(),
                start_new_session=True,
                umask=0o077,
                pass_fds=(lock,),
            )
        with self._guard:
            self._children.append(child)

    def _reap(self) -> None:
        with self._guard:
            self._children = [child for child in self._children if child.poll() is None]

    def known(self, folder: Folder) -> Known | None:
        """What the job says of itself, read once for each launch; None for a folder that is no job yet."""
        try:
            stamp = folder.job.stat().st_mtime_ns
        except OSError:
            return None
        read, known = self._jobs.get(folder.id, (0, None))
        if known is not None and read == stamp:
            return known
        if (job := read_job(folder)) is None:
            return None
        known = Known(job.ref, job.backend, Amounts(job.memory, job.cpu, job.gpu))
        self._jobs[folder.id] = (stamp, known)
        return known


def prepare_folder(state_dir: Path, job: Job) -> Folder:
    """The job's folder, made where it is missing. Raises Terminal when the folder that it works in does not exist."""
    if not Path(job.cwd).is_dir():
        raise Terminal(f"the folder of {job.ref} is not there: {job.cwd}", hint="check spec.path of its Project")
    folder = folder_of(state_dir, job.id)
    for each in (folder.path.parent, folder.path):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def supervisor_argv(folder: Folder) -> list[str]:
    """The command that supervises the job, without its option `--lock HANDLE`."""
    return [sys.executable, "-P", "-m", "reconciler.runs.supervise", str(folder.path)]


def supervisor_environment() -> dict[str, str]:
    """The whole environment of a supervisor. It may hold secrets of the package index, so it belongs in no command line."""
    env = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("UV_")}
    return {"PATH": os.defpath, **env, "PYTHONUNBUFFERED": "1"}


def equip(folder: Folder, credentials: Credentials, sensors: Sensors | None) -> None:
    """Leave in the folder what its supervisor needs besides the job."""
    if (secret := credentials()) is not None:
        write_private(folder.credentials, json.dumps(secret))
    if sensors is not None:
        admission, root = sensors()
        write_private(folder.sensors, json.dumps({"root": str(root), "admission": admission.model_dump(mode="json")}))


def wake(folder: Folder, number: signal.Signals) -> None:
    """Send the supervisor a signal, so that it sees a wish at once; without one it sees it within a second."""
    record = read_record(folder.record)
    if record is not None and is_alive(record):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(record.pid, number)


@contextlib.contextmanager
def holding(folder: Folder) -> Iterator[int | None]:
    """The handle of the job's lock while it is held; None when somebody else holds it."""
    handle = acquire(folder.lock)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)
