"""Lines of the audit log: which are asked for, and with their numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_

from reconciler.model import Ref
from reconciler.state import encode, tables
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


def numbered(row: Sequence[Any]) -> tuple[int, AuditEntry]:
    """A row of the audit log with its number."""
    return int(row[0]), encode.audit_from(row)
