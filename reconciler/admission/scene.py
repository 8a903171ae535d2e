"""From manifests and sensors to the values of a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.admission.values import Heat, Level, Node, Quota, Rules, ThermalModel, Window
from reconciler.hardware.values import Machine, Sample
from reconciler.model import Amounts, Limits, Owned, Ref, Resource
from reconciler.model.demand import NOTHING, limits_of, units
from schemas.base import duration_value
from schemas.platform import Admission, Simulated

GIB = 1 << 30
RESERVE_SHARE, LEAST_RESERVE, MOST_RESERVE = 0.1, GIB, 8 * GIB
"""Of the machine's memory, for the operating system and people; as the Platform's schema tells."""


def rules_of(admission: Admission) -> Rules:
    """The numbers of the policy as the Platform sets them."""
    return Rules(
        exempt_priority=admission.exempt_priority,
        reserve_after=duration_value(admission.reserve_after),
        pause_after=duration_value(admission.pause_after),
        preemption=admission.preemption == "reclaim",
    )


def quotas_of(resources: Iterable[Resource[Any]], inventory: Mapping[Ref, Owned]) -> dict[str, Quota]:
    """Every project's quota: as declared in this pass, else as last applied. A project without one gets none here."""
    specs: dict[str, Mapping[str, Any]] = {}
    active: dict[str, bool] = {}
    for ref, owned in inventory.items():
        if ref.kind == "ResourceQuota" and ref.project:
            specs[ref.project] = owned.applied
        elif ref.kind == "Project":
            active[ref.name] = bool(owned.applied.get("active", True))
    for each in resources:
        if each.ref.kind == "ResourceQuota" and each.ref.project:
            specs[each.ref.project] = each.spec.model_dump(mode="json")
        elif each.ref.kind == "Project":
            active[each.ref.name] = each.spec.active
    quotas = {name: quota_of(name, spec, active.get(name, True)) for name, spec in specs.items()}
    idle = {name: Quota(name, active=False, declared=False) for name, is_active in active.items() if not is_active and name not in quotas}
    return quotas | idle


def quota_of(project: str, spec: Mapping[str, Any], active: bool = True) -> Quota:
    """A ResourceQuota's spec (camelCase keys, as in YAML) as admission's value."""
    windows = tuple(
        Window(each["kind"] == "allow", each["cron"], int(duration_value(each["duration"]).total_seconds()), each.get("timezone", "UTC"))
        for each in spec.get("windows") or ()
    )
    return Quota(
        project=project,
        nominal=limits_of(spec.get("nominal")),
        borrowing=limits_of(spec.get("borrowingLimit")),
        lending=limits_of(spec.get("lendingLimit")),
        cohort=spec.get("cohort") or "",
        weight=float(spec.get("weight") or 1.0),
        priority=int(spec.get("priority") or 5),
        max_running=spec.get("maxRunning"),
        windows=windows,
        active=active,
    )


def capacity_of(machine: Machine, admission: Admission) -> Limits:
    """What may be given away in all, the reserve included: what the Platform says, else what was found.

    Watts have no limit unless the Platform gives one. With unified memory, work on the accelerator can use no more than its
    recommended working set, so that bounds the memory."""
    given = limits_of(admission.capacity.model_dump() if admission.capacity else None)
    memory = machine.memory
    if machine.working_set is not None:
        memory = min(memory, machine.working_set + reserve_of(machine, admission).memory)
    found = Limits(memory, round(machine.cores * 1000), 1000 * len(machine.accelerators), None)
    return Limits(*(had if had is not None else seen for had, seen in zip(given, found, strict=True)))


def reserve_of(machine: Machine, admission: Admission) -> Amounts:
    """What is left to the operating system and to people."""
    if admission.memory_reserve is not None:
        return Amounts(units("memory", admission.memory_reserve))
    total = units("memory", admission.capacity.memory) if admission.capacity and admission.capacity.memory else machine.memory
    return Amounts(round(min(MOST_RESERVE, max(LEAST_RESERVE, RESERVE_SHARE * total))))


def node_of(
    machine: Machine, sample: Sample, admission: Admission, *, system: Amounts = NOTHING, jobs: int = 0, model: ThermalModel | None = None
) -> Node:
    """The machine as admission sees it. `system` is what the services use, `jobs` the bytes that leased work uses now."""
    capacity, reserve = capacity_of(machine, admission), reserve_of(machine, admission)
    used = max(0, sample.memory_total - sample.memory_available)
    # A simulated sensor tells of another machine, and a part of one has its own memory: what programs use here says nothing about it.
    elsewhere = isinstance(admission.sensors, Simulated) or (admission.capacity is not None and admission.capacity.memory is not None)
    told = sample.memory_total > 0 and not elsewhere
    outside = max(0, used - system.memory - jobs - reserve.memory) if told else 0
    heat = Heat(sample.heat.level, sample.heat.used, sample.heat.since, sample.heat.watts, model, sample.heat.source)
    return Node(
        name=machine.name,
        capacity=capacity,
        reserve=reserve,
        system=system,
        outside=Amounts(outside),
        heat=heat,
        memory_level=sample.memory_level,
        largest_buffer=machine.largest_buffer,
    )


def blind_node(machine: Machine, admission: Admission) -> Node:
    """The machine when no sensor could be asked."""
    return Node(machine.name, capacity_of(machine, admission), reserve_of(machine, admission), heat=Heat(Level.UNKNOWN))
