"""The DVC client against real DVC: adding, restoring, links, and stock `dvc` commands typed in a namespace; and what it costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from controllers.tools.dvc_files import Version, read_entry, write_text
from reconciler.errors import Transient
from tests.contract.dvc_house import House, folder, objects


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "in stall")


# --- adding and restoring ---


def test_a_file_and_a_folder_become_versions_that_stock_dvc_pushes_fetches_and_pulls(house: House) -> None:
    house.file("data/a b.csv", "x\n1\n")
    folder(house)
    one, two = house.keep("one", "data/a b.csv"), house.keep("two", "pictures")
    assert (one.nfiles, two.nfiles, two.is_dir) == (None, 3, True)
    assert house.dvc.push(one.md5, "store") == 1
    house.cli("push", "-r", "store")
    assert house.dvc.in_remote(two.md5, "store")
    assert "in sync" in house.cli("status", "-c", "-r", "store")
    shutil.rmtree(house.dvc.cache.objects)
    house.cli("fetch", "-r", "store")
    assert house.dvc.damaged(one.md5) == house.dvc.damaged(two.md5) == []
    house.cli("pull", "-r", "store")
    assert (house.dvc.names.path("p") / "two/pictures/sub 2/2.txt").read_text() == "picture 2\n"
    assert house.dvc.names.listing(["p"])["p"].keys() == {"one", "two"}
    assert "up to date" in house.cli("status")


def test_hashes_are_those_of_stock_dvc(house: House, tmp_path: Path) -> None:
    folder(house)
    (house.root / "pictures" / ".mlops-half").write_text("not part of it")
    version = house.keep("two", "pictures")
    work = tmp_path / "by hand"
    shutil.copytree(house.root, work, ignore=shutil.ignore_patterns(".mlops-*"))
    for words in (["init", "--no-scm", "-q"], ["add", "-q", "pictures"]):
        subprocess.run([str(Path(sys.executable).with_name("dvc")), *words], cwd=work, check=True, capture_output=True)
    assert read_entry(work / "pictures.dvc").version == version


def test_a_restore_puts_back_exactly_what_was_there(house: House) -> None:
    path = house.file("data/a.bin", os.urandom(200_000))
    folder(house)
    one, two, data = house.keep("one", "data/a.bin"), house.keep("two", "pictures"), path.read_bytes()
    path.unlink()
    shutil.rmtree(house.root / "pictures")
    house.restore("one", "data/a.bin", one)
    house.restore("two", "pictures", two)
    assert path.read_bytes() == data
    assert house.dvc.hash(house.root, "pictures") == two
    assert os.access(path, os.W_OK)
    assert not path.is_symlink()
    assert not list(house.root.rglob(".mlops-*"))


def test_other_bytes_are_saved_before_a_version_takes_their_place(house: House) -> None:
    path = house.file("a.csv", "v1")
    first = house.keep("one", "a.csv")
    path.write_text("an edit that nobody saved")
    house.restore("one", "a.csv", first)
    (saved,) = house.dvc.names.saved("p", "one")
    assert path.read_text() == "v1"
    assert house.dvc.cache.path(saved.version.md5).read_text() == "an edit that nobody saved"


def test_file_and_folder_can_take_each_others_place(house: House) -> None:
    house.file("thing", "a file")
    as_file = house.keep("thing", "thing", "1")
    (house.root / "thing").unlink()
    folder(house, "thing")
    as_folder = house.keep("thing", "thing", "2")
    house.restore("thing", "thing", as_file)
    assert (house.root / "thing").read_text() == "a file"
    house.restore("thing", "thing", as_folder)
    assert house.dvc.hash(house.root, "thing") == as_folder


def test_going_back_to_old_bytes_gives_the_old_version_and_no_second_copy(house: House) -> None:
    path = house.file("a.csv", "v1")
    first = house.keep("one", "a.csv", "1")
    path.write_text("v2")
    second = house.keep("one", "a.csv", "2")
    before = objects(house)
    path.write_text("v1")
    assert house.keep("one", "a.csv", "3") == first
    assert objects(house) == before
    assert [each.version for each in house.dvc.names.history("p", "one")] == [second]


def test_bytes_that_change_while_they_are_read_do_not_become_a_version(house: House) -> None:
    path = house.file("a.bin", os.urandom(64 << 20))  # large enough that reading it takes longer than a write
    stop, begun = Event(), Event()

    def scribble() -> None:
        while not stop.is_set():
            with path.open("r+b") as file:
                file.write(os.urandom(16))
            begun.set()

    writer = Thread(target=scribble)
    writer.start()
    assert begun.wait(10)
    try:
        with pytest.raises(Transient, match="changed while"):
            house.dvc.add("p", house.root, "a.bin")
    finally:
        stop.set()
        writer.join()
    assert objects(house) == set()


def test_recording_the_same_again_writes_nothing(house: House) -> None:
    house.file("a.csv", "v1")
    house.keep("one", "a.csv")
    house.calls.clear()
    entry = house.dvc.names.entry("p", "one")
    assert entry is not None
    house.dvc.names.record("p", "one", entry)
    house.dvc.names.make("p")
    assert house.writes == []


# --- links ---


@pytest.mark.parametrize("link", ["symlink", "hardlink"])
def test_links_into_the_cache_where_the_platform_wants_them(tmp_path: Path, link: str) -> None:
    house = House(tmp_path, links=(link,))
    path = house.file("a.bin", "big")
    version = house.keep("one", "a.bin")
    assert path.is_symlink() if link == "symlink" else path.stat().st_nlink == 2
    assert path.stat().st_mode & 0o222 == 0
    house.dvc.unlink("p", house.root, "a.bin")
    assert path.read_text() == "big"
    assert not path.is_symlink()
    assert path.stat().st_nlink == 1
    assert house.dvc.damaged(version.md5) == []


def test_a_file_that_git_tracks_is_never_replaced_by_a_link(tmp_path: Path) -> None:
    house = House(tmp_path, links=("symlink",))
    path = house.file("a.csv", "in git")
    for words in (["init", "-q"], ["add", "a.csv"]):
        subprocess.run(["git", *words], cwd=house.root, check=True)
    version = house.keep("one", "a.csv")
    assert not path.is_symlink()
    path.unlink()
    house.restore("one", "a.csv", version)
    assert not path.is_symlink()


def test_an_edit_through_a_link_is_kept_and_the_old_version_comes_back_from_the_remote(tmp_path: Path) -> None:
    house = House(tmp_path, links=("symlink",))
    path = house.file("a.csv", "old")
    old = house.keep("one", "a.csv", "1")
    house.dvc.push(old.md5, "store")
    path.chmod(0o644)  # the object itself
    path.write_text("edited through the link")
    new = house.keep("one", "a.csv", "2")
    assert new != old
    assert house.dvc.cache.path(new.md5).read_text() == "edited through the link"
    assert house.dvc.repair(old.md5, remote="store", root=house.root, relative="a.csv") == []
    assert house.dvc.cache.path(old.md5).read_text() == "old"


# --- cost ---


def test_looking_does_not_import_dvc(tmp_path: Path) -> None:
    House(tmp_path).file("a.csv", "v1")
    script = f"""
import sys
from pathlib import Path
from controllers.tools.dvc import Dvc
dvc = Dvc(Path({str(tmp_path)!r}) / "state" / "dvc", wire=print)
dvc.names.make("p")
dvc.names.listing(["p"])["p"]
dvc.look(Path({str(tmp_path)!r}) / "tree" / "p", "a.csv")
print([each for each in sys.modules if each.split(".")[0] in ("dvc", "dvc_data", "dvc_objects", "fsspec", "httpx")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_stat_of_a_thousand_datasets_is_cheap(house: House) -> None:
    """Prints the measurement; the assertion is only that an unchanged pass reads no bytes and calls DVC for nothing."""
    for number in range(1000):
        house.file(f"data/{number}.csv", f"{number}\n")
        version = Version(f"{number:032x}", 5)
        write_text(
            house.dvc.names.path("p") / f"d{number}" / f"{number}.csv.dvc",
            f'outs:\n- md5: {version.md5}\n  size: 5\n  hash: md5\n  path: {number}.csv\nmeta:\n  mlops: \'{{"at": "1"}}\'\n',
        )
    began = time.process_time()
    entries = house.dvc.names.listing(["p"])["p"]
    seen = [house.dvc.look(house.root, f"data/{number}.csv") for number in range(1000)]
    print(f"1,000 datasets: {time.process_time() - began:.3f} s CPU")
    assert len(entries) == 1000
    assert all(seen)
    assert [each.method for each in house.calls] == ["list"]


def test_dvc_is_imported_by_one_thread_at_a_time() -> None:
    """Its modules import each other in circles; eight datasets are looked at by eight threads."""
    program = (
        "import sys; sys.setswitchinterval(1e-6)\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from threading import Barrier\n"
        "from controllers.tools.dvc_calls import load\n"
        "start = Barrier(8)\n"
        "def one(index):\n"
        "    start.wait()\n"
        "    load('dvc.fs' if index % 2 else 'dvc.repo')\n"
        "    from dvc_objects.fs.local import LocalFileSystem\n"
        "    return LocalFileSystem.__name__\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    print(set(pool.map(one, range(8))))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert said.stdout.strip() == "{'LocalFileSystem'}", said.stderr
