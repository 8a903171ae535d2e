"""Lines of the audit log: which are asked for, and with their numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from reconciler.model import Ref
from reconciler.state import encode, tables
from reconciler.state.database import Database
from reconciler.state.records import AuditEntry


def lines_of(ref: Ref | None, projects: Collection[str] | None, since: datetime | None) -> list[ColumnElement[bool]]:
    """Conditions that all have to hold; None = any. `ref` without a key brings its children's lines too."""
    table = tables.audit.c
    wanted: list[ColumnElement[bool]] = []
    if ref is not None:
        wanted.append(tables.is_ref(tables.audit, ref, family=not ref.key))
    if projects is not None:
        own = and_(table.kind == "Project", table.project == "", table.name.in_(projects))
        wanted.append(or_(table.project.in_(projects), own))
    if since is not None:
        wanted.append(table.at >= since)
    return wanted


class Lines:
    """The audit log with the numbers of its lines, for whoever pages through it or follows it. May raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, *, ref: Ref | None = None, projects: Collection[str] | None = None, before: int | None = None, limit: int
    ) -> list[tuple[int, AuditEntry]]:
        """Numbers and lines, the newest first; of these `projects` only, and of lines `before` this number."""
        earlier = [tables.audit.c.id < before] if before is not None else []
        statement = select(tables.audit).where(*lines_of(ref, projects, None), *earlier).order_by(tables.audit.c.id.desc()).limit(limit)
        return self._database.decoded(statement, _numbered)

    def after(self, number: int, limit: int) -> list[tuple[int, AuditEntry]]:
        """Numbers and lines after this number, the oldest first."""
        statement = select(tables.audit).where(tables.audit.c.id > number).order_by(tables.audit.c.id).limit(limit)
        return self._database.decoded(statement, _numbered)

    def last(self) -> int:
        """Number of the newest line; 0 = there is none."""
        rows = self._database.rows(select(func.max(tables.audit.c.id)))
        return int(rows[0][0] or 0) if rows else 0


def _numbered(row: Sequence[Any]) -> tuple[int, AuditEntry]:
    """A row of the audit log with its number."""
    return int(row[0]), encode.audit_from(row)
