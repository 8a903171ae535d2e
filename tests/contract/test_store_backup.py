"""Backups of the Store: on SQLite and on a real PostgreSQL, and from each into the other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from reconciler.errors import StoreError
from reconciler.model import Ref
from reconciler.state import Store, open_store
from reconciler.state.archive import opened
from reconciler.state.schema import migrate
from reconciler.state.tables import HEAD, VERSION_TABLE, metadata
from tests.contract.backup_lab import SQLITE, everything, fill_everything, restored
from tests.contract.store_values import EXPERIMENT, NOON, OWNED, Clock, admin, entry, status

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")


# --- there and back ------------------------------------------------------------------------------------------------------


def test_everything_comes_back_in_either_database(place: str | Path, elsewhere: str | Path, tmp_path: Path, clock: Clock) -> None:
    open_store(place).close()
    fill_everything(place)
    with open_store(place, now=clock) as store, store.writer("x"):
        contents = store.back_up(tmp_path / "b.zip")
    assert {name: each.rows for name, each in contents.tables.items()} == dict.fromkeys(metadata.tables.keys() - {"lease"}, 3)
    numbers = {"audit": 30, "deliveries": 30, "orders": 30}
    assert (contents.revision, contents.at, contents.token, contents.numbers) == (HEAD, NOON, 1, numbers)
    with open_store(elsewhere, now=clock) as store:
        done = restored(store, tmp_path / "b.zip")
        assert (done.contents, done.aside, done.token) == (contents, None, 2)
        assert everything(elsewhere) == everything(place)
        (line, *_) = store.history(limit=1)
        assert (line.action, line.actor, line.ref, line.at, line.detail["backup"]) == (
            "restore",
            "ann",
            None,
            NOON,
            str(tmp_path / "b.zip"),
        )
        store.audit([entry()])
    with admin(elsewhere) as connection:
        assert connection.exec_driver_sql("SELECT id FROM audit ORDER BY id DESC").scalars().all()[:3] == [32, 31, 30]
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.exec_driver_sql("DELETE FROM audit")


def test_what_the_program_reads_is_the_same(store: Store, elsewhere: str | Path, tmp_path: Path, clock: Clock) -> None:
    store.record(OWNED, audit=entry())
    store.put_statuses([status(message="Größe ✓")])
    store.put_memos({EXPERIMENT: {"step": 3, "at": [1.5, None, "\udcff"]}})
    store.suspend(EXPERIMENT, "why", "ann")
    store.intend(Ref("Dataset", "p", "new"), "create", "d")
    store.back_up(tmp_path / "b.zip")
    with open_store(elsewhere, now=clock) as other:
        restored(other, tmp_path / "b.zip")
        for read in (Store.inventory, Store.statuses, Store.memos, Store.suspensions, Store.open_intents):
            assert read(other) == read(store)
        assert other.history()[1:] == store.history()


def test_an_older_store_is_restored_and_brought_up_to_date(place: str | Path, elsewhere: str | Path, tmp_path: Path) -> None:
    if isinstance(place, Path):
        place.parent.mkdir()
    with admin(place).execution_options(isolation_level="SERIALIZABLE") as connection, connection.begin():
        migrate(connection, "x", to="0002")
        connection.execute(sa.insert(metadata.tables["meta"]), {"key": "a", "value": "b"})
        connection.execute(sa.insert(metadata.tables["learned"]), {"template": "t", "value": "{}"})
    with open_store(place, read_only=True) as store:
        contents = store.back_up(tmp_path / "b.zip")
    assert (contents.revision, "alerts" in contents.tables) == ("0002", False)
    with open_store(elsewhere) as store:
        restored(store, tmp_path / "b.zip")
        assert store.meta("a") == "b"
    with admin(elsewhere) as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() == HEAD
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


# --- a backup ------------------------------------------------------------------------------------------------------------


def test_a_backup_shows_one_moment_while_others_write(store: Store, tmp_path: Path) -> None:
    refs, done = [Ref("Dataset", "p", f"n{n}") for n in range(10)], threading.Event()

    def write() -> int:
        generation = 0
        while not done.is_set():
            generation += 1
            store.record_many([replace(OWNED, ref=ref, digest=str(generation)) for ref in refs], audit=[entry(ref) for ref in refs])
        return generation

    with ThreadPoolExecutor(1) as pool, store.writer("the loop"):
        last = pool.submit(write)
        try:
            seen = [_moment(store, tmp_path / f"{nth}.zip") for nth in range(8)]
        finally:
            done.set()
    assert seen == sorted(seen)
    assert seen[0] < last.result(), "nobody wrote meanwhile"


def _moment(store: Store, file: Path) -> int:
    """The generation that a backup of now holds: all of it, and nothing of the next one."""
    store.back_up(file)
    with opened(file) as backup:
        backup.check()
        digests = [int(row["digest"]) for row in backup.rows("inventory")]
        assert len(digests) in (0, 10)
        assert len(set(digests)) <= 1, "half a batch"
        assert backup.contents.tables["audit"].rows == 10 * max(digests, default=0)
        assert backup.contents.numbers["audit"] >= 10 * max(digests, default=0), "PostgreSQL counts what is not committed yet, too"
    return max(digests, default=0)


@SQLITE
def test_the_file_is_private_whole_and_overwrites_nothing_unasked(store: Store, place: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.zip"
    store.back_up(file)
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    store.record(OWNED)
    with pytest.raises(StoreError, match="is there already"):
        store.back_up(file)
    assert file.read_bytes() == before
    store.back_up(file, over=True)
    with opened(file) as backup:
        assert backup.contents.tables["inventory"].rows == 1
    with admin(place) as connection:
        connection.exec_driver_sql("INSERT INTO suspensions VALUES ('k', 'p', 'n', '', 'why', 'ann', 'not a moment')")
    before = file.read_bytes()
    with pytest.raises(StoreError, match="is damaged"):
        store.back_up(file, over=True)
    assert (file.read_bytes(), set(tmp_path.iterdir())) == (before, {file, place.parent}), "no half of a file is left"


@SQLITE
def test_what_cannot_be_written_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the backup .* cannot be written: No such file"):
        store.back_up(tmp_path / "nowhere" / "b.zip")


def test_where_there_is_no_store_there_is_no_backup(place: str | Path, tmp_path: Path) -> None:
    with open_store(place, read_only=True) as nothing, pytest.raises(StoreError, match="there is no Store at"):
        nothing.back_up(tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()
