"""How much there is of everything, in few small queries: what `/metrics` tells of the Store. Reached as `store.readings`.

Reads only. What there may be thousands of is counted by the database; what was learned is decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, literal_column, select

from reconciler.admission.values import Lease
from reconciler.model import Health, Learned
from reconciler.state import tables, workrows
from reconciler.state.database import Database, Remembered
from reconciler.state.encode import from_text

MOST_WAITS = 10_000
"""Lines of admission that one look takes up; the next look goes on."""
OVERLAP = timedelta(seconds=10)
"""Clocks of several machines, and transactions that end in another order than they began."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Part of the queue."""

    project: str
    reason: str
    number: int
    since: datetime
    """Of what waits longest."""


@dataclass(frozen=True)
class Reading:
    """The Store at one moment."""

    resources: Mapping[tuple[str, str, Health, bool], int]
    """(kind, project, health, whether it is a child) -> how many. The project of a Project is itself."""
    queue: Sequence[Waiting]
    leases: Sequence[Lease]
    alerts: Mapping[str, int]
    """By severity."""
    deliveries: Mapping[str, int]
    """By state."""
    suspensions: int


class Readings:
    """May raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._learned = Remembered(database, select(tables.learned), lambda row: (str(from_text(row[0])), workrows.learned_from(row[1])))
        self._since: datetime | None = None
        self._last = 0

    def reading(self) -> Reading:
        """Everything as it is now."""
        statuses, alerts, made, queue = tables.statuses.c, tables.alerts.c, tables.deliveries.c, tables.queue.c
        parts = (statuses.kind, statuses.project, statuses.health, statuses.key != literal_column("''"))
        # the name of a Project is its project: there are few of them
        projects = select(statuses.name, statuses.health).where(statuses.kind == "Project")
        counted, own, waiting, leases, firing, sent, suspended = self._database.rows_of(
            select(*parts, func.count()).where(statuses.kind != "Project").group_by(*parts),
            projects,
            select(queue.owner, queue.detail, func.count(), func.min(queue.since)).group_by(queue.owner, queue.detail),
            select(tables.leases),
            select(alerts.severity, func.count()).where(alerts.ended.is_(None)).group_by(alerts.severity),
            select(made.state, func.count()).where(made.state.in_(("queued", "sending", "failed"))).group_by(made.state),
            select(func.count()).select_from(tables.suspensions),
        )
        resources = {(kind, project, Health(health), bool(child)): number for kind, project, health, child, number in counted}
        for name, health in own:
            resources["Project", name, Health(health), False] = 1
        return Reading(
            resources=resources,
            queue=self._database.values(waiting, _waiting),
            leases=tuple(each.lease for each in self._database.values(leases, workrows.held_from)),
            alerts=_counts(firing),
            deliveries=_counts(sent),
            suspensions=suspended[0][0] if suspended else 0,
        )

    def learned(self) -> dict[str, Learned]:
        """As `Work.learned`; values that have not changed are the same objects as before."""
        return dict(self._learned.values())

    def waits(self, since: datetime) -> list[tuple[str, float]]:
        """(kind, seconds waited) of what was admitted since the last call, and since `since` at the earliest."""
        table, after = tables.audit.c, since if self._since is None else max(since, self._since - OVERLAP)
        statement = (
            select(table.id, table.at, table.kind, table.detail)
            .where(table.action == "admit", table.at >= after, table.id > self._last)
            .order_by(table.at, table.id)
            .limit(MOST_WAITS)
        )
        found = []
        for number, at, kind, detail in self._database.rows(statement):
            self._last, self._since = max(self._last, number), at
            waited = from_text(detail).get("waited_seconds")
            if isinstance(waited, int | float):
                found.append((str(kind), float(waited)))
        return found


def _waiting(row: Sequence[Any]) -> Waiting:
    owner, detail, number, since = row
    return Waiting(owner, str(from_text(detail).get("reason") or "Undecided"), int(number), since)


def _counts(rows: Sequence[Sequence[Any]]) -> dict[str, int]:
    return {str(name): int(number) for name, number in rows}
