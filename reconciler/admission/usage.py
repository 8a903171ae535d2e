"""What each project had of the machine lately: its dominant share, decayed with a half-life. Pure.

Kueue's Admission Fair Sharing (KEP-4136), used for one question only: who may keep a place for its head. Without it a project of large
pieces holds half of the machine for an hour, has "started nothing for half an hour" meanwhile, and gets the next room again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.admission.quota import total
from reconciler.admission.values import Lease, Past, Snapshot
from reconciler.model.demand import Amounts


def shares(snapshot: Snapshot, leases: Iterable[Lease]) -> dict[str, float]:
    """Project -> the largest of its shares of memory, cores, devices and watts of all nodes, over its weight."""
    room = total(snapshot.nodes)
    held: dict[str, Amounts] = {}
    for lease in leases:
        held[lease.project] = held.get(lease.project, Amounts()).plus(lease.amounts)
    found: dict[str, float] = {}
    for project, amounts in held.items():
        quota = snapshot.quotas.get(project)
        share = max((have / most for have, most in zip(amounts, room, strict=True) if most), default=0.0)
        found[project] = share / (quota.weight if quota else 1.0)
    return found


def decayed(snapshot: Snapshot) -> dict[str, float]:
    """Project -> its usage until now: usage <- usage k + share (1 - k) with k = 0.5^(dt / halfLife) and the share held since the last
    decision."""
    past, now = snapshot.past, snapshot.now
    kept = 0.5 ** (max(0.0, (now - (past.at or now)).total_seconds()) / snapshot.rules.half_life.total_seconds())
    names = sorted(past.usage.keys() | past.shares.keys())
    return {name: past.usage.get(name, 0.0) * kept + past.shares.get(name, 0.0) * (1.0 - kept) for name in names}


def below_average(project: str, usage: Mapping[str, float], waiting: Iterable[str]) -> bool:
    """True when the project had no more than the mean of those that wait: only such a one may keep others from passing."""
    names = set(waiting) | {project}
    return usage.get(project, 0.0) <= math.fsum(usage.get(name, 0.0) for name in names) / len(names)


def remember(past: Past, snapshot: Snapshot, usage: Mapping[str, float], leases: Iterable[Lease]) -> Past:
    """The past with usage until now and with what `leases`, those of this decision included, hold from now on.

    Nothing new while the same is held: usage decays from where it was, so that nothing needs to be written down."""
    held = shares(snapshot, leases)
    if past.at is not None and held == past.shares:
        return past
    return replace(past, usage={name: value for name, value in usage.items() if value > 1e-6}, shares=held, at=snapshot.now)
