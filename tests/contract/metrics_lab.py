"""A loop at work that listens: real Store, real files; widgets in a fake tool that can be away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from reconciler.api.app import application
from reconciler.api.serve import listening
from reconciler.house import House
from reconciler.pulse import Pulse
from reconciler.selection import Selection
from reconciler.telemetry import catalogue
from reconciler.telemetry.exposition import Metrics
from reconciler.testing import FakeTool
from reconciler.watch import run_forever

PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {name: here}
spec: {installation: here}
---
apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: p}
spec: {path: code}
"""
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FRESH = 0.2
"""In place of the usual two seconds, which the tests would wait for again and again."""
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def declare(root: Path, *widgets: tuple[str, int]) -> None:
    head = "apiVersion: reconciler.mlops/v1\nkind: Widget\nmetadata: {{name: {}, project: p}}\nspec: {{size: {}}}\n"
    (root / "manifests/widgets.yaml").write_text("---\n".join(head.format(*each) for each in widgets))


@dataclass
class Site:
    """A loop that listens."""

    house: House
    tool: FakeTool
    metrics: Metrics
    url: str
    stop: threading.Event
    thread: threading.Thread

    def end(self) -> None:
        """End the loop; it goes on listening."""
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()

    def scraped(self, accept: str = OPENMETRICS) -> Samples:
        answer = httpx.get(f"{self.url}/metrics", headers={"Accept": accept}, trust_env=False)
        assert answer.status_code == 200, answer.text
        parse = openmetrics if accept == OPENMETRICS else plain
        assert answer.headers["content-type"].startswith(accept.partition(";")[0])
        return {(one.name, frozenset(one.labels.items())): one.value for each in parse(answer.text) for one in each.samples}

    def value(self, metric: catalogue.Metric, series: int = 0, **labels: str) -> float | None:
        time.sleep(FRESH)
        return self.scraped().get((metric.series[series], frozenset(labels.items())))

    def until(self, told: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not told():
            assert time.monotonic() < deadline, self.scraped()


def told(metrics: Metrics) -> Samples:
    """Without a listener."""
    text = asyncio.run(metrics.answer(OPENMETRICS))[0].decode()
    return {(one.name, frozenset(one.labels.items())): one.value for each in openmetrics(text) for one in each.samples}


def enlarge(tool: FakeTool) -> None:
    """Somebody changes a widget in the tool."""
    [found] = tool.named("p/a")
    tool.edit(found.id, fields={**found.fields, "size": 99})


def declared(root: Path) -> Path:
    """An installation with two widgets."""
    for name in ("manifests", "code"):
        (root / name).mkdir()
    (root / "manifests/platform.yaml").write_text(PLATFORM)
    declare(root, ("a", 1), ("b", 2))
    return root


@contextmanager
def looping(house: House, tool: FakeTool) -> Iterator[Site]:
    """The loop in a thread of its own, as `reconcile watch --listen` runs it."""
    pulse, stop = Pulse(1.0), threading.Event()
    metrics = Metrics(house, pulse, fresh=FRESH)
    house.wire.listeners.append(metrics.meters.call)
    selection = Selection(paths=(house.settings.root / "manifests",))

    def loop() -> None:
        meters = metrics.meters
        run_forever(
            selection, house, every=1.0, stop=stop, on_report=meters.report, on_trouble=lambda error, _: meters.trouble(error), pulse=pulse
        )

    thread = threading.Thread(target=loop, daemon=True)
    with listening(application(pulse, dict, lambda _: None, metrics), 0) as port:
        thread.start()
        try:
            found = Site(house, tool, metrics, f"http://127.0.0.1:{port}", stop, thread)
            yield found
        finally:
            found.end()
