"""What the gateway writes about its requests, for Monitors: how they went, and how many there ever were."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.admission.values import Level
from reconciler.gateway import traffic
from reconciler.gateway.counts import Counts
from reconciler.gateway.parquet import read_parts
from reconciler.gateway.parts import Parts
from reconciler.gateway.replicas import Replicas
from reconciler.gateway.traffic import COLUMNS, STALE, Traffic
from reconciler.hardware import keep
from reconciler.hardware.filter import Filtered
from reconciler.model.serving import BOUNDS, PredictionLog, ever_written, folder
from tests.contract.gateway_lab import Lab, lab, route, target

pytestmark = pytest.mark.xdist_group("gateway")


def rows(state_dir: Path, name: str = "n") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_parts(folder(state_dir) / "traffic", COLUMNS, "p", name).to_pylist()
    return found


@pytest.fixture
def up() -> Iterator[Lab]:
    with lab() as found:
        yield found


def test_answers_errors_and_refusals_are_written_with_what_they_took(up: Lab) -> None:
    up.replica("p.n.1", memory=123_000_000)
    up.routes(route("n", target("p.n.1"), predictions=PredictionLog(log=True)), route("down", target("p.none.1")))
    process = up.start()
    with up.client() as client:
        for number in range(3):
            assert client.post("/predict/p/n", json={"instances": [{"x": number}, {"x": 1}]}).status_code == 200
        assert client.post("/predict/p/n", json={"instances": [{"x": 1, "do": "fail"}]}).status_code == 502
        assert client.post("/predict/p/n", json={"instances": [{"y": 1}]}).status_code == 422
        for _ in range(2):
            assert client.post("/predict/p/down", json={"instances": [{"x": 1}]}).status_code == 503
    process.terminate()
    assert process.wait(20) is not None
    found = rows(up.state_dir)
    assert [sum(each[name] for each in found) for name in ("requests", "errors", "unserved")] == [4, 1, 0], "422 is the client's own doing"
    counts = [sum(each) for each in zip(*(json.loads(row["latency"]) for row in found), strict=True)]
    assert (len(counts), sum(counts)) == (len(BOUNDS) + 1, 4)
    assert {(each["version"], each["revision"], each["memory"], each["deployment"]) for each in found} == {
        ("1", "p.n.1-digest", 123_000_000.0, "p/n")
    }
    assert all(each["seconds"] > 0 for each in found)
    assert [sum(each[name] for each in rows(up.state_dir, "down")) for name in ("requests", "unserved")] == [0, 2]
    assert ever_written(folder(up.state_dir) / "predictions" / "p" / "n") == 6
    assert ever_written(folder(up.state_dir) / "predictions" / "p" / "down") == 0


class Marked:
    """Traffic with a clock of the test's own."""

    def __init__(self, state_dir: Path) -> None:
        self.now, self.state_dir = 1_800_000_000.0, state_dir
        folder(state_dir).mkdir(parents=True)
        self.counts = Counts(lambda: self.now)
        self.traffic = Traffic(state_dir, flush=0.01, clock=lambda: self.now)
        self.route = route("n", target("p.n.1", 90), target("p.n.2", 10, "canary", "2"))

    def mark(self, seconds: float = 5.0) -> None:
        self.now += seconds
        self.traffic.mark({"p/n": self.route}, self.counts, Replicas(self.state_dir))

    def heat(self, level: Level, ago: float = 0.0) -> None:
        state = keep.State(heat=Filtered(level=level, at=self.now + 5.0 - ago))
        keep.save(self.state_dir / "sensors.json", state)


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    found = Marked(tmp_path / "state")
    yield found
    found.traffic.close()


def test_each_row_tells_of_its_own_seconds_and_silence_writes_none(marked: Marked) -> None:
    marked.mark()
    marked.counts.app("p.n.1").answered(0.002, good=True)
    marked.mark()
    marked.mark()
    marked.counts.app("p.n.1").answered(0.3, good=True)
    marked.counts.app("p.n.1").answered(0.3, good=False)
    marked.counts.app("p.n.2").answered(0.02, good=True)
    marked.mark(7.0)
    marked.traffic.close()
    told = [(row["version"], row["seconds"], row["requests"], row["errors"]) for row in rows(marked.state_dir)]
    assert sorted(told) == [("1", 5.0, 1, 0), ("1", 7.0, 2, 1), ("2", 7.0, 1, 0)]


@pytest.mark.parametrize(
    ("level", "ago", "told"), [(Level.SERIOUS, 1.0, 2.0), (Level.SERIOUS, STALE + 1, math.nan), (Level.UNKNOWN, 0.0, math.nan)]
)
def test_heat_is_what_the_sensors_said_lately(marked: Marked, level: Level, ago: float, told: float) -> None:
    marked.heat(level, ago)
    marked.counts.app("p.n.1").answered(0.002, good=True)
    marked.mark()
    marked.traffic.close()
    [row] = rows(marked.state_dir)
    assert row["heat"] == told or (math.isnan(told) and math.isnan(row["heat"]))
    assert math.isnan(row["memory"]), "no replica tells"


def test_rows_are_counted_over_restarts_and_beyond_their_time(tmp_path: Path) -> None:
    where = tmp_path / "predictions"
    for start in (0, 3):
        parts = Parts(where, {"time": "time"}, flush=0.01)
        parts.put("p", "n", [(1_800_000_000.0 + each,) for each in range(start, start + 3)], 100, 60.0)
        parts.close()
    assert ever_written(where / "p" / "n") == 6
    (where / "p" / "n" / ".rows").write_text("damaged")
    assert ever_written(where / "p" / "n") == 0
    assert traffic.PERIOD < STALE
