"""The whole Store into a file and back, the same for SQLite and PostgreSQL: a backup of one can be restored into the other.

A backup shows one moment, whoever writes meanwhile. A restore is one transaction: the tables are made again as the backup's revision had
them, filled, and brought up to date by the migrations that bring every Store up to date; until it is committed everybody sees the old
Store, and a process that is killed in the middle leaves it as it was.

What only grows never goes back, so that nothing of before is taken for something of after: the token of the lease, and the numbers of
audit lines and messages, from which the ids are made by which receivers know a message that comes twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, MetaData, Table, insert, inspect, select, text

from reconciler.errors import StoreError
from reconciler.state import archive, tables
from reconciler.state.archive import Archive, Contents, Row
from reconciler.state.database import Database, damaged
from reconciler.state.encode import from_text
from reconciler.state.lease import WRITER, Lease
from reconciler.state.schema import is_known, migrate, revision_of

BATCH = 500
"""Rows that are in memory at once."""
LEFT_OUT = frozenset({tables.lease.name})
"""Who writes at the moment of a backup says nothing at another one; its token is in the backup's head."""
NUMBERED = {each.name: column.name for each in tables.metadata.tables.values() if (column := each.autoincrement_column) is not None}
"""Tables that number their rows, and the column."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `aside`: where the Store of before was backed up; None = it was empty."""

    contents: Contents
    aside: Path | None
    token: int


def back_up(database: Database, path: Path, at: datetime, *, over: bool) -> Contents:
    """Write what the Store holds at this moment to `path`. Raises StoreError; what was at `path` is whole then."""
    with database.snapshot() as connection:
        return _dump(connection, database.place, path, at, over=over)


def check(backup: Archive) -> None:
    """Raise StoreError unless the file is whole and this program knows how to bring it up to date."""
    revision = backup.contents.revision
    if not is_known(revision):
        raise StoreError(
            f"{backup.path} was written by a newer version: its schema is {revision}, this program knows up to {tables.HEAD}",
            hint="update mlops-reconciler",
        )
    backup.check()


def restore(connection: Connection, place: str, lease: Lease, backup: Archive, at: datetime, aside: Path | None) -> Restored:
    """Make the Store what `backup` holds, in the caller's transaction. What it held is written to `aside` first, unless that was nothing.

    Raises WriterBusy while somebody reconciles, StoreError when the Store holds something and `aside` is None, or anything is amiss."""
    names = _ours(connection)
    _lock(connection, names)
    lease.refuse_live(connection)
    kept = _keep(connection, place, aside, at)
    contents, token = backup.contents, _token(connection)
    numbers = {name: _last_number(connection, name) for name in NUMBERED if name in names}
    _drop(connection, names)
    migrate(connection, place, to=contents.revision)
    for name in contents.tables:
        _fill(connection, name, backup)
    migrate(connection, place)
    for name in NUMBERED:
        _number_on(connection, name, max(numbers.get(name, 0), contents.numbers.get(name, 0)))
    token = max(token, contents.token) + 1  # as for a writer: whoever planned before looks again
    lease.leave(connection, token)
    return Restored(contents, kept, token)


def _dump(connection: Connection, place: str, path: Path, at: datetime, *, over: bool) -> Contents:
    names = [name for name in tables.metadata.tables if name in _ours(connection) and name not in LEFT_OUT]
    numbers = {name: _last_number(connection, name) for name in names if name in NUMBERED}
    revision = revision_of(connection) or tables.HEAD
    head = Contents(_installation(connection, place), revision, at, version("mlops-reconciler"), _token(connection), numbers)
    return archive.write(path, head, ((name, _rows(connection, place, name)) for name in names), over=over)


def _keep(connection: Connection, place: str, aside: Path | None, at: datetime) -> Path | None:
    """Write what is there to `aside`; None when there is nothing."""
    holds = [name for name in _ours(connection) if name in tables.metadata.tables and name not in LEFT_OUT and _has_rows(connection, name)]
    if not holds:
        return None
    if aside is None:
        raise StoreError(f"the Store {place} is not empty", hint="--force restores over it, and backs it up first")
    _dump(connection, place, aside, at, over=False)
    return aside


def _installation(connection: Connection, place: str) -> str:
    """Id of the installation, as its Platform was applied last; empty when it never was."""
    found = connection.execute(select(tables.inventory.c.applied).where(tables.inventory.c.kind == "Platform")).scalar()
    try:
        return str(from_text(found).get("installation", "")) if found else ""
    except (ValueError, AttributeError) as error:
        raise damaged(place, str(error)) from error


# --- rows ----------------------------------------------------------------------------------------------------------------


def _rows(connection: Connection, place: str, name: str) -> Iterator[Row]:
    """Every row as JSON has it, in the order of the primary key: of the table as it is there, which an older program may have made."""
    table = _reflected(connection, name)
    columns = [column.name for column in table.columns]
    moments = [at for at, column in enumerate(table.columns) if isinstance(column.type, DateTime)]
    try:
        for row in connection.execute(select(table).order_by(*table.primary_key), execution_options={"yield_per": BATCH}):
            values = list(row)
            for at in moments:
                values[at] = _told(values[at])
            yield dict(zip(columns, values, strict=True))
    except (ValueError, TypeError) as error:
        raise damaged(place, str(error)) from error


def _fill(connection: Connection, name: str, backup: Archive) -> None:
    if not inspect(connection).has_table(name) or name in LEFT_OUT:
        raise StoreError(f"{backup.path} has a table {name}, which revision {backup.contents.revision} has not")
    table = _reflected(connection, name)
    kinds = {column.name: (column.type.python_type, bool(column.nullable)) for column in table.columns}
    try:
        for batch in _batches(backup.rows(name)):
            connection.execute(insert(table), [_bound(row, kinds) for row in batch])
    except (ValueError, TypeError) as error:
        raise StoreError(f"{backup.path} holds what {name} cannot: {error}") from error


def _bound(row: Row, kinds: Mapping[str, tuple[type[Any], bool]]) -> Row:
    """A row as its table takes it. Raises ValueError: SQLite would take anything, and the Store would be damaged.

    `kinds`: of each column the type, and whether it may be empty."""
    if row.keys() != kinds.keys():
        raise ValueError(f"a row with {', '.join(row)}")
    return {name: value if type(value) is kinds[name][0] else _value(name, value, *kinds[name]) for name, value in row.items()}


def _value(name: str, value: Any, wanted: type[Any], nullable: bool) -> Any:
    if value is None and nullable:
        return None
    if wanted is datetime and isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    if wanted is float and type(value) is int:
        return float(value)
    raise ValueError(f"{name} is {type(value).__name__}, not {wanted.__name__}")


def _told(moment: datetime | None) -> str | None:
    """SQLite keeps UTC without saying so."""
    return None if moment is None else (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    found = iter(rows)
    while batch := list(islice(found, BATCH)):
        yield batch


# --- tables --------------------------------------------------------------------------------------------------------------


def _ours(connection: Connection) -> list[str]:
    """The Store's tables that are there, that of the revision included."""
    there = set(inspect(connection).get_table_names())
    return [name for name in (*tables.metadata.tables, tables.VERSION_TABLE) if name in there]


def _reflected(connection: Connection, name: str) -> Table:
    return Table(name, MetaData(), autoload_with=connection)


def _has_rows(connection: Connection, name: str) -> bool:
    return connection.execute(text(f"SELECT 1 FROM {name} LIMIT 1")).first() is not None


def _lock(connection: Connection, names: Iterable[str]) -> None:
    """Nobody reads or writes until the end: in SQLite a write keeps others from writing anyway, and readers see what was before."""
    if connection.dialect.name == "postgresql":
        # All at once and before any row's lock, so that this cannot wait for somebody who waits for it.
        connection.execute(text(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE"))


def _drop(connection: Connection, names: Iterable[str]) -> None:
    """Drop the tables with all that belongs to them: audit lines cannot be deleted."""
    for name in names:
        connection.execute(text(f"DROP TABLE {name}"))
    if connection.dialect.name == "postgresql":
        connection.execute(text("DROP FUNCTION IF EXISTS audit_refuse()"))


def _token(connection: Connection) -> int:
    return int(connection.execute(select(tables.lease.c.token).where(tables.lease.c.id == WRITER)).scalar() or 0)


def _last_number(connection: Connection, name: str) -> int:
    """The last number that was given to a row of the table, which may be gone."""
    there = int(connection.execute(text(f"SELECT max({NUMBERED[name]}) FROM {name}")).scalar() or 0)
    if connection.dialect.name != "postgresql":
        given = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": name}).scalar() or 0
    else:
        last = text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {_sequence(connection, name)}")
        given = connection.execute(last).scalar_one()
    return max(there, int(given))


def _number_on(connection: Connection, name: str, last: int) -> None:
    """The next row gets the number after `last`."""
    if last == 0:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT setval(:sequence, :last)"), {"sequence": _sequence(connection, name), "last": last})
        return
    connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
    connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), {"name": name, "last": last})


def _sequence(connection: Connection, name: str) -> str:
    asked = text("SELECT pg_get_serial_sequence(:name, :column)")
    return str(connection.execute(asked, {"name": name, "column": NUMBERED[name]}).scalar_one())
