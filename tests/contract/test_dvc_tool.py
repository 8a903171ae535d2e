"""The DVC client against real DVC: in process, and stock `dvc` commands typed in a namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from controllers.tools.dvc import Dvc, Entry, Remote
from controllers.tools.dvc_calls import translated
from controllers.tools.dvc_files import Version, read_entry, write_text
from reconciler.controller import Call
from reconciler.errors import Conflict, Terminal, Transient


class House:
    """One installation in a folder, with the project `p`."""

    def __init__(self, base: Path, **more: Any) -> None:
        self.base, self.calls = base, list[Call]()
        self.root = base / "tree" / "p"
        self.root.mkdir(parents=True, exist_ok=True)
        more.setdefault("remotes", [Remote("store", str(base / "remote store"))])
        self.dvc = Dvc(base / "state" / "dvc", wire=self.calls.append, **more)

    def file(self, name: str, data: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def keep(self, name: str, relative: str, at: str = "1", project: str = "p") -> Version:
        version, _ = self.dvc.add(project, self.root, relative)
        self.dvc.names.record(project, name, Entry(Path(relative).name, version, {"at": at, "path": relative}))
        return version

    def restore(self, name: str, relative: str, version: Version) -> None:
        self.dvc.restore("p", name, self.root, relative, version.md5, {"at": "now"})

    @property
    def writes(self) -> list[str]:
        return [each.method for each in self.calls if each.write]

    def cli(self, *words: str) -> str:
        env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        program = str(Path(sys.executable).with_name("dvc"))
        done = subprocess.run([program, *words], cwd=self.dvc.names.path("p"), env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "in stall")


def folder(house: House, name: str = "pictures", files: int = 3) -> None:
    for number in range(files):
        house.file(f"{name}/sub {number}/{number}.txt", f"picture {number}\n")


def objects(house: House) -> set[str]:
    return {each.name for each in house.dvc.cache.objects.rglob("*") if each.is_file()}


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
    assert house.dvc.names.entries("p").keys() == {"one", "two"}
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
    path = house.file("a.bin", os.urandom(1 << 20))
    stop: list[bool] = []

    def scribble() -> None:
        while not stop:
            with path.open("r+b") as file:
                file.write(os.urandom(16))

    writer = Thread(target=scribble)
    writer.start()
    try:
        with pytest.raises(Transient, match="changed while"):
            house.dvc.add("p", house.root, "a.bin")
    finally:
        stop.append(True)
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
    with pytest.raises(Terminal, match="damaged"):
        house.restore("one", "a.csv", version)
    assert path.read_text() == "mine"


def test_a_remote_with_damaged_or_missing_bytes_is_an_error(house: House) -> None:
    house.file("a.csv", "v1")
    version = house.keep("one", "a.csv")
    with pytest.raises(Terminal, match="lacks"):
        house.dvc.cache.drop([version.md5])
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
    assert len(house.dvc.names.entries("p")) == 8
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
    entries = house.dvc.names.entries("p")
    assert isinstance(entries["one"], Entry)
    assert isinstance(entries["two"], Terminal)


# --- other places ---


def test_import_from_another_dvc_repository(house: House, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "data").mkdir(parents=True)
    (theirs / "data" / "t.csv").write_text("x\n1\n")
    dvc = str(Path(sys.executable).with_name("dvc"))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (
        ["git", "init", "-q"],
        [dvc, "init", "-q"],
        [dvc, "add", "-q", "data/t.csv"],
        ["git", "add", "-A"],
        [*git, "commit", "-qm", "one"],
    ):
        subprocess.run(words, cwd=theirs, check=True, capture_output=True)
    version, revision = house.dvc.take_repo(str(theirs), "data/t.csv", "HEAD")
    assert house.dvc.cache.path(version.md5).read_text() == "x\n1\n"
    assert revision == subprocess.run(["git", "rev-parse", "HEAD"], cwd=theirs, capture_output=True, text=True, check=True).stdout.strip()
    with pytest.raises(Terminal, match="is not in"):
        house.dvc.take_repo(str(theirs), "data/u.csv", None)
    house.file("a.csv", "v1")
    house.keep("one", "a.csv")
    with pytest.raises(Terminal, match="belongs to this installation"):
        house.dvc.take_repo(str(house.dvc.names.path("p")), "one/a.csv", None)
    assert not list((house.dvc.names.area / "incoming").iterdir())


def test_import_over_http_follows_only_to_allowed_hosts(house: House, http: str) -> None:
    version, _ = house.dvc.take_url(f"{http}/t.csv", lambda host: host == "127.0.0.1")
    assert house.dvc.cache.path(version.md5).read_text() == "x\n1\n"
    with pytest.raises(Terminal, match="'localhost' is not a host"):
        house.dvc.take_url(f"{http}/elsewhere", lambda host: host == "127.0.0.1")
    with pytest.raises(Terminal, match="404"):
        house.dvc.take_url(f"{http}/no.csv", lambda host: True)
    with pytest.raises(Transient, match="503"):
        house.dvc.take_url(f"{http}/busy", lambda host: True)


@pytest.fixture
def http() -> Iterator[str]:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = {"/t.csv": 200, "/elsewhere": 302, "/busy": 503}.get(self.path, 404)
            self.send_response(status)
            self.send_header("Location", f"http://localhost:{server.server_port}/t.csv")
            self.end_headers()
            if status == 200:
                self.wfile.write(b"x\n1\n")

        def log_message(self, *_: object) -> None:
            """Keeps the test's output readable."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_a_remote_in_s3(tmp_path: Path, s3: str) -> None:
    import boto3

    secret = "canary-secret-key"
    client = boto3.client("s3", endpoint_url=s3, aws_access_key_id="id", aws_secret_access_key=secret, region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="raw/t.csv", Body=b"x\n1\n")
    remote = Remote("cloud", "s3://bucket/dvc", s3, "us-east-1", lambda: ("id", secret))
    house = House(tmp_path, remotes=[remote])
    folder(house)
    version = house.keep("two", "pictures")
    assert not house.dvc.in_remote(version.md5, "cloud")
    assert house.dvc.push(version.md5, "cloud") == 4
    assert house.dvc.push(version.md5, "cloud") == 0
    assert house.dvc.in_remote(version.md5, "cloud")
    shutil.rmtree(house.dvc.cache.objects)
    assert house.dvc.fetch(version.md5, "cloud") == 4
    assert house.dvc.damaged(version.md5) == []
    taken, etag = house.dvc.take_url("s3://bucket/raw/t.csv", lambda _: False)
    assert house.dvc.cache.path(taken.md5).read_text() == "x\n1\n"
    assert etag
    env = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": secret}
    os.environ.update(env)
    try:
        assert "in sync" in house.cli("status", "-c", "-r", "cloud")
    finally:
        for each in env:
            del os.environ[each]
    written = [each for each in house.base.rglob("*") if each.is_file() and secret.encode() in each.read_bytes()]
    assert written == []
    assert secret not in repr(remote) + repr(house.calls)


def test_an_s3_server_that_is_away_is_transient(tmp_path: Path) -> None:
    house = House(tmp_path, remotes=[Remote("cloud", "s3://bucket/dvc", "http://127.0.0.1:9", "us-east-1", lambda: ("id", "key"))])
    house.file("a.csv", "v1")
    version = house.keep("one", "a.csv")
    with pytest.raises(Transient):
        house.dvc.push(version.md5, "cloud")


# --- cost ---


def test_looking_does_not_import_dvc(tmp_path: Path) -> None:
    House(tmp_path).file("a.csv", "v1")
    script = f"""
import sys
from pathlib import Path
from controllers.tools.dvc import Dvc
dvc = Dvc(Path({str(tmp_path)!r}) / "state" / "dvc", wire=print)
dvc.names.make("p")
dvc.names.entries("p")
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
    entries = house.dvc.names.entries("p")
    seen = [house.dvc.look(house.root, f"data/{number}.csv") for number in range(1000)]
    print(f"1,000 datasets: {time.process_time() - began:.3f} s CPU")
    assert len(entries) == 1000
    assert all(seen)
    assert [each.method for each in house.calls] == ["list"]
