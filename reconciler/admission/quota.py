"""Quotas with lending and borrowing: Kueue's arithmetic on a tree of projects and cohorts.

Source: pkg/cache/scheduler/resource_node.go and fair_sharing.go of Kueue. For each resource that a project's quota governs

    localQuota(p)    = max(0, nominal - lendingLimit), 0 without a lending limit      (the part that is never lent)
    subtree(cohort)  = own + sum of (nominal - localQuota) over its projects
    usage(cohort)    = sum of max(0, usage - localQuota) over its projects            (what bubbles up)
    available(p)     = max(0, localQuota - usage) + min(subtree(cohort) - usage(cohort),
                       nominal - localQuota - max(0, usage - localQuota) + borrowingLimit)
    potential(p)     = min(localQuota + subtree(cohort), nominal + borrowingLimit)

A project without a cohort has `nominal - usage`. Available amounts may be negative, after a cut of a quota for example.
Projects that have no quota declared share one cohort: it owns what the machine has beyond all declared nominal amounts; a
resource of which no quota speaks is bounded by the machine alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.admission.values import Node, Quota, Reason, Snapshot
from reconciler.model.demand import NOTHING, RESOURCES, Amounts, Limits

UNDECLARED = "(no quota)"
"""Name of the cohort of projects without a quota; no cohort of a manifest can have it."""
SIZE = len(RESOURCES)
ALL = range(SIZE)
NEVER_SHORT: tuple[int, ...] = (0,) * SIZE


@dataclass(frozen=True, slots=True)
class Share:
    """What the quotas give to one project; does not change during a decision."""

    project: str
    quota: Quota
    governed: tuple[int, ...]
    """Indexes of the resources that the quota bounds."""
    nominal: tuple[int, ...]
    local: tuple[int, ...]
    """The part of the nominal amount that is never lent."""
    borrowing: tuple[int | None, ...]
    pool: str
    """Its cohort; empty = none."""


@dataclass(frozen=True, slots=True)
class Tree:
    """All quotas of a snapshot."""

    shares: Mapping[str, Share]
    pools: Mapping[str, tuple[int, ...]]
    """Cohort -> what it has to give, lent parts of its projects included."""
    machine: Limits
    """All nodes together, less reserve and system."""
    quotas: Mapping[str, Quota]
    """What it was made of."""
    nodes: tuple[tuple[str, Limits, int | None], ...]
    """Name, what it can give at most, and its largest allocation."""
    never: dict[object, Reason | None] = field(default_factory=dict, compare=False)
    """What was found out about work that can never start under these quotas on these nodes; filled by the test of feasibility."""

    def share(self, project: str) -> Share:
        return self.shares[project]

    def potential(self, share: Share, resource: int) -> int | None:
        """The most that the project can ever have; None = its quota does not say."""
        if resource not in share.governed:
            return None
        own = share.nominal[resource]
        if not share.pool:
            return own
        most = share.local[resource] + self.pools[share.pool][resource]
        limit = share.borrowing[resource]
        return most if limit is None else min(most, own + limit)


def tree_of(snapshot: Snapshot, projects: Iterable[str], before: Tree | None = None) -> Tree:
    """The quotas of all `projects`, of those that have leases, and of all declared ones. `before` serves again if it still holds."""
    machine = total(snapshot.nodes)
    nodes = tuple((node.name, lasting(node), node.largest_buffer) for node in snapshot.nodes)
    working = {lease.project for lease in snapshot.leases}
    if before is not None and before.nodes == nodes and before.quotas == snapshot.quotas:
        known = before.shares.keys()
        if known >= working and all(project in known for project in projects):
            return before
    given = [quota for quota in snapshot.quotas.values() if quota.declared]
    rest = tuple(None if have is None else _rest(have, [quota.nominal[r] for quota in given]) for r, have in enumerate(machine))
    names = dict.fromkeys(snapshot.quotas)
    names.update(dict.fromkeys(projects))
    names.update(dict.fromkeys(sorted(working)))
    shares = {name: _share(name, snapshot.quotas.get(name), rest) for name in names}
    pools: dict[str, list[int]] = {UNDECLARED: [have or 0 for have in rest]}
    for share in shares.values():
        if share.pool:
            pool = pools.setdefault(share.pool, [0] * SIZE)
            for r in share.governed:
                pool[r] += share.nominal[r] - share.local[r]
    return Tree(shares, {name: tuple(pool) for name, pool in pools.items()}, machine, dict(snapshot.quotas), nodes)


def total(nodes: Iterable[Node]) -> Limits:
    """What all nodes have for work and shared lending: capacity less reserve and system, not less what others use at the moment."""
    sums: list[int | None] = [0] * SIZE
    for node in nodes:
        for r, have in enumerate(lasting(node)):
            before = sums[r]
            sums[r] = None if have is None or before is None else before + have
    return Limits(*sums)


def lasting(node: Node) -> Limits:
    """Capacity less reserve and system: what a node can give at most, whatever other programs do at the moment."""
    return Limits(
        *(
            None if limit is None else max(0, limit - reserve - system)
            for limit, reserve, system in zip(node.capacity, node.reserve, node.system, strict=True)
        )
    )


def _rest(have: int, nominal: Iterable[int | None]) -> int | None:
    """What the quotas leave; None when no quota says anything of the resource: then the machine alone bounds it."""
    given = [each for each in nominal if each is not None]
    return max(0, have - sum(given)) if given else None


def _share(name: str, quota: Quota | None, rest: tuple[int | None, ...]) -> Share:
    if quota is None or not quota.declared:
        governed = tuple(r for r in ALL if rest[r] is not None)
        quota = quota or Quota(name, declared=False)
        return Share(name, quota, governed, NEVER_SHORT, NEVER_SHORT, (None,) * SIZE, UNDECLARED)
    governed = tuple(r for r in ALL if quota.nominal[r] is not None)
    nominal = tuple(amount or 0 for amount in quota.nominal)
    local = tuple(
        0 if lending is None or not quota.cohort else max(0, own - lending) for own, lending in zip(nominal, quota.lending, strict=True)
    )
    return Share(name, quota, governed, nominal, local, tuple(quota.borrowing), quota.cohort)


class Usage:
    """How much of the quotas is used; the changing half of the tree."""

    __slots__ = ("pooled", "tree", "used")

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.used: dict[str, Amounts] = dict.fromkeys(tree.shares, NOTHING)
        self.pooled: dict[str, Amounts] = dict.fromkeys(tree.pools, NOTHING)

    def copy(self) -> Usage:
        other = Usage.__new__(Usage)
        other.tree = self.tree
        other.used = self.used.copy()
        other.pooled = self.pooled.copy()
        return other

    def add(self, project: str, amounts: Amounts, sign: int = 1) -> None:
        """Charges the project; what is above its local quota bubbles up to the cohort. `sign` -1 takes it back."""
        before = self.used[project]
        after = self.used[project] = before.plus(amounts) if sign > 0 else before.minus(amounts)
        share = self.tree.shares[project]
        if share.pool:
            pooled = list(self.pooled[share.pool])
            for r in share.governed:
                local = share.local[r]
                pooled[r] += max(0, after[r] - local) - max(0, before[r] - local)
            self.pooled[share.pool] = Amounts(*pooled)

    def available(self, share: Share, resource: int) -> int:
        """What the project may still use of a governed resource; may be negative."""
        used = self.used[share.project][resource]
        own = share.nominal[resource]
        if not share.pool:
            return own - used
        local = share.local[resource]
        parent = self.tree.pools[share.pool][resource] - self.pooled[share.pool][resource]
        limit = share.borrowing[resource]
        if limit is not None:
            parent = min(parent, own - local - max(0, used - local) + limit)
        return max(0, local - used) + parent

    def short(self, share: Share, amounts: Amounts) -> tuple[int, ...]:
        """How much more of each resource the project would need in its quota; NEVER_SHORT = it fits."""
        if self.fits(share, amounts):
            return NEVER_SHORT
        return tuple(max(0, amounts[r] - self.available(share, r)) if r in share.governed and amounts[r] else 0 for r in ALL)

    def fits(self, share: Share, amounts: Amounts) -> bool:
        for r in share.governed:
            asked = amounts[r]
            if asked and asked > self.available(share, r):
                return False
        return True

    def borrows(self, share: Share, amounts: Amounts) -> bool:
        """True when the project would be above its nominal amount in a resource that it asks for, or has no nominal amount at all."""
        if not share.governed:
            return True
        used = self.used[share.project]
        return any(amounts[r] and used[r] + amounts[r] > share.nominal[r] for r in share.governed)

    def above(self, share: Share, resource: int) -> bool:
        """True when the project holds more of the resource than it is entitled to: it borrows, or its quota does not govern it."""
        return self.used[share.project][resource] > share.nominal[resource]

    def dominant(self, share: Share, amounts: Amounts) -> float:
        """The weighted dominant share with `amounts` added: the largest part of its cohort's quota that the project borrows.

        Where no quota governs a resource, projects without one are measured by their part of the machine."""
        used, ratio = self.used[share.project], 0.0
        if share.pool:
            whole = self.tree.pools[share.pool]
            for r in share.governed:
                ratio = max(ratio, _part(used[r] + amounts[r] - share.nominal[r], whole[r]))
        if share.pool == UNDECLARED or not share.governed:
            for r in ALL:
                if r not in share.governed:
                    ratio = max(ratio, _part(used[r] + amounts[r], self.tree.machine[r]))
        if not ratio:
            return 0.0
        return ratio / share.quota.weight if share.quota.weight > 0 else math.inf


def _part(borrowed: int, lendable: int | None) -> float:
    return borrowed / lendable if borrowed > 0 and lendable else 0.0
