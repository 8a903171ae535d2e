"""A log of predictions, written by the gateway's own writers, and what a Monitor asks of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.gateway.feedback import Feedback
from reconciler.gateway.parts import Parts
from reconciler.gateway.predictions import PredictionWriter
from reconciler.gateway.traffic import COLUMNS
from reconciler.model.monitoring import Found, Source, WindowResult, WindowSpec
from reconciler.model.serving import BOUNDS, PredictionLog, Route, Target
from reconciler.monitoring.look import look

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
TARGET = Target("vision.digits.0a1b2c3d", 100, "stable", "3", "vision/digits", "run-1", "0a1b2c3d4e", "sklearn")
ROUTE = Route("vision", "digits", (TARGET,), predictions=PredictionLog(log=True))
PROJECT, SNAPSHOT = "0197b0a8-0000-7000-8000-000000000001", "0197b0a8-0000-7000-8000-0000000000aa"

Make = Callable[[random.Random, int], Mapping[str, Any]]


@dataclass
class Log:
    """Rows one second apart, from `at` on."""

    state: Path
    at: float = NOON
    written: int = 0
    ids: list[str] = field(default_factory=list)

    def write(
        self,
        instances: Iterable[Any],
        answer: Callable[[Any], Any] = lambda _: 1.0,
        step: float = 1.0,
        target: Target = TARGET,
    ) -> None:
        """Write these rows, each a request of its own, `step` seconds apart."""
        self.state.mkdir(parents=True, exist_ok=True)
        writer = PredictionWriter(self.state, clock=lambda: self.at)
        for instance in instances:
            self.ids += writer.write(ROUTE, target, f"r{self.written}", [instance], [answer(instance)], 0.004)
            self.written += 1
            self.at += step
        writer.close()
        assert writer.dropped == 0

    def label(self, labels: Mapping[str, Any], at: float | None = None) -> None:
        feedback = Feedback(self.state, clock=lambda: self.at if at is None else at)
        assert feedback.add(ROUTE, [{"id": id_, "label": label} for id_, label in labels.items()]) == len(labels)
        feedback.close()

    def traffic(self, rows: Sequence[tuple[float, float, float, float, Sequence[int], float, float]], version: str = "3") -> None:
        """Each of time, requests, errors, unserved, latency counts, memory, heat; of 5 seconds."""
        parts = Parts(self.state / "serving/traffic", COLUMNS, clock=lambda: self.at)
        told = [
            (at, 5.0, ROUTE.path, version, TARGET.digest, asked, wrong, unserved, json.dumps(list(latency)), memory, heat)
            for at, asked, wrong, unserved, latency, memory, heat in rows
        ]
        assert parts.put("vision", "digits", told, 100, DAY)
        parts.close()

    def spec(self, start: float = NOON, end: float | None = None, **more: Any) -> WindowSpec:
        """A look at [start, end); by default at all that was written."""
        given: dict[str, Any] = {
            "key": "k1",
            "ref": "monitor/vision/drift",
            "state_dir": str(self.state),
            "current": Source("log", "vision", "digits", start, self.at if end is None else end),
            "reference": Source("data", path=str(self.state / "normal.parquet")),
            "checks": {"drift": {}, "quality": {}},
            "result": str(self.state / "monitors/vision/drift/k1.json"),
        }
        return replace(WindowSpec(**given), **more)


def counts(milliseconds: float, requests: int) -> list[int]:
    """Latency counts of requests that all took so long."""
    found = [0] * (len(BOUNDS) + 1)
    found[next((place for place, bound in enumerate(BOUNDS) if milliseconds / 1000 <= bound), len(BOUNDS))] = requests
    return found


def rows(make: Make, count: int, seed: int = 1) -> list[Mapping[str, Any]]:
    drawn = random.Random(seed)
    return [make(drawn, place) for place in range(count)]


def person(drawn: random.Random, place: int) -> dict[str, Any]:
    """A number, a category, a whole number, a truth value and something within an object."""
    return {
        "height": round(drawn.gauss(1.7, 0.1), 4),
        "colour": drawn.choices(["red", "green", "blue"], [5, 3, 2])[0],
        "kids": drawn.choice([0, 0, 1, 2, 3]),
        "member": drawn.random() < 0.4,
        "home": {"rooms": drawn.gauss(4, 1.5)},
    }


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """As a table has it."""
    return {
        name: value
        for outer, each in row.items()
        for name, value in ([(f"{outer}.{inner}", one) for inner, one in each.items()] if isinstance(each, dict) else [(outer, each)])
    }


def table(path: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """The rows as a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([flat(each) for each in found]), path)


def looked(state: Path, normal: Sequence[Mapping[str, Any]], seen: Sequence[Any], **more: Any) -> WindowResult:
    """A window of these instances against a table of those rows."""
    log = Log(state)
    log.write(seen)
    if normal:
        table(state / "normal.parquet", normal)
    return look(log.spec(**more))


def check(found: WindowResult, name: str) -> Found:
    return next(each for each in found.checks if each.check == name)


def changed(rows_: Sequence[Mapping[str, Any]], change: Callable[[dict[str, Any]], Any]) -> list[Any]:
    return [change(dict(each)) for each in rows_]
