"""Which run in MLflow stands for a wanted one, and how it stands. Pure: from a listing and from what the jobs say of themselves.

The order is: one that is finished, one that is active, then the newest of those that were launched since `rerun` last changed.
MLflow tells what was reported; a job's own state tells the truth about a process, and wins where the two differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controllers.tools.mlflow_runs import RunInfo
from reconciler.model import Progress

REPORT_SECONDS = 60.0
"""How long a job that has ended may take to say so in MLflow by itself."""


STOPPED, BY_HAND = "stopped", "ended in MLflow"
"""How a runner begins to tell of a job that it was asked to stop, and what we tell it when a person ended the run in MLflow."""


class Tag:
    """Tags on a run that are ours."""

    INSTALLATION = "mlops.installation"
    REF = "mlops.ref"
    KEY = "mlops.key"
    ATTEMPT = "mlops.attempt"
    RERUN = "mlops.rerun"
    SUPERSEDED = "mlops.superseded"
    STOPPED = "mlops.stopped"
    """On one that the reconciler stopped: why."""
    NODE = "mlops.node"
    """Where it runs; its supervisor writes it, so that a run without it has never started."""
    TAIL = "mlops.receipt.tail"
    EXIT = "mlops.receipt.exit"
    DATASET = "mlops.dataset."


class How(StrEnum):
    """How the run stands that stands for a wanted one."""

    NONE = "none"
    """There is none of that key."""
    FINISHED = "finished"
    ACTIVE = "active"
    UNLAUNCHED = "unlaunched"
    """It was made in MLflow, and its program never started."""
    UNREPORTED = "unreported"
    """Active in MLflow, and its process is gone."""
    FAILED = "failed"
    PUT_BACK = "put back"
    """Stopped by us, to run again when there is room."""
    STOPPED = "stopped"
    """Stopped by a person."""
    DELETED = "deleted"
    AGAIN = "again"
    """All there is was launched before `rerun` changed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The answer. `run` is None with How.NONE only."""

    how: How
    run: RunInfo | None = None
    failed: int = 0
    """Failed attempts since `rerun` last changed."""
    attempts: int = 0
    """Attempts in all."""
    job: Progress | None = None
    """Its job, where one is known here."""

    @property
    def job_lives(self) -> bool:
        return lives(self.job)

    def launches(self, retries: int) -> bool:
        """Whether what there is to do is a launch."""
        again = self.how is How.FAILED and self.failed <= retries
        return again or self.how in (How.NONE, How.AGAIN, How.UNLAUNCHED, How.PUT_BACK)


def standing(key: str, rerun: str, runs: Sequence[RunInfo], jobs: Mapping[str, Progress] | None, now: float) -> Standing:
    """How the run of this key stands. `runs` are those of its experiment, the newest first; `jobs` None = nobody can tell."""
    same = [each for each in runs if key and each.tags.get(Tag.KEY) == key]
    current = [each for each in same if each.tags.get(Tag.RERUN, "") == rerun]
    failed = sum(each.status == "FAILED" for each in current)

    def of(how: How, run: RunInfo) -> Standing:
        return Standing(how, run, failed, len(same), (jobs or {}).get(run.id))

    here = [(run, (jobs or {}).get(run.id)) for run in same if not run.deleted]
    for run, job in here:
        if run.status == "FINISHED" and not lives(job):
            return of(How.FINISHED, run)
    for run, job in here:
        if run.active or (lives(job) and (run.status != "KILLED" or _ours(run, job))):
            return of(_active(run, jobs, now), run)
    if not same:
        return Standing(How.NONE)
    if not current:
        return of(How.AGAIN, same[0])
    last = current[0]
    if last.deleted:
        return of(How.DELETED, last)
    if last.status == "FAILED":
        return of(How.FAILED, last)
    return of(How.PUT_BACK if _ours(last, (jobs or {}).get(last.id)) else How.STOPPED, last)


def lives(job: Progress | None) -> bool:
    return job is not None and job.state in ("starting", "running", "paused")


def _ours(run: RunInfo, job: Progress | None) -> bool:
    """True when it was the reconciler that stopped it."""
    why = run.tags.get(Tag.EXIT, "") or (job.why if job else "")
    return Tag.STOPPED in run.tags or (why.startswith(STOPPED) and BY_HAND not in why)


def _active(run: RunInfo, jobs: Mapping[str, Progress] | None, now: float) -> How:
    """How a run stands that MLflow calls active, or whose program has not ended although MLflow has heard of an end: a program that
    uses MLflow itself says so before it is gone."""
    job = (jobs or {}).get(run.id)
    if jobs is None or lives(job):
        return How.ACTIVE
    if Tag.NODE not in run.tags and (job is None or (job.state == "lost" and not job.since and not job.ended)):
        return How.UNLAUNCHED
    if job is None or job.state == "lost" or job.reported or now > job.ended + REPORT_SECONDS:
        return How.UNREPORTED
    return How.ACTIVE


def leftover(key: str, label: str, runs: Sequence[RunInfo], chosen: RunInfo | None) -> tuple[RunInfo, ...]:
    """Runs that went by this child's name (its Ref as text) and are not wanted any more: of another key, or a second active one."""
    return tuple(
        each
        for each in runs
        if not each.deleted
        and each.tags.get(Tag.REF) == label
        and (chosen is None or each.id != chosen.id)
        and (each.active or (each.tags.get(Tag.KEY) != key and not superseded(each)))
    )


def checkpoint(key: str) -> str:
    """Name of the folder from which work of this key goes on."""
    return key[:32]


def superseded(run: RunInfo) -> bool:
    return run.tags.get(Tag.SUPERSEDED) == "true"
