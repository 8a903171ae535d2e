"""What is wrong and who is to be told: the part of the Store behind alerting. Reached as `store.alerts`.

Alerts turn in the same transaction as the statuses that turn them, so that a process that dies in between leaves both or neither.
Each write is one transaction; everything may raise StoreError."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, and_, case, delete, func, insert, or_, select, update

from reconciler.alerting.opening import Turn, alert_id, turn
from reconciler.alerting.routing import TECHNICAL, seconds, wants_changes
from reconciler.alerting.values import Alert, Mark, Policy, Scene, Silence, subject_of
from reconciler.model import Ref, Status, digest_of
from reconciler.state import alertrows, tables
from reconciler.state.database import Database, upsert
from reconciler.state.deliveries import KEPT, failing, heads_of
from reconciler.state.encode import audit_row, from_text
from reconciler.state.records import AuditEntry
from schemas.alertpolicy import AlertPolicySpec

POLICY = "policy"
"""Where the controller of AlertPolicy keeps what was applied, in its notebook."""
MOST_LINES = 1000
"""Lines of the audit log that are looked at at once."""
NEVER = 10**14
"""After every line of the audit log."""
_FIRING = select(tables.alerts).where(tables.alerts.c.ended.is_(None))
_POLICIES = select(tables.memos.c.name, tables.memos.c.memo).where(tables.memos.c.kind == "AlertPolicy", tables.memos.c.key == "")


class Alerts:
    """What fires, what is silenced, and how far each policy has come."""

    def __init__(self, database: Database, write: Callable[[], AbstractContextManager[Connection]], now: Callable[[], datetime]) -> None:
        self._database = database
        self._write = write
        self._now = now

    # --- what fires ---

    def firing(self) -> dict[Ref, Alert]:
        """By resource; one at most for each."""
        return {each.ref: each for each in self._database.decoded(_FIRING, alertrows.alert_from)}

    def turns(self, statuses: Collection[Status], gone: Collection[Ref]) -> bool:
        """Whether these statuses change any alert. Reads only."""
        return bool(turn(self.firing(), statuses, gone, self._now()))

    def follow(self, connection: Connection, statuses: Collection[Status], gone: Collection[Ref], now: datetime) -> None:
        """Open, end and reword alerts, in the caller's transaction."""
        rows = connection.execute(_FIRING).all()
        _apply(connection, turn({each.ref: each for each in map(alertrows.alert_from, rows)}, statuses, gone, now), now)

    def listed(self, since: datetime | None = None) -> list[Alert]:
        """What fires, and with `since` what ended after it; the newest first."""
        ended = [tables.alerts.c.ended > since] if since is not None else []
        statement = select(tables.alerts).where(or_(tables.alerts.c.ended.is_(None), *ended))
        found = self._database.decoded(statement, alertrows.alert_from)
        return sorted(found, key=lambda each: (each.ended is None, each.since), reverse=True)

    # --- policies and their scene ---

    def policies(self) -> dict[str, AlertPolicySpec]:
        """By name, as they were applied. What another version of this program applied and this one cannot read is left out."""
        found: dict[str, AlertPolicySpec] = {}
        for name, text in self._database.rows(_POLICIES):
            memo = from_text(text)
            if isinstance(memo, dict) and POLICY in memo:
                try:
                    found[str(name)] = AlertPolicySpec.model_validate(memo[POLICY])
                except ValidationError:
                    continue
        return found

    def stamp(self) -> tuple[Any, ...]:
        """Equal as long as nothing has happened that could be told, or changes who is told and when. Two small queries."""
        alerts, deliveries, audit = tables.alerts.c, tables.deliveries.c, tables.audit.c
        statement = select(
            select(func.max(audit.id)).scalar_subquery(),
            select(func.max(deliveries.number)).scalar_subquery(),
            select(func.sum(_weight())).where(alerts.ended.is_(None)).scalar_subquery(),
            select(func.max(alerts.since)).where(alerts.ended.is_(None)).scalar_subquery(),
            select(func.max(alerts.ended)).scalar_subquery(),
            *(select(func.count()).where(deliveries.state == each).scalar_subquery() for each in ("queued", "sending")),
        )
        happened, policies = self._database.rows_of(statement, _POLICIES)  # a policy is noted after the line that says so
        return (*(happened[0] if happened else ()), *sorted(map(tuple, policies)))

    def scene(self, flush: datetime | None = None) -> Scene:
        """All that matters now. Writes when a policy is new, was changed or is gone, and otherwise reads only."""
        policies = self._followed()
        if not policies:
            return Scene(self._now(), flush=flush)
        ended = min(each.mark.ended for each in policies)
        followers = [each for each in policies if wants_changes(each.spec)]
        audit = min((each.mark.audit for each in followers), default=NEVER)
        earliest = self._now() - max(seconds(each.spec.group_interval) for each in policies)
        asked = [_alerts_after(ended), _told_after(ended, audit), _spoken_since(earliest), _silences_after(self._now())]
        lines = _lines_after(audit, followers)
        alerts, told, spoken, silences, waiting, ends, *changes = self._database.rows_of(*asked, *heads_of(), *lines)
        return Scene(
            now=self._now(),
            policies=policies,
            alerts=tuple(sorted(self._database.values(alerts, alertrows.alert_from), key=lambda each: (each.since, each.id))),
            changes=tuple(self._database.values(changes[0], alertrows.change_from)) if changes else (),
            told=alertrows.told_from(told),
            spoken={(policy, receiver, tuple(from_text(about))): at for policy, receiver, about, at in spoken},
            silences=tuple(self._database.values(silences, alertrows.silence_from)),
            failing=frozenset(failing(waiting, ends)),
            flush=flush,
        )

    def _followed(self) -> tuple[Policy, ...]:
        """The policies with how far each has come; one that is new begins now."""
        specs, rows = self.policies(), {row[0]: tuple(row) for row in self._database.rows(select(tables.alert_marks))}
        if not specs and not rows:
            return ()
        wanted = {name: _mark_row(name, spec, rows.get(name), self._now()) for name, spec in specs.items()}
        if any(row is not None for row in wanted.values()) or rows.keys() - specs.keys():
            with self._database.write() as connection:
                last = connection.execute(select(func.max(tables.audit.c.id))).scalar() or 0
                fresh = [{**row, "audit": last if row["audit"] is None else row["audit"]} for row in wanted.values() if row is not None]
                upsert(connection, tables.alert_marks, fresh)
                connection.execute(delete(tables.alert_marks).where(tables.alert_marks.c.policy.not_in(specs)))
            rows = {row[0]: tuple(row) for row in self._database.rows(select(tables.alert_marks))}
        return tuple(
            Policy(name, spec, since=rows[name][2], mark=Mark(rows[name][3], rows[name][4]))
            for name, spec in sorted(specs.items())
            if name in rows
        )

    # --- silences ---

    def silences(self) -> list[Silence]:
        """Those that hold now or later, by their end; those of manifests are not among them."""
        found = self._database.decoded(_silences_after(self._now()), alertrows.silence_from)
        return sorted(found, key=lambda each: (each.until, each.id))

    def silence(self, silence: Silence, *, audit: AuditEntry) -> None:
        """Hold back what it covers, until it ends."""
        with self._write() as connection:
            upsert(connection, tables.silences, [alertrows.silence_row(silence)])
            _note(connection, [audit])

    def unsilence(self, ids: Iterable[str], *, audit: Iterable[AuditEntry]) -> None:
        """End these now. Safe to repeat."""
        with self._write() as connection:
            ended = update(tables.silences).where(tables.silences.c.id.in_(list(ids)), tables.silences.c.until > self._now())
            connection.execute(ended.values(until=self._now()))
            _note(connection, audit)


def _apply(connection: Connection, made: Turn, now: datetime) -> None:
    if made.ended or made.updated:
        upsert(connection, tables.alerts, [alertrows.alert_row(each) for each in (*made.ended, *made.updated)])
    if made.opened:
        connection.execute(delete(tables.alerts).where(tables.alerts.c.ended < now - KEPT))
        connection.execute(insert(tables.alerts), [alertrows.alert_row(each) for each in _apart(connection, made.opened)])


def _apart(connection: Connection, opened: Sequence[Alert]) -> Iterator[Alert]:
    """One that came, went and comes again within one tick of the clock is another one."""
    for each in opened:
        while connection.execute(select(tables.alerts.c.id).where(tables.alerts.c.id == each.id)).first() is not None:
            since = each.since + timedelta(microseconds=1)
            each = replace(each, id=alert_id(each.ref, each.reason, since), since=since)
        yield each


def _note(connection: Connection, entries: Iterable[AuditEntry]) -> None:
    if rows := [audit_row(each) for each in entries]:
        connection.execute(insert(tables.audit), rows)


def _mark_row(name: str, spec: AlertPolicySpec, before: Sequence[Any] | None, now: datetime) -> dict[str, Any] | None:
    """What must be written down of a policy; None = nothing differs. `audit` is None where it begins with the newest line."""
    digest, changes = digest_of(spec.model_dump(mode="json")), wants_changes(spec)
    if before is None:
        return {"policy": name, "spec": digest, "since": now, "ended": now, "audit": None, "changes": changes}
    _, old, _, ended, audit, followed = before
    if old == digest:
        return None
    return {
        "policy": name,
        "spec": digest,
        "since": now,
        "ended": ended,
        "audit": audit if followed and changes else None,
        "changes": changes,
    }


def _weight() -> Any:
    """Of an alert, so that the sum tells a change of severity too; no installation has so many of one severity."""
    severity = tables.alerts.c.severity
    return case((severity == "critical", 10**12), (severity == "warning", 10**6), else_=1)


def _alerts_after(ended: datetime) -> Any:
    return select(tables.alerts).where(or_(tables.alerts.c.ended.is_(None), tables.alerts.c.ended > ended))


def _told_after(ended: datetime, audit: int) -> Any:
    """What was told of all these alerts and lines: see `alertrows.told_from`."""
    parts, made, alerts = tables.delivery_parts.c, tables.deliveries.c, tables.alerts.c
    live = select(alerts.id).where(or_(alerts.ended.is_(None), alerts.ended > ended))
    lines = and_(parts.subject > subject_of(audit), parts.subject < "audit;")
    arrives = func.max(case((made.state == "failed", 0), else_=1))
    return (
        select(parts.policy, parts.receiver, parts.subject, parts.phase, func.max(made.created), func.max(parts.nth), arrives)
        .where(parts.delivery == made.number, or_(parts.subject.in_(live), lines))
        .group_by(parts.policy, parts.receiver, parts.subject, parts.phase)
    )


def _spoken_since(at: datetime) -> Any:
    made = tables.deliveries.c
    return (
        select(made.policy, made.receiver, made.about, func.max(made.created))
        .where(made.created >= at, made.state != "silenced")
        .group_by(made.policy, made.receiver, made.about)
    )


def _silences_after(now: datetime) -> Any:
    return select(tables.silences).where(tables.silences.c.until > now)


def _lines_after(audit: int, policies: Sequence[Policy]) -> list[Any]:
    """The query for lines that these policies, which follow the audit log, may tell; none when there are no such policies."""
    if not policies:
        return []
    table = tables.audit.c
    named = {action for each in policies for route in each.spec.routes if not isinstance(route.changes, bool) for action in route.changes}
    left_out = sorted(TECHNICAL - named)
    statement = select(tables.audit).where(table.id > audit, table.result != "failed", table.action.not_in(left_out))
    return [statement.order_by(table.id).limit(MOST_LINES)]
