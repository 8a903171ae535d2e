"""`reconcile watch` at work: how soon a saved file and a change made by hand are acted on, and what waiting costs."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import commits, measure
from benchmarks.measure import Used, percentile
from benchmarks.page import Budget, Section, budgets, figure, machine
from benchmarks.site import Site, installation

TITLE = "The loop"
SMALL, LARGE = 60, 1_000
"""Resources of the two installations that it is measured over."""
SAVES, TURNS = 30, 3
IDLE_SECONDS = 60.0
SETTLE_SECONDS = 5.0
"""Between the start of the loop, or the last save, and what is measured."""
EVERY, SHORT = 30.0, 5.0
"""The default of `--every`, and the shorter one that drift is measured with."""
DRIFTS, COMMITS = 20, 20
HOOK = {"BENCH_HOOK": commits.SECRET}
POLL = 0.01
PATIENCE = 60.0


@dataclass(frozen=True)
class Loop:
    """At one size. Latencies in wall seconds from the end of the write to the answer of MLflow that shows the wanted state."""

    resources: int
    saves: tuple[float, ...]
    pass_cpu: float
    """CPU seconds of the loop per save: one pass."""
    memory_per_save: float
    """KiB by which the loop's own memory grew per save, over the second half of the saves."""
    drifts: tuple[float, ...]
    commits: tuple[float, ...]
    """From the end of the push."""
    idle: tuple[Used, ...] = ()
    """CPU at the beginning and the end of `IDLE_SECONDS`, memory in its first and its second half."""


def run(folder: Path) -> Section:
    """Both installations: saves in each, waiting and drift in the large one."""
    found = [measured(folder, SMALL, idle=False), measured(folder, LARGE, idle=True)]
    for each in found:
        print(each, flush=True)
    return Section(TITLE, _lines(found))


def measured(folder: Path, resources: int, *, idle: bool) -> Loop:
    """Create an estate and measure the loop over it; `idle` measures waiting too."""
    with installation(folder, resources) as site:
        forge = commits.forge(site)
        site.reconcile("--wait", "--timeout", "600s", env=HOOK)
        with site.loop(f"{EVERY:.0f}s", env=HOOK) as pid:
            saved = _saves(site, pid)
            waited = _idle(pid) if idle else ()
        with site.loop(f"{SHORT:.0f}s", env=HOOK):
            drifts = _drifts(site)
        commits.git(site.root, "checkout", "-q", "--", ".")
        before = site.log.stat().st_size
        with site.loop(f"{EVERY:.0f}s", "--listen", "0", env=HOOK):
            pushed = _pushes(site, replace(forge, hook=commits.hook_of(site, before)))
    return Loop(resources, *saved, drifts=drifts, commits=pushed, idle=waited)


def beside(folder: Path, work: Callable[[], AbstractContextManager[None]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds from a save to converged, without and with `work` at the same time: in turns, so that both see the same machine."""
    with installation(folder, SMALL) as site:
        site.reconcile("--wait", "--timeout", "600s")
        with site.loop(f"{EVERY:.0f}s") as pid:
            alone, busy = list[float](), list[float]()
            for turn in range(TURNS):
                alone += _saves(site, pid, SAVES // TURNS, f"alone-{turn}")[0]
                with work():
                    busy += _saves(site, pid, SAVES // TURNS, f"beside-{turn}")[0]
    return tuple(alone), tuple(busy)


def _saves(site: Site, pid: int, saves: int = SAVES, word: str = "turn") -> tuple[tuple[float, ...], float, float]:
    """Change the same tag of experiments one after the other, each as an editor saves a file."""
    file = site.root / "manifests" / "team-000" / "experiments.yaml"
    tags = Tags(site)
    time.sleep(SETTLE_SECONDS)
    _save(site, tags, file, 0, f"{word}-warm")
    latencies: list[float] = []
    before, half = measure.used(pid), measure.used(pid)
    for turn in range(saves):
        if turn == saves // 2:
            half = measure.used(pid)
        latencies.append(_save(site, tags, file, turn % 10, f"{word}-{turn}"))
        time.sleep(1.0 + (turn % 7) * 0.13)  # not in step with anything that the loop does at fixed times
    after = measure.used(pid)
    growth = (after.memory - half.memory) * 1024 / (saves - saves // 2)
    return tuple(latencies), (after.cpu - before.cpu) / saves, growth


def _save(site: Site, tags: Tags, file: Path, index: int, value: str) -> float:
    name = f"sweep-{index:04d}"
    text = file.read_text(encoding="utf-8")
    head, found, rest = text.partition(f"name: {name},")
    assert found, f"{name} is not in {file}"
    written = head + found + re.sub(r"owner: [^,}]+", f"owner: {value}", rest, count=1)
    file.write_text(written, encoding="utf-8")
    return _until(partial(_shows, tags, f"team-000/{name}", "owner", value), time.monotonic(), f"{name} with owner {value}")


def _drifts(site: Site) -> tuple[float, ...]:
    """Set a tag by hand in MLflow and wait until it is as declared again."""
    tags = Tags(site)
    time.sleep(SETTLE_SECONDS)
    latencies: list[float] = []
    for turn in range(DRIFTS):
        path = f"team-000/sweep-{10 + turn % 10:04d}"
        wanted = tags.of(path)["number"]
        tags.write(path, "number", "by hand")
        latencies.append(_until(partial(_shows, tags, path, "number", wanted), time.monotonic(), f"{path} as declared"))
        time.sleep(1.0 + turn * 0.37)
    return tuple(latencies)


def _pushes(site: Site, forge: commits.Forge) -> tuple[float, ...]:
    """Push commits that change one tag each; the first one is not counted."""
    tags, file = Tags(site), Path("manifests", "team-000", "experiments.yaml")
    time.sleep(SETTLE_SECONDS)
    latencies: list[float] = []
    for turn in range(COMMITS + 1):
        name, value = f"sweep-{turn % 10:04d}", f"commit-{turn}"
        forge.push(name, file, value)
        latencies.append(_until(partial(_shows, tags, f"team-000/{name}", "owner", value), time.monotonic(), f"{name} with owner {value}"))
        time.sleep(1.0 + (turn % 7) * 0.13)
    return tuple(latencies[1:])


def _idle(pid: int) -> tuple[Used, ...]:
    """Memory goes up in a pass and down after it: the medians of both halves of the minute, each of which holds one pass."""
    time.sleep(SETTLE_SECONDS)
    looks = [measure.used(pid)]
    began = time.monotonic()
    while time.monotonic() - began < IDLE_SECONDS:
        time.sleep(1.0)
        looks.append(measure.used(pid))
    half = len(looks) // 2
    first, last = (statistics.median(each.memory for each in part) for part in (looks[:half], looks[half:]))
    return Used(looks[0].cpu, first), Used(looks[-1].cpu, last)


def _shows(tags: Tags, path: str, key: str, value: str) -> bool:
    return tags.of(path).get(key) == value


def _until(told: Callable[[], bool], began: float, what: str) -> float:
    while not told():
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"not seen after {PATIENCE:.0f} s: {what}")
        time.sleep(POLL)
    return time.monotonic() - began


def _lines(found: Sequence[Loop]) -> list[str]:
    rows: list[Budget] = []
    for each in found:
        rows.append(Budget(f"saved file to converged, p95, {each.resources:,} resources", 0.5, percentile(each.saves, 0.95), "s"))
        if each.idle:
            before, after = each.idle
            share = 100 * (after.cpu - before.cpu) / IDLE_SECONDS
            rows.append(Budget(f"idle loop, {each.resources:,} resources, share of a core", 2.0, share, "%"))
        many = f"{each.resources:,} resources, the longest of {DRIFTS}"
        rows.append(Budget(f"drift by hand to corrected, `--every {SHORT:.0f}s`, {many}", SHORT + 1, max(each.drifts), "s"))
    lines = [
        *budgets(rows),
        machine(),
        "",
        f"A save changes one tag of one experiment; {SAVES} saves, timed from the end of the write to the first answer of MLflow that",
        f"shows the new value (asked every {POLL * 1000:.0f} ms). Idle: {IDLE_SECONDS:.0f} s in which nothing changes, with",
        f"`--every {EVERY:.0f}s`. Memory is the loop's own (USS).",
        "",
        "| resources | saved to converged p50 | p95 | longest | CPU per save | memory gained per save | idle: memory, gained in 30 s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        p50, p95 = percentile(each.saves, 0.5), percentile(each.saves, 0.95)
        idle = f"{each.idle[0].memory:.0f} MiB, {each.idle[1].memory - each.idle[0].memory:+.1f} MiB" if each.idle else ""
        lines.append(
            f"| {each.resources:,} | {p50:.2f} s | {p95:.2f} s | {max(each.saves):.2f} s | {each.pass_cpu:.2f} s "
            f"| {each.memory_per_save:+.0f} KiB | {idle} |"
        )
    lines += [
        "",
        f"A commit: {COMMITS} pushes to a bare repository that the installation follows, each told by a signed webhook, timed from the",
        "end of the push. Without the webhook up to `spec.follow.every` is added. Drift by hand is found by the next look.",
        "",
        "| resources | commit to converged p50 | p95 | longest | drift to corrected p50 | p95 | longest |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        both = [(percentile(some, 0.5), percentile(some, 0.95), max(some)) for some in (each.commits, each.drifts)]
        lines.append(f"| {each.resources:,} | {' | '.join(f'{figure(one)} s' for some in both for one in some)} |")
    return lines


class Tags:
    """Tags of experiments, read and written as a person would: over MLflow's REST API, past the reconciler."""

    def __init__(self, site: Site) -> None:
        import httpx

        self._http = httpx.Client(base_url=f"{site.mlflow}/api/2.0/mlflow", trust_env=False, timeout=30.0)

    def of(self, path: str) -> Mapping[str, str]:
        return {each["key"]: each["value"] for each in self._found(path).get("tags", [])}

    def write(self, path: str, key: str, value: str) -> None:
        body = {"experiment_id": self._found(path)["experiment_id"], "key": key, "value": value}
        self._http.post("/experiments/set-experiment-tag", json=body).raise_for_status()

    def _found(self, path: str) -> Mapping[str, Any]:
        answer = self._http.get("/experiments/get-by-name", params={"experiment_name": path})
        return dict(answer.raise_for_status().json()["experiment"])
