"""`python -m tests.soak`: a real loop for a long time, with commits and drift by hand, and whether anything of it grows.

Memory, file descriptors, threads and calls per minute have to be flat; docs/faults.md tells what that means here."""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.campaign.checks import experiments
from tests.campaign.site import Loop, Site, services_in
from tests.campaign.world import ROOT, TEAM, World, change, first
from tests.contract.git_lab import serving

MIB = 1 << 20
SAMPLE = 5.0
"""Seconds between two looks at the process."""
COMMIT, DRIFT = 20.0, 25.0
"""Seconds between two commits, and between two edits by hand."""
IDLE_EVERY, IDLE_SECONDS, SETTLE = 30.0, 120.0, 40.0
"""The default of `--every`; how long the idle loop is measured, and left alone before that: a first pass is no idle one."""
IDLE_SHARE, IDLE_RESOURCES = 2.0, 1000
"""Percent of a core, of an idle loop over so many resources (the design's budget)."""
PASSES = 960
"""Of eight hours, one every 30 s."""
HEAD = "apiVersion: reconciler.mlops/v1\n"


@dataclass(frozen=True)
class Sample:
    """The loop at one moment. Memory in MiB, `cpu` and `at` in seconds, `store` in KiB."""

    at: float
    own: float
    resident: float
    files: int
    threads: int
    cpu: float
    store: float
    litter: int
    """Files in the state folder that are neither data nor a clone's."""
    calls: int
    """Requests to MLflow so far."""


@dataclass(frozen=True)
class Line:
    """One figure in the first, second and last third. `flat` says why it is not; empty = it is, or need not be."""

    what: str
    thirds: tuple[float, float, float]
    unit: str
    per_hour: float
    trouble: str = ""


@dataclass
class Soak:
    site: Site
    world: World
    seconds: float
    rng: random.Random
    samples: list[Sample] = field(default_factory=list)
    commits: int = 0
    drifts: int = 0
    edited: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Commit and edit for so long, with a look every few seconds."""
        loop, began = self.site.loop, time.monotonic()
        commit, drift = began + COMMIT, began + DRIFT
        while (now := time.monotonic()) - began < self.seconds:
            self.samples.append(sample(self.site, loop, now - began))
            if now >= commit:
                self._commit()
                commit = now + COMMIT * self.rng.uniform(0.8, 1.2)
            if now >= drift:
                self._drift()
                drift = now + DRIFT * self.rng.uniform(0.8, 1.2)
            time.sleep(max(0.0, SAMPLE - (time.monotonic() - now)))
            if loop.process.poll() is not None:
                raise SystemExit(f"the loop ended by itself:\n{loop.said()[-3000:]}")

    def _commit(self) -> None:
        change(self.world, self.rng)
        self.site.write_loose(self.world)
        for home in (ROOT, TEAM):
            self.site.push(self.world, home, f"change {self.commits}")
            self.site.hook(home)
        self.commits += 1

    def _drift(self) -> None:
        """Another one each time, or one that was deleted: a field that is put back again and again is left alone."""
        with suppress(httpx.HTTPError):
            found = [each for each in experiments(self.site) if each.stage == "active" and each.id not in self.edited]
            chosen = self.rng.choice(found)
            self.edited.add(chosen.id)
            if self.rng.random() < 0.3:
                self.site.rest("POST", "experiments/delete", json={"experiment_id": chosen.id})
            else:
                edit = {"experiment_id": chosen.id, "key": "owner", "value": "by hand"}
                self.site.rest("POST", "experiments/set-experiment-tag", json=edit)
            self.drifts += 1

    def lines(self) -> list[Line]:
        """The table, with what is not flat."""
        return [
            self._line("memory of its own (USS)", lambda each: each.own, "MiB", share=0.03, least=3.0),
            self._line("resident memory", lambda each: each.resident, "MiB", share=0.03, least=3.0),
            self._line("file descriptors", lambda each: each.files, "", share=0.0, least=2.0),
            self._line("threads", lambda each: each.threads, "", share=0.0, least=2.0),
            self._rate("calls to MLflow", lambda each: each.calls, "/min", 60.0, share=0.2, least=10.0),
            self._rate("CPU, share of a core", lambda each: each.cpu, "%", 100.0, share=0.3, least=2.0),
            self._rate("Store grows by", lambda each: each.store, "KiB/min", 60.0, share=0.5, least=50.0),
            self._line("files that are no data", lambda each: each.litter, "", share=0.0, least=10.0),
        ]

    def _line(self, what: str, of: Callable[[Sample], float], unit: str, *, share: float, least: float) -> Line:
        """A level: its median may rise from the second to the last third by a share of it, or by `least`."""
        thirds = _medians([[of(each) for each in third] for third in _thirds(self.samples)])
        allowed = max(least, share * thirds[1])
        trouble = f"rose by {thirds[2] - thirds[1]:.1f}, allowed {allowed:.1f}" if thirds[2] - thirds[1] > allowed else ""
        return Line(what, thirds, unit, self._slope(of), trouble)

    def _rate(self, what: str, of: Callable[[Sample], float], unit: str, scale: float, *, share: float, least: float) -> Line:
        """A counter: how fast it counts may rise from the second to the last third by a share of it, or by `least`."""
        each = [scale * (of(some[-1]) - of(some[0])) / (some[-1].at - some[0].at) for some in _thirds(self.samples)]
        allowed = max(least, share * each[1])
        trouble = f"rose by {each[2] - each[1]:.1f}, allowed {allowed:.1f}" if each[2] - each[1] > allowed else ""
        return Line(what, (each[0], each[1], each[2]), unit, 0.0, trouble)

    def _slope(self, of: Callable[[Sample], float]) -> float:
        """Per hour, over the last two thirds (least squares)."""
        late = [each for each in self.samples if each.at > self.seconds / 3]
        if len(late) < 2:
            return 0.0
        return 3600 * statistics.linear_regression([each.at for each in late], [of(each) for each in late]).slope


def sample(site: Site, loop: Loop, at: float) -> Sample:
    """Look at the loop's process, and at what it keeps on disk."""
    process, state = psutil.Process(loop.process.pid), site.root / ".mlops"
    memory, times = process.memory_full_info(), process.cpu_times()
    own = getattr(memory, "uss", memory.rss)
    cpu = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    store = (state / "store.db").stat().st_size / 1024
    litter = sum(1 for each in _files(state) if not {"dvc", ".git"} & set(each.parts))
    return Sample(at, own / MIB, memory.rss / MIB, process.num_fds(), process.num_threads(), cpu, store, litter, len(site.wire.asked))


def _files(folder: Path) -> Iterator[Path]:
    for each in folder.iterdir():
        if each.is_dir() and each.name not in ("dvc", ".git"):
            yield from _files(each)
        elif each.is_file():
            yield each


def _thirds(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    size = len(samples) // 3
    return [samples[:size], samples[size : 2 * size], samples[2 * size :]]


def _medians(parts: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    first, second, last = (statistics.median(each) for each in parts)
    return first, second, last


def bulk(resources: int, project: str) -> dict[str, str]:
    """So many further resources in the root's repository, three of eight datasets."""
    datasets = int(resources * 0.375)
    data = {f"code/{project}/bulk/{index:04d}.csv": f"id,value\n{index},1\n" * 20 for index in range(datasets)}
    kept = [_dataset(index, project) for index in range(datasets)]
    made = [_experiment(index, datasets, project) for index in range(resources - datasets)]
    return {**data, "manifests/bulk-data.yaml": "---\n".join(kept), "manifests/bulk-experiments.yaml": "---\n".join(made)}


def _dataset(index: int, project: str) -> str:
    meta = f"{{name: part-{index:04d}, project: {project}}}"
    return f"{HEAD}kind: Dataset\nmetadata: {meta}\nspec: {{path: bulk/{index:04d}.csv, settle: 0s}}\n"


def _experiment(index: int, datasets: int, project: str) -> str:
    meta = f"{{name: sweep-{index:04d}, project: {project}}}"
    return f"{HEAD}kind: Experiment\nmetadata: {meta}\nspec: {{tags: {{owner: soak}}, datasets: [part-{index % max(1, datasets):04d}]}}\n"


def idle(site: Site, world: World, resources: int, seconds: float) -> tuple[float, float]:
    """Percent of a core, and calls to MLflow per minute, of a loop over so many resources at its usual pace, while nothing happens."""
    site.bulk = bulk(resources - len(world.things), world.named("alpha"))
    site.push(world, ROOT, "many more")
    site.hook(ROOT)
    time.sleep(SETTLE)
    ready(site)
    site.loops.pop().end()
    site.every = f"{IDLE_EVERY:.0f}s"
    loop = site.start()
    time.sleep(SETTLE)
    before = sample(site, loop, time.monotonic())
    time.sleep(seconds)
    after = sample(site, loop, time.monotonic())
    took = after.at - before.at
    return 100 * (after.cpu - before.cpu) / took, 60 * (after.calls - before.calls) / took


def ready(site: Site, seconds: float = 300.0) -> None:
    """Wait until the first pass has made everything."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if site.run("--dry-run", "--detailed-exitcode").code == 0:
            return
        time.sleep(2.0)
    raise SystemExit(f"it does not converge:\n{site.loop.said()[-3000:]}")


def table(soak: Soak, share: float, calls: float, resources: int) -> Iterator[str]:
    yield "| figure | first third | second third | last third | slope per hour, last two thirds | |"
    yield "|---|---:|---:|---:|---:|---|"
    for each in soak.lines():
        told = " | ".join(f"{value:.1f} {each.unit}".strip() for value in each.thirds)
        slope = f"{each.per_hour:+.1f}" if each.per_hour else ""
        yield f"| {each.what} | {told} | {slope} | {each.trouble or 'flat'} |"
    over = "**over**" if share > IDLE_SHARE else "met"
    what = f"`--every {IDLE_EVERY:.0f}s`, {resources:,} resources"
    yield f"| idle CPU, {what} | | | {share:.2f} % | | {over}: at most {IDLE_SHARE:g} % |"
    yield f"| idle calls to MLflow, {what} | | | {calls:.1f} /min | | |"


def main() -> None:
    given = _given()
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    print(f"seed {given.seed}, {given.minutes:g} minutes, --every {given.every}, in {folder}", flush=True)
    services = services_in(folder / "services")
    rng = random.Random(given.seed)
    site = Site(folder, services.endpoint("mlflow").url, services=services, every=given.every, fetch="1m")
    world = first(rng, site.tag)
    resources = max(given.resources, len(world.things))
    site.bulk = bulk(resources - len(world.things), world.named("alpha"))
    soak = Soak(site, world, given.minutes * 60, rng)
    try:
        with serving(site.git):
            site.wire.up()
            try:
                site.build(world)
                site.start()
                ready(site)
                passes = site.loop.said().count("\n")
                soak.run()
                ready(site)
                print(
                    f"{soak.commits} commits, {soak.drifts} edits by hand, {site.loop.said().count(chr(10)) - passes} lines told",
                    flush=True,
                )
                share, calls = idle(site, world, max(resources, given.idle_resources), min(IDLE_SECONDS, soak.seconds))
            finally:
                site.close()
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(["", *table(soak, share, calls, max(resources, given.idle_resources))]))
    sys.exit(1 if share > IDLE_SHARE or any(each.trouble for each in soak.lines()) else 0)


def _given() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    asked.add_argument("--minutes", type=float, default=30.0)
    asked.add_argument("--every", default="1500ms", help=f"a pass so often; in half an hour as many as in eight hours ({PASSES}) [1500ms]")
    asked.add_argument("--resources", type=int, default=300, help="of the long run: a pass is made as often as it can be [300]")
    asked.add_argument("--idle-resources", type=int, default=IDLE_RESOURCES)
    asked.add_argument("--seed", type=int, default=1)
    return asked.parse_args()


if __name__ == "__main__":
    main()
