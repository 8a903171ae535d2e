"""One writer at a time, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.errors import StoreError
from reconciler.state import Store, Writer, open_store
from tests.contract.store_values import EXPERIMENT, NOON, OWNED, Clock

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")


HOLD = """
import sys, time
from pathlib import Path
from reconciler.state import open_store

store = open_store(sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]))
with store.writer("the child", ttl=600) as token:
    print(token, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(store: Store, place: str | Path, clock: Clock) -> Iterator[Store]:
    """The same Store, opened by somebody else."""
    with open_store(place, now=clock) as opened:
        yield opened


@contextmanager
def child_that_writes(place: str | Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "1"
            yield child
        finally:
            child.kill()


def test_tokens_grow_and_a_lease_that_was_given_back_is_free(store: Store, other: Store) -> None:
    with store.writer("ann") as token:
        assert (token, store.check_writer()) == (1, 1)
        found = other.current_writer()
        assert isinstance(found, Writer)
        assert (found.actor, found.pid, found.since, found.token) == ("ann", os.getpid(), NOON, 1)
    assert store.current_writer() is None
    with other.writer("bob") as token:
        assert token == 2
    for ask in (store.check_writer, store.heartbeat):
        with pytest.raises(StoreError, match="does not hold"):
            ask()


def test_a_live_writer_is_named(store: Store, other: Store, clock: Clock) -> None:
    with store.writer("reconcile watch", ttl=30):
        clock.pass_(20)
        for who in (other, store):
            with pytest.raises(StoreError, match=r"reconcile watch|already held") as caught, who.writer("bob"):
                raise AssertionError
            if who is other:
                assert f"pid {os.getpid()}" in str(caught.value)
                assert "since 2026-03-01 12:00:00 UTC" in str(caught.value)
                assert "in 10 s" in str(caught.value)
        store.heartbeat()
        clock.pass_(20)
        with pytest.raises(StoreError, match="is reconciling"), other.writer("bob"):
            raise AssertionError
        other.suspend(EXPERIMENT, "people may still speak", "bob")


def test_a_lease_that_ran_out_is_taken_over_and_the_loser_writes_nothing(store: Store, other: Store, clock: Clock) -> None:
    with store.writer("ann", ttl=0.3):
        store.record(OWNED)
        clock.pass_(1000)
        with other.writer("bob") as token:
            assert token == 2
            with pytest.raises(StoreError, match=r"`bob`.* has taken over"):
                store.forget(EXPERIMENT)
            with pytest.raises(StoreError, match=r"`bob`.* has taken over"):
                store.heartbeat()
            time.sleep(0.25)  # two thirds of the ttl
            with pytest.raises(StoreError, match=r"`bob`.* has taken over"):
                store.check_writer()
            other.record(OWNED)
            assert set(store.inventory()) == {EXPERIMENT}
        with other.writer("bob") as token:
            assert token == 3
    assert other.current_writer() is None


def test_giving_back_what_was_lost_does_not_free_the_winners_lease(store: Store, other: Store, clock: Clock) -> None:
    with store.writer("ann"):
        clock.pass_(1000)
        taken = other.writer("bob")
        taken.__enter__()
    found = store.current_writer()
    assert found is not None
    assert found.actor == "bob"
    taken.__exit__(None, None, None)


def test_the_lease_renews_itself(store: Store, other: Store, clock: Clock) -> None:
    with store.writer("ann", ttl=0.3):
        clock.pass_(5)
        deadline = time.monotonic() + 10
        while (found := other.current_writer()) is None or found.heartbeat_at != NOON + timedelta(seconds=5):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert store.check_writer() == 1


def test_a_writer_that_was_killed_is_taken_over_at_once(store: Store, place: str | Path) -> None:
    with child_that_writes(place) as child, open_store(place) as here:
        with pytest.raises(StoreError, match=f"the child.*pid {child.pid}"), here.writer("ann"):
            raise AssertionError
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert here.current_writer() is None
        with here.writer("ann") as token:
            assert token == 2


def test_a_writer_that_sleeps_is_not_taken_for_dead(store: Store, place: str | Path) -> None:
    with child_that_writes(place) as child, open_store(place) as here:
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(StoreError, match="the child"), here.writer("ann"):
            raise AssertionError


def test_a_thread_may_be_writing_while_the_lease_is_given_back(store: Store) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.set_meta("x", "y")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for _ in range(30):
                with store.writer("ann"):
                    store.set_meta("a", "b")
        finally:
            stop.set()
        writing.result()


def test_the_last_token_tells_that_somebody_wrote(store: Store) -> None:
    before = store.last_token()
    with store.writer("ann") as token:
        assert store.last_token() == token == before + 1
    assert store.last_token() == token, "given back, and still the last"


ELSEWHERE = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from reconciler.state import lease, open_store

store = open_store(sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]), now=lambda: datetime.now(UTC) + timedelta(hours=1))
held = store.writer("the other machine", ttl=2.0)
held.__enter__()
with store._database.write() as connection:
    connection.execute(lease.table.update().values(machine="another machine"))
os._exit(0)
"""


def test_a_lease_of_a_clock_that_was_ahead_ends_all_the_same(place: str | Path) -> None:
    """Its holder is on another machine, an hour ahead, and dead: its last heartbeat is one of the future."""
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(place)], check=True, timeout=60)
    with open_store(place) as store:
        with pytest.raises(StoreError, match=r"the other machine.*in 2 s"), store.writer("ann"):
            raise AssertionError
        until = time.monotonic() + 20
        while store.current_writer() is not None and time.monotonic() < until:
            time.sleep(0.2)
        with store.writer("ann") as token:
            assert token == 2
