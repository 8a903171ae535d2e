"""The connection to SQLite or PostgreSQL: opened safely, transactions that are whole or not at all, failures told as StoreError."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, Select, Table, create_engine, event, exc, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import QueuePool

from reconciler.errors import StoreError
from reconciler.secret import hide
from reconciler.state.address import FORMS, file_of, parsed, shown
from reconciler.state.schema import SchemaState, migrate, missing_tables, state_of

T = TypeVar("T")
BUSY_SECONDS = 30.0
"""How long a statement waits for another process' write before it gives up."""
ASLEEP_SECONDS = 5.0
"""How long PostgreSQL keeps a transaction open whose process sends nothing: one that was suspended in the middle of a write must not hold
off those who are to take over."""
CONNECT_SECONDS = 10
"""How long PostgreSQL may take to answer."""


class Remembered(Generic[T]):
    """The values of one query that is made again and again: a row that was there the last time is not decoded again."""

    def __init__(self, database: Database, statement: Select[Any], decode: Callable[[Sequence[Any]], T]) -> None:
        self._database, self._statement, self._decode = database, statement, decode
        self._known: dict[Sequence[Any], T] = {}

    def values(self) -> list[T]:
        """Of all rows, as they are now. Raises StoreError, also for what cannot be decoded."""
        # plain tuples: they are hashed and compared several times as fast as the rows of the library
        known, rows = self._known, [tuple(each) for each in self._database.rows(self._statement)]
        found = self._database.values(rows, lambda row: value if (value := known.get(row)) is not None else self._decode(row))
        self._known = dict(zip(rows, found, strict=True))
        return found


class Database:
    """One open Store: reads from any thread at once, writes one after the other.

    A read-only one that does not exist yet has no engine; every read of it is empty."""

    def __init__(self, engine: Engine | None, place: str, *, read_only: bool) -> None:
        self.place = place
        """Path or URL without password, for messages."""
        self.read_only = read_only
        self._engine = engine
        self._writes = threading.RLock()
        self._missing: frozenset[str] = frozenset()
        """Tables that an older program's Store, open for reading, does not have."""

    @classmethod
    def open(cls, url_or_path: str | Path, *, read_only: bool) -> Database:
        """Connect, check the schema and bring it up to date. Raises StoreError."""
        url = parsed(url_or_path) if isinstance(url_or_path, str) and "://" in url_or_path else None
        if url is not None and url.get_backend_name() != "sqlite":
            hide(str(url.password or ""))
            database = cls(_postgresql(url, read_only), shown(url), read_only=read_only)
        else:
            path = Path(file_of(url) if url is not None else url_or_path).absolute()
            database = cls(_sqlite(path, read_only), str(path), read_only=read_only)
        try:
            database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Give all connections back. Safe to repeat."""
        if self._engine is not None:
            self._engine.dispose()

    def rows(self, statement: Select[Any]) -> Sequence[Sequence[Any]]:
        """All rows of one query. Raises StoreError."""
        return self.rows_of(statement)[0]

    def rows_of(self, *statements: Select[Any]) -> list[Sequence[Sequence[Any]]]:
        """All rows of each query, as they were at one moment. Raises StoreError."""
        if self._engine is None:
            return [[] for _ in statements]
        with self.snapshot() if len(statements) > 1 else self._reading() as connection:
            return [[] if self._missing and self._lacks(connection, each) else connection.execute(each).all() for each in statements]

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Everything as it is at one moment, whoever writes meanwhile, for as long as the block lasts. Raises StoreError."""
        with self._reading() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")  # SQLite reads from one moment anyway
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # it holds nobody off, and may take long
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if self._engine is None:
            raise StoreError(f"there is no Store at {self.place} yet", hint="the first pass makes it")
        with told(self.place), self._engine.connect() as connection:
            yield connection

    def decoded(self, statement: Select[Any], decode: Callable[[Sequence[Any]], T]) -> list[T]:
        """All rows of one query as values. Raises StoreError, also for what cannot be decoded."""
        return self.values(self.rows(statement), decode)

    def values(self, rows: Sequence[Sequence[Any]], decode: Callable[[Sequence[Any]], T]) -> list[T]:
        """Rows as values. Raises StoreError for what cannot be decoded."""
        try:
            return [decode(row) for row in rows]
        except (ValueError, TypeError) as error:
            raise damaged(self.place, str(error)) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed, and on disk, when the block ends; gone without a trace when it raises."""
        if self._engine is None or self.read_only:
            raise StoreError(f"the Store {self.place} is open for reading only")
        with self._writes, told(self.place), self._engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    def damage(self) -> tuple[str, ...]:
        """What SQLite's own check of the whole file finds; empty = sound. PostgreSQL checks itself."""
        if self._engine is None or self._engine.dialect.name != "sqlite":
            return ()
        with told(self.place), self._engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return () if found == ["ok"] else tuple(found)

    def _prepare(self) -> None:
        if self._engine is None:
            return
        with told(self.place), self._engine.connect() as connection:
            state = state_of(connection, self.place)
        if state is SchemaState.CURRENT:
            return
        if self.read_only:
            self._prepare_for_reading(state)
            return
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                # Two processes that open a new Store at once: the second waits, then finds the tables.
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x4D4C4F5053})
            migrate(connection, self.place)

    def _prepare_for_reading(self, state: SchemaState) -> None:
        if self._engine is None or state is SchemaState.EMPTY:
            self.close()
            self._engine = None
            return
        with told(self.place), self._engine.connect() as connection:
            self._missing = missing_tables(connection, self.place)

    def _lacks(self, connection: Connection, statement: Select[Any]) -> bool:
        """True while a table that is asked for is not there; a writer may bring the Store up to date meanwhile."""
        asked = {each.name for each in statement.get_final_froms() if isinstance(each, Table)} & self._missing
        if asked and asked <= set(inspect(connection).get_table_names()):
            self._missing -= asked
        return bool(asked & self._missing)


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows; where the primary key is there already, overwrite. All rows have the same columns."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(table)
    others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=others), list(rows))


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turn what the database or a damaged value raises into a StoreError that says what to do. Never shows parameters or passwords."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise _explained(place, getattr(error, "orig", None) or error) from error
    except (sqlite3.Error, UnicodeError) as error:
        raise _explained(place, error) from error


def damaged(place: str, what: str) -> StoreError:
    """The Store can be read, but what it says makes no sense."""
    away = "move it away (SQLite: with its -wal and -shm files), then restore a backup (`reconcile platform restore FILE`)"
    hint = f"{away} or run again: ownership is read from the tools' marks"
    return StoreError(f"the Store {place} is damaged: {what}", hint=hint)


_DAMAGED = ("malformed", "not a database", "disk image", "file is encrypted", "no such table", "no such column")
_FULL = ("disk is full", "disk I/O error", "No space left", "could not extend file")
_LOCKED = ("database is locked", "database table is locked", "lock timeout")
_AWAY = ("connection", "timeout expired", "server closed")


def _explained(place: str, error: BaseException) -> StoreError:
    what = " ".join(str(error).split()) or type(error).__name__

    def says(words: Iterable[str]) -> bool:
        return any(word in what for word in words)

    if says(_FULL):
        return StoreError(f"the Store {place} cannot be written: {what}", hint="free some space and run again; no half record was left")
    if says(_DAMAGED):
        return damaged(place, what)
    if says(_LOCKED):
        return StoreError(f"the Store {place} is busy: another process has been writing for {BUSY_SECONDS:g} s", hint="try again")
    if "readonly" in what or "unable to open" in what:
        return StoreError(f"the Store {place} cannot be opened: {what}", hint="check that the folder exists and that you may write to it")
    if says(_AWAY):
        return StoreError(f"the Store {place} does not answer: {what}", hint="check that the database is up and the URL is right")
    return StoreError(f"the Store {place} failed: {what}")


# --- SQLite --------------------------------------------------------------------------------------------------------


def _sqlite(path: Path, read_only: bool) -> Engine | None:
    if not _is_there(path):
        if read_only:
            return None
        _create_private(path)
    mode = "ro" if read_only else "rw"

    def connect() -> sqlite3.Connection:
        where = f"file:{quote(str(path))}?mode={mode}"
        connection = sqlite3.connect(where, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        try:
            _configure(connection, read_only)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=QueuePool, max_overflow=-1, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A write takes the lock first: a transaction that starts by reading may be refused later without waiting (SQLITE_BUSY_SNAPSHOT).
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a folder on the way that we may not enter: whether there is a Store cannot be told
        raise StoreError(f"the Store {path} cannot be opened: {error.strerror}", hint="run as the user that it belongs to") from error


def _create_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"the Store {path} cannot be created: {error.strerror}", hint="check that you may write to the folder") from error


def _configure(connection: sqlite3.Connection, read_only: bool) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    if read_only:
        return
    # FULL: what was committed survives a power cut too; the intent journal is worth nothing otherwise.
    connection.execute("PRAGMA synchronous = FULL")
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        # Unlike a write, this one-time change does not wait for other connections by itself.
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


def _postgresql(url: URL, read_only: bool) -> Engine:
    place = shown(url)
    if url.get_backend_name() != "postgresql":
        raise StoreError(f"the Store cannot live in {place}", hint=FORMS)
    bounds = f"-c lock_timeout={BUSY_SECONDS:.0f}s -c idle_in_transaction_session_timeout={ASLEEP_SECONDS:.0f}s"
    options = {} if "options" in url.query else {"options": bounds}
    try:
        return create_engine(
            url,
            pool_pre_ping=True,
            max_overflow=-1,
            hide_parameters=True,
            connect_args={"connect_timeout": CONNECT_SECONDS, **options},
            execution_options={"postgresql_readonly": True} if read_only else {},
        )
    except ModuleNotFoundError as error:
        hint = "install mlops-reconciler[postgres], or name an installed driver in the URL"
        raise StoreError(f"the Store {place} needs the Python package {error.name}", hint=hint) from error
    except exc.NoSuchModuleError as error:
        raise StoreError(f"the Store {place} names a driver that does not exist", hint=FORMS) from error
