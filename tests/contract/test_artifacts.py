"""A run's model, fetched from a real MLflow server into the cache."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from controllers.tools.artifacts import descriptor, fetch, location, manifest, read, size, sweep, upload
from controllers.tools.mlflow import connect
from reconciler.controller import Context
from reconciler.errors import Rejected, Terminal, Transient
from reconciler.serving.content import digest
from reconciler.testing.context import Recorder, make_context
from reconciler.testing.services import ServicesAt
from tests.contract.model_folders import adding

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def wire() -> Recorder:
    return Recorder()


@pytest.fixture
def ctx(tmp_path: Path, mlflow_url: str, wire: Recorder) -> Context:
    return make_context(tmp_path / "house", services=ServicesAt({"mlflow": mlflow_url}), wire=wire)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = adding(tmp_path / "model")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "ä weights.bin").write_bytes(os.urandom(3 << 20))
    (folder / "empty.txt").touch()
    return folder


@pytest.fixture
def stored(ctx: Context, model: Path) -> str:
    """Where a run keeps this model."""
    mlflow = connect(ctx)
    experiment = mlflow.create_experiment(f"artifacts/{uuid.uuid4().hex}", {}, None)
    run = mlflow.call("POST", "runs/create", json={"experiment_id": experiment, "start_time": round(time.time() * 1000)})["run"]
    path = location(run["info"]["artifact_uri"], "model")
    for file in model.rglob("*"):
        if file.is_file():
            upload(ctx, f"{path}/{file.relative_to(model).as_posix()}", file.read_bytes())
    return path


def gets(wire: Recorder) -> int:
    return sum(each.method == "GET" and each.target.startswith("mlflow-artifacts") for each in wire.calls)


def test_what_is_fetched_is_what_was_stored_and_is_fetched_once(ctx: Context, model: Path, stored: str, wire: Recorder) -> None:
    found = fetch(ctx, stored)
    assert found.name == digest(model) == digest(found)
    assert size(found) == sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    assert set(manifest(found)) == {"mlops.json", "model.py", "deep/er/ä weights.bin", "empty.txt"}
    assert descriptor(found).runtimes == {"sklearn": {"load": "model.py:load"}}
    assert found.parent.stat().st_mode & 0o077 == 0
    wire.clear()
    assert fetch(ctx, stored, found.name) == found
    assert not wire.calls
    assert not list(found.parent.glob(".fetching-*"))


def test_files_that_were_tampered_with_are_refused_and_named(ctx: Context, model: Path, stored: str, tmp_path: Path) -> None:
    found = fetch(ctx, stored)
    upload(ctx, f"{stored}/model.py", b"import os\n")
    other = make_context(tmp_path / "other", services=ctx.services)
    with pytest.raises(Terminal, match="tampered with: they come to"):
        fetch(other, stored, digest(model))
    assert not [path for path in (other.state_dir / "serving" / "models").iterdir() if path.is_dir()]
    assert fetch(ctx, stored, digest(model)) == found  # what is in the cache is still what was registered
    shutil.rmtree(found)
    with pytest.raises(Terminal, match=r"tampered with: model.py was changed"):
        fetch(ctx, stored, digest(model))


def change(path: Path) -> None:
    (path / "model.py").write_text("import os\n")


def touch(path: Path) -> None:
    os.utime(path / "model.py", (0, 0))


def link(path: Path) -> None:
    (path / "model.py").unlink()
    (path / "model.py").symlink_to("/etc/hostname")


def add(path: Path) -> None:
    (path / "extra.py").touch()


def forget(path: Path) -> None:
    path.with_name(f"{path.name}.json").unlink()


@pytest.mark.parametrize(("harm", "again"), [(change, True), (link, True), (add, True), (touch, False), (forget, False)])
def test_a_cache_that_was_changed_is_made_anew(
    ctx: Context, model: Path, stored: str, wire: Recorder, harm: Callable[[Path], None], again: bool
) -> None:
    found = fetch(ctx, stored)
    harm(found)
    wire.clear()
    assert fetch(ctx, stored, found.name) == found
    assert digest(found) == digest(model)
    assert (gets(wire) > 0) is again


def test_what_is_not_there_is_told(ctx: Context, stored: str) -> None:
    with pytest.raises(Terminal, match="no artifact at"):
        fetch(ctx, f"{stored.rpartition('/')[0]}/nothing")
    with pytest.raises(Rejected):
        read(ctx, f"{stored}/nothing")
    assert b"runtimes" in read(ctx, f"{stored}/mlops.json")


@pytest.mark.parametrize("path", ["../../etc", "/etc", "1/../../x", ""])
def test_paths_that_lead_elsewhere_are_not_asked_for(ctx: Context, path: str, wire: Recorder) -> None:
    for call in (lambda: fetch(ctx, path), lambda: read(ctx, path), lambda: upload(ctx, path, b"")):
        with pytest.raises(Terminal, match="not the path of an artifact"):
            call()
    assert not wire.calls


@pytest.mark.parametrize("uri", ["file:///srv/1/artifacts", "s3://bucket/x", "mlflow-artifacts:/../x", ""])
def test_artifacts_that_are_kept_elsewhere_are_told(uri: str) -> None:
    with pytest.raises(Terminal, match="not kept by the MLflow server"):
        location(uri, "model")


def test_what_nobody_wanted_for_a_day_goes(ctx: Context, stored: str) -> None:
    found = fetch(ctx, stored)
    sweep(ctx.state_dir)
    assert found.is_dir()
    sweep(ctx.state_dir, time.time() + 25 * 3600)
    assert not list(found.parent.iterdir())
    assert fetch(ctx, stored, found.name) == found


def test_a_server_that_lists_names_of_its_own_choice_gets_nothing_written(tmp_path: Path) -> None:
    """Not MLflow, and not honest."""
    answers: dict[str, Any] = {"files": []}

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers).encode() if "path=" in self.path else b"12345"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Liar)
    Thread(target=server.serve_forever, daemon=True).start()
    ctx = make_context(tmp_path / "house", services=ServicesAt({"mlflow": f"http://127.0.0.1:{server.server_port}"}))
    try:
        for name, told in (("..", Terminal), ("a\\..\\b", Terminal), ("x\0y", Terminal), ("", Terminal), ("a", Transient)):
            answers["files"] = [{"path": name, "is_dir": False, "file_size": 4}]
            with pytest.raises(told):
                fetch(ctx, "1/run/artifacts/model")
        answers["files"] = [{"path": "deeper", "is_dir": True}]  # without an end
        with pytest.raises(Terminal, match="is no model"):
            fetch(ctx, "1/run/artifacts/model")
        answers["files"] = [{"path": "huge", "is_dir": False, "file_size": 1 << 50}]
        with pytest.raises(Terminal, match="larger than"):
            fetch(ctx, "1/run/artifacts/model")
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(Transient, match="does not answer"):
        fetch(ctx, "1/run/artifacts/model")
    assert not list((ctx.state_dir / "serving" / "models").iterdir())
