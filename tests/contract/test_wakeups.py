"""When the loop looks again: no end of a run is missed, however it falls beside a pass."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.advance import LOOK, RARE_LOOK, Watch
from reconciler.controller import Context
from reconciler.errors import StoreError
from reconciler.house import open_house
from reconciler.model import Owned, Ref
from reconciler.model.serving import wake_file
from reconciler.platform.process import Record, birth, write_record
from reconciler.selection import Selection
from reconciler.settings import Settings
from reconciler.state import Store
from reconciler.testing import make_context
from reconciler.wakeups import Changed, watching
from tests.contract.job_house import JobHouse

BRIEF = "print('done', flush=True)\n"
WAITS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[JobHouse]:
    with contextlib.closing(JobHouse(tmp_path)) as found:
        yield found


@pytest.fixture
def ctx(house: JobHouse, tmp_path: Path) -> Context:
    return replace(make_context(tmp_path / "context"), jobs=house.runner)


def test_an_end_during_a_pass_is_a_change_after_it(house: JobHouse, ctx: Context) -> None:
    job_id = house.start(WAITS)
    house.wait(job_id, lambda found: found.state == "running")
    watch = Watch(ctx)
    watch.changed()
    began = time.monotonic()
    house.runner.stop(job_id, "its time has come")
    house.ended(job_id)
    watch.note_pass(began, ctx)
    assert watch.changed()
    assert not watch.changed(), "told once"


def test_a_job_that_ended_before_the_watch_began_is_a_change(house: JobHouse, ctx: Context) -> None:
    house.ended(house.start(BRIEF))
    assert Watch(ctx).changed()


def test_a_job_that_a_pass_launches_and_that_ends_within_it_is_a_change(house: JobHouse, ctx: Context) -> None:
    watch, began = Watch(ctx), time.monotonic()
    house.ended(house.start(BRIEF))
    watch.note_pass(began, ctx)
    assert watch.changed()
    watch.note_pass(began, ctx)
    assert not watch.changed(), "nothing moved"


def test_the_gateway_is_heard_once_and_its_silence_is_no_change(ctx: Context) -> None:
    watch, began = Watch(ctx), time.monotonic()
    assert not watch.changed()
    wake_file(ctx.state_dir).parent.mkdir(parents=True, exist_ok=True)
    wake_file(ctx.state_dir).touch()
    watch.note_pass(began, ctx)
    assert watch.changed(), "it asked while the pass ran"
    assert not watch.changed()


def test_a_service_that_dies_is_a_change_once_and_so_is_its_return(ctx: Context) -> None:
    record = ctx.state_dir / "services" / "gateway" / "record.json"
    record.parent.mkdir(parents=True)
    write_record(record, Record(0, "", 1.0, ""))  # about to be spawned
    watch = Watch(ctx)
    assert not watch.changed()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as service:
        write_record(record, Record(service.pid, birth(service.pid) or "", 1.0, ""))
        assert not watch.changed()
        service.kill()
    assert _changes(watch)
    assert watch.pending
    assert not watch.changed()
    record.unlink()
    assert _changes(watch)


def _changes(watch: Watch) -> bool:
    """Within what it says between two looks where nothing runs."""
    return any(watch.changed() or time.sleep(LOOK) for _ in range(round(RARE_LOOK / LOOK) + 2))


class BusyOnce:
    """A real Store that somebody else writes to when it is asked for the first time."""

    def __init__(self, store: Store) -> None:
        self._store, self._asked = store, False

    def inventory(self) -> dict[Ref, Owned]:
        if not self._asked:
            self._asked = True
            raise StoreError("the Store is busy: another process has been writing for 30 s")
        return self._store.inventory()


def test_a_store_that_was_busy_costs_no_event_of_later(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    house = open_house(Settings(root=tmp_path))
    busy: Any = BusyOnce(house.store)
    files = Changed()
    with watching(Selection(paths=(Path("manifests"),)), replace(house, store=busy), files, threading.Event()):
        until = time.monotonic() + 30
        while not files.is_set() and time.monotonic() < until:
            (tmp_path / "manifests" / "new.yaml").write_text(f"# {time.monotonic()}\n")
            time.sleep(0.5)
        assert files.is_set(), "nobody watches any more"
    house.store.close()


FEW_FILES = """
import os, resource, sys, threading, time
from pathlib import Path
from reconciler.house import open_house
from reconciler.settings import Settings
from reconciler.source.follow import Followings
from reconciler.wakeups import Changed, following

root, files = Path(sys.argv[1]), Changed()
house = open_house(Settings(root=root))
place = house.settings.state / "sources"
place.mkdir()
(place / "team.json").write_text('{"source": "team", "commit": "a"}')
with following(Followings(root, house.settings.state, str), house, files, threading.Event(), print):
    time.sleep(1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    time.sleep(1.5)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    time.sleep(1.0)
    files.clear()
    (place / "team.json").write_text('{"source": "team", "commit": "b"}')
    print("told" if files.wait(10) else "nobody looks any more")
os._exit(0)
"""


def test_a_moment_without_file_descriptors_costs_no_news_of_later(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FEW_FILES, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["told"], done.stdout + done.stderr
