"""What a plan's quotas would have meant: who may hold more or less, and the recorded queue played again under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from reconciler.admission.quota import ALL, Tree, tree_of
from reconciler.admission.scene import capacity_of, quotas_of, reserve_of, rules_of
from reconciler.admission.values import Node, Quota, Snapshot
from reconciler.hardware.detector import detect
from reconciler.model import Blocked, Delete, Keep, Limits, Owned, Ref

if TYPE_CHECKING:
    from reconciler.admission.simulate.account import ProjectOutcome
    from reconciler.admission.simulate.replay import Line
    from reconciler.house import House
    from reconciler.model import Resource
    from reconciler.proposal import Proposal

QUOTA = "ResourceQuota"
BACK = timedelta(days=7)
"""How far the recorded queue goes back."""
MOST_LINES, MOST_PIECES = 20_000, 1_500
"""Of the audit log that are read, and pieces of work that are played, the newest: some seconds of simulation."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one project may hold. A resource of which its quota does not speak is None."""

    own: Limits
    """Nominal: its own at any time."""
    most: Limits
    """With everything that others of its cohort leave idle."""


@dataclass(frozen=True)
class Replay:
    """Before and after the plan's quotas."""

    shares: Mapping[str, tuple[Share, Share]]
    """Of the projects whose share changes."""
    pieces: int = 0
    """Pieces of work that were played; 0 = nothing is recorded."""
    days: float = 0.0
    """How far back the record goes."""
    waits: Mapping[str, tuple[ProjectOutcome, ProjectOutcome]] = field(default_factory=dict)
    """Of every project that had work."""


def replay(proposal: Proposal, house: House) -> Proposal:
    """The proposal, with what its quotas would have meant where it changes any. Reads the audit log only then."""
    touched = [each for each in proposal.plan.actions if each.ref.kind == QUOTA and not isinstance(each, Keep)]
    if not touched or proposal.context is None:
        return proposal
    gone = {each.ref for each in touched if isinstance(each.wanted if isinstance(each, Blocked) else each, Delete)}
    admission, machine = proposal.context.platform.admission, detect()
    capacity, reserve = capacity_of(machine, admission), reserve_of(machine, admission)
    before, after = quotas_of((), proposal.inventory), _after(proposal.resources, proposal.inventory, gone)
    node = Node(machine.name, capacity, reserve)
    sides = [Snapshot(house.now(), (node,), each, (), ()) for each in (before, after)]
    found = Replay(_shares(*sides))

    from reconciler.admission.simulate.compare import play, quotas
    from reconciler.admission.simulate.replay import scenario_of

    if lines := recent(house):
        scenario = scenario_of(
            lines,
            before,
            name="the recorded queue",
            capacity=capacity,
            reserve=reserve,
            margin=0.0,  # what was charged has it already
            rules=rules_of(admission),
        )
        then, now = (each.outcome.projects for each in play(quotas(scenario, {"before": before, "after": after})))
        waits = {name: (then[name], now[name]) for name in sorted(then.keys() & now.keys())}
        days = min(BACK.total_seconds(), lines[-1].at - lines[0].at + lines[-1].seconds) / 86400
        found = replace(found, pieces=len(lines), days=days, waits=waits)
    return replace(proposal, replay=found)


def recent(house: House) -> tuple[Line, ...]:
    """The recorded queue of the last days; empty where nothing was admitted."""
    from reconciler.admission.simulate.recorded import recorded

    lines = recorded(house.store.history(since=house.now() - BACK, limit=MOST_LINES), house.now())[-MOST_PIECES:]
    return tuple(each.model_copy(update={"at": each.at - lines[0].at}) for each in lines)


def _after(resources: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned], gone: set[Ref]) -> Mapping[str, Quota]:
    return quotas_of(resources.values(), {ref: each for ref, each in inventory.items() if ref not in gone})


def _shares(before: Snapshot, after: Snapshot) -> dict[str, tuple[Share, Share]]:
    """Of every project that has a quota on one side at least, and whose share is not the same on both."""
    names = sorted(before.quotas.keys() | after.quotas.keys())
    then, now = tree_of(before, names), tree_of(after, names)
    found = {name: (_share(then, name), _share(now, name)) for name in names}
    return {name: sides for name, sides in found.items() if sides[0] != sides[1]}


def _share(tree: Tree, name: str) -> Share:
    share = tree.share(name)
    own = [each if at in share.governed and share.quota.declared else None for at, each in enumerate(share.nominal)]
    return Share(Limits(*own), Limits(*(tree.potential(share, at) for at in ALL)))
