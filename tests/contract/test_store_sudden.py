"""The Store opened by many, by an older program, for reading only; killed, full and damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from reconciler.errors import StoreError
from reconciler.model import Ref
from reconciler.platform import Endpoint
from reconciler.state import Store, open_store
from reconciler.state.tables import VERSION_TABLE, metadata
from tests.contract.store_values import EXPERIMENT, NOON, OWNED, RUN, admin, entry, status

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")


# --- opening -------------------------------------------------------------------------------------------------------


def test_the_migrations_build_the_tables(store: Store, place: str | Path) -> None:
    with admin(place) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_newer_schema_is_refused(store: Store, place: str | Path) -> None:
    with admin(place) as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"newer version.*9999.*update mlops-reconciler"):
            open_store(place, read_only=read_only)


def test_somebody_elses_tables_are_left_alone(place: str | Path) -> None:
    if isinstance(place, Path):
        place.parent.mkdir()
    with admin(place) as connection:
        connection.exec_driver_sql("CREATE TABLE inventory (stock integer)")
    with pytest.raises(StoreError, match="not a Store"):
        open_store(place)


def test_many_may_open_a_new_store_at_once(place: str | Path) -> None:
    def use(number: int) -> None:
        with open_store(place) as store:
            store.set_meta(str(number), "here")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(use, range(6)))
    with open_store(place) as store:
        assert all(store.meta(str(number)) == "here" for number in range(6))


def test_reading_only_makes_nothing_and_writes_nothing(place: str | Path) -> None:
    with open_store(place, read_only=True) as nothing:
        assert (nothing.inventory(), nothing.statuses(), nothing.memos(), nothing.open_intents()) == ({}, {}, {}, {})
        assert (nothing.history(), nothing.deletions_since(NOON), nothing.suspensions()) == ([], [], {})
        assert (nothing.confirmed(), nothing.meta("x"), nothing.current_writer()) == (frozenset(), None, None)
        with pytest.raises(StoreError, match="reading only"):
            nothing.record(OWNED)
    if isinstance(place, Path):
        assert not place.parent.exists()
    with open_store(place) as store:
        store.record(OWNED)
        with open_store(place, read_only=True) as reader:
            store.set_meta("x", "y")
            assert (set(reader.inventory()), reader.meta("x")) == ({EXPERIMENT}, "y")
            writes: list[Callable[[], object]] = [
                lambda: reader.record(OWNED),
                lambda: reader.put_statuses([status()]),
                lambda: reader.suspend(EXPERIMENT, "", ""),
                lambda: reader.writer("x").__enter__(),
            ]
            for write in writes:
                with pytest.raises(StoreError, match="reading only"):
                    write()


# --- many at once, and sudden ends ---------------------------------------------------------------------------------


def test_readers_see_whole_batches_while_threads_write(store: Store) -> None:
    stop = threading.Event()

    def write(thread: int) -> None:
        for generation in range(15):
            batch = [replace(OWNED, ref=Ref("Dataset", f"p{thread}", f"n{n}"), digest=str(generation)) for n in range(10)]
            store.record_many(batch, audit=[entry(each.ref) for each in batch])

    def read() -> int:
        looks = 0
        while not stop.is_set():
            seen: dict[str | None, set[str]] = {}
            for owned in store.inventory().values():
                seen.setdefault(owned.ref.project, set()).add(owned.digest)
            assert all(len(digests) == 1 for digests in seen.values()), seen
            looks += 1
        return looks

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        list(pool.map(write, range(4)))
        stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert {owned.digest for owned in store.inventory().values()} == {"14"}
    assert len(store.history(limit=10_000)) == 600


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from reconciler.model import Owned, Ref
from reconciler.state import AuditEntry, open_store, utcnow

store = open_store(sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]))
refs = [Ref("Dataset", "p", f"n{number}") for number in range(50)]
generation = int(store.meta("generation") or 0)
while True:
    generation += 1
    store.intend(refs[0], "create", str(generation))
    store.created(refs[0], str(generation))
    owned = [Owned(ref, "x" * 200, "root", str(generation), {}, "auto") for ref in refs]
    store.record_many(owned, audit=[AuditEntry(utcnow(), "child", ref, "create") for ref in refs])
    store.set_meta("generation", str(generation))
    print(generation, flush=True)
"""


def test_kill_9_in_the_middle_leaves_whole_records(place: str | Path) -> None:
    for delay in (0.0, 0.003, 0.011, 0.05):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(place)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
            promised = [int(line) for line in child.stdout.read().split()]
        with open_store(place) as store:
            assert store.damage() == ()
            found = {int(each.digest) for each in store.inventory().values()}
            assert len(found) == 1
            assert len(store.inventory()) == 50
            (generation,) = found
            assert max(promised, default=1) <= generation
            assert len(store.history(limit=100_000)) == 50 * generation
            for intent in store.open_intents().values():
                assert int(intent.digest) == generation + 1
                assert intent.external_id in ("", intent.digest)
            store.abandon(Ref("Dataset", "p", "n0"))
            store.set_meta("generation", str(generation))


# --- SQLite's file -------------------------------------------------------------------------------------------------

FILL = """
import resource, sys
from pathlib import Path
from reconciler.errors import StoreError
from reconciler.model import Owned, Ref
from reconciler.state import AuditEntry, open_store, utcnow

store = open_store(Path(sys.argv[1]))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
def fill(batch):
    refs = [Ref("Dataset", str(batch), f"n{number}") for number in range(20)]
    store.intend(refs[0], "create", "")
    store.record_many([Owned(r, "x" * 500, "", "", {}, "auto") for r in refs], audit=[AuditEntry(utcnow(), "c", r, "create") for r in refs])
try:
    for batch in range(1000):
        fill(batch)
except StoreError as error:
    print(error)
assert batch < 999
assert len(store.inventory()) == 20 * batch
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
fill(batch)
print(20 * (batch + 1))
"""


def test_a_full_disk_is_an_error_and_not_half_a_record(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILL, str(tmp_path / "s.db")], capture_output=True, text=True, check=True, timeout=120)
    message, rows = done.stdout.splitlines()
    assert "free some space" in message
    with open_store(tmp_path / "s.db") as store:
        assert store.damage() == ()
        assert (len(store.inventory()), len(store.history(limit=100_000))) == (int(rows), int(rows))
        assert store.open_intents() == {}


def test_a_file_that_is_no_database_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database at all" * 100)
    for read_only in (True, False):
        with pytest.raises(StoreError, match=r"s\.db is damaged.*move it away"):
            open_store(tmp_path / "s.db", read_only=read_only)
    assert (tmp_path / "s.db").read_bytes() == b"not a database at all" * 100


def test_damaged_pages_and_damaged_values_say_so(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_store(path) as store:
        store.record_many(replace(OWNED, ref=Ref("Dataset", "p", f"n{number}")) for number in range(500))
    with admin(path) as connection:
        connection.exec_driver_sql("UPDATE inventory SET applied = '{' WHERE name = 'n7'")
    with open_store(path) as store, pytest.raises(StoreError, match="is damaged"):
        store.inventory()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\xff" * (size // 2))
    with open_store(path) as store:
        assert store.damage() != ()
        with pytest.raises(StoreError, match=r"is damaged.*restore a backup"):
            store.inventory()


def test_a_store_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.db"
    with open_store(path) as store:
        store.record(OWNED)
        assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
        assert path.with_name("s.db-wal").exists()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_same_statuses_again_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    many = [status(ref=Ref("Dataset", "p", f"n{number}")) for number in range(150)]
    with open_store(path) as store, admin(path) as beside:

        def version() -> object:
            return beside.exec_driver_sql("PRAGMA data_version").scalar()

        before = version()
        store.put_statuses(many)
        written = version()
        assert written != before
        store.put_statuses(many, gone=[RUN])
        store.put_memos({})
        assert version() == written


def test_a_path_and_an_url_are_the_same_store(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "s.db")) as store:
        store.set_meta("x", "y")
    with open_store(f"sqlite:///{tmp_path / 's.db'}") as store:
        assert store.meta("x") == "y"


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be created"):
        open_store(tmp_path / "file" / "s.db")


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_told_without_its_password(server: Endpoint) -> None:
    for url in (
        "postgresql+psycopg://ann:canary@127.0.0.1:1/x",
        replace(server, password="canary").for_database("postgres", "psycopg").url,
    ):
        with pytest.raises(StoreError, match="check that the database is up") as caught:
            open_store(url)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mysql://ann:canary@127.0.0.1/x", "postgresql+pg8000://ann:canary@127.0.0.1/x", "postgresql+nope://ann:canary@h/x", "://"]
)
def test_an_url_that_cannot_be_used_is_told_without_its_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "canary" not in str(caught.value)


def test_the_other_driver_works_too(place: str | Path) -> None:
    other = place.replace("+psycopg:", "+psycopg2:") if isinstance(place, str) else f"sqlite+pysqlite:///{place}"
    with open_store(other) as store:
        store.record(OWNED, audit=entry())
        with store.writer("x"):
            store.put_statuses([status()])
    with open_store(place, read_only=True) as store:
        assert store.inventory() == {EXPERIMENT: OWNED}
        assert store.history() == [entry()]
