"""Four ways to one Bento: through the gateway, at the replica's own socket, `bentoml serve`, Ray Serve with its HTTP proxy."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import Answer, Load
from benchmarks.measure import percentile
from benchmarks.serving_site import BODY, PATIENCE, ServingSite, answers, proportional, until
from controllers.tools.serve_apps import QUIET
from reconciler.model.serving import bentoml_home
from reconciler.platform import Services, ServiceSpec, ports
from reconciler.platform.process import tree
from reconciler.platform.ray import SERVE, connect

GATEWAY, SOCKET, BENTOML, PLAIN = "gateway, key and prediction log", "the replica's own socket", "`bentoml serve`", "Ray Serve, its proxy"
WORKERS = (1, 16)
ROUNDS, SECONDS, WARM = 5, 3.0, 1.0
START = 180.0
"""Seconds that each of the others may take until it answers."""


@dataclass(frozen=True)
class Way:
    """One of the four."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    socket: str = ""

    def load(self, workers: int) -> Load:
        return Load(self.url, BODY, self.headers, workers=workers, pause=0, timeout=PATIENCE, socket=self.socket)


@dataclass(frozen=True)
class Round:
    """What was seen of one way in some seconds. Latencies in seconds."""

    answers: Sequence[Answer]
    rate: float
    """Good answers per second."""

    def quantile(self, part: float) -> float:
        return percentile([each.seconds for each in self.answers], part)


@dataclass
class Compared:
    """All rounds, by the name of the way and the number of workers, and the memory of each process in MiB."""

    rounds: dict[tuple[str, int], list[Round]] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)

    def added(self, workers: int, part: float = 0.5) -> float:
        """Milliseconds by which the gateway is slower than the replica's socket: the median over the rounds, each a pair of neighbours."""
        pairs = zip(self.rounds[GATEWAY, workers], self.rounds[SOCKET, workers], strict=True)
        return 1000 * statistics.median(one.quantile(part) - other.quantile(part) for one, other in pairs)


def compare(site: ServingSite, key: str, folder: Path) -> Compared:
    """Measure all four in the same minutes, round by round, so that what else the machine does hits all alike."""
    [replica] = site.replicas()
    ours = [
        Way(GATEWAY, site.url, {"authorization": f"Bearer {key}"}),
        Way(SOCKET, "http://localhost/predict", socket=replica.socket),
    ]
    found = Compared()
    with ExitStack() as others:
        bentoml_way, arbiter = others.enter_context(bentoml_serve(site, folder))
        plain_way, head, model = others.enter_context(plain_serve(site, folder))
        ways = [*ours, bentoml_way, plain_way]
        for each in ways:
            _check(each)
        for number in range(ROUNDS):
            for workers in WORKERS:
                for each in ways if number % 2 else reversed(ways):
                    found.rounds.setdefault((each.name, workers), []).append(_round(each, workers))
        found.memory = {
            GATEWAY: {"model": proportional(replica.pid), "gateway": proportional(site.pid("gateway")), **_serve_of(site.pid("ray"))},
            BENTOML: {"model": proportional(arbiter)},
            PLAIN: {"model": proportional(model), **_serve_of(head)},
        }
    return found


def _round(way: Way, workers: int) -> Round:
    with way.load(workers) as client:
        time.sleep(WARM)
        began = time.monotonic()
        time.sleep(SECONDS)
        ended = time.monotonic()
    answers = [each for each in client.answers if began <= each.at < ended]
    if not answers or any(each.status != 200 for each in client.answers):
        sys.exit(f"{way.name}: {client.failed()[:3] or 'nothing was answered'}")
    return Round(answers, len(answers) / (ended - began))


def _check(way: Way) -> None:
    """All four must answer alike before any is measured."""
    with way.load(1) as client:
        time.sleep(0.5)
    if not client.answers or client.failed():
        sys.exit(f"{way.name} does not answer: {client.failed()[:1]}")


@contextmanager
def bentoml_serve(site: ServingSite, folder: Path) -> Iterator[tuple[Way, int]]:
    """The way, and the PID of the arbiter above the worker."""
    port = ports.choose(f"bentoml-{folder}")
    argv = [str(Path(sys.executable).with_name("bentoml")), "serve", site.bento, "--host", "127.0.0.1", "--port", str(port)]
    env = {**site.env, **_settings(site)}
    with (folder / "bentoml.log").open("ab") as out:
        child = subprocess.Popen(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        until(START, "`bentoml serve` answers", lambda: not ports.is_free(port) and answers(f"http://127.0.0.1:{port}/readyz"))
        yield Way(BENTOML, f"http://127.0.0.1:{port}/predict"), child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@contextmanager
def plain_serve(site: ServingSite, folder: Path) -> Iterator[tuple[Way, int, int]]:
    """The way, the PID of a second Ray head that nothing else uses, and that of the replica."""
    services = Services(folder / "plain", [ServiceSpec("ray")])
    services.ensure(["ray"], deadline=START)
    try:
        port = ports.choose(f"plain-{folder}")
        with connect(services.endpoint("ray").url, START) as client:  # the first request to Serve starts it
            client.put(SERVE, json=_application(site, port)).raise_for_status()
            until(START, "Ray Serve runs the Bento", lambda: _running(client))
            model = int(_running(client)[0]["pid"])
        until(START, "Ray Serve's proxy answers", lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        head = services.status(probe=False)["ray"].pid
        assert head is not None
        yield Way(PLAIN, f"http://127.0.0.1:{port}/predict"), head, model
    finally:
        services.stop()


def _application(site: ServingSite, port: int) -> Mapping[str, Any]:
    env = {**_settings(site), "PYTHONPATH": str(Path(__file__).parent.parent)}
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "plain",
                "route_prefix": "/",
                "import_path": "benchmarks.plain_serve:build",
                "args": {"bento": site.bento},
                "runtime_env": {"env_vars": env},
                "logging_config": {"log_level": "WARNING", "enable_access_log": False},
            }
        ],
    }


def _settings(site: ServingSite) -> dict[str, str]:
    """What replicas of ours are given too: without it the others would write a line for each request."""
    store = str(bentoml_home(site.state))
    return {"BENTOML_HOME": store, "BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "BENTOML_CONFIG_OVERRIDES": QUIET}


def _running(client: Any) -> list[Mapping[str, Any]]:
    """Replicas of the plain application that are up."""
    told = client.get(SERVE).json()["applications"].get("plain", {})
    if told.get("status") == "DEPLOY_FAILED":
        sys.exit(f"Ray Serve does not run the Bento: {json.dumps(told)[:3000]}")
    found = [each for one in told.get("deployments", {}).values() for each in one["replicas"]]
    return [each for each in found if told["status"] == "RUNNING" and each["state"] == "RUNNING"]


def _serve_of(head: int) -> dict[str, float]:
    """Serve's own processes below a Ray head, MiB."""
    found: dict[str, float] = {}
    for each in tree(head):
        title = " ".join(each.cmdline())
        for name, word in (("controller", "ray::ServeController"), ("proxy", "ray::ProxyActor")):
            if title.startswith(word):
                found[name] = proportional(each.pid)
    return found
