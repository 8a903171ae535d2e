"""What people ruled: which desired states may be carried out, and which revisions are not taken.

Allowed while another process reconciles: a ruling is a level that the next pass reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, and_, delete, select

from reconciler.model import Ref
from reconciler.state import encode, tables
from reconciler.state.database import Database, upsert
from reconciler.state.records import Approval, Quarantined


class Rulings:
    """The tables `approvals` and `quarantine`. Everything may raise StoreError."""

    def __init__(self, database: Database, write: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._database, self._write = database, write

    def approvals(self) -> dict[Ref, Approval]:
        """What somebody said yes to and is not carried out yet."""
        found = self._database.decoded(select(tables.approvals), lambda row: Approval(encode.ref_from(*row[:4]), *row[4:]))
        return {each.ref: each for each in found}

    def approve(self, approvals: Iterable[Approval]) -> None:
        """Safe to repeat; of one resource the newest counts."""
        rows = [
            {**encode.ref_row(each.ref), "digest": each.digest, "actor": each.actor, "at": each.at, "revision": each.revision}
            for each in approvals
        ]
        with self._write() as connection:
            upsert(connection, tables.approvals, rows)

    def spent(self, approvals: Iterable[Approval]) -> None:
        """They were carried out, or something else is asked for by now. One that was given anew meanwhile, for something else, stays."""
        table = tables.approvals
        with self._write() as connection:
            for each in approvals:
                connection.execute(delete(table).where(and_(tables.is_ref(table, each.ref), table.c.digest == each.digest)))

    def quarantined(self) -> tuple[Quarantined, ...]:
        """Revisions that are not taken, the newest first."""
        table = tables.quarantine
        statement = select(table).order_by(table.c.at.desc(), table.c.source, table.c.revision)
        return tuple(self._database.decoded(statement, lambda row: Quarantined(row[0], row[1], encode.from_text(row[2]), *row[3:])))

    def quarantine(self, found: Quarantined) -> None:
        """Safe to repeat; the newest reason counts."""
        row = {"source": found.source, "revision": found.revision, "trees": encode.to_text(dict(found.trees))}
        with self._write() as connection:
            upsert(connection, tables.quarantine, [{**row, "reason": found.reason, "actor": found.actor, "at": found.at}])

    def lift(self, found: Quarantined) -> None:
        """It may be taken again. Safe to repeat."""
        table = tables.quarantine
        with self._write() as connection:
            connection.execute(delete(table).where(and_(table.c.source == found.source, table.c.revision == found.revision)))
