"""How a job ended, in words and numbers."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.model.jobs import Job
from reconciler.model.units import memory
from reconciler.runs.folder import Ending, Folder, progress_of, tail

RECEIPT = "mlops.receipt."
"""Tags of a run that say what it took."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the supervisor knows at the end."""

    began: float
    """Unix seconds of the program's start; 0 = not known."""
    why: str = ""
    """Empty = the program ended by itself."""
    stopped: bool = False
    """True: it was asked to stop."""
    lost: bool = False
    exit_code: int | None = None
    peak: int = 0
    watts: float | None = None


def ending(job: Job, folder: Folder, told: Told, tags: Mapping[str, str] | None = None) -> Ending:
    """The result, with `tags` and the receipts for its run. A program that was asked to stop and then ended well was still stopped."""
    why = told.why or ended_by(told.exit_code)
    before = progress_of(folder, job.ref) if told.lost else None
    began, peak = (before.since, before.peak) if before is not None else (told.began, told.peak)
    now = last_seen(folder) if told.lost else time.time()
    receipts = {
        "exit": why or "exit 0",
        "seconds": f"{max(0.0, now - began):.1f}" if began else "",
        "queued_seconds": f"{job.queued:.1f}",
        "waited_for": job.waited_for,
        "peak_memory": str(peak) if peak else "",
        "peak_memory_text": memory(peak) if peak else "",
        "tail": tail(folder) if why and not told.stopped else "",  # its last words outlive the folder
    }
    return Ending(
        id=job.id,
        ref=job.ref,
        status="FINISHED" if not why else "KILLED" if told.stopped else "FAILED",
        why=why,
        lost=told.lost,
        exit_code=told.exit_code,
        since=began,
        ended=now,
        peak=peak,
        tail=tail(folder),
        watts=told.watts,
        tags={**(tags or {}), **{f"{RECEIPT}{name}": text for name, text in receipts.items() if text}},
    )


def last_seen(folder: Folder) -> float:
    """When a job whose supervisor died was last known to live, in Unix seconds."""
    paths = (folder.progress, folder.log, folder.record)
    return max((path.stat().st_mtime for path in paths if path.exists()), default=time.time())


def ended_by(exit_code: int | None) -> str:
    """`exit 3`, `killed (SIGKILL)`; empty for a good end."""
    if not exit_code:
        return "" if exit_code == 0 else "it never ran"
    if exit_code > 0:
        return f"exit {exit_code}"
    try:
        return f"killed ({signal.Signals(-exit_code).name})"
    except ValueError:
        return f"killed (signal {-exit_code})"
