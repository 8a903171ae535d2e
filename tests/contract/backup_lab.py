"""What the tests of backups put into a Store and read out of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from reconciler.state import Store
from reconciler.state.archive import opened
from reconciler.state.backup import Restored, check
from reconciler.state.tables import metadata
from tests.contract.store_values import NOON, admin

SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
Rows = dict[str, list[tuple[Any, ...]]]


def fill_everything(place: str | Path) -> None:
    """Three rows in every table, with every kind of value that its columns take."""
    with admin(place) as connection:
        for table in metadata.tables.values():
            if table.name != "lease":
                connection.execute(sa.insert(table), [{c.name: _value(c, nth) for c in table.columns} for nth in (1, 2, 3)])


def _value(column: sa.Column[Any], nth: int) -> Any:
    if column.nullable and nth == 2:
        return None
    return {
        sa.String: f"{column.name} {nth} ünï 名前 \"'\\ \n {'{}' if nth == 3 else ''}",
        sa.Text: f'{{"{column.name}": {nth}}}',
        sa.Integer: 10 * nth,
        sa.BigInteger: (1 << 52) + nth,
        sa.Boolean: nth == 1,
        sa.Float: nth + 0.1,
    }.get(type(column.type), NOON + timedelta(days=nth, microseconds=nth))


def everything(place: str | Path) -> Rows:
    """All rows of all tables but the lease, and but what a restore adds to the audit log."""
    with admin(place) as connection:
        found = {
            name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for name, table in metadata.tables.items()
            if name != "lease"
        }
    at = [column.name for column in metadata.tables["audit"].columns].index("action")
    return {**found, "audit": [row for row in found["audit"] if row[at] != "restore"]}


def restored(store: Store, file: Path, aside: Path | None = None) -> Restored:
    with opened(file) as backup:
        check(backup)
        return store.restore(backup, "ann", aside)
