"""The DVC client: damage, paths that lead out, letting go, locks and errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from controllers.tools.dvc import Dvc, Entry
from controllers.tools.dvc_calls import translated
from controllers.tools.dvc_files import write_text
from reconciler.errors import Conflict, Terminal, Transient
from tests.contract.dvc_house import House, folder, objects


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "in stall")


# --- damage ---


def test_damage_is_found_and_repaired_from_the_remote(house: House) -> None:
    folder(house)
    version = house.keep("two", "pictures")
    house.dvc.push(version.md5, "store")
    shutil.rmtree(house.root / "pictures")
    seal = house.dvc.cache.seal(version.md5)
    first = house.dvc.cache.path(house.dvc.cache.parts(version.md5)[0])
    first.chmod(0o644)
    first.write_bytes(b"x" * first.stat().st_size)
    first.chmod(0o444)
    assert house.dvc.cache.seal(version.md5) != seal
    assert len(house.dvc.damaged(version.md5)) == 1
    house.dvc.cache.path(version.md5).unlink()
    assert house.dvc.repair(version.md5, remote="store", root=house.root, relative="pictures") == []
    house.restore("two", "pictures", version)
    assert house.dvc.hash(house.root, "pictures") == version


def test_damage_is_repaired_from_the_bytes_at_the_path(house: House) -> None:
    house.file("a.csv", "v1")
    version = house.keep("one", "a.csv")
    house.dvc.cache.path(version.md5).unlink()
    assert house.dvc.repair(version.md5, remote=None, root=house.root, relative="a.csv") == []


def test_a_damaged_version_is_not_checked_out(house: House) -> None:
    path = house.file("a.csv", "v1")
    version = house.keep("one", "a.csv")
    kept = house.dvc.cache.path(version.md5)
    kept.chmod(0o644)
    kept.write_text("v9")
    path.write_text("mine")
    with pytest.raises(Transient, match="damaged"):
        house.restore("one", "a.csv", version)
    assert path.read_text() == "mine"


def test_a_remote_with_damaged_or_missing_bytes_is_an_error(house: House) -> None:
    house.file("a.csv", "v1")
    version = house.keep("one", "a.csv")
    house.dvc.cache.drop([version.md5])
    with pytest.raises(Terminal, match="lacks"):
        house.dvc.fetch(version.md5, "store")
    house.keep("one", "a.csv")
    house.dvc.push(version.md5, "store")
    (stored,) = (each for each in (house.base / "remote store").rglob("*") if each.is_file())
    stored.chmod(0o644)
    stored.write_text("v9")
    stored.chmod(0o444)
    house.dvc.cache.drop([version.md5])
    with pytest.raises(Terminal, match="damaged"):
        house.dvc.fetch(version.md5, "store")
    with pytest.raises(Terminal, match="no DVC remote 'elsewhere'"):
        house.dvc.push(version.md5, "elsewhere")


# --- sudden death ---


@pytest.mark.parametrize("after", [0.0, 0.005, 0.02, 0.05, 0.1, 0.2])
def test_a_killed_restore_leaves_all_or_nothing_and_the_next_one_finishes(house: House, after: float) -> None:
    for number in range(40):
        house.file(f"pictures/{number}.bin", bytes([number]) * 500_000)
    version = house.keep("two", "pictures")
    shutil.rmtree(house.root / "pictures")
    script = f"""
from pathlib import Path
from controllers.tools.dvc import Dvc
dvc = Dvc(Path({str(house.dvc.names.area)!r}), wire=lambda call: None)
dvc.damaged({version.md5!r})
print("begin", flush=True)
dvc.restore("p", "two", Path({str(house.root)!r}), "pictures", {version.md5!r}, {{}})
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        process.kill()
    place = house.root / "pictures"
    assert not place.exists() or house.dvc.hash(house.root, "pictures") == version
    house.restore("two", "pictures", version)
    assert house.dvc.hash(house.root, "pictures") == version
    assert not list(house.root.glob(".mlops-*"))


def test_a_killed_add_leaves_nothing_that_passes_for_a_version(house: House) -> None:
    path = house.file("a.bin", os.urandom(60_000_000))
    script = f"""
from pathlib import Path
from controllers.tools.dvc import Dvc
dvc = Dvc(Path({str(house.dvc.names.area)!r}), wire=lambda call: None)
print("begin", flush=True)
dvc.add("p", Path({str(house.root)!r}), "a.bin")
"""
    for after in (0.05, 0.15, 0.25):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(after)
            process.kill()
    assert house.dvc.damaged(house.keep("one", "a.bin").md5) == []
    assert house.dvc.cache.path(house.dvc.hash(house.root, "a.bin").md5).stat().st_size == path.stat().st_size


# --- confinement ---


@pytest.mark.parametrize(
    "relative", ["../q/secret.csv", "/etc/passwd", ".", "link/secret.csv", "direct", "inside", ".git/config", "../../state/dvc"]
)
def test_a_path_out_of_the_project_is_refused(house: House, relative: str) -> None:
    other = house.root.parent / "q"
    other.mkdir()
    (other / "secret.csv").write_text("another project's")
    (house.root / "link").symlink_to(other)
    (house.root / "direct").symlink_to(other / "secret.csv")
    house.file("inside/ok.csv", "x")
    (house.root / "inside" / "out").symlink_to(other / "secret.csv")
    with pytest.raises(Terminal):
        house.dvc.add("p", house.root, relative)
    with pytest.raises(Terminal):
        house.dvc.look(house.root, relative)
    assert (other / "secret.csv").read_text() == "another project's"


def test_what_is_no_data_is_refused(house: House) -> None:
    house.file("with/ok.csv", "x")
    os.mkfifo(house.root / "with" / "pipe")
    with pytest.raises(Terminal, match="neither a file nor a folder"):
        house.dvc.look(house.root, "with")


def test_a_listing_that_names_files_outside_itself_is_refused(house: House) -> None:
    house.file("a.csv", "x")
    inner = house.keep("one", "a.csv")
    listing = json.dumps([{"md5": inner.md5, "relpath": "../../evil"}])
    import hashlib

    md5 = hashlib.md5(listing.encode()).hexdigest() + ".dir"
    write_text(house.dvc.cache.path(md5), listing)
    with pytest.raises(Terminal, match="outside itself"):
        house.dvc.restore("p", "one", house.root, "out", md5, {})
    with pytest.raises(Terminal, match="not a DVC digest"):
        house.dvc.damaged("../../../etc/passwd")


# --- letting go ---


def test_only_what_nothing_else_refers_to_is_released(house: House) -> None:
    house.file("shared/a.txt", "in both")
    house.file("shared/b.txt", "in the first only")
    first = house.keep("one", "shared", "1")
    shutil.rmtree(house.root / "shared")
    house.file("other/a.txt", "in both")
    second = house.keep("theirs", "other", project="q")
    assert house.dvc.let_go("p", "one") == 2  # b.txt and the listing
    assert house.dvc.damaged(second.md5) == []
    assert not house.dvc.cache.has(first.md5)
    assert house.dvc.let_go("p", "one") == 0


def test_old_versions_go_one_by_one_and_the_present_one_stays(house: House) -> None:
    path = house.file("a.csv", "v1")
    versions = []
    for number in range(4):
        path.write_text(f"v{number}")
        versions.append(house.keep("one", "a.csv", str(number)))
    old = house.dvc.names.history("p", "one")[1:]
    assert house.dvc.let_go("p", "one", [each.version.md5 for each in old], keep=[versions[0].md5]) == 1
    assert [house.dvc.cache.has(each.md5) for each in versions] == [True, False, True, True]
    assert len(house.dvc.names.history("p", "one")) == 1


def test_nothing_is_released_while_a_kept_listing_cannot_be_read(house: House) -> None:
    folder(house)
    house.file("a.csv", "v1")
    one, two = house.keep("one", "a.csv"), house.keep("two", "pictures")
    house.dvc.cache.path(two.md5).unlink()
    with pytest.raises(Terminal, match="nothing is released"):
        house.dvc.let_go("p", "one")
    assert house.dvc.cache.has(one.md5)
    assert house.dvc.names.entry("p", "one") is not None


def test_a_namespace_that_holds_versions_is_not_removed(house: House) -> None:
    house.file("a.csv", "v1")
    house.keep("one", "a.csv")
    with pytest.raises(Conflict):
        house.dvc.names.remove("p")
    house.dvc.let_go("p", "one")
    house.dvc.names.remove("p")
    house.dvc.names.remove("p")
    assert house.dvc.names.projects() == []


# --- locks and errors ---


def test_a_lock_that_somebody_holds_is_transient(house: House) -> None:
    house.file("a.csv", "v1")
    house.dvc.names.make("p")
    lock = house.dvc.names.path("p") / ".dvc" / "tmp" / "lock"
    script = f"import zc.lockfile, time; held = zc.lockfile.LockFile({str(lock)!r}); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            with pytest.raises(Transient, match="holds the lock"):
                house.dvc.add("p", house.root, "a.csv")
        finally:
            holder.kill()
    house.dvc.add("p", house.root, "a.csv")


def test_several_threads_add_to_one_namespace(house: House) -> None:
    for number in range(8):
        house.file(f"{number}.csv", "same" if number % 2 else f"own {number}")
    threads = [Thread(target=house.keep, args=(f"d{number}", f"{number}.csv")) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(house.dvc.names.listing(["p"])["p"]) == 8
    assert len(objects(house)) == 5


def test_errors_are_told_apart() -> None:
    assert isinstance(translated(OSError(28, "No space left on device"), "add", "x"), Transient)
    assert isinstance(translated(PermissionError(13, "Permission denied"), "add", "x"), Terminal)
    assert isinstance(translated(ConnectionResetError(), "push", "x"), Transient)
    assert isinstance(translated(KeyError("x"), "push", "x"), Terminal)


def test_a_broken_record_is_told_and_the_others_are_read(house: House) -> None:
    house.file("a.csv", "v1")
    house.keep("one", "a.csv")
    house.keep("two", "a.csv")
    (house.dvc.names.path("p") / "two" / "a.csv.dvc").write_text("outs: [")
    entries = house.dvc.names.listing(["p"])["p"]
    assert isinstance(entries["one"], Entry)
    assert isinstance(entries["two"], Terminal)


def test_what_another_project_has_just_put_there_is_not_released_before_it_is_recorded(tmp_path: Path) -> None:
    dvc = Dvc(tmp_path / "state" / "dvc", wire=lambda call: None, links=("symlink", "copy"))
    for project, text in (("q", "same"), ("q", "newer"), ("p", "same")):
        (tmp_path / project).mkdir(exist_ok=True)
        (tmp_path / project / "f").unlink(missing_ok=True)
        (tmp_path / project / "f").write_text(text, encoding="utf-8")
        version, _ = dvc.add(project, tmp_path / project, "f")
        if project == "q":
            dvc.names.record("q", "f", Entry("f", version, {"at": text}))
    dvc.let_go("q", "f", [version.md5])
    dvc.names.record("p", "f", Entry("f", version))
    assert (tmp_path / "p" / "f").read_text(encoding="utf-8") == "same"
