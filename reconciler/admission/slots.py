"""How many tasks of a project may be in flight at once: the size of its pool in the workflow engine, a second brake. Pure."""

from __future__ import annotations

from reconciler.admission.values import Level, Quota, Snapshot
from reconciler.model.demand import Slots

PER_CORE = 4
"""Tasks for each core of a project's share, where its quota does not say `maxRunning`: many tasks only wait, and leases bound the rest."""
DEFAULT_CORES = 1.0
"""Of a machine that does not tell."""


def slots(snapshot: Snapshot, project: str) -> Slots:
    """By quota, shrunk by the heat and the memory pressure of the best node: half at `fair`, none at `serious` unless the project's
    priority is exempt, none at `critical`. What is unknown shrinks nothing."""
    quota = snapshot.quotas.get(project)
    full = _full(snapshot, quota)
    if quota is not None and not quota.active:
        return Slots(full, 0, "the project is not active")
    heat = min((node.heat.level for node in snapshot.nodes), default=Level.UNKNOWN)
    pressure = min((node.memory_level for node in snapshot.nodes), default=Level.UNKNOWN)
    level, what = (heat, "heat") if heat >= pressure else (pressure, "memory pressure")
    exempt = (quota.priority if quota else Quota("").priority) >= snapshot.rules.exempt_priority
    if level is Level.CRITICAL or (level is Level.SERIOUS and not exempt):
        return Slots(full, 0, f"{what} is {level}")
    if level is Level.FAIR and not exempt:
        return Slots(full, max(1, full // 2), f"{what} is {level}")
    return Slots(full, full)


def _full(snapshot: Snapshot, quota: Quota | None) -> int:
    if quota is not None and quota.max_running is not None:
        return quota.max_running
    cores = sum((node.capacity.cpu or 0) / 1000 for node in snapshot.nodes) or DEFAULT_CORES
    share = quota.nominal.cpu if quota is not None else None
    if quota is not None and share is not None:
        cores = min(cores, (share + (quota.borrowing.cpu or 0)) / 1000) if quota.borrowing.cpu is not None or not quota.cohort else cores
    return max(1, round(cores * PER_CORE))
