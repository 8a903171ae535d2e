"""What a restore refuses, what only grows, and what is left when it ends suddenly: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import StoreError, WriterBusy
from reconciler.model import Ref
from reconciler.state import Store, open_store
from reconciler.state.archive import FORMAT_VERSION, opened
from reconciler.state.backup import check
from tests.contract.backup_lab import SQLITE, everything, fill_everything, restored
from tests.contract.store_values import EXPERIMENT, OWNED, Clock, admin, entry

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")


# --- a restore refuses ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A backup with rows in every table."""
    folder = tmp_path_factory.mktemp("whole")
    open_store(folder / "s.db").close()
    fill_everything(folder / "s.db")
    with open_store(folder / "s.db") as store:
        store.back_up(folder / "file.zip")
    return (folder / "file.zip").read_bytes()


@pytest.fixture
def file(tmp_path: Path, whole: bytes) -> Path:
    (tmp_path / "file.zip").write_bytes(whole)
    return tmp_path / "file.zip"


@contextmanager
def untouched(place: str | Path) -> Iterator[None]:
    before = everything(place)
    yield
    assert everything(place) == before


@SQLITE
def test_a_file_that_is_cut_short_or_changed_is_refused_before_anything_is_written(
    store: Store, place: Path, file: Path, whole: bytes
) -> None:
    changed = [whole[:size] for size in range(0, len(whole), len(whole) // 40)]
    step = len(whole) // 60
    changed += [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(7, len(whole), step)]
    sound, refused = _read(file), 0
    with untouched(place):
        for content in changed:
            file.write_bytes(content)
            found = _read(file)
            assert found in (None, sound), "a byte that means nothing, such as the time of a member, or it is refused"
            refused += found is None
    assert refused > len(changed) * 0.8


def _read(file: Path) -> object:
    """All that is in it; None when it is refused."""
    try:
        with opened(file) as backup:
            check(backup)
            return backup.contents, {name: list(backup.rows(name)) for name in backup.contents.tables}
    except StoreError as error:
        return None if "is not a whole backup" in str(error) else str(error)


def rewritten(file: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> None:
    """The backup with another description and other members; digests are not put right."""
    with zipfile.ZipFile(file) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    head = json.loads(members.pop("format.json"))
    change(head, members)
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in {**members, "format.json": json.dumps(head).encode()}.items():
            zipped.writestr(name, content)


def _set(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    return lambda head, members: head.update({key: value})


def _forge(name: str, **values: Any) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    """A row changed, and the digest with it."""

    def change(head: dict[str, Any], members: dict[str, bytes]) -> None:
        first, *rest = members[f"{name}.jsonl"].splitlines(keepends=True)
        row = {**json.loads(first), **values}
        members[f"{name}.jsonl"] = b"".join([json.dumps({k: v for k, v in row.items() if v is not ...}).encode() + b"\n", *rest])
        head["tables"][name]["sha256"] = hashlib.sha256(members[f"{name}.jsonl"]).hexdigest()

    return change


def _rename(head: dict[str, Any], members: dict[str, bytes]) -> None:
    head["tables"]["strange"] = head["tables"].pop("meta")
    members["strange.jsonl"] = members.pop("meta.jsonl")


WRONG: Mapping[str, tuple[Callable[[dict[str, Any], dict[str, bytes]], None], str]] = {
    "a newer format": (_set("formatVersion", FORMAT_VERSION + 1), r"newer version: its format is 2.*update mlops-reconciler"),
    "a newer schema": (_set("revision", "9999"), r"newer version: its schema is 9999.*update mlops-reconciler"),
    "another program's file": (_set("format", "zip of mine"), "not a whole backup"),
    "a description without a table": (lambda head, members: head["tables"].pop("meta"), "holds .* and should hold"),
    "a row more": (lambda head, members: members.update({"meta.jsonl": members["meta.jsonl"] + b"{}\n"}), "not what was written"),
    "a row less": (lambda head, members: members.update({"meta.jsonl": members["meta.jsonl"].split(b"\n")[0]}), "not what was written"),
    "a member more": (lambda head, members: members.update({"../x": b""}), "holds .* and should hold"),
    "no JSON": (lambda head, members: members.update({"meta.jsonl": b"[" * 3}), "not a whole backup"),
    "no rows": (lambda head, members: members.update({"meta.jsonl": b"[]\n"}), "is no row"),
    "no description": (lambda head, members: head.clear(), "not a whole backup"),
    "a table that is not ours": (_rename, "has a table strange"),
    "a number that is text": (_forge("statuses", health="bad"), "holds what statuses cannot: health is str, not int"),
    "a moment that is none": (_forge("audit", at="yesterday"), "holds what audit cannot"),
    "nothing where something must be": (_forge("meta", value=None), "holds what meta cannot"),
    "a column more": (_forge("meta", more="x"), "holds what meta cannot: a row with key, value, more"),
    "a column less": (_forge("meta", value=...), "holds what meta cannot: a row with key"),
}


HALFWAY = [name for name, (_, message) in WRONG.items() if "holds what" in message or "has a table" in message]
"""What shows only while the rows are written."""


@SQLITE
@pytest.mark.parametrize("wrong", [name for name in WRONG if name not in HALFWAY])
def test_a_file_that_is_not_as_it_was_written_is_refused(wrong: str, store: Store, file: Path) -> None:
    change, message = WRONG[wrong]
    rewritten(file, change)
    with pytest.raises(StoreError, match=message):
        restored(store, file)


@pytest.mark.parametrize("wrong", HALFWAY)
def test_a_restore_that_fails_halfway_changes_nothing(wrong: str, place: str | Path, file: Path, tmp_path: Path) -> None:
    change, message = WRONG[wrong]
    rewritten(file, change)
    with open_store(place) as store:
        store.record(OWNED, audit=entry())
        with untouched(place), pytest.raises(StoreError, match=message):
            restored(store, file, tmp_path / "aside.zip")
        store.record(OWNED, audit=entry())


def test_a_store_that_holds_something_is_kept_unless_it_is_put_aside(store: Store, place: str | Path, file: Path, tmp_path: Path) -> None:
    store.record(OWNED, audit=entry())
    before, aside = everything(place), tmp_path / "aside.zip"
    with untouched(place), pytest.raises(StoreError, match=r"is not empty.*--force"):
        restored(store, file)
    assert restored(store, file, aside).aside == aside
    assert everything(place) != before
    assert restored(store, aside, tmp_path / "again.zip").token == 2
    assert everything(place)["inventory"] == before["inventory"]
    assert aside.stat().st_mode & 0o777 == 0o600


def test_nobody_restores_while_somebody_reconciles(store: Store, place: str | Path, file: Path, tmp_path: Path, clock: Clock) -> None:
    with open_store(place, now=clock) as loop, loop.writer("the loop"):
        with untouched(place), pytest.raises(WriterBusy, match=r"`the loop` .*is reconciling"):
            restored(store, file, tmp_path / "aside.zip")
        loop.record(OWNED)
    restored(store, file, tmp_path / "aside.zip")


# --- what only grows -----------------------------------------------------------------------------------------------------


def test_a_token_never_comes_back(store: Store, place: str | Path, file: Path, tmp_path: Path, clock: Clock) -> None:
    for _ in range(5):
        with store.writer("x"):
            pass
    lost = open_store(place, now=clock)
    holding = lost.writer("asleep")
    holding.__enter__()
    clock.pass_(1000)
    assert restored(store, file, tmp_path / "a.zip").token == 7, "6 here, none there"
    assert (store.current_writer(), store.last_token()) == (None, 7)
    with pytest.raises(StoreError, match="the lease was given back"):
        lost.record(OWNED)
    holding.__exit__(None, None, None)
    lost.close()
    rewritten(file, _set("token", 40))
    assert restored(store, file, tmp_path / "b.zip").token == 41, "40 there, 7 here"
    with store.writer("x") as token:
        assert token == 42


def test_numbers_of_before_are_not_given_again(store: Store, place: str | Path, file: Path, tmp_path: Path) -> None:
    store.audit(entry() for _ in range(50))
    restored(store, file, tmp_path / "a.zip")
    with admin(place) as connection:
        ids = connection.exec_driver_sql("SELECT id FROM audit ORDER BY id").scalars().all()
    assert ids == [10, 20, 30, 51], "a receiver of messages has seen the lines up to 50"


# --- sudden ends, and company ----------------------------------------------------------------------------------------------

RESTORE_SLOWLY = """
import sys, time
from pathlib import Path
from reconciler.state import archive, open_store

class Slow(archive.Archive):
    def rows(self, name):
        for nth, row in enumerate(super().rows(name)):
            if name == "inventory" and nth == 1200:
                print("in the middle", flush=True)
                time.sleep(600)
            yield row

archive.Archive = Slow
where, file, aside = sys.argv[1:]
with archive.opened(Path(file)) as backup, open_store(where if "://" in where else Path(where)) as store:
    store.restore(backup, "the child", Path(aside))
"""


def test_kill_9_in_the_middle_leaves_the_store_of_before(store: Store, place: str | Path, tmp_path: Path) -> None:
    big = tmp_path / "big" / "s.db"
    with open_store(big) as other:
        other.record_many(replace(OWNED, ref=Ref("Dataset", "p", f"n{n}")) for n in range(2000))
        other.back_up(tmp_path / "big.zip")
    store.record(OWNED, audit=entry())
    arguments = [str(place), str(tmp_path / "big.zip"), str(tmp_path / "aside.zip")]
    with untouched(place), subprocess.Popen([sys.executable, "-c", RESTORE_SLOWLY, *arguments], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in the middle\n"
        if isinstance(place, Path):
            assert everything(place)["inventory"], "readers see what was before"
        os.kill(child.pid, signal.SIGKILL)
    assert store.damage() == ()
    assert set(store.inventory()) == {EXPERIMENT}
    restored(store, tmp_path / "big.zip", tmp_path / "aside2.zip")
    assert len(store.inventory()) == 2000
    assert store.damage() == ()
    with opened(tmp_path / "aside.zip") as backup:
        assert backup.contents.tables["inventory"].rows == 1, "what was put aside is whole, too"


def test_others_see_the_old_store_or_the_new_one_and_may_go_on(store: Store, place: str | Path, file: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    store.suspend(EXPERIMENT, "why", "ann")

    def read() -> set[int]:
        seen = set[int]()
        with open_store(place, read_only=True) as reader:
            while not stop.is_set():
                seen.add(len(reader.suspensions()))
        return seen

    def write() -> int:
        done = 0
        with open_store(place) as other:
            while not stop.is_set():
                other.set_meta("beat", str(done))
                done += 1
        return done

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(read), pool.submit(write)]
        try:
            for nth in range(3):
                restored(store, file, tmp_path / f"{nth}.zip")
        finally:
            stop.set()
        assert jobs[0].result() <= {1, 3}
        assert jobs[1].result() > 0
    assert store.meta("beat") is not None


def test_contents_say_whose_store_it_was(store: Store, tmp_path: Path) -> None:
    assert store.back_up(tmp_path / "a.zip").installation == ""
    store.record(replace(OWNED, ref=Ref("Platform", None, "p"), applied={"installation": "toolkit"}))
    contents = store.back_up(tmp_path / "b.zip")
    assert contents.installation == "toolkit"
