"""The installation that is harmed: repositories with their server, MLflow behind the proxy, a clone, and the loop over it."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from reconciler.platform import Services, ServiceSpec
from tests.campaign.wire import Wire
from tests.campaign.world import API, ROOT, TEAM, World
from tests.contract.git_lab import Server, commit, git
from tests.e2e.installation import Ran
from tests.forked import RECONCILE, reconcile

EVERY = "2s"
"""The loop's own passes: drift by hand is found by the clock alone."""
SERVICES_SECONDS = 240.0


@dataclass
class Loop:
    """One `reconcile watch`."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    stopped: bool = False

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
            self.stopped = number == signal.SIGSTOP or (self.stopped and number != signal.SIGCONT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(30)

    def end(self) -> int:
        """As a service manager ends it."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Site:
    folder: Path
    mlflow: str
    """Address of the server itself, past the proxy."""
    store: str = ""
    """Address of the Store; empty = SQLite in the state folder."""
    services: Services | None = None
    """Of MLflow, where it is the campaign's own and may be killed."""
    every: str = EVERY
    fetch: str = "5s"
    """How often the remotes are asked without a push."""
    bulk: dict[str, str] = field(default_factory=dict)
    """Further files of the root's repository."""
    name: str = field(default_factory=lambda: f"camp-{uuid.uuid4().hex[:6]}")
    loops: list[Loop] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What commands printed."""
    starts: int = 0
    ids: set[str] = field(default_factory=set)
    """Of everything that has ever carried our mark."""

    def __post_init__(self) -> None:
        self.secrets = {name: f"canary{name}{uuid.uuid4().hex}" for name in ("password", "token", "hook", "key", "file", "alert")}
        self.root, self.origins = self.folder / "root", self.folder / "origins"
        self.dev = {ROOT: self.folder / "dev", TEAM: self.folder / "team"}
        self.git = Server(self.origins, token=self.secrets["token"])
        self.wire: Wire = Wire(self.mlflow, "bob", self.secrets["password"])

    # --- tools ---

    @property
    def tag(self) -> str:
        """At the end of the names of projects."""
        return f"-{self.name[-6:]}"

    def rest(self, method: str, path: str, **request: Any) -> Any:
        """One call as a person would make it, past the reconciler."""
        answer = httpx.request(method, f"{self.mlflow}/api/2.0/mlflow/{path}", trust_env=False, timeout=60, **request)
        answer.raise_for_status()
        return answer.json()

    # --- repositories ---

    def build(self, world: World) -> None:
        """Repositories, the clone, everything pushed once. The git server and the proxy must listen already."""
        self.origins.mkdir(parents=True)
        (self.folder / "s3-secret").write_text(self.secrets["file"])
        for home in (ROOT, TEAM):
            bare = self.origins / f"{home}.git"
            git(self.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
            self.dev[home].mkdir()
            git(self.dev[home], "init", "--quiet", "--initial-branch=main")
            git(self.dev[home], "remote", "add", "origin", str(bare))
            self.push(world, home)
        git(self.folder, "clone", "--quiet", str(self.origins / f"{ROOT}.git"), str(self.root))
        self.write_loose(world)

    def wanted(self, world: World, home: str) -> dict[str, str]:
        """All files of a repository."""
        if home == TEAM:
            return {**world.files(home), "README": "team"}
        code = {f"code/{each.name}/README": "code" for each in world.of("Project")}
        fixed = {"manifests/platform.yaml": self.platform(), ".gitignore": ".mlops/\ncode/*/local/\n"}
        return {**world.files(home), **code, **fixed, **self.bulk}

    def push(self, world: World, home: str, message: str = "change", *, force: bool = False) -> str:
        """Commit what is declared, when it is news, and push it; the commit."""
        self.write(self.dev[home], self.wanted(world, home))
        made = commit(self.dev[home], {}, message=message)
        git(self.dev[home], "push", "--quiet", *(["--force"] if force else []), "origin", "HEAD:main")
        return made

    @staticmethod
    def write(folder: Path, files: Mapping[str, str]) -> None:
        """Make the tracked files exactly these."""
        tracked = [name for name in git(folder, "ls-files", "-z").split("\0") if name and name not in files]
        for name in tracked:
            (folder / name).unlink(missing_ok=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    def write_loose(self, world: World) -> None:
        for name, text in world.loose().items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    def newest(self, home: str) -> str:
        return git(self.origins / f"{home}.git", "rev-parse", "main")

    def platform(self) -> str:
        hook = {"fromEnv": "HOOK"}
        remote = {"name": "s3", "url": "s3://bucket/x", "endpointUrl": "http://127.0.0.1:9", "accessKeyId": {"fromEnv": "KEY"}}
        remote["secretAccessKey"] = {"fromFile": str(self.folder / "s3-secret")}
        team = {"url": f"{self.git.url}/team.git", "revision": "main", "every": self.fetch, "token": {"fromEnv": "TOKEN"}, "webhook": hook}
        spec = {
            "installation": self.name,
            "mlflow": {"managed": False, "endpoint": self.wire.url, "username": "bob", "password": {"fromEnv": "PASSWORD"}},
            "dvc": {"remotes": [remote]},
            "follow": {"revision": "main", "every": self.fetch, "webhook": hook},
            "sources": [{"name": TEAM, "projects": [f"{TEAM}{self.tag}"], "path": "deploy", "git": team}],
        }
        webhook = {"url": {"fromEnv": "ALERT"}, "secret": hook}
        told = {"receivers": [{"name": "ops", "webhook": webhook}], "routes": [{"receivers": ["ops"], "changes": True}], "groupWait": "1s"}
        documents = [
            {"apiVersion": API, "kind": "Platform", "metadata": {"name": "campaign"}, "spec": spec},
            {"apiVersion": API, "kind": "AlertPolicy", "metadata": {"name": "ops"}, "spec": told},
        ]
        return yaml.safe_dump_all(documents, sort_keys=False)

    def hook(self, home: str, *, forged: bool = False) -> None:
        """A forge tells of a push; what does not answer hears nothing, as in life."""
        body = b'{"ref": "refs/heads/main"}'
        key = b"guessed" if forged else self.secrets["hook"].encode()
        signature = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
        for each in self.loops:
            if not each.stopped:
                try:
                    url = f"http://127.0.0.1:{each.port}/hooks/git/{home}"
                    httpx.post(url, content=body, headers={"X-Hub-Signature-256": signature}, trust_env=False, timeout=2)
                except httpx.HTTPError:
                    continue

    # --- the program ---

    @property
    def environment(self) -> dict[str, str]:
        base = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "MLFLOW_", "PYTHONDONTWRITE", "GIT_"))}
        own = {"PASSWORD": "password", "TOKEN": "token", "HOOK": "hook", "KEY": "key"}
        made = {name: self.secrets[of] for name, of in own.items()} | {"ALERT": f"http://127.0.0.1:9/{self.secrets['alert']}"}
        return {**base, **made, "NO_COLOR": "1", "COLUMNS": "160", **({"MLOPS_STORE": self.store} if self.store else {})}

    @property
    def loop(self) -> Loop:
        """The one that should lead."""
        return self.loops[0] if self.loops else self.start()

    def start(self) -> Loop:
        """One more `reconcile watch`."""
        self.starts += 1
        port, log = _free_port(), self.folder / f"loop-{self.starts}.log"
        with log.open("ab") as out:
            argv = [RECONCILE, "-v", "watch", "--every", self.every, "--listen", str(port)]
            process = subprocess.Popen(argv, cwd=self.root, env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        found = Loop(process, log, port)
        self.loops.append(found)
        return found

    def restarted(self, pause: float) -> None:
        """What a service manager does when the loop is gone."""
        self.loops = [each for each in self.loops if each.process.poll() is None]
        if not self.loops:
            time.sleep(pause)
            self.start()

    def run(self, *words: str, timeout: float = 120) -> Ran:
        """One command beside the loop."""
        done = reconcile(*words, cwd=self.root, env=self.environment, timeout=timeout)
        self.said.append(done.stdout + done.stderr)
        return Ran(done.returncode, done.stdout, done.stderr)

    def beside(self, *words: str, program: str = RECONCILE) -> subprocess.Popen[bytes]:
        """A command that is not waited for."""
        argv, nothing = [program, *words], subprocess.DEVNULL
        with (self.folder / "beside.log").open("ab") as out:
            return subprocess.Popen(argv, cwd=self.root, env=self.environment, stdout=out, stderr=out, stdin=nothing)

    def close(self) -> None:
        for each in self.loops:
            each.end()
        self.wire.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def services_in(folder: Path) -> Services:
    """A real MLflow on a real PostgreSQL, up."""
    found = Services(folder, [ServiceSpec("mlflow")])
    found.ensure(["mlflow"], deadline=SERVICES_SECONDS)
    return found


def random_of(*parts: object) -> random.Random:
    """The same for the same parts, everywhere."""
    return random.Random("/".join(map(str, parts)))
