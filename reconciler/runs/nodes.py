"""Other machines that work: each is registered by its worker, with what it has and how warm it is, and takes jobs from a folder of its own.

::

    nodes/<name>/node.json     capacity and sensors, written by the worker every two seconds
    nodes/<name>/inbox/        jobs that were given to it and that it has not started yet
    nodes/<name>/runs/         as in the state folder: jobs, supervisors, results

The state folder is shared by all of them: on one machine, or on a network file system with locks (NFS 4)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.admission.values import Heat, Level, Node
from reconciler.errors import Terminal, Transient
from reconciler.exchange import Answer, answer
from reconciler.files import write_private
from reconciler.model import Amounts, Limits
from reconciler.model.jobs import Job, Progress
from reconciler.runs.folder import folder_of, job_of
from reconciler.runs.local import Credentials, LocalRunner, Sensors, prepare_folder

EVERY_SECONDS = 2.0
"""Between two samples of a worker."""
SILENT_SECONDS, GONE_SECONDS = 15.0, 300.0
"""Without a sample for so long, a node is given nothing new, and what it has not begun goes elsewhere; what it runs is waited for."""


def home(state_dir: Path, name: str) -> Path:
    """The folder of a node."""
    return state_dir / "nodes" / name


def names(state_dir: Path) -> frozenset[str]:
    """Every node that was ever registered here."""
    return frozenset(path.parent.name for path in (state_dir / "nodes").glob("*/node.json"))


def registered(state_dir: Path, now: float) -> list[Node]:
    """Nodes whose workers live, as they were when they said so last."""
    found = []
    for path in sorted((state_dir / "nodes").glob("*/node.json")):
        try:
            raw = json.loads(path.read_bytes())
            if now - float(raw["at"]) <= SILENT_SECONDS:
                found.append(_node(raw))
        except (OSError, ValueError, KeyError, TypeError):  # being written, or by another version: not there for now
            continue
    return found


def tell(state_dir: Path, node: Node, now: float) -> None:
    """Register a node, or tell its newest sample."""
    place = home(state_dir, node.name)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    heat = {"level": int(node.heat.level), "used": node.heat.used, "watts": node.heat.watts, "source": node.heat.source}
    since = node.heat.since.isoformat() if node.heat.since else None
    told = {
        "name": node.name,
        "at": now,
        "capacity": list(node.capacity),
        "reserve": list(node.reserve),
        "outside": list(node.outside),
        "heat": {**heat, "since": since},
        "memoryLevel": int(node.memory_level),
        "largestBuffer": node.largest_buffer,
    }
    write_private(place / "node.json", json.dumps(told), durable=False)


class NodeRunner(LocalRunner):
    """Jobs of one other node, as the reconciler sees them. Only its worker starts anything."""

    def __init__(self, state_dir: Path, name: str, credentials: Credentials, sensors: Sensors | None = None) -> None:
        super().__init__(home(state_dir, name), credentials, sensors)
        self._inbox = home(state_dir, name) / "inbox"

    def launch(self, job: Job) -> None:
        """Leave it for the worker. One that it has taken already is left alone. Raises Terminal when its folder of work is not there."""
        folder = prepare_folder(self._state_dir, job)
        if folder.record.exists() or folder.result.exists():
            return
        self._inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._inbox / f"{job.id}.json", json.dumps({"job": asdict(job), "credentials": self._credentials()}))

    def look(self) -> Mapping[str, Progress]:
        """Every job there; one that waits for the worker is starting."""
        found = super().look()
        if self.silent() > SILENT_SECONDS:  # nobody takes it: it is given elsewhere
            return found
        waiting = {job.id: Progress(job.id, job.ref, "starting", granted=_granted(job), backend=job.backend) for job, _ in self.waiting()}
        return {**waiting, **found}

    def silent(self) -> float:
        """Seconds since its worker was heard."""
        try:
            return time.time() - (self._state_dir / "node.json").stat().st_mtime
        except OSError:
            return math.inf

    def take_back(self, job_id: str) -> None:
        """It is given to another one."""
        (self._inbox / f"{job_id}.json").unlink(missing_ok=True)

    def stop(self, job_id: str, why: str) -> None:
        """As on this machine; one that was not started yet is taken back."""
        self.take_back(job_id)
        super().stop(job_id, why)

    def forget(self, job_id: str) -> None:
        """Remove its folder, and what would start it. Raises Transient while it runs."""
        self.take_back(job_id)
        super().forget(job_id)

    def tend(self) -> None:
        """Its worker does. One that is gone for long is not waited for: what it had in hand is told as lost."""
        if self.silent() > GONE_SECONDS:
            super().tend()

    def waiting(self) -> Iterator[tuple[Job, tuple[str, str] | None]]:
        """Jobs in the inbox, with the credentials that they came with."""
        for path in sorted(self._inbox.glob("*.json")):
            try:
                raw = json.loads(path.read_bytes())
                yield job_of(raw["job"]), tuple(raw["credentials"]) if raw["credentials"] else None
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def holds(self, job_id: str) -> bool:
        """Whether a job of this id was given to this node."""
        return folder_of(self._state_dir, job_id).job.exists() or (self._inbox / f"{job_id}.json").exists()

    def take(self) -> None:
        """By the worker: start what waits, and see to what has lost its supervisor. Safe to repeat."""
        LocalRunner.tend(self)
        for job, credentials in list(self.waiting()):
            self._credentials = partial(_given, credentials)
            try:
                LocalRunner.launch(self, job)
            except (Transient, OSError):  # a full disk, a folder that is not mounted yet: later
                continue
            except Terminal as error:
                if job.answers:
                    answer(Path(job.answers), job.id, Answer(False, f"{self._state_dir.name}: {error}"))
            self.take_back(job.id)


def _given(found: tuple[str, str] | None) -> tuple[str, str] | None:
    return found


def _granted(job: Job) -> Amounts:
    return Amounts(job.memory, job.cpu, job.gpu)


def _node(raw: Mapping[str, Any]) -> Node:
    heat: Mapping[str, Any] = raw["heat"]
    since = heat["since"]
    return Node(
        name=str(raw["name"]),
        capacity=Limits(*raw["capacity"]),
        reserve=Amounts(*raw["reserve"]),
        outside=Amounts(*raw["outside"]),
        heat=Heat(
            Level(int(heat["level"])),
            heat["used"],
            datetime.fromisoformat(str(since)) if since else None,
            heat["watts"],
            None,
            str(heat["source"]),
        ),
        memory_level=Level(int(raw["memoryLevel"])),
        largest_buffer=raw["largestBuffer"],
    )
