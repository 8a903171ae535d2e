"""The API over 10,000 resources in nine projects: pages of the list, totals, events, and what it costs while nobody asks.

`python -m benchmarks.api` prints milliseconds; the Store is made in a temporary folder."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import psutil

from reconciler.api.app import application
from reconciler.api.serve import listening
from reconciler.api.v1.door import open_door
from reconciler.api.v1.limits import Limits
from reconciler.board import Board
from reconciler.house import House, open_house
from reconciler.model import Condition, Health, Location, Owned, Ref, Status
from reconciler.pulse import Pulse
from reconciler.settings import Settings

RESOURCES, PROJECTS = 10_000, 9
FREELY = Limits(reads=1e6, read_burst=10**6)


def fill(house: House, many: int = RESOURCES) -> None:
    """As many experiments as are asked for, all recorded and Ready."""
    now = house.now()
    refs = [Ref("Experiment", f"project-{number % PROJECTS}", f"experiment-{number:05}") for number in range(many)]
    spec = {"spec": {"description": "one of many", "tags": {"team": "a"}}, "lifecycle": {}, "labels": {"team": "a"}}
    made = [Owned(ref, str(at), "root", "d" * 64, spec["spec"], "confirm", {"id": str(at)}, declared=spec) for at, ref in enumerate(refs)]
    ready = (Condition("Ready", True, "Healthy", "", now), Condition("Synced", True, "AsDesired", "", now))
    with house.store.writer("benchmark"):
        house.store.record_many(made)
        house.store.put_statuses([Status(ref, Health.HEALTHY, ready, "d" * 64, Location("a.yaml", 1)) for ref in refs])


def timed(ask: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        found.append((time.perf_counter() - began) * 1000)
    return found


def main() -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        root = Path(folder)
        house = open_house(Settings(root=root, state_dir=root / "state"))
        fill(house)
        door = open_door(house, Board(), FREELY)
        with listening(application(Pulse(30.0), dict, lambda _: None, door=door), 0) as port:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=60) as client:
                measure(client, house)
            door.close()
        house.store.close()


def measure(client: httpx.Client, house: House) -> None:
    """Each kind of request, cold and warm."""
    cold = timed(lambda: client.get("/resources").raise_for_status(), 1)[0]
    print(f"first page of {RESOURCES:,}, nothing read yet   {cold:7.1f} ms")
    last = client.get("/resources?limit=1&q=experiment-09999").json()["items"][0]["ref"]
    some = next(iter(house.store.statuses().values()))

    def after_a_change() -> None:
        changed = replace(some, message=str(time.monotonic_ns()))
        house.store.put_statuses([changed])

    moved = []
    for _ in range(10):
        after_a_change()
        moved += timed(lambda: client.get("/resources").raise_for_status(), 1)
    print(f"page of 100 after a change              {statistics.median(moved):7.1f} ms (most {max(moved):.1f})")
    for name, path in {
        "page of 100": "/resources",
        "page of 100 in the middle": f"/resources?after={last}",
        "page of 100, project and text": "/resources?project=project-3&q=experiment-00",
        "page of 100, label": "/resources?selector=team=a",
        "totals by project and kind": "/status",
        "projects": "/projects",
    }.items():
        client.get(path).raise_for_status()
        found = timed(lambda path=path: client.get(path).raise_for_status(), 30)  # type: ignore[misc]
        print(f"{name:<39} {statistics.median(found):7.1f} ms (most {max(found):.1f})")
    tag = client.get("/resources").headers["etag"]
    found = timed(lambda: client.get("/resources", headers={"if-none-match": tag}), 30)
    print(f"{'the same page again (304)':<39} {statistics.median(found):7.1f} ms")
    process = psutil.Process(os.getpid())
    before = sum(process.cpu_times()[:2])
    time.sleep(10)
    print(f"{'idle, nobody listens':<39} {(sum(process.cpu_times()[:2]) - before) * 10:7.2f} % of a core")
    with client.stream("GET", "/events") as stream:
        next(stream.iter_lines())
        before = sum(process.cpu_times()[:2])
        time.sleep(10)
        print(f"{'idle, one stream of events':<39} {(sum(process.cpu_times()[:2]) - before) * 10:7.2f} % of a core")
    print(f"{'memory of the process':<39} {process.memory_info().rss / 2**20:7.0f} MiB")


if __name__ == "__main__":
    main()
