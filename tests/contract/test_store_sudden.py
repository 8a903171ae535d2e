"""The Store opened by many at once, by an older program, for reading only; killed in the middle; on a database that is away."""

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
from tests.contract.store_values import EXPERIMENT, NOON, OWNED, admin, entry, status

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
        assert (nothing.meta("x"), nothing.current_writer(), nothing.last_token()) == (None, None, 0)
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


def _wait_for_the_server(place: str | Path) -> None:
    """A PostgreSQL server ends what a killed client sent last, so its own session may commit a moment after the client is gone."""
    if isinstance(place, Path):
        return
    others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    deadline = time.monotonic() + 30
    while True:
        with admin(place) as connection:
            if not connection.exec_driver_sql(others).scalar():
                return
        assert time.monotonic() < deadline, "the killed client's session did not end"
        time.sleep(0.01)


def test_kill_9_in_the_middle_leaves_whole_records(place: str | Path) -> None:
    for delay in (0.0, 0.003, 0.011, 0.05):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(place)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
            promised = [int(line) for line in child.stdout.read().split()]
        _wait_for_the_server(place)
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


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_told_without_its_password(server: Endpoint) -> None:
    for url in (
        "postgresql+psycopg://ann:canary@127.0.0.1:1/x",
        replace(server, password="canary").for_database("postgres", "psycopg").url,
    ):
        with pytest.raises(StoreError, match="check that the database is up") as caught:
            open_store(url)
        assert "canary" not in str(caught.value)


BAD_URLS = [
    "postgresql+psycopg://ann@127.0.0.1:1/x?password=canary",
    "mysql://ann:canary@h/x",
    "postgresql+pg8000://ann:canary@h/x",
    "postgresql+nope://a:canary@h/x",
    "://canary",
    "sqlite://",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_url_that_cannot_be_used_is_told_without_its_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_the_other_driver_works_too(place: str) -> None:
    with open_store(place.replace("+psycopg:", "+psycopg2:")) as store:
        store.record(OWNED, audit=entry())
        with store.writer("x"):
            store.put_statuses([status()])
    with open_store(place, read_only=True) as store:
        assert store.inventory() == {EXPERIMENT: OWNED}
        assert store.history() == [entry()]


SLEEPER = """
import sys, time
from reconciler.state import open_store
with open_store(sys.argv[1]) as store, store.writer("asleep", ttl=1.0), store._database.write() as connection:
    store._lease.guard(connection)
    print("in the middle of a write", flush=True)
    time.sleep(120)
"""


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_who_was_suspended_in_the_middle_of_a_write_holds_nobody_off(place: str) -> None:
    with open_store(place):
        pass
    asleep = subprocess.Popen([sys.executable, "-c", SLEEPER, place], stdout=subprocess.PIPE, text=True)
    assert asleep.stdout is not None
    assert asleep.stdout.readline() == "in the middle of a write\n"
    asleep.send_signal(signal.SIGSTOP)
    try:
        time.sleep(1.5)  # its lease has run out
        began = time.monotonic()
        with open_store(place) as store, store.writer("awake"):
            assert time.monotonic() - began < 10
    finally:
        asleep.kill()
        asleep.wait()
