"""What a ranking tells of runs as MLflow has them: receipts, failures, data. Pure."""

from __future__ import annotations

import pytest

from controllers.runs.ranking import _ranking
from controllers.tools.mlflow_runs import RunInfo
from reconciler.model.ranking import Fell
from reconciler.testing import make_resource
from schemas.experiment import KIND

RESOURCE = make_resource(KIND, "e", {"metric": {"name": "accuracy"}, "techniques": ["b", "a"]})


def info(id: str, status: str, *, deleted: bool = False, **receipts: str) -> RunInfo:
    tags = {f"mlops.receipt.{name}": text for name, text in receipts.items()}
    return RunInfo(id, "1", status, deleted, 0.0, 0.0, {**tags, "mlops.dataset.d": "aa", "mlops.context.chip": "M4"}, {}, {"accuracy": 0.5})


def test_what_failed_is_told_with_what_it_took() -> None:
    runs = [
        info("ok", "FINISHED", energy_joules="0.050", energy_source="simulated"),
        info("bad", "FAILED", seconds="3.0", peak_memory="7"),
        info("gone", "FAILED", deleted=True),
        info("stopped", "KILLED"),
    ]
    found = _ranking(RESOURCE, runs)
    assert found.techniques == ("a", "b")
    assert found.failed == (Fell("bad", 3.0, None, 7),)
    (only,) = found.runs
    assert (only.joules, only.meter, only.hardware, dict(only.data)) == (0.05, "simulated", "M4", {"d": "aa"})


@pytest.mark.parametrize("text", ["", "much", "nan", "inf", "-1"])
def test_a_receipt_that_is_no_amount_counts_as_not_measured(text: str) -> None:
    (only,) = _ranking(RESOURCE, [info("a", "FINISHED", seconds=text, energy_joules=text, peak_memory=text)]).runs
    assert (only.seconds, only.joules, only.peak_memory) == (None, None, None)
