"""The Store's one class. Every write is one transaction: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Integer, String, cast, delete, func, insert, select, tuple_, update

from reconciler.model import JSON, Fields, Owned, Ref, Status
from reconciler.state import encode, tables
from reconciler.state.alerts import Alerts
from reconciler.state.database import Database, Remembered, upsert
from reconciler.state.deliveries import Deliveries
from reconciler.state.doors import Doors
from reconciler.state.lease import LEADER, Lease, leader_slot
from reconciler.state.lines import Lines, lines_of
from reconciler.state.merge import is_transition, merged
from reconciler.state.readings import Readings
from reconciler.state.records import DELETING, AuditEntry, Intent, Suspension, Writer
from reconciler.state.reports import Reports
from reconciler.state.rulings import Rulings
from reconciler.state.work import Work

if TYPE_CHECKING:
    from reconciler.state.archive import Archive, Contents
    from reconciler.state.backup import Restored

_FEW = 100
"""Up to so many Refs are looked up by name; above, reading the whole table is cheaper."""

CHANGES = "changes"
"""In `meta`: see `Store.changes`."""


class Store:
    """Ownership, open intents, conditions, memos and the audit log of one installation.

    Safe to use from many threads. Inside `writer`, every write is refused once another process has taken over.
    Everything may raise StoreError: disk full, database away, damaged, open for reading only."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._lease = Lease(database, now)
        self._inventory = Remembered(database, select(tables.inventory), encode.owned_from)
        self._statuses = Remembered(database, select(tables.statuses), encode.status_from)
        self._leading = Lease(database, now, LEADER)
        self.work = Work(database, self._write, now)
        """What waits for admission and what was admitted."""
        self.alerts = Alerts(database, self._write, now)
        """What is not as it should be, and who wants to know."""
        self.rulings = Rulings(database, self._write)
        """What people said yes and no to."""
        self.doors = Doors(database, self._write, now)
        """Who may ask the API, and what was asked through it."""
        self.deliveries = Deliveries(database, now)
        """What is said to whom."""
        self.lines = Lines(database)
        """The audit log by the numbers of its lines."""
        self.reports = Reports(database, now)
        """What is said by schedule."""
        self.readings = Readings(database)
        """How much there is of everything."""

    @classmethod
    def open(cls, url_or_path: str | Path, *, read_only: bool, now: Callable[[], datetime]) -> Store:
        """See `reconciler.state.open_store`."""
        return cls(Database.open(url_or_path, read_only=read_only), now)

    def close(self) -> None:
        """Safe to repeat."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Path, or URL without password."""
        return self._database.place

    def damage(self) -> tuple[str, ...]:
        """What SQLite's check of the whole file finds; empty = sound. Reads everything: for `doctor`, not for each pass."""
        return self._database.damage()

    def back_up(self, file: Path, *, over: bool = False) -> Contents:
        """Write all of it, as it is at this moment, to `file`; only with `over` where a file is already. Others may write meanwhile."""
        from reconciler.state.backup import back_up

        return back_up(self._database, file, self._now(), over=over)

    def restore(self, backup: Archive, actor: str, aside: Path | None = None) -> Restored:
        """Make this Store what `backup` holds: all of it, or nothing. The audit log tells who did it.

        What was here is backed up to `aside` first; without one the Store must be empty. Raises WriterBusy while somebody reconciles.
        `reconciler.state.backup.check` tells beforehand whether the file is sound; here each row is held against it once more."""
        from reconciler.state.backup import restore

        with self._database.write() as connection:
            done = restore(connection, self.place, self._lease, backup, self._now(), aside)
            moment = f"{done.contents.at:%Y-%m-%dT%H:%M:%SZ}"
            detail = {"backup": str(backup.path), "of": moment, "before": str(done.aside or "")}
            self._append(connection, [AuditEntry(self._now(), actor, None, "restore", detail=detail)])
        return done

    # --- inventory and journal ---

    def inventory(self) -> dict[Ref, Owned]:
        """All that we own, in one query."""
        return {each.ref: each for each in self._inventory.values()}

    def manifests(self) -> dict[Ref, Fields]:
        """What the manifest of each of them said last; see `Owned.declared`. Those that an older program recorded are left out."""
        return dict(self._database.decoded(select(tables.manifests), encode.declared_from))

    def without_manifest(self) -> frozenset[Ref]:
        """What is ours, and was recorded by a program that did not keep what its manifest says."""
        both = (tables.inventory, tables.manifests)
        counts: list[Any] = [select(func.count()).select_from(each) for each in both]
        there, kept = (rows[0][0] if rows else 0 for rows in self._database.rows_of(*counts))
        if there == kept:
            return frozenset()  # as it nearly always is; a pass asks this
        refs: list[Any] = [select(*tables.ref_columns(each)) for each in both]
        owned, said = ({tuple(row) for row in rows} for rows in self._database.rows_of(*refs))
        return frozenset(encode.ref_from(*row) for row in owned - said)

    def record(self, owned: Owned, *, audit: AuditEntry | None = None) -> None:
        """It is ours now, or changed: inventory entry written, its intent closed, audit line added."""
        self.record_many([owned], audit=[audit] if audit else [])

    def record_many(self, owned: Iterable[Owned], *, audit: Iterable[AuditEntry] = ()) -> None:
        """The same for all of them at once: one transaction."""
        kept = list(owned)
        rows, said = [encode.owned_row(each) for each in kept], [encode.declared_row(each) for each in kept if each.declared]
        with self._write() as connection:
            upsert(connection, tables.inventory, rows)
            upsert(connection, tables.manifests, said)
            self._close_intents(connection, rows)
            self._append(connection, audit)

    def move(self, old: Ref, owned: Owned, *, audit: AuditEntry | None = None) -> None:
        """It is called `owned.ref` from now on: all that is kept of `old` and its children goes there, but for what was done and told."""
        with self._write() as connection:
            tables.rename(connection, old, owned.ref)
            upsert(connection, tables.inventory, [encode.owned_row(owned)])
            upsert(connection, tables.manifests, [encode.declared_row(owned)] if owned.declared else [])
            for ref in (old, owned.ref):
                connection.execute(delete(tables.journal).where(tables.is_ref(tables.journal, ref)))
            self._append(connection, [audit] if audit else [])

    def forget(self, ref: Ref, *, audit: AuditEntry | None = None) -> None:
        """It is ours no more: inventory entry, intent and memo gone, audit line added. Its status goes with `put_statuses(gone=...)`."""
        with self._write() as connection:
            for table in (tables.inventory, tables.manifests, tables.journal, tables.memos):
                connection.execute(delete(table).where(tables.is_ref(table, ref)))
            self._append(connection, [audit] if audit else [])

    def intend(self, ref: Ref, action: str, digest: str) -> None:
        """About to call the tool for a create. On disk when this returns. An id left by an earlier, unfinished try is kept."""
        with self._write() as connection:
            before = connection.execute(select(tables.journal.c.external_id).where(tables.is_ref(tables.journal, ref))).scalar()
            row = {"action": action, "state": "intended", "external_id": before or "", "digest": digest, "at": self._now()}
            upsert(connection, tables.journal, [{**encode.ref_row(ref), **row}])

    def created(self, ref: Ref, external_id: str) -> None:
        """The tool said yes to what was intended. Without an open intent this does nothing."""
        with self._write() as connection:
            changed = update(tables.journal).where(tables.is_ref(tables.journal, ref))
            connection.execute(changed.values(state="created", external_id=external_id, at=self._now()))

    def abandon(self, ref: Ref) -> None:
        """What was intended is known not to have happened."""
        with self._write() as connection:
            connection.execute(delete(tables.journal).where(tables.is_ref(tables.journal, ref)))

    def open_intents(self) -> dict[Ref, Intent]:
        """Creates that were begun and are neither recorded nor abandoned: after a crash, look before anything else."""
        found = (Intent(encode.ref_from(*row[:4]), *row[4:]) for row in self._database.rows(select(tables.journal)))
        return {each.ref: each for each in found}

    # --- statuses and memos ---

    def statuses(self) -> dict[Ref, Status]:
        """Where everything stood after the last pass that looked at it."""
        return {each.ref: each for each in self._statuses.values()}

    def status_list(self) -> list[Status]:
        """The same in an order of the Store's own, in which what is changed stays in its place; what is as it was is the same object."""
        return self._statuses.values()

    def owned_of(self, refs: Collection[Ref]) -> dict[Ref, Owned]:
        """Those of `inventory` that are named; for a few of many."""
        if not refs:
            return {}
        names = [tuple(encode.ref_row(ref).values()) for ref in refs]
        statement = select(tables.inventory).where(tuple_(*tables.ref_columns(tables.inventory)).in_(names))
        return {each.ref: each for each in self._database.decoded(statement, encode.owned_from)}

    def owned_of_kind(self, kind: str) -> dict[Ref, Owned]:
        """Those of `inventory` that are of this kind."""
        statement = select(tables.inventory).where(tables.inventory.c.kind == kind)
        return {each.ref: each for each in self._database.decoded(statement, encode.owned_from)}

    def declared_of(self, ref: Ref) -> Fields | None:
        """That of `manifests` of one of them."""
        statement = select(tables.manifests).where(tables.is_ref(tables.manifests, ref))
        return next((said for _, said in self._database.decoded(statement, encode.declared_from)), None)

    def put_statuses(self, statuses: Iterable[Status], gone: Iterable[Ref] = ()) -> list[Status]:
        """Keep them; drop those that are gone; alerts turn with them. Writes only what differs, nothing at all when nothing does.

        A condition's `since` stays while its status stays. Returns the transitions: new, or with another health or Ready."""
        given, away = list(statuses), list(gone)
        before = self._statuses_of([each.ref for each in given])
        now = self._now()
        after = [merged(each, before.get(each.ref), now) for each in given]
        changed = [each for each in after if each is not before.get(each.ref)]
        dropped = list(self._statuses_of(away))
        if changed or dropped or self.alerts.turns(given, away):
            with self._write() as connection:
                self.alerts.follow(connection, given, away, now)
                upsert(connection, tables.statuses, [encode.status_row(each) for each in changed])
                for ref in dropped:
                    connection.execute(delete(tables.statuses).where(tables.is_ref(tables.statuses, ref)))
        return [each for each in changed if is_transition(each, before.get(each.ref))]

    def memos(self) -> dict[Ref, dict[str, JSON]]:
        """Every notebook that is not empty."""
        return dict(self._database.decoded(select(tables.memos), lambda row: (encode.ref_from(*row[:4]), encode.from_text(row[4]))))

    def memos_of(self, refs: Collection[Ref]) -> dict[Ref, dict[str, JSON]]:
        """Those of `memos` that are named; for a few of many."""
        if not refs:
            return {}
        names = [tuple(encode.ref_row(ref).values()) for ref in refs]
        statement = select(tables.memos).where(tuple_(*tables.ref_columns(tables.memos)).in_(names))
        return dict(self._database.decoded(statement, lambda row: (encode.ref_from(*row[:4]), encode.from_text(row[4]))))

    def put_memos(self, changed: Mapping[Ref, Mapping[str, JSON] | None]) -> None:
        """Replace the notebooks of these Refs; None removes one."""
        kept = [{**encode.ref_row(ref), "memo": encode.to_text(dict(memo), ref)} for ref, memo in changed.items() if memo is not None]
        dropped = [ref for ref, memo in changed.items() if memo is None]
        if kept or dropped:
            with self._write() as connection:
                upsert(connection, tables.memos, kept)
                for ref in dropped:
                    connection.execute(delete(tables.memos).where(tables.is_ref(tables.memos, ref)))

    # --- audit ---

    def audit(self, entries: Iterable[AuditEntry]) -> None:
        """Add lines. Nobody can change or remove one: the database refuses."""
        with self._write() as connection:
            self._append(connection, entries)

    def history(
        self, ref: Ref | None = None, project: str | None = None, since: datetime | None = None, limit: int = 200
    ) -> list[AuditEntry]:
        """Audit lines, the newest first. `ref` without a key brings its children's lines too; `project` those of the Project itself."""
        wanted = lines_of(ref, None if project is None else [project], since)
        statement = select(tables.audit).where(*wanted).order_by(tables.audit.c.id.desc()).limit(limit)
        return list(self._database.decoded(statement, encode.audit_from))

    def last_change(self) -> AuditEntry | None:
        """The newest line of something that was done in a tool: those of commands and of admission carry no glyph."""
        statement = select(tables.audit).where(tables.audit.c.glyph != "").order_by(tables.audit.c.id.desc()).limit(1)
        return next(iter(self._database.decoded(statement, encode.audit_from)), None)

    def deletions_since(self, since: datetime) -> list[tuple[datetime, Ref]]:
        """What was deleted, or replaced, with success since then, the oldest first: for the deletion budget."""
        table = tables.audit.c
        statement = (
            select(table.at, table.kind, table.project, table.name, table.key)
            .where(table.at >= since, table.action.in_(DELETING), table.result == "done", table.kind != "")
            .order_by(table.id)
        )
        return [(at, encode.ref_from(*parts)) for at, *parts in self._database.rows(statement)]

    # --- what people said ---

    def suspensions(self) -> dict[Ref, Suspension]:
        """What a person took out of reconciliation, through the command line or the API."""
        found = (Suspension(encode.ref_from(*row[:4]), *row[4:]) for row in self._database.rows(select(tables.suspensions)))
        return {each.ref: each for each in found}

    def suspend(self, ref: Ref, reason: str, actor: str) -> None:
        """Safe to repeat: the newest reason counts. Allowed while another process reconciles."""
        with self._write() as connection:
            upsert(connection, tables.suspensions, [{**encode.ref_row(ref), "reason": reason, "actor": actor, "at": self._now()}])

    def resume(self, ref: Ref) -> None:
        """Safe to repeat."""
        with self._write() as connection:
            connection.execute(delete(tables.suspensions).where(tables.is_ref(tables.suspensions, ref)))

    def meta(self, key: str) -> str | None:
        """One fact about the installation; None = never set."""
        rows = self._database.rows(select(tables.meta.c.value).where(tables.meta.c.key == key))
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Safe to repeat."""
        with self._write() as connection:
            upsert(connection, tables.meta, [{"key": key, "value": value}])

    def changes(self) -> int:
        """How often something was written, by whichever process: unchanged = all that is read here is as it was. The leases' heartbeats
        and the messages of alerts do not count."""
        return int(self.meta(CHANGES) or 0)

    # --- one writer ---

    def writer(self, actor: str, ttl: float = 10.0) -> AbstractContextManager[int]:
        """Hold the lease for writing to tools; yields its fencing token. `ttl` in seconds; renewed by itself meanwhile.

        Raises StoreError that names the holder when another live process has it. One that has died is taken over."""
        return self._lease.hold(actor, ttl)

    @contextmanager
    def leader(self, actor: str, ttl: float, number: int = 1, of: int = 1) -> Iterator[int]:
        """Lead: be the one loop of this installation, or of part `number` of `of`. As `writer`, which each pass takes besides.

        Raises WriterBusy too while somebody leads by another division."""
        self._leading = Lease(self._database, self._now, leader_slot(number, of))
        with self._leading.hold(actor, ttl) as token:
            self._leading.refuse_division()
            yield token

    def check_leader(self) -> None:
        """Raise StoreError when this process leads no more. Costs nothing while the lease is fresh."""
        self._leading.check()

    def current_leader(self) -> Writer | None:
        """The live process that leads, or the one that leads the first part; None when none does."""
        return next(iter(self._leading.leaders().values()), None)

    def last_token(self) -> int:
        """Token of the latest lease, held or given back; 0 = nobody has written yet. Unchanged = nobody wrote meanwhile."""
        return self._lease.last()

    def check_writer(self) -> int:
        """Ask before each write to a tool: the token, or StoreError when the lease was lost. Costs nothing while the lease is fresh."""
        return self._lease.check()

    def heartbeat(self) -> None:
        """Renew the lease now. Raises StoreError when it was lost."""
        self._lease.renew()

    def current_writer(self) -> Writer | None:
        """The live process that holds the lease, this one included; None when nobody does."""
        found = self._lease.holder()
        return found if found is not None and self._lease.is_live(found) else None

    # --- how ---

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._database.write() as connection:
            self._lease.guard(connection)
            yield connection
            _count_up(connection)

    def _statuses_of(self, refs: list[Ref]) -> dict[Ref, Status]:
        if not refs:
            return {}
        if len(refs) <= _FEW:
            names = [tuple(encode.ref_row(ref).values()) for ref in refs]
            statement = select(tables.statuses).where(tuple_(*tables.ref_columns(tables.statuses)).in_(names))
            return {each.ref: each for each in self._database.decoded(statement, encode.status_from)}
        wanted = set(refs)
        return {ref: each for ref, each in self.statuses().items() if ref in wanted}

    @staticmethod
    def _close_intents(connection: Connection, recorded: list[encode.Row]) -> None:
        names = {tuple(row[part] for part in tables.REF) for row in recorded}
        for row in map(tuple, connection.execute(select(*tables.ref_columns(tables.journal))).all()):
            if row in names:
                connection.execute(delete(tables.journal).where(tables.is_ref(tables.journal, encode.ref_from(*row))))

    @staticmethod
    def _append(connection: Connection, entries: Iterable[AuditEntry]) -> None:
        if rows := [encode.audit_row(each) for each in entries]:
            connection.execute(insert(tables.audit), rows)


def _count_up(connection: Connection) -> None:
    """Last in its transaction: whoever waits for this row has nothing left to write that somebody else could wait for."""
    meta = tables.meta.c
    raised = update(tables.meta).where(meta.key == CHANGES).values(value=cast(cast(meta.value, Integer) + 1, String))
    if not connection.execute(raised).rowcount:
        upsert(connection, tables.meta, [{"key": CHANGES, "value": "1"}])
