"""The DVC client with other places: another DVC repository, HTTP, S3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from controllers.tools.dvc import Remote
from reconciler.errors import Terminal, Transient
from tests.contract.dvc_house import House, folder


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "in stall")


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
