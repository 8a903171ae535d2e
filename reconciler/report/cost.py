"""What each piece of work of a plan is expected to take, and where that is known from: for programs, and as a table of a comment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.admission.lengths import lengths_of
from reconciler.admission.thermal import forecast, running_watts
from reconciler.admission.values import Item, Node, Verdict
from reconciler.model import Demand, Learned, Ref
from reconciler.model.units import trimmed
from reconciler.report.admission import needs, soon
from reconciler.report.show import count, took

if TYPE_CHECKING:
    from reconciler.admit import Admission


@dataclass(frozen=True)
class Cost:
    """Of one piece of work. Seconds, bytes, watt hours; None = not known."""

    item: Item
    low: float
    seconds: float
    high: float
    basis: str
    """`measured on 8 earlier runs`, `declared`, or `what is usual here`."""
    heat: float | None = None
    """How far it would bring its machine on the way to throttling (1.0), beside what runs now; None where no heat model is fitted, or its
    watts are not known."""

    @property
    def energy(self) -> float | None:
        """Watt hours of its expected length."""
        return self.item.amounts.watts / 1000 * self.seconds / 3600 if self.item.amounts.watts else None


def costs(admission: Admission) -> dict[Ref, Cost]:
    """Of everything that the plan would start, now or later."""
    snapshot = admission.snapshot
    heats = {node.name: partial(_heat, node, running_watts(node, snapshot.leases, snapshot.now, snapshot.rules)) for node in snapshot.nodes}
    usual = heats.get(snapshot.here) or next(iter(heats.values()), None)
    found = {}
    for each in admission.asked:
        cost, verdict = _cost(each, admission.demands[each.ref], admission.learned.get(each.ref)), admission.verdicts.get(each.ref)
        heat = heats.get(verdict.node if verdict is not None else "") or usual
        found[each.ref] = replace(cost, heat=heat(cost)) if heat is not None else cost
    return found


def _heat(node: Node, running: float, cost: Cost) -> float | None:
    heat, watts = node.heat, cost.item.amounts.watts / 1000
    if heat.model is None or heat.used is None or not watts:
        return None
    return forecast(heat.model, heat.used, running, watts, cost.seconds) / heat.model.limit


def _cost(item: Item, demand: Demand, learned: Learned | None) -> Cost:
    told = lengths_of(item.seconds, learned)
    low, high = told.interval()
    measured = learned is not None and learned.runs > 0
    basis = f"measured on {count(learned.runs, 'earlier run')}" if learned is not None and measured else ""
    basis = basis or ("declared" if demand.declared or item.seconds else "what is usual here")
    return Cost(item, low, told.middle, high, basis)


def cost_value(cost: Cost) -> dict[str, Any]:
    """For programs."""
    amounts = cost.item.amounts
    return {
        "seconds": {"low": round(cost.low, 1), "middle": round(cost.seconds, 1), "high": round(cost.high, 1)},
        "memory": amounts.memory,
        "cores": amounts.cpu / 1000,
        "gpus": amounts.gpu / 1000,
        "watts": amounts.watts / 1000 or None,
        "wattHours": round(cost.energy, 3) if cost.energy is not None else None,
        "heat": round(cost.heat, 3) if cost.heat is not None else None,
        "basis": cost.basis,
    }


def cost_rows(admission: Admission, refs: Sequence[Ref]) -> list[tuple[str, ...]]:
    """`run`, what it takes, how long, energy with heat, when, basis: a line for each of `refs` that would start."""
    found, now = costs(admission), admission.snapshot.now
    return [_row(found[ref], admission.verdicts.get(ref), now) for ref in refs if ref in found]


def _row(cost: Cost, verdict: Verdict | None, now: Any) -> tuple[str, ...]:
    energy = f"{trimmed(cost.energy)} Wh" if cost.energy is not None else ""
    energy += f", to {cost.heat:.0%} of throttling" if cost.heat is not None else ""
    if verdict is None or verdict.admitted:
        start = "now"
    else:
        start = soon(verdict.expected, now) if verdict.expected else "later"
        start += f", position {verdict.position}" if verdict.position else ""
    lasts = f"{took(cost.seconds)} ({took(cost.low)} to {took(cost.high)})"
    return str(cost.item.ref), needs(cost.item.amounts), lasts, energy, start, cost.basis
