"""Programs that run to their end under a lease, outside the reconciler's own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from reconciler.model.demand import NOTHING, Amounts


@dataclass(frozen=True)
class Job:
    """A program to run to its end, under a lease. Plain values only: it is written to the job's folder and read by its supervisor."""

    id: str
    """Of the run in the tracking server; also the name of the job's folder."""
    ref: str
    backend: Literal["local", "ray"]
    cwd: str
    entrypoint: str
    arguments: tuple[str, ...]
    """After the entrypoint; `{out}` stands for the folder of its results."""
    requirements: tuple[str, ...]
    """Of its environment (PEP 508)."""
    lock: str = ""
    """Path of a lock file to install instead, hashes checked."""
    interpreter: str = ""
    """Python program that runs it as it is; no environment is made, and requirements and lock mean nothing. Empty = one is made."""
    project: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    """All that it gets besides PATH, HOME, LANG, TMPDIR and what MLflow needs to find the run."""
    timeout: float | None = None
    """Seconds."""
    memory: int = 0
    """Bytes that it was granted; it is ended when it stays above. 0 = not bounded."""
    cpu: int = 1000
    """Thousandths of a core; bounds the threads of numeric libraries."""
    gpu: int = 0
    tracking: str = ""
    """Base URL of the tracking server."""
    experiment: str = ""
    """Its id there."""
    checkpoint: str = ""
    """Name of the folder that survives retries and pre-emptions of the same work; the program gets its path as MLOPS_CHECKPOINT_DIR."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Set on the run when it starts: its context."""
    queued: float = 0.0
    """Seconds that it waited."""
    waited_for: str = ""
    """Why, in a word."""
    program: bool = False
    """True: `entrypoint` is a program of the environment or of PATH, started as it is; false: a Python script or module."""
    out: str = ""
    """Folder of its results; empty = one of its own, which goes with the job."""
    answers: str = ""
    """Folder of requests (`reconciler.exchange`) in which the one of this id is answered at the end; empty = nobody asked."""
    node: str = ""
    """Another machine that it was granted room on; empty = this one."""
    outputs: tuple[str, ...] = ()
    """Names that it must have written to $MLOPS_OUTPUTS, for the answer; one that ends in `?` may be missing."""


JobState: TypeAlias = Literal["starting", "running", "paused", "ended", "lost"]
"""starting: its environment is being made. ended: it has a result. lost: neither a live process nor a result."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a job is."""

    id: str
    ref: str
    state: JobState
    since: float = 0.0
    """Unix seconds of its start; 0 = not started."""
    ended: float = 0.0
    exit_code: int | None = None
    why: str = ""
    """What ended it, in words: `exit 3`, `killed (SIGKILL)`, `timeout after 2m`, `used 1.9 GiB of 1.2 GiB granted`."""
    tail: str = ""
    """Last lines of its output."""
    memory: int = 0
    """Bytes now, or at the end its peak."""
    peak: int = 0
    watts: float | None = None
    """Mean power that it was seen to draw; None = the machine does not tell."""
    reported: bool = False
    """Its end is in the tracking server."""
    granted: Amounts = NOTHING
    """What its lease gave it when it was launched; power is not known any more."""
    backend: str = "local"
    """Whose job it is: `Job.backend`."""

    @property
    def unburied(self) -> bool:
        """True when nobody watches it any more although its program may still live."""
        return self.state == "lost" and self.since > 0 and not self.ended
