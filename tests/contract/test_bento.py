"""BentoML packages: built by a program of their own, found by their labels, served without anything else of ours."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from controllers.tools.bentoml import connect
from controllers.tools.ours import import_path
from reconciler.controller import Context
from reconciler.errors import Terminal
from reconciler.model.packaging import BentoSpec, model_folder, tag_name
from reconciler.model.serving import bentoml_home
from reconciler.serving.content import digest
from reconciler.testing.context import Recorder, make_context
from tests.contract.model_folders import adding, describe, mlx, tree

ASK = """
import asyncio, json, sys
import bentoml, httpx

async def ask(tag, body):
    app = bentoml.load(tag).to_asgi()
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return [[found.status_code, found.json()] for each in body for found in [await client.post("/predict", json=each)]]

found = asyncio.run(ask(sys.argv[1], json.loads(sys.argv[2])))
print(json.dumps({"answers": found, "ours": "reconciler" in sys.modules}))
"""


def specify(folder: Path, **more: Any) -> BentoSpec:
    spec = BentoSpec(
        ref="deployment/shop/prices",
        project="shop",
        name="prices",
        digest="ab" * 32,
        folder=str(folder),
        model="shop/prices",
        model_digest=digest(folder),
        version="3",
        run="r" * 32,
        runtime="sklearn",
        installation="contract",
        datasets={"sales": "d" * 32},
    )
    return replace(spec, **more)


def ask(ctx: Context, tag: str, *bodies: Any) -> list[Any]:
    """The answers of the package in a process that cannot see this repository."""
    environment = {"PATH": os.environ["PATH"], "BENTOML_HOME": str(connect(ctx).home), "BENTOML_DO_NOT_TRACK": "True"}
    found = subprocess.run(
        [sys.executable, "-P", "-c", ASK, tag, json.dumps(bodies)], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout.splitlines()[-1])
    assert not answer["ours"]
    return list(answer["answers"])


def contents(home: Path) -> Mapping[str, bytes]:
    """Every file of the store, without the times that BentoML notes."""
    found = {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    return {name: re.sub(rb"creation_time: '[^']*'", b"", text) for name, text in found.items()}


@pytest.fixture
def wire() -> Recorder:
    return Recorder()


@pytest.fixture
def ctx(tmp_path: Path, wire: Recorder) -> Context:
    return make_context(tmp_path / "one", wire=wire)


def test_a_model_is_packaged_and_answers_without_the_reconciler(ctx: Context, tmp_path: Path, wire: Recorder) -> None:
    spec = specify(tree(tmp_path / "model"))
    store = connect(ctx)
    tag = store.build(spec)
    assert tag == f"shop.prices:{'ab' * 8}"
    info = store.bentos()[tag]
    assert (info.ref, info.installation, info.digest) == (spec.ref, "contract", spec.digest)
    assert (info.labels["mlops.run"], info.labels["mlops.dataset.sales"], info.labels["mlops.version"]) == ("r" * 32, "d" * 32, "3")
    assert info.models == (spec.model_tag,)
    assert digest(model_folder(store.home, spec.model_tag)) == spec.model_digest
    one, none, lacks = ask(ctx, tag, {"instances": [{"a": 1.0, "b": 0}, [0.0, 0]]}, {"instances": []}, {"instances": [{"a": 1}]})
    assert (one[0], len(one[1]), none) == (200, 2, [200, []])
    assert lacks[0] == 400
    assert "no field b" in json.dumps(lacks[1])
    assert [(each.method, each.target) for each in wire.writes] == [("build", tag)]
    store.build(spec)
    assert len(wire.writes) == 1
    shutil.rmtree(model_folder(store.home, spec.model_tag).parent)
    store.build(spec)
    assert digest(model_folder(store.home, spec.model_tag)) == spec.model_digest


def test_mlx_answers_from_its_package(ctx: Context, tmp_path: Path) -> None:
    tag = connect(ctx).build(specify(mlx(tmp_path / "model"), runtime="mlx"))
    assert ask(ctx, tag, {"instances": [{"a": 1, "b": 1}]}) == [[200, [5.0]]]


def test_an_own_class_is_packaged_as_it_is(ctx: Context, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "search").mkdir(parents=True)
    (project / "search" / "service.py").write_text(
        "import os\nfrom pathlib import Path\nimport bentoml\n"
        "@bentoml.service\n"
        "class Search:\n"
        "    @bentoml.api\n"
        "    def predict(self, instances: list) -> list:\n"
        "        from search.words import SAID\n"
        "        files = sorted(each.name for each in Path(os.environ['MLOPS_MODEL']).iterdir())\n"
        "        return [[SAID, *files] for _ in instances]\n"
    )
    (project / "search" / "words.py").write_text("SAID = 'found'\n")
    (project / "secret.txt").write_text("no code")
    spec = specify(
        adding(tmp_path / "model"), runtime="bento", service="search.service:Search", root=str(project), code=("search/*.py", "**/*.md")
    )
    store = connect(ctx)
    tag = store.build(spec)
    assert ask(ctx, tag, {"instances": [1]}) == [[200, [["found", "mlops.json", "model.py"]]]]
    assert not list(store.home.rglob("secret.txt"))


@pytest.mark.parametrize(
    ("files", "more", "said"),
    [
        ({"service.py": "raise RuntimeError('not today')\n"}, {}, "not today"),
        ({"service.py": "Search = 3\n"}, {}, "is no BentoML service"),
        ({"service.py": "\n"}, {}, "there is no Search in service"),
        ({}, {}, "no file of the project matches"),
        ({"mlops_model/x.py": "\n"}, {"code": ("mlops_model/*.py",)}, "the name mlops_model is taken"),
        ({"service.py": "\n"}, {"code": ("../*.txt",)}, "outside.txt leads out of the project's folder"),
    ],
)
def test_an_own_class_that_cannot_be_packaged_says_why(
    ctx: Context, tmp_path: Path, files: Mapping[str, str], more: Mapping[str, Any], said: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "outside.txt").write_text("not to be read")
    for name, text in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    given = {"runtime": "bento", "service": "service:Search", "root": str(project), "code": ("*.py",), **more}
    with pytest.raises(Terminal, match=f"cannot be packaged.*{said}"):
        connect(ctx).build(specify(adding(tmp_path / "model"), **given))
    assert not connect(ctx).bentos()
    assert not list(connect(ctx).home.glob(".building-*"))


def test_code_that_leads_out_of_the_project_is_refused(ctx: Context, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "service.py").symlink_to(adding(tmp_path / "elsewhere") / "model.py")
    spec = specify(adding(tmp_path / "model"), runtime="bento", service="service:Search", root=str(project), code=("*.py",))
    with pytest.raises(Terminal, match="leads out of the project's folder"):
        connect(ctx).build(spec)


def test_files_that_are_not_those_of_the_version_are_refused(ctx: Context, tmp_path: Path) -> None:
    spec = specify(adding(tmp_path / "model"))
    describe(tmp_path / "model", runtimes={"sklearn": {"load": "model.py:load"}}, quantization="other")
    with pytest.raises(Terminal, match="the model's files are not those of shop/prices version 3"):
        connect(ctx).build(spec)


def test_the_same_input_gives_the_same_package(tmp_path: Path, ctx: Context) -> None:
    spec = specify(adding(tmp_path / "model"))
    other = make_context(tmp_path / "two")
    shutil.copytree(tmp_path / "model", tmp_path / "copy")
    connect(ctx).build(spec)
    connect(other).build(replace(spec, folder=str(tmp_path / "copy")))
    assert contents(connect(ctx).home) == contents(connect(other).home)
    assert not any(str(tmp_path).encode() in text for text in contents(connect(ctx).home).values())


def test_two_at_once_make_one(tmp_path: Path, wire: Recorder) -> None:
    spec = specify(adding(tmp_path / "model"))
    # two reconcilers share the store, not the client
    contexts = [make_context(tmp_path / "one", wire=wire) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        tags = list(pool.map(lambda each: connect(each).build(spec), contexts))
    assert tags == [spec.tag] * 2
    assert list(connect(contexts[0]).bentos()) == [spec.tag]


def test_what_a_killed_build_left_is_cleared_and_built(ctx: Context, tmp_path: Path) -> None:
    spec = specify(adding(tmp_path / "model"))
    store = connect(ctx)
    argv = [sys.executable, "-m", "reconciler.serving.package", "/dev/stdin"]
    store.home.mkdir(parents=True)
    for _ in range(2):
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, text=True, env={**os.environ, "BENTOML_HOME": str(store.home)})
        assert child.stdin is not None
        child.stdin.write(json.dumps(asdict(spec)))
        child.stdin.close()
        deadline = time.monotonic() + 30
        while not list(store.home.glob(".building-*")) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not store.bentos() or child.returncode == 0
    (store.home / "bentos" / "shop.prices" / ("ab" * 8)).mkdir(parents=True, exist_ok=True)  # as BentoML itself leaves it when it is killed
    store.build(spec)
    assert not list(store.home.glob(".building-*"))
    assert ask(ctx, spec.tag, {"instances": [{"a": 1, "b": 2}]}) == [[200, [3]]]


def test_what_is_in_use_is_never_removed(ctx: Context, tmp_path: Path) -> None:
    store = connect(ctx)
    one, two = adding(tmp_path / "model"), adding(tmp_path / "other", quantization="4-bit")
    specs = [specify(one), specify(one, digest="cd" * 32), specify(two, digest="ef" * 32)]
    tags = [store.build(each) for each in specs]
    assert store.remove(tags, in_use=tags[:1]) == tuple(sorted(tags[1:]))
    assert set(store.bentos()) == {tags[0]}
    assert model_folder(store.home, specs[0].model_tag).is_dir()
    assert not model_folder(store.home, specs[2].model_tag).exists()
    assert (store.home / "bentos" / "shop.prices" / "latest").read_text() == tags[0].partition(":")[2]
    assert store.remove([*tags, "other:1"], in_use=()) == (tags[0],)
    assert not list(store.home.glob("*/*"))


def test_bentoml_serves_it_on_its_own(ctx: Context, tmp_path: Path) -> None:
    """As a person would: `bentoml serve NAME:latest`."""
    tag = connect(ctx).build(specify(adding(tmp_path / "model")))
    port = _free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BENTOML_HOME": str(connect(ctx).home),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    argv = [sys.executable, "-P", "-m", "bentoml", "serve", f"{tag.partition(':')[0]}:latest", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        argv, env=environment, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as child:
        try:
            answer = asyncio.run(_patiently(f"http://127.0.0.1:{port}/predict"))
        finally:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(20)
    assert answer == [3]


async def _patiently(url: str) -> Any:
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(300):
            try:
                found = await client.post(url, json={"instances": [{"a": 1, "b": 2}]})
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            else:
                return found.json()
    raise AssertionError("it never answered")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_another_interpreter_sees_our_packages_and_nothing_beside_them(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    ctx = make_context(tmp_path / "one", platform={"ray": {"interpreter": str(other)}})
    path = Path(import_path(ctx, str(other)))
    assert sorted(each.name for each in path.iterdir()) == ["reconciler", "schemas"]
    assert (path / "reconciler" / "serving" / "package.py").is_file()
    assert import_path(ctx, str(other)) == str(path)


@pytest.mark.parametrize("name", ["a" * 63, "a" * 64, "shop." + "x" * 80, "Übung.modell", "a-" * 40])
def test_names_fit_into_a_tag(name: str) -> None:
    from bentoml import Tag

    assert Tag(tag_name(name), "1").name == tag_name(name)
    assert tag_name(name + "b") != tag_name(name + "c")


def test_the_store_is_listed_while_packages_go(tmp_path: Path) -> None:
    """Two deployments are deleted at once: what one removes, the other may just be looking at."""
    ctx, stop = make_context(tmp_path), threading.Event()
    store = bentoml_home(ctx.state_dir) / "bentos"

    def churn() -> None:
        while not stop.is_set():
            for name in "abcdef":
                (store / name / "v1").mkdir(parents=True)
            for name in "abcdef":
                shutil.rmtree(store / name)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert connect(ctx).bentos() == {}
    finally:
        stop.set()
        thread.join()
