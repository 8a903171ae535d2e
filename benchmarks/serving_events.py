"""What a client notices of everything that happens to a deployment while it asks without pause."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import psutil

from benchmarks.load import Answer, Load
from benchmarks.serving_site import Late, ServingSite, answers, until
from reconciler.platform.process import tree

WORKERS, PAUSE = 4, 0.02
"""Of the load: each client asks again 20 ms after an answer, and after a failure too: it does not wait longer, and tries nothing again."""
BEFORE, AFTER = 1.0, 1.5
"""Seconds that are asked before and after what happens."""
GONE, BACK = 30.0, 120.0
"""Longest wait for a process that was told to end, and for one that is to come back."""
NONE = "0 failed"
CANARY = "  rollout:\n    strategy: canary\n    steps: [{{weight: 30, hold: {}s}}]\n    gates: {{errorRate: 0.02, minRequests: 10}}\n"
SHARE = 30
"""Per cent of the requests that a canary gets."""


@dataclass(frozen=True)
class Event:
    """One thing that happened, and what the client saw. Seconds."""

    what: str
    promised: str
    sent: int
    failed: int
    worst: float
    """Of all requests, failed ones too."""
    silence: float
    """Longest time between two good answers, whoever of the clients got them."""
    took: float
    said: str
    """What shows that it did happen; or why it did not."""
    how: str
    """The failed requests, by status."""
    broken: bool = False
    """It did not come about."""


@dataclass
class Watched:
    """A site under load."""

    site: ServingSite
    key: str
    seen: list[Event]

    def during(self, what: str, promised: str, act: Callable[[Load], str]) -> None:
        """Do it under load; what does not come about in its time is told, and the next thing is tried all the same."""
        broken = False
        with self.site.client(self.key, WORKERS, PAUSE) as client:
            time.sleep(BEFORE)
            began = time.monotonic()
            try:
                said = act(client)
            except (Late, psutil.Error, OSError) as error:
                said, broken = f"{type(error).__name__}: {error}", True
            took = time.monotonic() - began
            time.sleep(AFTER)
        failed = client.failed()
        how = ", ".join(f"{number} x {kind}" for kind, number in Counter(map(_kind, failed)).most_common())
        worst = max((each.seconds for each in client.answers), default=0.0)
        event = Event(what, promised, len(client.answers), len(failed), worst, silence(client.answers), took, said, how, broken)
        print(event, *failed[:3], sep="\n  ", flush=True)
        self.seen.append(event)


def _kind(failed: Answer) -> str:
    """How a request failed, in a word or two."""
    if failed.status:
        return str(failed.status)
    return "nobody listens" if failed.error.startswith("ClientConnector") else "broken off"


def silence(answers: Sequence[Answer]) -> float:
    """Longest time between two good answers."""
    good = sorted(each.at + each.seconds for each in answers if each.status == 200)
    return max((after - before for before, after in pairwise(good)), default=0.0)


def happenings(site: ServingSite, key: str) -> list[Event]:
    """All of them, one after the other; each leaves a deployment that serves."""
    watched = Watched(site, key, [])
    watched.during("new version, rolling", NONE, lambda client: _version(site, client, factor=3, accuracy=0.6))
    watched.during("scale up, 1 to 2 replicas", NONE, lambda _: _scale(site, 2))
    watched.during("one of two replicas killed (SIGKILL)", NONE, lambda _: _kill_replica(site))
    watched.during("scale down, 2 to 1 replicas", NONE, lambda _: _scale(site, 1))
    watched.during("Ray Serve's controller killed (SIGKILL)", NONE, lambda _: _kill_controller(site))
    watched.during("new version, canary that is promoted", NONE, lambda client: _canary(site, client))
    watched.during("gateway replaced, `reconcile platform restart gateway`", NONE, lambda _: _replace(site))
    beyond = "what is sent until it is up again"
    watched.during("gateway ended (SIGTERM), then `reconcile --wait`", beyond, lambda client: _gateway(site, client, signal.SIGTERM))
    watched.during("gateway killed (SIGKILL), then `reconcile --wait`", beyond, lambda client: _gateway(site, client, signal.SIGKILL))
    bad = f"what the canary itself fails: at most {SHARE} of 100 requests, until its gate says no"
    watched.during("canary that begins to fail, taken back", bad, lambda client: _bad_canary(site, client))
    return watched.seen


def _version(site: ServingSite, client: Load, factor: float, accuracy: float) -> str:
    before, began = set(client.versions()), time.monotonic()
    site.train(factor, accuracy)
    with _first(client, before) as told:
        site.converge()
        until(BACK, "an answer of the new version", lambda: set(client.versions()) - before)
    return told(began)


def _canary(site: ServingSite, client: Load) -> str:
    site.deploy(CANARY.format(5))
    return _version(site, client, factor=4, accuracy=0.7)


def _bad_canary(site: ServingSite, client: Load) -> str:
    began, before = time.monotonic(), set(client.versions())
    site.deploy(CANARY.format(15))
    site.train(factor=5, accuracy=0.8, late="yes")
    site.converge(allowed=(0, 1, 3))
    [bad] = set(client.versions()) - before or {""}
    failed = client.failed()
    if not bad or not failed:
        raise Late(f"the canary was asked {client.versions()[bad]} times and failed {len(failed)} times")
    again = max(each.at for each in failed) - min(each.at for each in failed)
    since = time.monotonic()
    time.sleep(2)
    if bad in client.versions(since) or client.failed(since):
        raise Late("the canary still answers")
    first = min(each.at for each in failed) - began
    return f"first failure after {first:.1f} s, last one {again:.1f} s later; version {bad} had given {client.versions()[bad]} good answers"


@contextmanager
def _first(client: Load, before: set[str]) -> Iterator[Callable[[float], str]]:
    """Tells when versions answered that had not `before`."""

    def told(began: float) -> str:
        new = [each for each in client.answers if each.status == 200 and each.version not in before and each.version]
        old = [each for each in client.answers if each.version in before]
        first, last = min(each.at for each in new) - began, max(each.at for each in old) - began
        return f"version {new[0].version} from {first:.1f} s on, version {old[0].version} until {last:.1f} s"

    yield told


def _scale(site: ServingSite, number: int) -> str:
    site.deploy(f"  replicas: {{min: {number}}}\n")
    site.converge()
    until(BACK, f"{number} replicas", lambda: len(site.replicas()) == number)
    return f"ready replicas: {number}"


def _kill_replica(site: ServingSite) -> str:
    before = {each.pid for each in site.replicas()}
    if len(before) != 2:
        raise Late(f"there are {len(before)} replicas")
    began = time.monotonic()
    psutil.Process(min(before)).kill()
    until(BACK, "a second replica again", lambda: len({each.pid for each in site.replicas()} - {min(before)}) == 2)
    return f"two again after {time.monotonic() - began:.1f} s, without a pass"


def _kill_controller(site: ServingSite) -> str:
    pid = _controller(site)
    psutil.Process(pid).kill()
    began = time.monotonic()
    until(BACK, "another controller", lambda: _controller(site) not in (0, pid))
    back = time.monotonic() - began
    site.converge()
    return f"another one after {back:.1f} s; then a pass without a change"


def _controller(site: ServingSite) -> int:
    found = [each.pid for each in tree(site.pid("ray")) if _title(each).startswith("ray::ServeController")]
    return found[0] if found else 0


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _replace(site: ServingSite) -> str:
    old = site.pid("gateway")
    site.reconcile("platform", "restart", "gateway")
    if (new := site.pid("gateway")) == old:
        raise Late("the old gateway still answers")
    return f"another process answers at its port: {new} for {old}"


def _gateway(site: ServingSite, client: Load, how: signal.Signals) -> str:
    old = psutil.Process(site.pid("gateway"))
    began, at = time.monotonic(), time.time()
    old.send_signal(how)
    psutil.wait_procs([old], timeout=GONE)
    if old.is_running() and old.status() != psutil.STATUS_ZOMBIE:
        raise Late(f"the gateway did not end within {GONE:.0f} s")
    gone = time.monotonic() - began
    site.converge()
    until(BACK, "the gateway answers", lambda: answers(f"{site.url.partition('/predict')[0]}/readyz"))
    started = psutil.Process(site.pid("gateway")).create_time() - at
    good = min(each.at for each in client.answers if each.status == 200 and each.at > began + gone) - began
    return f"ended after {gone:.1f} s, a new process after {started:.1f} s, a good answer after {good:.1f} s"
