"""Replicas as admission sees them: one entry for each slot of each application, as a job has one.

A slot counts from the moment that it was asked for (`serving/applications.json` is written before Serve hears of it) until its replica's
process is gone (its lock), whichever ends later: what a lease was given for is charged as long as it takes anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.model.demand import Amounts
from reconciler.model.jobs import Progress
from reconciler.model.serving import Registration
from reconciler.serving import register

PREFIX = "serve:"


def look(state_dir: Path) -> Mapping[str, Progress]:
    """Every slot, by the id `serve:APP:SLOT`. Reads only; two system calls where nothing is served."""
    living, wanted = register.standing(state_dir), register.declared(state_dir)
    found: dict[str, Progress] = {}
    for app in wanted.keys() | living.keys():
        replicas, asked = living.get(app, ()), wanted.get(app, {})
        asks = int(asked.get("replicas") or 0)
        why = register.failures(state_dir, app) if len(replicas) < asks else ""
        for slot in range(max(asks, len(replicas))):
            replica = replicas[slot] if slot < len(replicas) else None
            ref = replica.ref if replica else str(asked.get("ref"))
            each = _progress(f"{PREFIX}{app}:{slot}", f"{ref}#{app.rpartition('.')[2]}-{slot}", asked, replica, why)
            found[each.id] = each
    return found


def is_slot(job_id: str) -> bool:
    """True for an id of `look`: a slot is neither stopped nor paused as a job is, but by the Deployment's own controller."""
    return job_id.startswith(PREFIX)


def _progress(job_id: str, ref: str, asked: Mapping[str, Any], replica: Registration | None, why: str) -> Progress:
    """`why`: what the last replica said that failed."""
    if replica is None:
        granted = Amounts(*(int(asked.get(name) or 0) for name in ("memory", "cpu", "gpu")))
        return Progress(job_id, ref, "starting", why=why or "in Ray's hands", granted=granted, backend="serve")
    granted = Amounts(replica.granted, int(asked.get("cpu") or 0), int(asked.get("gpu") or 0))
    return Progress(
        job_id,
        ref,
        "starting" if replica.state == "loading" else "running",
        since=replica.since,
        why=replica.why,
        memory=replica.memory,
        peak=replica.peak,
        granted=granted,
        backend="serve",
    )
