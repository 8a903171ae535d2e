"""How it serves: what the gateway wrote of its traffic, held against limits and against the first window."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.monitoring import Found, Source
from reconciler.model.serving import BOUNDS
from reconciler.monitoring.operations import judge, measured, read
from schemas.checks import Operations
from tests.unit.monitoring_world import NOON, TARGET, Log, counts

GIB = float(1 << 30)
HERE = Source("log", "vision", "digits", NOON, NOON + 60)
ROWS = [
    (NOON, 1000.0, 1000.0, 0.0, counts(1, 1000), GIB, 0.0),  # ends as the window begins: of the one before
    (NOON + 5, 100.0, 0.0, 0.0, counts(40, 100), GIB, 0.0),
    (NOON + 30, 96.0, 6.0, 4.0, counts(40, 90), 2 * GIB, 1.0),
    (NOON + 60, 100.0, 0.0, 0.0, counts(40, 100), math.nan, math.nan),
    (NOON + 65, 1000.0, 1000.0, 0.0, counts(9000, 1000), 9 * GIB, 3.0),
]


def check(state: Path, baseline: dict[str, float] | None = None, least: int = 100, source: Source = HERE, **asked: Any) -> Found:
    told: list[str] = []
    found = read(state, source, NOON, NOON + 60, told)
    assert told == []
    return judge(found, Operations.model_validate(asked), baseline or {}, least)


def test_what_is_measured(tmp_path: Path) -> None:
    Log(tmp_path).traffic(ROWS)
    found = read(tmp_path, HERE, NOON, NOON + 60, [])
    assert found is not None
    have = measured(found)
    assert have["requests"] == 300
    assert have["requestRate"] == 5
    assert have["errorRate"] == pytest.approx(10 / 300)
    assert 0.025 < have["latency"] <= 0.05
    assert have["memory"] == 2 * GIB
    assert have["heat"] == 1


def test_a_window_by_count_may_be_shorter_than_what_a_row_tells_of(tmp_path: Path) -> None:
    Log(tmp_path).traffic(ROWS)
    by_count = Source("log", "vision", "digits", NOON + 26, count=60)
    found = read(tmp_path, by_count, NOON + 26, NOON + 26.3, [])
    assert found is not None
    have = measured(found)
    assert (have["requests"], have["requestRate"]) == (100, 20), "of the row's own five seconds"
    assert read(tmp_path, by_count, NOON + 31, NOON + 31.3, []).rows == 0  # type: ignore[union-attr]


def test_predictions_without_their_requests_are_no_silence(tmp_path: Path) -> None:
    Log(tmp_path).traffic(ROWS)
    asked = Operations.model_validate({"minRequests": 1})
    found = read(tmp_path, HERE, NOON + 1000, NOON + 1060, [])
    assert judge(found, asked, {}, 100).verdict == "fail"
    assert judge(found, asked, {}, 100, answered=60).verdict == "hold"


@pytest.mark.parametrize(
    ("asked", "verdict", "said"),
    [
        ({"latency": "50ms"}, "pass", "p95 49 ms (limit 50 ms)"),
        ({"latency": "30ms"}, "fail", "p95 49 ms (limit 30 ms)"),
        ({"errorRate": 0.05}, "pass", "errors 3.3 % (limit 5 %)"),
        ({"errorRate": 0.01}, "fail", "errors 3.3 % (limit 1 %)"),
        ({"minRequests": 300}, "pass", "requests 300 (at least 300)"),
        ({"minRequests": 301}, "fail", "requests 300 (at least 301)"),
        ({"maxRequests": 299}, "fail", "requests 300 (at most 299)"),
        ({"memory": "3Gi"}, "pass", "memory 2 GiB (limit 3 GiB)"),
        ({"memory": "1Gi"}, "fail", "memory 2 GiB (limit 1 GiB)"),
        ({"heat": "serious"}, "pass", "heat fair (breach at serious)"),
        ({"heat": "fair"}, "fail", "heat fair (breach at fair)"),
        ({"latency": "50ms", "errorRate": 0.01}, "fail", "errors 3.3 % (limit 1 %)"),
        ({"latencyRise": 1.5}, "hold", "p95 49 ms; no earlier window to compare with yet"),
        ({"volumeChange": 2}, "hold", "no earlier window to compare the number of requests with yet"),
        ({"latencyRise": 1.5, "latency": "50ms"}, "pass", "p95 49 ms (limit 50 ms); p95 49 ms; no earlier window to compare with yet"),
    ],
)
def test_limits(tmp_path: Path, asked: dict[str, Any], verdict: str, said: str) -> None:
    Log(tmp_path).traffic(ROWS)
    found = check(tmp_path, **asked)
    assert (found.verdict, found.said) == (verdict, said)


@pytest.mark.parametrize(
    ("asked", "baseline", "verdict"),
    [
        ({"latencyRise": 1.5}, {"latency": 0.04}, "pass"),
        ({"latencyRise": 1.5}, {"latency": 0.02}, "fail"),
        ({"memoryRise": 1.5}, {"memory": GIB}, "fail"),
        ({"memoryRise": 2}, {"memory": GIB}, "pass"),
        ({"volumeChange": 3}, {"requestRate": 14.0}, "pass"),
        ({"volumeChange": 3}, {"requestRate": 16.0}, "fail"),
        ({"volumeChange": 3}, {"requestRate": 1.0}, "fail"),
        ({"latencyRise": 1.5}, {"memory": GIB}, "hold"),
    ],
)
def test_rises_against_the_first_window(tmp_path: Path, asked: dict[str, Any], baseline: dict[str, float], verdict: str) -> None:
    Log(tmp_path).traffic(ROWS)
    assert check(tmp_path, baseline, **asked).verdict == verdict


def test_too_few_requests_hold_but_silence_is_a_breach(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.traffic(ROWS[:1])  # it was asked before, and not in the window
    assert check(tmp_path, errorRate=0.01).said == "0 of 100 requests"
    assert check(tmp_path, errorRate=0.01, minRequests=1).verdict == "fail"
    assert check(tmp_path, least=1000, errorRate=0.0, minRequests=0).verdict == "pass"


def test_without_a_log_of_traffic_nothing_passes(tmp_path: Path) -> None:
    found = check(tmp_path, minRequests=0, latency="1s")
    assert (found.verdict, found.said) == ("hold", "the gateway has written nothing of its traffic")


def test_what_is_not_known_holds(tmp_path: Path) -> None:
    Log(tmp_path).traffic([(NOON + 9, 200.0, 0.0, 0.0, [1, 2], math.nan, math.nan)])  # buckets of another version
    assert check(tmp_path, memory="1Gi").verdict == "hold"
    assert check(tmp_path, heat="fair").verdict == "hold"
    assert check(tmp_path, latency="1s").said == "p95 is not known"


def test_only_one_revision_and_what_is_above_the_last_bound(tmp_path: Path) -> None:
    Log(tmp_path).traffic([(NOON + 9, 200.0, 0.0, 0.0, counts(60_000, 200), GIB, 0.0)])
    own = check(tmp_path, source=Source("log", "vision", "digits", NOON, NOON + 60, revision=TARGET.digest), latency="5s")
    assert (own.verdict, own.said) == ("fail", f"p95 {BOUNDS[-1]:g} s (limit 5 s)")
    other = check(tmp_path, source=Source("log", "vision", "digits", NOON, NOON + 60, revision="ffff"), minRequests=1)
    assert other.verdict == "fail"
