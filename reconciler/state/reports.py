"""Scheduled reports: how far each has come, and the words of those that are on their way. Reached as `store.reports`.

A report is queued in the transaction that notes that it was made, so that whoever dies, and however many decide, it is made once for each
time of its schedule. Like deliveries, none of this needs the writer's lease."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, func, or_, select, tuple_

from reconciler.alerting.due import begun
from reconciler.alerting.values import Bulletin, Due, Notification, Part, Policy, ReportMark
from reconciler.state import tables
from reconciler.state.database import Database, upsert
from reconciler.state.deliveries import KEPT, OPEN, forget_before, queued
from reconciler.state.encode import from_text, to_text

_MARKS = select(tables.report_marks)
_KEY = (tables.report_marks.c.policy, tables.report_marks.c.report)


class Reports:
    """What is made by schedule. Every write is one transaction; may raise StoreError."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def marks(self) -> dict[tuple[str, str], ReportMark]:
        """By policy and report. Reads only."""
        return {(row[0], row[1]): _mark_from(row) for row in self._database.rows(_MARKS)}

    def follow(self, policies: Collection[Policy]) -> dict[tuple[str, str], ReportMark]:
        """The same, of the reports of these policies: one that is new begins now, one that is gone is forgotten.

        Writes only where something differs."""
        marks = self.marks()
        wanted = {(policy.name, each.name): each for policy in policies for each in policy.spec.reports}
        if marks.keys() == wanted.keys() and not any(begun(marks[name], each, self._now()) for name, each in wanted.items()):
            return marks
        with self._database.write() as connection:
            marks = {(row[0], row[1]): _mark_from(row) for row in connection.execute(_MARKS)}  # another process may have been here
            fresh = {name: mark for name, each in wanted.items() if (mark := begun(marks.get(name), each, self._now())) is not None}
            upsert(connection, tables.report_marks, [_mark_row(*name, mark) for name, mark in fresh.items()])
            if gone := marks.keys() - wanted.keys():
                connection.execute(delete(tables.report_marks).where(tuple_(*_KEY).in_(gone)))
            _forget(connection)
        return {name: {**marks, **fresh}[name] for name in wanted}

    def queue(self, due: Due, notifications: Iterable[Notification], bulletin: Bulletin | None, said: str, at: datetime) -> bool:
        """Note that this report was made `at` that time, and queue it; without a `bulletin` there is nothing to tell, and that is noted.

        False when another process has dealt with this time already: then nothing is written. `said`: digest of what it says."""
        with self._database.write() as connection:
            mine = and_(*(column == name for column, name in zip(_KEY, (due.policy, due.report.name), strict=True)))
            row = connection.execute(_MARKS.where(mine).with_for_update()).one_or_none()
            if row is None or (mark := _mark_from(row)).due >= due.at:
                return False
            moved = ReportMark(mark.asked, due.at, mark.since, mark.made, mark.said)
            if bulletin is not None:
                _forget(connection)
                upsert(connection, tables.bulletins, [{"policy": due.policy, "subject": due.subject, "content": _content(bulletin)}])
                for each in notifications:
                    queued(connection, each, "queued", self._now())
                forget_before(connection, self._now() - KEPT)
                moved = ReportMark(mark.asked, due.at, since=at, made=at, said=said)
            upsert(connection, tables.report_marks, [_mark_row(due.policy, due.report.name, moved)])
        return True

    def bulletin(self, policy: str, parts: Sequence[Part]) -> Bulletin | None:
        """What the report says that these parts name; None where they name none."""
        subjects = [each.subject for each in parts if each.phase == "report"]
        if not subjects:
            return None
        table = tables.bulletins.c
        found = self._database.decoded(
            select(table.content).where(table.policy == policy, table.subject.in_(subjects)), lambda row: _bulletin_from(row[0])
        )
        return next(iter(found), None)

    def done(self, since: datetime, until: datetime, projects: Sequence[str]) -> dict[str, int]:
        """How much was done after `since`, up to `until`, as the audit log has it: `applied` and `failed` of what is done in tools, and
        `runs` that have ended. `projects`: only theirs; empty = everything."""
        table = tables.audit.c
        about = [or_(table.project.in_(projects), and_(table.kind == "Project", table.name.in_(projects)))] if projects else []
        there = and_(table.at > since, table.at <= until, *about)
        failed, run = table.result == "failed", and_(table.action == "release", table.kind == "Experiment", table.detail.not_like(_AGAIN))
        wanted = (and_(table.glyph != "", ~failed), and_(table.glyph != "", failed), run)
        rows = self._database.rows_of(*(select(func.count()).select_from(tables.audit).where(there, each) for each in wanted))
        return dict(zip(("applied", "failed", "runs"), (int(found[0][0]) for found in rows), strict=True))


_AGAIN = '%"queued"%'
"""In the detail of what was released and waits again."""


def _forget(connection: Connection) -> None:
    """What a report says is kept until it has arrived everywhere, or was given up."""
    parts, made = tables.delivery_parts.c, tables.deliveries.c
    needed = select(parts.policy, parts.subject).where(parts.delivery == made.number, parts.phase == "report", made.state.in_(OPEN))
    connection.execute(delete(tables.bulletins).where(tuple_(tables.bulletins.c.policy, tables.bulletins.c.subject).not_in(needed)))


def _mark_row(policy: str, report: str, mark: ReportMark) -> dict[str, Any]:
    return {"policy": policy, "report": report, **asdict(mark)}


def _mark_from(row: Sequence[Any]) -> ReportMark:
    return ReportMark(*row[2:])


def _content(bulletin: Bulletin) -> str:
    return to_text(asdict(bulletin))


def _bulletin_from(text: str) -> Bulletin:
    kept = from_text(text)
    return Bulletin(**{**kept, "text": tuple(kept["text"])})
