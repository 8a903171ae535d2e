"""Messages on their way to receivers, each written down before it is tried. Reached as `store.deliveries`.

A message is queued once, by the primary key of what it tells; it is sent by whoever claims it, one process at a time. One whose sender
has died is claimed again under the same id. None of this needs the writer's lease: it changes nothing in any tool."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, delete, func, insert, or_, select, update

from reconciler.alerting.values import Alert, Change, Decision, Delivery, Head, Notification, Part
from reconciler.state import alertrows, tables
from reconciler.state.database import Database
from reconciler.state.encode import to_text

KEPT = timedelta(days=30)
"""How long what is over is kept."""
FEW_FAILURES = 2
"""So many attempts of one message must fail before its receiver is called failing."""
GONE = "the policy names this receiver no more"
OPEN = ("queued", "sending")
"""States of what is on its way."""
REPORT = '["report"%'
"""How the group of a scheduled report begins."""
_ORDER = (case((tables.deliveries.c.about.like(REPORT), 1), else_=0), tables.deliveries.c.number)
"""A report, which a service may refuse for its size, keeps no alarm waiting."""


class Deliveries:
    """The queue of each receiver of each policy. Every write is one transaction; may raise StoreError."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def queue(self, decision: Decision) -> int:
        """Write down what is to be sent, what is not for a silence, and how far the policies have come. How many were new.

        What somebody else has written down meanwhile is left out: the next decision knows of it."""
        if not (decision.notifications or decision.silenced or decision.marks):
            return 0
        now, made = self._now(), 0
        with self._database.write() as connection:
            for each in decision.notifications:
                made += queued(connection, each, "queued", now)
            for policy, receiver, alert in decision.silenced:
                queued(connection, _silenced(policy, receiver, alert), "silenced", now)
            for policy, mark in decision.marks.items():
                moved = update(tables.alert_marks).where(tables.alert_marks.c.policy == policy)
                connection.execute(moved.values(ended=mark.ended, audit=mark.audit))
            forget_before(connection, now - KEPT)
        return made

    def heads(self) -> list[Head]:
        """What is next for each receiver that something waits for."""
        return _heads(self._database.rows(heads_of()[0]))

    def claim(self, policy: str, receiver: str, until: datetime) -> Delivery | None:
        """Take the oldest message for a receiver, to send it before `until`; None when nothing is due, or somebody else is sending.

        Alarms go before reports. One that stands as being sent is taken over once its sender has died, or its time is over."""
        now = self._now()
        made = tables.deliveries.c
        with self._database.write() as connection:
            first = select(tables.deliveries).where(made.policy == policy, made.receiver == receiver, made.state.in_(OPEN))
            row = connection.execute(first.order_by(*_ORDER).limit(1).with_for_update()).one_or_none()
            if row is None or not _is_free(row, now):
                return None
            taken = {"state": "sending", "attempts": row.attempts + 1, "claimer": claimer(), "claimed_until": until}
            connection.execute(update(tables.deliveries).where(made.number == row.number).values(**taken))
            parts = _parts(connection, [row.number])[row.number]
            return alertrows.delivery_from(connection.execute(select(tables.deliveries).where(made.number == row.number)).one(), parts)

    def arrived(self, number: int) -> None:
        """Its receiver has it."""
        self._end(number, state="sent", finished=self._now(), error=to_text(""))

    def put_off(self, number: int, until: datetime, error: str) -> None:
        """It did not arrive; it is tried again after `until`. `error` holds no secret."""
        self._end(number, state="queued", next_try=until, error=to_text(error))

    def give_up(self, number: int, error: str) -> None:
        """It did not arrive and is tried no more."""
        self._end(number, state="failed", finished=self._now(), error=to_text(error))

    def drop(self, receivers: Iterable[tuple[str, str]]) -> None:
        """Give up all that waits for these, which no policy names any more."""
        made = tables.deliveries.c
        with self._database.write() as connection:
            for policy, receiver in receivers:
                left = or_(made.state == "queued", and_(made.state == "sending", made.claimed_until < self._now()))
                waiting = and_(made.policy == policy, made.receiver == receiver, left)
                ended = {"state": "failed", "finished": self._now(), "error": to_text(GONE)}
                connection.execute(update(tables.deliveries).where(waiting).values(**ended))

    def note(self, made: Notification, error: str) -> None:
        """Write down a message that was sent outside the queue, and how it went: empty = it arrived."""
        with self._database.write() as connection:
            row = alertrows.delivery_row(made, "failed" if error else "sent", self._now())
            connection.execute(insert(tables.deliveries), [{**row, "attempts": 1, "error": to_text(error)}])

    def about(self, parts: Sequence[Part]) -> tuple[dict[str, Alert], dict[str, Change]]:
        """The alerts and the lines of the audit log that these tell, by subject."""
        lines = [int(each.subject.partition(":")[2]) for each in parts if each.phase == "changed"]
        names = [each.subject for each in parts if each.phase != "changed"]
        alerts, audit = self._database.rows_of(
            select(tables.alerts).where(tables.alerts.c.id.in_(names)), select(tables.audit).where(tables.audit.c.id.in_(lines))
        )
        changes = self._database.values(audit, alertrows.change_from)
        found = self._database.values(alerts, alertrows.alert_from)
        return {each.id: each for each in found}, {each.subject: each for each in changes}

    def troubles(self, policy: str) -> dict[str, str]:
        """Receivers of a policy where messages do not arrive, with the last error."""
        waiting, ends = self._database.rows_of(*heads_of())
        return {receiver: error for (name, receiver), error in failing(waiting, ends).items() if name == policy}

    def listed(self, since: datetime) -> list[Delivery]:
        """What was made since then, and what is still on its way; the newest first."""
        made, parts = tables.deliveries.c, tables.delivery_parts.c
        wanted = or_(made.created > since, made.state.in_(OPEN))
        rows, told = self._database.rows_of(
            select(tables.deliveries).where(wanted).order_by(made.number.desc()),
            select(tables.delivery_parts).where(parts.delivery.in_(select(made.number).where(wanted))),
        )
        grouped = _grouped(told)
        return self._database.values(rows, lambda row: alertrows.delivery_from(row, grouped.get(row[0], ())))

    def _end(self, number: int, **values: Any) -> None:
        """Only while the claim is ours: one that took too long may be somebody else's by now."""
        made = tables.deliveries.c
        mine = and_(made.number == number, made.state == "sending", made.claimer == claimer())
        with self._database.write() as connection:
            connection.execute(update(tables.deliveries).where(mine).values(**values, claimer="", claimed_until=None))


def heads_of() -> list[Any]:
    """Queries for `failing` and `_heads`: what is on its way, in order; and per receiver and state the newest."""
    made = tables.deliveries.c
    waiting = select(tables.deliveries).where(made.state.in_(OPEN)).order_by(*_ORDER)
    told = or_(
        made.state == "sent", and_(made.state == "failed", made.about.not_like('["test"%'))
    )  # a test that fails is told to whoever made it
    newest = select(func.max(made.number)).where(told).group_by(made.policy, made.receiver)
    return [waiting, select(tables.deliveries).where(made.number.in_(newest), made.state == "failed")]


def failing(waiting: Iterable[Sequence[Any]], ends: Iterable[Sequence[Any]]) -> dict[tuple[str, str], str]:
    """(policy, receiver) -> the last error, where the message that is next has failed some times, or the last one for good."""
    heads = {(each.policy, each.receiver): each for each in _heads(waiting)}
    found = {name: each.error for name, each in heads.items() if each.error and each.attempts >= FEW_FAILURES}
    for each in map(alertrows.delivery_from, ends):
        name = (each.policy, each.receiver)
        if name not in heads and each.error != GONE:
            found[name] = each.error
    return found


def claimer() -> str:
    """Names this process, as far as another one on this machine can tell whether it lives."""
    from reconciler.platform.process import birth
    from reconciler.state.lease import machine

    pid = os.getpid()
    return f"{machine()}|{pid}|{birth(pid) or ''}"


def _is_free(row: Any, now: datetime) -> bool:
    if row.state == "queued":
        return row.next_try is None or row.next_try <= now
    return row.claimed_until is None or row.claimed_until <= now or _has_died(row.claimer)


def _has_died(name: str) -> bool:
    """True only when it is certain: same boot of the same machine, and no such process any more."""
    from reconciler.platform.process import birth
    from reconciler.state.lease import machine

    where, pid, born = ([*name.rsplit("|", 2), "", ""])[:3]
    return where == machine() and pid.isdecimal() and birth(int(pid)) != born


def _heads(rows: Iterable[Sequence[Any]]) -> list[Head]:
    first: dict[tuple[str, str], Head] = {}
    for row in rows:
        each = alertrows.delivery_from(row)
        name = (each.policy, each.receiver)
        if name in first:
            continue
        claimed, until = row[-2:]
        at = each.next_try if each.state == "queued" else None if _has_died(claimed) else until
        first[name] = Head(*name, each.attempts, at, each.error)
    return list(first.values())


def queued(connection: Connection, made: Notification, state: str, now: datetime) -> int:
    """Write it down, in the caller's transaction. 1 when it was; 0 when some of what it tells was told, or is about to be."""
    parts = tables.delivery_parts.c
    mine = select(parts.subject, parts.phase, parts.nth).where(parts.policy == made.policy, parts.receiver == made.receiver)
    known = {tuple(row) for row in connection.execute(mine.where(parts.subject.in_([each.subject for each in made.parts])))}
    if any((each.subject, each.phase, each.nth) in known for each in made.parts):
        return 0
    done = connection.execute(insert(tables.deliveries).values(**alertrows.delivery_row(made, state, now)))
    number = int(done.inserted_primary_key[0]) if done.inserted_primary_key else 0
    connection.execute(insert(tables.delivery_parts), alertrows.part_rows(made, number))
    return 1


def _silenced(policy: str, receiver: str, alert: str) -> Notification:
    from reconciler.alerting.decide import notification

    return notification(policy, receiver, ("silenced",), (Part(alert, "silenced"),))


def _parts(connection: Connection, numbers: Sequence[int]) -> Mapping[int, tuple[Part, ...]]:
    parts = tables.delivery_parts
    grouped = _grouped(connection.execute(select(parts).where(parts.c.delivery.in_(numbers))).all())
    return {number: grouped.get(number, ()) for number in numbers}


def _grouped(rows: Iterable[Sequence[Any]]) -> dict[int, tuple[Part, ...]]:
    found: dict[int, list[Part]] = {}
    for _, _, subject, phase, nth, number in rows:
        found.setdefault(number, []).append(Part(subject, phase, nth))
    return {number: tuple(each) for number, each in found.items()}


def forget_before(connection: Connection, then: datetime) -> None:
    """Remove what was over before `then`; a message stays as long as one of the alerts that it told of."""
    alerts, made, parts = tables.alerts.c, tables.deliveries.c, tables.delivery_parts.c
    connection.execute(delete(tables.silences).where(tables.silences.c.until < then))
    needed = select(parts.delivery).where(parts.subject.in_(select(alerts.id)))
    old = and_(made.created < then, made.state.not_in(OPEN), made.number.not_in(needed))
    connection.execute(delete(tables.deliveries).where(old))
    connection.execute(delete(tables.delivery_parts).where(parts.delivery.not_in(select(made.number))))
