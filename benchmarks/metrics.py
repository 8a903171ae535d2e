"""What a scrape of `/metrics` costs the loop, beside reading the statuses that it tells of one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from benchmarks.page import Budget, Section, budgets, machine
from reconciler.admission.values import Item, Lease
from reconciler.house import open_house
from reconciler.model import Amounts, Condition, Health, Learned, Location, Ref, Status
from reconciler.pulse import Pulse
from reconciler.settings import Settings
from reconciler.state import Queued, Store
from reconciler.telemetry.exposition import Metrics

TITLE = "What a scrape costs"
SIZES = (1_000, 10_000)
SCRAPES, PROJECTS, TEMPLATES = 30, 50, 200
EVERY = 15.0
"""Seconds between two scrapes, as Prometheus' own examples have it."""
SHARE = 0.5
"""Percent of a core: a quarter of what the idle loop may take."""
KINDS = ("Experiment", "Dataset", "Model", "Deployment")


@dataclass(frozen=True)
class Cost:
    """CPU seconds, medians. `waiting` pieces of work wait beside the resources."""

    resources: int
    waiting: int
    scrape: float
    longest: float
    """Wall seconds."""
    one_by_one: float
    bytes: int


def run(folder: Path) -> Section:
    """Both sizes, with nothing and with as much work waiting as there are resources."""
    found = [_cost(folder / f"{size}-{waiting}", size, waiting) for size in SIZES for waiting in (0, size)]
    return Section(TITLE, _lines(found))


def _cost(root: Path, resources: int, waiting: int) -> Cost:
    house = open_house(Settings(root=root))
    _fill(house.store, resources, waiting)
    metrics, walls = Metrics(house, Pulse(30.0), fresh=0.0), list[float]()

    def scrape() -> bytes:
        began = time.perf_counter()
        text, _ = asyncio.run(metrics.answer("application/openmetrics-text"))
        walls.append(time.perf_counter() - began)
        return text

    text = scrape()  # what is loaded and compiled once
    walls.clear()
    cpu = _cpu(scrape)
    house.store.statuses()
    return Cost(resources, waiting, cpu, max(walls), _cpu(house.store.statuses), len(text))


def _cpu(work: Callable[[], object]) -> float:
    used = []
    for _ in range(SCRAPES):
        began = time.process_time()
        work()
        used.append(time.process_time() - began)
    return measure.percentile(used, 0.5)


def _fill(store: Store, resources: int, waiting: int) -> None:
    well = (Condition("Ready", True, "Healthy"), Condition("Synced", True, "AsDesired"))
    refs = [Ref(KINDS[at % len(KINDS)], f"team-{at % PROJECTS:03d}", f"r-{at:05d}") for at in range(resources)]
    store.put_statuses([Status(each, Health.HEALTHY, well, "d", Location("a.yaml", 1)) for each in refs])
    now = store.work._now()
    runs = [Ref("Experiment", f"team-{at % PROJECTS:03d}", "sweep", f"run-{at}") for at in range(max(waiting, 1))]
    items = [Item(each, each.owner, Amounts(2**30, 1000), 5, now) for each in runs]
    reasons = ("WaitingForMemory", "WaitingForQuota", "BehindReservation")
    rows = [Queued(each, template=f"t{at % TEMPLATES}", detail={"reason": reasons[at % 3]}) for at, each in enumerate(items)]
    store.work.put_queue(rows[:waiting])
    taught = Learned(runs=12, peaks=tuple(range(100, 112)), lengths=tuple(float(each) for each in range(10, 22)))
    store.work.grant([Lease(runs[0], "team-000", "local", Amounts(2**30, 1000), 5, now, now)])
    store.work.release(runs[:1], learned={f"t{at}": taught for at in range(TEMPLATES)})


def _lines(found: list[Cost]) -> list[str]:
    many = [f"{each.resources:,} resources, {each.waiting:,} waiting" for each in found]
    shares = [100 * each.scrape / EVERY for each in found]
    what = f"a scrape every {EVERY:.0f} s, share of a core"
    rows = [Budget(f"{what}, {of}", SHARE, share, "%") for of, share in zip(many, shares, strict=True)]
    lines = [
        *budgets(rows),
        machine(),
        "",
        f"The median of {SCRAPES} answers in OpenMetrics' format, each collected anew, of a Store with {PROJECTS} projects, and",
        f"{TEMPLATES} sorts of work that were measured twelve times. Beside it, how long reading all statuses would take, which a scrape",
        "does not do: as a multiple.",
        "",
        "| resources | waiting | CPU of a scrape | longest (wall) | reading all statuses | size |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        took = f"{each.scrape * 1000:.0f} ms | {each.longest * 1000:.0f} ms | {each.one_by_one / each.scrape:.1f} x"
        lines.append(f"| {each.resources:,} | {each.waiting:,} | {took} | {each.bytes / 1024:.0f} KiB |")
    return lines
