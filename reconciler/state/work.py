"""What waits for admission and what was admitted: the part of the Store behind the ledger. Reached as `store.work`.

What has a lease does not wait: `grant` takes it from the queue, and `release` may put it back, each in one transaction with the audit
lines that tell it. A process that dies in between leaves the one or the other, never both and never neither."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from reconciler.admission.values import Lease, Past, Preemption
from reconciler.errors import StoreError
from reconciler.model import JSON, Learned, Ref
from reconciler.state import tables, workrows
from reconciler.state.database import Database, upsert
from reconciler.state.encode import audit_row, from_text, ref_from, to_text
from reconciler.state.records import AuditEntry, Held, Queued

ACTOR = "reconcile"
"""Who admits, stops and releases where the caller names nobody else."""
_PAST = "admission_past"
_LEASES = select(tables.leases)
_QUEUE = select(tables.queue)
_RUNNING = select(tables.leases.c.kind, tables.leases.c.project, tables.leases.c.name, tables.leases.c.key)


class Work:
    """Queue, leases, and what earlier work taught. Each write is one transaction under the writer's guard; may raise StoreError."""

    def __init__(self, database: Database, write: Callable[[], AbstractContextManager[Connection]], now: Callable[[], datetime]) -> None:
        self._database = database
        self._write = write
        self._now = now

    def books(self) -> tuple[tuple[Held, ...], tuple[Queued, ...]]:
        """Leases and queue as they were at one moment: what is granted meanwhile is in exactly one of them."""
        leases, queue = self._database.rows_of(_LEASES, _QUEUE)
        return self._leases(leases), self._queue(queue)

    # --- leases ---

    def leases(self) -> tuple[Held, ...]:
        """All that was granted and is not released, the oldest first."""
        return self._leases(self._database.rows(_LEASES))

    def grant(
        self,
        leases: Iterable[Lease],
        templates: Mapping[Ref, str] | None = None,
        *,
        actor: str = ACTOR,
        why: Mapping[Ref, str] | None = None,
        past: Past | None = None,
    ) -> None:
        """These may start: leases written, queue rows gone, one audit line `admit` each; `past`, if given, is kept with them.

        What the queue row says besides goes with the lease. `templates`: for those that were not in the queue. `why`: what each waited for.
        Raises StoreError, and grants none, when one of them has a lease already."""
        given = {each.ref: each for each in leases}
        if not given and past is None:
            return
        now, named, reasons = self._now(), templates or {}, why or {}
        with self._write() as connection:
            for taken in _held(connection, given):
                hint = "release it first: one piece of work has one lease at a time"
                raise StoreError(f"{taken.ref} has a lease on {taken.lease.node} already", hint=hint)
            waiting = {each.ref: each for each in _queued(connection, given)}
            held = [_beside(each, waiting.get(each.ref), named.get(each.ref, "")) for each in given.values()]
            if held:
                connection.execute(insert(tables.leases), [workrows.held_row(each) for each in held])
            _drop(connection, waiting)
            _append(connection, [_admitted(each, now, actor, reasons.get(each.ref, "")) for each in held])
            _keep_past(connection, past)

    def set_job(self, ref: Ref, job: str) -> None:
        """The id of its job in the runner; on disk when this returns, before the launch. Raises StoreError when it has no lease."""
        with self._write() as connection:
            changed = update(tables.leases).where(tables.is_ref(tables.leases, ref)).values(job=job)
            if connection.execute(changed).rowcount != 1:
                raise StoreError(f"{ref} has no lease", hint="only work with a lease may be launched")

    def mark(self, ref: Ref, *, ending: bool | None = None, paused: bool | None = None, why: str | None = None) -> None:
        """Note that it is asked to stop, or paused; what is None stays. Without a lease this does nothing."""
        said = {"ending": ending, "paused": paused, "why": None if why is None else to_text(why)}
        values = {name: value for name, value in said.items() if value is not None}
        if values:
            with self._write() as connection:
                connection.execute(update(tables.leases).where(tables.is_ref(tables.leases, ref)).values(**values))

    def preempt(self, preemptions: Iterable[Preemption], *, actor: str = ACTOR, past: Past | None = None) -> None:
        """These are to stop for others: marked as ending, one audit line `preempt` each; `past`, if given, is kept with them.

        What is ending already, or has no lease, is left as it is. Release it with `requeue` once it is gone."""
        given = {each.ref: each for each in preemptions}
        if not given and past is None:
            return
        now = self._now()
        with self._write() as connection:
            struck = [each for each in _held(connection, given) if not each.lease.ending]
            for each in struck:
                asked = given[each.ref]
                said = {"ending": True, "preemptor": workrows.ref_text(asked.preemptor), "why": to_text(asked.why)}
                connection.execute(update(tables.leases).where(tables.is_ref(tables.leases, each.ref)).values(**said))
            _append(connection, [_preempted(each, given[each.ref], now, actor) for each in struck])
            _keep_past(connection, past)

    def release(
        self,
        refs: Iterable[Ref],
        *,
        actor: str = ACTOR,
        why: Mapping[Ref, str] | None = None,
        requeue: Iterable[Queued] = (),
        learned: Mapping[str, Learned] | None = None,
    ) -> tuple[Held, ...]:
        """Their work is gone: leases removed, one audit line `release` each. Returns those that were there; safe to repeat.

        `requeue` puts these of them back into the queue (see `Held.waiting`). `learned` is kept only if one was there, in the same
        transaction, so that no end is learned from twice."""
        given = list(refs)
        if not given:
            return ()
        now = self._now()
        with self._write() as connection:
            gone = _held(connection, given)
            there = {each.ref for each in gone}
            back = {each.ref: each for each in requeue if each.ref in there}
            if there:
                connection.execute(delete(tables.leases).where(tables.is_bound_ref(tables.leases)), tables.bound_refs(there))
                upsert(connection, tables.queue, [workrows.queued_row(each) for each in back.values()])
                _append(connection, [_released(each, now, actor, (why or {}).get(each.ref, ""), each.ref in back) for each in gone])
                _keep_learned(connection, learned or {})
        return tuple(gone)

    # --- the queue ---

    def queue(self) -> tuple[Queued, ...]:
        """All that waits, the longest waiting first."""
        return self._queue(self._database.rows(_QUEUE))

    def put_queue(self, rows: Iterable[Queued], gone: Iterable[Ref] = ()) -> None:
        """These wait; those are gone from the queue. Writes only what differs, nothing at all when nothing does.

        What has a lease is left out, and taken out if it is there: it does not wait."""
        given = {tuple(row[name] for name in tables.REF): row for row in map(workrows.queued_row, rows)}
        waiting, leases = self._database.rows_of(_QUEUE, _RUNNING)
        before = {tuple(row[:4]): tuple(row) for row in waiting}
        running = {tuple(row) for row in leases}
        changed = {name: row for name, row in given.items() if name not in running and before.get(name) != tuple(row.values())}
        dropped = ({_parts(each) for each in gone} - given.keys() | running) & before.keys()
        if changed or dropped:
            with self._write() as connection:
                running = {tuple(row) for row in connection.execute(_RUNNING).all()}  # granted meanwhile by another thread
                upsert(connection, tables.queue, [row for name, row in changed.items() if name not in running])
                _drop(connection, [ref_from(*name) for name in dropped])

    # --- what was learned, and what a decision remembers ---

    def learned(self) -> dict[str, Learned]:
        """By `Demand.template`: what earlier work of this sort was measured to need."""
        rows = self._database.decoded(select(tables.learned), lambda row: (from_text(row[0]), workrows.learned_from(row[1])))
        return dict(rows)

    def past(self) -> Past:
        """What the next decision must remember of earlier ones."""
        found = self._meta(_PAST, workrows.past_from)
        return found[0] if found else Past()

    # --- how ---

    def _leases(self, rows: Sequence[Sequence[Any]]) -> tuple[Held, ...]:
        found = self._database.values(rows, workrows.held_from)
        return tuple(sorted(found, key=lambda each: (each.lease.since, _parts(each.ref))))

    def _queue(self, rows: Sequence[Sequence[Any]]) -> tuple[Queued, ...]:
        found = self._database.values(rows, workrows.queued_from)
        return tuple(sorted(found, key=lambda each: (each.item.since, _parts(each.ref))))

    def _meta(self, key: str, decode: Callable[[str], Any]) -> list[Any]:
        statement = select(tables.meta.c.value).where(tables.meta.c.key == key)
        return self._database.decoded(statement, lambda row: decode(row[0]))


def _beside(lease: Lease, queued: Queued | None, template: str) -> Held:
    """The lease with what is kept beside it: what the queue knew of the work, unless the caller knows better."""
    if queued is None:
        return Held(lease, template=template)
    return Held(lease, template=template or queued.template, largest_buffer=queued.item.largest_buffer, detail=queued.detail)


def _queued(connection: Connection, refs: Collection[Ref]) -> list[Queued]:
    """Those of `refs` that wait, asked for one by one: a decision grants few of the many that wait."""
    one = _QUEUE.where(tables.is_bound_ref(tables.queue))
    rows = (connection.execute(one, each).one_or_none() for each in tables.bound_refs(refs))
    return [workrows.queued_from(row) for row in rows if row is not None]


def _held(connection: Connection, refs: Collection[Ref]) -> list[Held]:
    """Those of `refs` that have a lease. Reads all leases: there are no more than a machine can run."""
    if not refs:
        return []
    wanted = {_parts(each) for each in refs}
    return [workrows.held_from(row) for row in connection.execute(_LEASES).all() if tuple(row[:4]) in wanted]


def _drop(connection: Connection, refs: Collection[Ref]) -> None:
    if refs:
        connection.execute(delete(tables.queue).where(tables.is_bound_ref(tables.queue)), tables.bound_refs(refs))


def _keep_past(connection: Connection, past: Past | None) -> None:
    if past is not None:
        upsert(connection, tables.meta, [{"key": _PAST, "value": workrows.past_text(past)}])


def _keep_learned(connection: Connection, learned: Mapping[str, Learned]) -> None:
    rows = [{"template": to_text(template), "value": workrows.learned_text(value)} for template, value in learned.items()]
    upsert(connection, tables.learned, rows)


def _append(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    if entries:
        connection.execute(insert(tables.audit), [audit_row(each) for each in entries])


def _parts(ref: Ref) -> tuple[str, str, str, str]:
    return ref.kind, ref.project or "", ref.name, ref.key


# --- audit lines ---------------------------------------------------------------------------------------------------


def _admitted(held: Held, at: datetime, actor: str, why: str) -> AuditEntry:
    lease = held.lease
    asked = workrows.amounts_value(lease.amounts)
    detail: dict[str, JSON] = {
        "node": lease.node,
        "waited_seconds": _seconds(lease.queued, lease.since),
        "waited_for": why,
        "granted": asked,
    }
    return AuditEntry(at, actor, lease.ref, "admit", detail=detail)


def _preempted(held: Held, asked: Preemption, at: datetime, actor: str) -> AuditEntry:
    return AuditEntry(at, actor, held.ref, "preempt", detail={"for": str(asked.preemptor), "why": asked.why})


def _released(held: Held, at: datetime, actor: str, why: str, back: bool) -> AuditEntry:
    detail: dict[str, JSON] = {"held_seconds": _seconds(held.lease.since, at), "why": why or held.why, "job": held.job}
    return AuditEntry(at, actor, held.ref, "release", detail=detail | ({"queued": "again"} if back else {}))


def _seconds(since: datetime, until: datetime) -> int:
    return max(0, round((until - since).total_seconds()))
