"""The canary: secrets that a manifest refers to reach the tools, and nothing that a person, a file or another process can read."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.contract.proxy import answering
from tests.e2e.installation import RECONCILE, Installation, Ran, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")

NOWHERE = "http://127.0.0.1:9"
LOOKS = (
    ("--dry-run", "--all", "-v"),
    ("--dry-run", "--all", "-o", "json"),
    ("--dry-run", "--all", "-o", "markdown"),
    ("diff",),
    ("validate",),
    ("status", "--all"),
    ("status", "--all", "-o", "json"),
    ("history", "-o", "json"),
    ("platform", "status"),
    ("doctor",),
    ("--wire-log", "wire.jsonl", "-o", "json"),
)


class Canaries:
    """Secrets that occur nowhere else, and where they may stand: in the environment, and in one file."""

    def __init__(self, here: Installation) -> None:
        self.here = here
        self.words = {name: f"canary-{name}-{uuid.uuid4().hex}" for name in ("password", "key", "file", "database")}
        self.file = here.root.parent / "s3-secret"
        self.file.write_text(self.words["file"] + "\n", encoding="utf-8")
        here.env = {"PASSWORD": self.words["password"], "KEY": self.words["key"]}

    def sung(self, text: str) -> list[str]:
        return [name for name, word in self.words.items() if word in text]

    def files(self) -> dict[str, list[str]]:
        """Every file below the root that holds one."""
        found = {path: self.sung(path.read_bytes().decode(errors="replace")) for path in self.here.root.rglob("*") if path.is_file()}
        return {str(path.relative_to(self.here.root)): names for path, names in found.items() if names}


def _platform(canaries: Canaries, endpoint: str, s3: str = NOWHERE) -> str:
    here = canaries.here
    head = (here.root / "manifests/platform.yaml").read_text().partition("  mlflow:")[0]
    remote = (
        f"name: s3, url: 's3://bucket/x', endpointUrl: '{s3}', accessKeyId: {{fromEnv: KEY}},"
        f" secretAccessKey: {{fromFile: '{canaries.file}'}}"
    )
    return (
        f"{head}  mlflow: {{managed: false, endpoint: '{endpoint}', username: bob, password: {{fromEnv: PASSWORD}}}}\n"
        f"  dvc: {{remotes: [{{{remote}}}]}}\n"
    )


@pytest.fixture
def canaries(tmp_path: Path, mlflow_url: str) -> Canaries:
    name = f"canary-{uuid.uuid4().hex[:6]}"
    here = start(tmp_path / "root", mlflow_url, name)
    found = Canaries(here)
    data = dataset("d", name, "d.csv", "  remote: s3\n  push: false\n")
    here.write(
        {
            "manifests/platform.yaml": _platform(found, mlflow_url),
            "manifests/all.yaml": "---\n".join([project(name), experiment("e", name), data]),
            f"code/{name}/d.csv": "a\n1\n",
        }
    )
    return found


def _quiet(canaries: Canaries, ran: Ran) -> Ran:
    assert canaries.sung(ran.text) == [], ran.text
    return ran


def test_what_works_is_silent(canaries: Canaries) -> None:
    here = canaries.here
    assert _quiet(canaries, here.run("-v")).code == 0
    for words in LOOKS:
        _quiet(canaries, here.run(*words))
    assert json.loads((here.root / "wire.jsonl").read_text().splitlines()[0])["tool"]
    (here.root / "manifests").rename(here.root / "lost")
    assert _quiet(canaries, here.run("import", "--all", "--tool", "store", "--tool", "dvc", "--to", "manifests")).code == 0
    assert "fromEnv: PASSWORD" in (here.root / "manifests/platform.yaml").read_text(), "as it was: a reference"
    assert canaries.files() == {}


def test_what_fails_is_silent_too(canaries: Canaries) -> None:
    here, name = canaries.here, "manifests/platform.yaml"
    here.ok()
    for endpoint in _troubles():
        here.write({name: _platform(canaries, endpoint)})
        assert _quiet(canaries, here.run("--dry-run", "-v")).code != 0
    with answering("<Error><Code>AccessDenied</Code></Error>", status=403) as s3:
        everything = (here.root / "manifests/all.yaml").read_text().replace("push: false", "push: true")
        here.write({name: _platform(canaries, NOWHERE, s3), "manifests/all.yaml": everything})
        ran = _quiet(canaries, here.run("--kind", "dataset", "-v"))
        assert ran.code == 1
        assert "dvc push" in ran.text
    canaries.file.write_bytes(b"\xff" + canaries.words["file"].encode())
    _quiet(canaries, here.run("--kind", "dataset", "-v"))
    here.env["PASSWORD"] += "\r\nX-Injected: 1"
    _quiet(canaries, here.run("--dry-run", "-v"))
    del here.env["PASSWORD"]
    assert "PASSWORD is not set" in _quiet(canaries, here.run("--dry-run")).text
    assert canaries.files() == {}


def test_a_tool_that_repeats_what_it_was_given_is_not_repeated(canaries: Canaries) -> None:
    """Some do: the name and password that were wrong, or the whole request."""
    here, name, word = canaries.here, "manifests/platform.yaml", canaries.words["password"]
    here.ok()
    said = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": f"cannot log in bob with {word!r}; you sent {quote(word)}"})
    for status in (200, 400, 401, 403, 429, 500):
        with answering(said, status=status) as url:
            here.write({name: _platform(canaries, url)})
            for words in (("--dry-run", "-v"), ("-v",), ("--dry-run", "-o", "json"), ("status", "--all"), ("history", "-o", "json")):
                _quiet(canaries, here.run(*words))
    with answering(f"<Error><Code>AccessDenied</Code><Message>{canaries.words['key']}</Message></Error>", status=403) as s3:
        everything = (here.root / "manifests/all.yaml").read_text().replace("push: false", "push: true")
        here.write({name: _platform(canaries, NOWHERE, s3), "manifests/all.yaml": everything})
        for words in (("--kind", "dataset", "-v"), ("status", "--all"), ("history",), ("why", f"dataset/{here.root.name}/d")):
            _quiet(canaries, here.run(*words))
    assert canaries.files() == {}


def _troubles() -> Iterator[str]:
    yield NOWHERE
    with answering('{"error_code": "UNAUTHENTICATED", "message": "who are you?"}', status=401) as url:
        yield url
    with answering("<html>please log in</html>") as url:
        yield url


@pytest.mark.parametrize(
    "address", ["{scheme}://bob:{word}@127.0.0.1:9/x", pytest.param("http://{word}@127.0.0.1:9/x", marks=pytest.mark.full)]
)
def test_an_address_with_a_password_is_refused_and_not_repeated(canaries: Canaries, address: str) -> None:
    here, word = canaries.here, canaries.words["database"]
    url = address.format(scheme="http", word=word)
    bad: Mapping[str, str] = {
        "platform": _platform(canaries, url),
        "remote": _platform(canaries, NOWHERE).replace("s3://bucket", address.format(scheme="s3", word=word)),
        "source": dataset("x", "p", "x", f"  source: {{url: '{url}'}}\n"),
    }
    for text in bad.values():
        here.write({"manifests/platform.yaml": text})
        for words in (("validate",), ("--dry-run", "-o", "json"), ("--dry-run", "-o", "markdown")):
            ran = _quiet(canaries, here.run(*words))
            assert ran.code == 1
        assert "holds a name or a password" in here.run("validate").text


@pytest.mark.parametrize("url", ["nonsense://bob:{}@127.0.0.1:1/x", "{}", "postgresql://bob:{}@@host:port/x"])
def test_a_wrong_database_url_is_not_repeated(tmp_path: Path, url: str) -> None:
    here = start(tmp_path / "root", None, f"canary-{uuid.uuid4().hex[:6]}")
    canaries = Canaries(here)
    here.env = {"DATABASE": url.format(canaries.words["database"])}
    platform = (here.root / "manifests/platform.yaml").read_text()
    here.write({"manifests/platform.yaml": f"{platform}  database: {{managed: false, url: {{fromEnv: DATABASE}}}}\n"})
    ran = _quiet(canaries, here.run("platform", "up", "--timeout", "30s"))
    assert ran.code == 1
    assert "spec.database.url" in ran.err
    assert canaries.files() == {}


def test_no_process_shows_a_secret_in_its_arguments(canaries: Canaries) -> None:
    here = canaries.here
    running = subprocess.Popen(
        [RECONCILE], cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    seen: set[str] = set()
    while running.poll() is None:
        seen |= _arguments()
    assert running.returncode == 0
    assert any("reconcile" in each for each in seen)
    assert [each for each in seen if canaries.sung(each)] == []


def _arguments() -> set[str]:
    """The command lines of all processes of this user."""
    listed = subprocess.run(["ps", "-ww", "-u", str(os.getuid()), "-o", "args="], capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())
