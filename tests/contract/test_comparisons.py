"""Comparisons of techniques in a real MLflow: kept once, found by its pages, finished after a crash."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from controllers.experiment import ExperimentController
from controllers.runs import comparisons
from controllers.runs.standing import Tag
from controllers.tools import mlflow_runs
from controllers.tools.mlflow import connect
from reconciler.controller import Compares, Context
from reconciler.model.performance import Entered, performance
from reconciler.report.performance import entered
from reconciler.testing import ServicesAt, make_context
from tests.unit.test_performance import board, run

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def ctx(tmp_path: Path, mlflow_url: str) -> Context:
    return make_context(tmp_path, services=ServicesAt({"mlflow": mlflow_url}), installation=f"comparing-{uuid.uuid4().hex[:8]}")


def compared(value: float = 0.9) -> Entered:
    found = performance(
        [
            board("a", run("a1", value, joules=7200.0), techniques=("lora", "int8+")),
            board("b", run("b1", 0.5), techniques=("pruning",), project="q"),
        ]
    )
    (only,) = found.comparisons
    return entered(only)


def test_a_comparison_is_kept_once_and_a_changed_one_beside_it(ctx: Context, mlflow_url: str) -> None:
    kind = ExperimentController()
    assert isinstance(kind, Compares)
    id, new = kind.enter(compared(), ctx)
    assert new
    assert kind.enter(compared(), ctx) == (id, False)
    other, new = kind.enter(compared(0.8), ctx)
    assert new
    assert other != id
    told: Any = mlflow_runs.run(connect(ctx), id)
    assert told.status == "FINISHED"
    assert told.params["metric"] == "accuracy"
    assert told.metrics["int8_ _ lora/value"] == 0.9
    assert told.metrics["int8_ _ lora/joules"] == 7200.0
    assert "pruning/joules" not in told.metrics
    assert told.tags["mlops.runs"] == "id-a1,id-b1"
    assert told.tags[Tag.INSTALLATION] == ctx.installation
    where = f"{mlflow_url}/get-artifact?path=comparison.json&run_uuid={id}"
    table = httpx.get(where, trust_env=False).raise_for_status().json()
    assert table["data"][0][:4] == [1, "int8+ + lora", True, 0.9]
    assert json.loads(told.tags["mlflow.loggedArtifacts"]) == [{"path": "comparison.json", "type": "table"}]


def test_one_that_was_left_half_written_is_finished(ctx: Context) -> None:
    mlflow, wanted = connect(ctx), compared()
    home = mlflow.create_experiment(
        f"comparisons ({ctx.installation})", {comparisons.HOME: "true", Tag.INSTALLATION: ctx.installation}, None
    )
    half = mlflow_runs.create(mlflow, home, "half", {Tag.INSTALLATION: ctx.installation, comparisons.DIGEST: wanted.digest}, 1.0)
    assert comparisons.enter(wanted, ctx) == (half, True)
    assert comparisons.enter(wanted, ctx) == (half, False)


def test_its_experiment_is_no_orphan_and_is_not_imported_and_comes_back_when_deleted(ctx: Context) -> None:
    kind, wanted = ExperimentController(), compared()
    id, _ = kind.enter(wanted, ctx)
    assert not kind.observe([], ctx)
    assert f"comparisons ({ctx.installation})" not in kind.found(ctx)
    told: Any = mlflow_runs.run(connect(ctx), id)
    connect(ctx).delete_experiment(told.experiment)
    assert kind.enter(compared(0.7), ctx)[1]
