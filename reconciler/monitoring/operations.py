"""How a deployment served during a window: what the gateway wrote of its traffic, held against limits and against the first window."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.model.monitoring import Found, Source, Verdict
from reconciler.model.serving import BOUNDS, folder, quantile
from reconciler.model.units import memory as size_of
from reconciler.monitoring.scan import batches, column, groups, micros
from reconciler.monitoring.words import figure, percent
from schemas.base import duration_value, quantity_value
from schemas.checks import Operations

P95 = 0.95
HEAT = ("nominal", "fair", "serious", "critical")
_COLUMNS = ("time", "seconds", "revision", "requests", "errors", "unserved", "latency", "memory", "heat")


@dataclass
class Traffic:
    """Sums over a window. `memory` and `heat` are the largest; NaN = not known."""

    seconds: float
    rows: int = 0
    requests: float = 0.0
    errors: float = 0.0
    """Of them."""
    latency: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    memory: float = math.nan
    heat: float = math.nan


def read(state_dir: Path, source: Source, start: float, end: float, told: list[str]) -> Traffic | None:
    """What was asked in the window; None when the gateway has written nothing of this deployment at all.

    A row belongs to the window by time in which it ends. A window by count may be shorter than what a row tells of: every row that tells
    of a part of it belongs to it."""
    root = folder(state_dir) / "traffic"
    if not (root / source.project / source.name).is_dir():
        return None
    by_count, found = bool(source.count) and not source.end, Traffic(end - start)
    for group in groups(root, source.project, source.name, start, math.inf if by_count else end + 1e-6, told):
        for batch in batches(group, _COLUMNS, told):
            for row in zip(*(column(batch, name).to_pylist() for name in _COLUMNS), strict=True):
                at, seconds, revision, *numbers = row
                last = micros(end) + (micros(seconds or 0.0) if by_count else 0)
                if micros(start) < micros(at.timestamp()) <= last and source.revision in ("", revision):
                    found.seconds = max(found.seconds, seconds or 0.0)
                    _add(found, *numbers)
    return found


def measured(traffic: Traffic) -> Mapping[str, float]:
    """As a baseline keeps it."""
    found = {"requests": traffic.requests}
    if traffic.seconds > 0:
        found["requestRate"] = traffic.requests / traffic.seconds
    if traffic.requests:
        found["errorRate"] = traffic.errors / traffic.requests
    if sum(traffic.latency):
        found["latency"] = min(quantile(P95, traffic.latency), BOUNDS[-1])
    found |= {name: value for name, value in (("memory", traffic.memory), ("heat", traffic.heat)) if math.isfinite(value)}
    return found


def judge(traffic: Traffic | None, asked: Operations, baseline: Mapping[str, float], least: int, answered: int = 0) -> Found:
    """The check `operations`. Of fewer requests than `least` only their number is judged. `answered` predictions are in the log: where
    nothing is known of the requests that asked for them, that is still to be written."""
    if traffic is None or (answered and not traffic.rows):
        return Found("operations", "hold", "the gateway has written nothing of its traffic")
    said = [*_numbers(traffic, asked, baseline)]
    if traffic.requests < least:
        said = [each for each in said if each[1].startswith("requests")] or [("hold", f"{traffic.requests:.0f} of {least} requests")]
    return Found("operations", *_together(said))


def _together(said: list[tuple[Verdict, str]]) -> tuple[Verdict, str]:
    for verdict in ("fail", "pass", "hold"):
        if parts := [words for each, words in said if each == verdict]:
            holds = [words for each, words in said if each == "hold"] if verdict == "pass" else []
            return verdict, "; ".join([*parts, *holds])
    return "hold", "nothing is asked of how it serves"


def _numbers(traffic: Traffic, asked: Operations, baseline: Mapping[str, float]) -> Iterator[tuple[Verdict, str]]:
    have = measured(traffic)
    if asked.min_requests is not None:
        yield _most(-traffic.requests, -asked.min_requests, f"requests {traffic.requests:.0f} (at least {asked.min_requests})")
    if asked.max_requests is not None:
        yield _most(traffic.requests, asked.max_requests, f"requests {traffic.requests:.0f} (at most {asked.max_requests})")
    if asked.volume_change is not None:
        yield _volume(have.get("requestRate"), baseline.get("requestRate"), asked.volume_change)
    if asked.error_rate is not None:
        rate = have.get("errorRate")
        yield _most(rate, asked.error_rate, f"errors {percent(rate or 0.0)} (limit {percent(asked.error_rate)})")
    if asked.latency is not None:
        limit = duration_value(asked.latency).total_seconds()
        yield _most(have.get("latency"), limit, f"p95 {_seconds(have.get('latency'))} (limit {_seconds(limit)})")
    if asked.latency_rise is not None:
        yield _risen("p95", have.get("latency"), baseline.get("latency"), asked.latency_rise, _seconds)
    if asked.memory is not None:
        limit = float(quantity_value(asked.memory))
        yield _most(have.get("memory"), limit, f"memory {_size(have.get('memory'))} (limit {_size(limit)})")
    if asked.memory_rise is not None:
        yield _risen("memory", have.get("memory"), baseline.get("memory"), asked.memory_rise, _size)
    if asked.heat is not None:
        heat = have.get("heat")
        words = "heat is not known" if heat is None else f"heat {HEAT[int(heat)]} (breach at {asked.heat})"
        yield ("hold" if heat is None else "fail" if heat >= HEAT.index(asked.heat) else "pass"), words


def _add(found: Traffic, requests: float, errors: float, unserved: float, latency: str, memory: float, heat: float) -> None:
    """One row. What found no replica is in no application's numbers."""
    found.rows += 1
    found.requests += max(requests or 0.0, errors or 0.0) + (unserved or 0.0)
    found.errors += (errors or 0.0) + (unserved or 0.0)
    try:
        counts = [int(each) for each in json.loads(latency or "[]")]
    except (TypeError, ValueError):
        counts = []
    if len(counts) == len(found.latency):
        found.latency = tuple(a + b for a, b in zip(found.latency, counts, strict=True))
    found.memory = _larger(found.memory, memory)
    found.heat = _larger(found.heat, heat)


def _larger(one: float, other: float | None) -> float:
    return one if other is None or math.isnan(other) else other if math.isnan(one) else max(one, other)


def _most(value: float | None, limit: float, words: str) -> tuple[Verdict, str]:
    if value is None:
        return "hold", f"{words.partition(' ')[0]} is not known"
    return ("pass" if value <= limit else "fail"), words


def _risen(name: str, value: float | None, before: float | None, by: float, words: Callable[[float | None], str]) -> tuple[Verdict, str]:
    if value is None:
        return "hold", f"{name} is not known"
    if not before:
        return "hold", f"{name} {words(value)}; no earlier window to compare with yet"
    said = f"{name} {words(value)}, {figure(value / before)} times {words(before)} (limit {by:g} times)"
    return ("pass" if value <= by * before else "fail"), said


def _volume(rate: float | None, before: float | None, by: float) -> tuple[Verdict, str]:
    if rate is None or not before:
        return "hold", "no earlier window to compare the number of requests with yet"
    said = f"requests {figure(rate)} per second, {figure(rate / before)} times {figure(before)} (limit {by:g} times, or a {by:g}th)"
    return ("pass" if before / by <= rate <= by * before else "fail"), said


def _seconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{figure(value)} s"


def _size(value: float | None) -> str:
    return "unknown" if value is None else size_of(int(value))
