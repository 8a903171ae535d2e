"""The Store's SQLite file: private, full, damaged, untouched when nothing changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import StoreError
from reconciler.model import Ref
from reconciler.state import open_store
from tests.contract.store_values import OWNED, RUN, admin, status

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
    done = subprocess.run(
        [sys.executable, "-B", "-c", FILL, str(tmp_path / "s.db")], capture_output=True, text=True, check=True, timeout=120
    )
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
    # Which page is hit decides whether it shows when the Store is opened or when it is read; it must show, and never as data.
    with pytest.raises(StoreError, match=r"is damaged.*restore a backup"):
        _read_damaged(path)


def _read_damaged(path: Path) -> None:
    with open_store(path) as store:
        assert store.damage() != ()
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
        store.put_statuses(many)
        # Somebody else writes: an attempt to write would wait for them, and then fail.
        beside.exec_driver_sql("BEGIN IMMEDIATE")
        assert store.put_statuses(many, gone=[RUN]) == []
        store.put_memos({})
        beside.exec_driver_sql("ROLLBACK")


def test_a_path_and_an_url_are_the_same_store(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "s.db")) as store:
        store.set_meta("x", "y")
    with open_store(f"sqlite:///{tmp_path / 's.db'}") as store:
        assert store.meta("x") == "y"


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be created"):
        open_store(tmp_path / "file" / "s.db")


def test_what_a_killed_writer_left_can_be_read_without_writing(tmp_path: Path) -> None:
    path, copy = tmp_path / "s.db", tmp_path / "copy" / "s.db"
    copy.parent.mkdir()
    with open_store(path) as store:
        store.record(OWNED)
        for name in ("s.db", "s.db-wal"):
            shutil.copy(tmp_path / name, copy.parent / name)
    before = {each.name: each.read_bytes() for each in copy.parent.iterdir()}
    with open_store(copy, read_only=True) as reader:
        assert set(reader.inventory()) == {OWNED.ref}
    assert {name: (copy.parent / name).read_bytes() for name in before} == before


def test_opening_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    open_store(tmp_path / "s.db").close()
    code = """if True:
        import sys
        from pathlib import Path
        from reconciler.state import open_store
        assert "sqlalchemy" not in sys.modules
        with open_store(Path(sys.argv[1])) as store:
            store.set_meta("a", "b")
        print(sorted({"alembic", "psycopg", "psutil", "httpx"} & sys.modules.keys()))
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.db")], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
