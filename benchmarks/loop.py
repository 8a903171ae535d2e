"""`reconcile watch` at work: how soon a saved file and a change made by hand are acted on, and what waiting costs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.measure import Used
from benchmarks.site import Site, installation

SAVES = 30
IDLE_SECONDS = 60.0
SETTLE_SECONDS = 5.0
"""Between the start of the loop, or the last save, and what is measured."""
EVERY, SHORT = 30.0, 5.0
"""The default of `--every`, and the shorter one that drift is measured with."""
DRIFTS = 5
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
    drifts: tuple[float, ...] = ()
    idle: tuple[Used, ...] = ()
    """First and last look, one before and one after `IDLE_SECONDS`."""
    idle_passes: int = 0


def run(folder: Path, resources: int, *, idle: bool) -> Loop:
    """Create an estate and measure the loop over it; `idle` measures waiting and drift too."""
    with installation(folder, resources) as site:
        site.reconcile("--wait", "--timeout", "600s")
        with site.loop(f"{EVERY:.0f}s") as pid:
            saved = _saves(site, pid)
            waited = _idle(pid) if idle else ()
        drifts: tuple[float, ...] = ()
        if idle:
            with site.loop(f"{SHORT:.0f}s"):
                drifts = _drifts(site)
    return Loop(resources, *saved, drifts=drifts, idle=waited)


def _saves(site: Site, pid: int) -> tuple[tuple[float, ...], float, float]:
    """Change the same tag of experiments one after the other, each as an editor saves a file."""
    file = site.root / "manifests" / "team-000" / "experiments.yaml"
    tags = Tags(site)
    time.sleep(SETTLE_SECONDS)
    _save(site, tags, file, 0, "warm")
    latencies: list[float] = []
    before, half = measure.used(pid), measure.used(pid)
    for turn in range(SAVES):
        if turn == SAVES // 2:
            half = measure.used(pid)
        latencies.append(_save(site, tags, file, turn % 10, f"turn-{turn}"))
        time.sleep(1.0 + (turn % 7) * 0.13)  # not in step with anything that the loop does at fixed times
    after = measure.used(pid)
    growth = (after.memory - half.memory) * 1024 / (SAVES - SAVES // 2)
    return tuple(latencies), (after.cpu - before.cpu) / SAVES, growth


def _save(site: Site, tags: Tags, file: Path, index: int, value: str) -> float:
    name = f"sweep-{index:04d}"
    text = file.read_text(encoding="utf-8")
    head, found, rest = text.partition(f"name: {name},")
    assert found, f"{name} is not in {file}"
    written = head + found + re.sub(r"owner: [^,}]+", f"owner: {value}", rest, count=1)
    file.write_text(written, encoding="utf-8")
    began = time.monotonic()
    return _until(lambda: tags.of(f"team-000/{name}").get("owner") == value, began, f"{name} with owner {value}")


def _drifts(site: Site) -> tuple[float, ...]:
    """Set a tag by hand in MLflow and wait until it is as declared again."""
    tags = Tags(site)
    time.sleep(SETTLE_SECONDS)
    latencies: list[float] = []
    for turn in range(DRIFTS):
        path = f"team-000/sweep-{10 + turn:04d}"
        wanted = tags.of(path)["number"]
        tags.write(path, "number", "by hand")
        began = time.monotonic()
        latencies.append(_until(lambda path=path, wanted=wanted: tags.of(path).get("number") == wanted, began, f"{path} as declared"))
        time.sleep(1.0 + turn * 0.37)
    return tuple(latencies)


def _idle(pid: int) -> tuple[Used, ...]:
    time.sleep(SETTLE_SECONDS)
    before = measure.used(pid)
    time.sleep(IDLE_SECONDS)
    return before, measure.used(pid)


def _until(told: Callable[[], bool], began: float, what: str) -> float:
    while not told():
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"not seen after {PATIENCE:.0f} s: {what}")
        time.sleep(POLL)
    return time.monotonic() - began


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
