"""The supervisor of one job: `python -m reconciler.runs.supervise FOLDER [--lock HANDLE]`.

Makes the environment, starts the program, watches it, and writes how it ended; then tells the tracking server. It is a process of its own,
so that a training outlives the reconciler. Safe to repeat: a second one finds the lock taken and leaves; one that finds a dead
predecessor's folder ends what that left running and tells the end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.errors import ReconcilerError, Terminal
from reconciler.model.jobs import Job, JobState, Progress
from reconciler.platform.process import Record, birth, write_record
from reconciler.runs.answering import reply
from reconciler.runs.bell import Bell
from reconciler.runs.ending import Told, ending
from reconciler.runs.folder import Ending, Folder, acquire, read_job, read_result, write_progress, write_result
from reconciler.runs.log import Log
from reconciler.runs.processes import Usage, usage
from reconciler.runs.program import OUTPUTS, Program, checkpoint, results
from reconciler.runs.report import Reporter, note
from reconciler.runs.watch import Bounds

GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL."""
QUICK, SLOW = 0.2, 1.0
"""Seconds between two looks: in the first seconds, in which memory grows fastest, and later."""
QUICK_FOR = 5.0
KEEP_TRIES, KEEP_PAUSE = 120, 5.0


def main(argv: Sequence[str]) -> int:
    """Exit code 0 when the job has a result, however it ended; 1 when there is no job to supervise."""
    folder = Folder(Path(argv[0]).resolve())
    lock = int(argv[2]) if len(argv) == 3 and argv[1] == "--lock" else acquire(folder.lock)
    if lock is None:
        return 0
    os.set_inheritable(lock, False)
    job = read_job(folder)
    if job is None:
        print(f"no job in {folder.path}", file=sys.stderr)  # noqa: T201 - goes to supervisor.log
        return 1
    bell = Bell(folder)
    died = folder.record.exists() and not folder.result.exists()
    write_record(folder.record, Record(os.getpid(), birth(os.getpid()) or "", time.time(), job.id))
    reporter = Reporter(job, folder)
    found = read_result(folder)
    if found is None:
        found = bury(job, folder) if died else _supervise(job, folder, bell, reporter)
        _keep(folder, found)
    if job.answers:
        reply(job, folder, found)
    bell.told = False  # a signal that ended the program does not cut its report short; another one does
    if not found.reported and reporter.finish(found, lambda: bell.told):
        _keep(folder, replace(found, reported=True))
    return 0


def _keep(folder: Folder, found: Ending) -> None:
    """Write the result; a disk that is full gets ten minutes to have room again, a folder that was removed gets none."""
    for _ in range(KEEP_TRIES):
        if not folder.path.exists():
            return
        try:
            write_result(folder, found)
        except OSError as error:
            note(f"the result cannot be written: {error}")
            time.sleep(KEEP_PAUSE)
        else:
            return


def _supervise(job: Job, folder: Folder, bell: Bell, reporter: Reporter) -> Ending:
    """From nothing to an end, whatever happens."""
    try:
        python = _environment(job, folder, bell)
        return _run(job, folder, bell, reporter, python)
    except ReconcilerError as error:
        return ending(job, folder, _stopped(bell, 0.0) or Told(0.0, str(error)))
    except Exception:
        trace = traceback.format_exc()
        note(trace)
        return ending(job, folder, Told(0.0, f"the supervisor failed: {trace.strip().splitlines()[-1]}"))


def _environment(job: Job, folder: Folder, bell: Bell) -> Path:
    from reconciler.runs.environment import hold, prepare

    if job.interpreter:
        if not os.access(job.interpreter, os.X_OK):
            raise Terminal(f"the interpreter of {job.ref} is not there: {job.interpreter}")
        return Path(job.interpreter)
    write_progress(folder, Progress(job.id, job.ref, "starting"))
    python = prepare(job.project, job.requirements, job.lock, folder.state_dir, stop=lambda: bell.stop)
    hold(python)
    return python


def _run(job: Job, folder: Folder, bell: Bell, reporter: Reporter, python: Path) -> Ending:
    if (stopped := _stopped(bell, 0.0)) is not None:
        return ending(job, folder, stopped)
    for each in (results(job, folder), checkpoint(job, folder)):
        if each is not None:
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
    (results(job, folder) / OUTPUTS).unlink(missing_ok=True)  # of an earlier try
    began = time.time()
    program = Program(job, folder, python)
    reporter.begin(python, program.pid)
    try:
        told = _Watch(job, folder, bell, reporter, program, began).until_end()
    finally:
        program.end(0)
    seen = reporter.seen()
    told = replace(told, exit_code=program.exit_code, peak=max(told.peak, program.largest), watts=reporter.watts)
    return ending(job, folder, told, seen)


def _stopped(bell: Bell, began: float) -> Told | None:
    """The end when it was asked for."""
    return None if bell.stop is None else Told(began, f"stopped: {bell.stop}", stopped=True)


@dataclass
class _Watch:
    """The loop around a running program."""

    job: Job
    folder: Folder
    bell: Bell
    reporter: Reporter
    program: Program
    began: float
    peak: int = 0
    used: Usage = field(default_factory=lambda: Usage(0, 0.0))
    paused: bool = False

    def until_end(self) -> Told:
        """Look until the program has ended, or has to."""
        bounds, log = Bounds(self.job.memory, self.job.timeout), Log(self.folder)
        while not self.program.ended():
            used = self._measure()
            self._pause_or_resume()
            self._note(used.memory)
            self.reporter.look(used)
            if (stopped := _stopped(self.bell, self.began)) is not None:
                self.program.end(GRACE_SECONDS)
                return replace(stopped, peak=self.peak)
            if not self.folder.job.exists():  # nobody finds it any more: its lease is given to others
                self.program.end(GRACE_SECONDS)
                return Told(self.began, "its folder was removed while it ran", peak=self.peak)
            breach = bounds.step(time.monotonic(), used.memory, self.paused)
            if breach is not None:
                self.program.end(0 if breach.at_once else GRACE_SECONDS)
                return Told(self.began, breach.why, peak=self.peak)
            with contextlib.suppress(OSError):
                log.bound()
            self.bell.wait(QUICK if time.time() - self.began < QUICK_FOR else SLOW)
        return Told(self.began, peak=self.peak)

    def _measure(self) -> Usage:
        try:
            self.used = usage(self.program.processes())
        except Exception as error:  # a look that fails must not end a training
            note(f"cannot look at the program: {error!r}")
        self.peak = max(self.peak, self.used.memory)
        return self.used

    def _pause_or_resume(self) -> None:
        if self.bell.paused != self.paused:
            self.paused = not self.paused
            self.program.send(signal.SIGSTOP if self.paused else signal.SIGCONT)

    def _note(self, memory: int) -> None:
        state: JobState = "paused" if self.paused else "running"
        found = Progress(self.job.id, self.job.ref, state, self.began, memory=memory, peak=self.peak, watts=self.reporter.watts)
        with contextlib.suppress(OSError):  # a full disk must not end a training
            write_progress(self.folder, found)


def bury(job: Job, folder: Folder) -> Ending:
    """The end of a job whose supervisor died: what it left running is ended."""
    from reconciler.runs.leftovers import end_leftovers

    left = end_leftovers(folder)
    why = "its supervisor ended without a result" + (f"; {left} of its processes were still running and were ended" if left else "")
    return ending(job, folder, Told(0.0, why, lost=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
