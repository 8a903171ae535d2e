"""The examples do what their READMEs say: each a whole installation, copied out of the repository and played through on the real tools."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.docs.walkthrough import Walk, environment, set_aside, walked
from tests.forked import reconcile

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
TRAINING: tuple[str, ...] = ("training", "tuning", "data-versioning", "monitoring")
SERVING: tuple[str, ...] = ("deployment",)
"""Those that bring Ray Serve: with the other tests of it."""
PLAYED = tuple(
    pytest.param(name, id=name, marks=pytest.mark.xdist_group("serving" if name in SERVING else "runs")) for name in (*TRAINING, *SERVING)
)


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Path:
    """The folder as it is in the repository."""
    return EXAMPLES / str(request.param)


@pytest.fixture
def walk(example: Path, tmp_path: Path, mlflow_url: str) -> Iterator[Walk]:
    """A copy of the example, on the shared MLflow server and a free port; what an earlier one left, and what serves, is ended."""
    root = tmp_path / example.name
    shutil.copytree(example, root, ignore=shutil.ignore_patterns("__pycache__", ".mlops"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    platform = root / "manifests" / "platform.yaml"
    server = f"  mlflow: {{managed: false, endpoint: '{mlflow_url}'}}\n"
    platform.write_text(platform.read_text().replace("port: 8008", f"port: {port}") + server)
    env = environment(Path(sys.executable).parent) | {"BENTOML_DO_NOT_TRACK": "True"}
    _forget(root, mlflow_url)
    yield Walk(root, env, {"127.0.0.1:8008": f"127.0.0.1:{port}"})
    if example.name in (*SERVING, "monitoring"):
        done = reconcile("platform", "down", cwd=root, env=env, timeout=180)
        assert done.returncode == 0, done.stderr
    _forget(root, mlflow_url)


@pytest.mark.parametrize("example", PLAYED, indirect=True)
def test_the_example_does_what_it_says(example: Path, walk: Walk) -> None:
    walked(example / "README.md", walk)


def test_every_example_with_a_page_is_played() -> None:
    assert {each.parent.name for each in EXAMPLES.glob("*/README.md")} == {*TRAINING, *SERVING}


@pytest.mark.parametrize("name", [*TRAINING, *SERVING])
def test_the_page_is_short_and_names_every_file(name: str) -> None:
    page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 150
    named = set(re.findall(r"\]\(([^):]+)\)", page))
    for path in (EXAMPLES / name).rglob("*"):
        if path.is_file() and path.suffix in (".py", ".yaml") and "__pycache__" not in path.parts:
            assert path.relative_to(EXAMPLES / name).as_posix() in named, f"{path.name} is not told of in the README of {name}"


def test_no_two_examples_share_a_name_in_a_tool() -> None:
    """Somebody may point all of them at one server."""
    told = [each for name in (*TRAINING, *SERVING) for each in _documents(EXAMPLES / name)]
    for kind, where in (("Project", lambda each: each["metadata"]["name"]), ("Platform", lambda each: each["spec"]["installation"])):
        names = [where(each) for each in told if each["kind"] == kind]
        assert len(names) == len(set(names)), names


def _documents(root: Path) -> list[dict[str, Any]]:
    return [each for path in sorted((root / "manifests").glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]


def _forget(root: Path, url: str) -> None:
    """What an earlier walk left on the shared server."""
    told = [(each["kind"], each["metadata"]) for each in _documents(root)]
    set_aside(url, [named["name"] for kind, named in told if kind == "Project"])
    for name in (f"{named['project']}.{named['name']}" for kind, named in told if kind == "Model"):
        answer = httpx.request("DELETE", f"{url}/api/2.0/mlflow/registered-models/delete", json={"name": name}, timeout=30, trust_env=False)
        assert answer.status_code in (200, 404), answer.text
