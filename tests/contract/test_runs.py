"""Runs as children of an Experiment, against a real MLflow server and real processes."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.model import Absent, Health, Present, Started
from tests.contract.run_lab import Lab

pytestmark = pytest.mark.xdist_group("mlflow")
_numbers = itertools.count(1)


@pytest.fixture
def lab(tmp_path: Path, mlflow_url: str) -> Iterator[Lab]:
    lab = Lab(tmp_path, mlflow_url, f"r{os.getpid():x}-{time.time_ns() // 1_000_000:x}-{next(_numbers)}")
    yield lab
    lab.end()


def test_a_grid_is_launched_once_and_then_settles(lab: Lab) -> None:
    grid = lab.experiment({"params": {"rate": [1, 0.5]}, "seeds": [0, 1]})
    first = lab.reconcile(grid)
    assert all(isinstance(each, Absent) for each in first.observations.values())
    assert sorted(ref.key for ref in first.children) == ["rate0.5-s0", "rate0.5-s1", "rate1-s0", "rate1-s1"]
    assert all(isinstance(each, Started) for each in first.outcomes.values())
    lab.settle(grid)
    assert sorted(each.metrics["score"] for each in lab.all_runs()) == [1.0, 1.0, 2.0, 2.0]
    last = lab.reconcile(grid)
    assert last.whole.message == "4 runs finished"
    lab.calls.clear()
    assert lab.reconcile(grid).children == {}
    assert lab.writes() == []
    assert len(lab.all_runs()) == 4


def test_what_the_program_gets(lab: Lab) -> None:
    lab.settle(lab.experiment({"params": {"rate": -0.5, "sleep": 0}, "seeds": [7]}))
    [run] = lab.all_runs()
    seen = json.loads((lab.ctx.state_dir / "runs" / run.id / "out" / "seen.json").read_text())
    data = str(lab.root / "data" / "table.csv")
    assert seen["argv"][:-1] == ["--data", data, "--rate=-0.5", "--sleep", "0", "--seed", "7", "--out"]
    assert json.loads(seen["datasets"]) == {"table": data}
    assert seen["cwd"] == str(lab.root)
    assert run.params == {"rate": "-0.5", "sleep": "0", "seed": "7"}
    assert run.tags["mlops.dataset.table"] == lab.digest
    assert run.tags["mlops.ref"] == f"experiment/demo/{lab.name}#rate-0.5-sleep0-s7"


__all__ = ["Health", "Present"]
