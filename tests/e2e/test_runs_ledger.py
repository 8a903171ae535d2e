"""The ledger under accidents: what runs is charged whatever became of the Store, and a pass over a part leaves the rest alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.state import Queued, open_store
from tests.e2e.installation import Installation
from tests.e2e.training import lab, runs, starts, sweep, until

pytestmark = pytest.mark.xdist_group("runs")
TWO_AT_ONCE = "resources: {memory: 64Mi, cpu: 1, duration: 20s}"
"""Of the two cores that the project's quota gives."""


def _queue(here: Installation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(here.run("queue", "--all", "-o", "json").out)
    return found


def _rows(here: Installation) -> tuple[Queued, ...]:
    with open_store(here.root / ".mlops" / "store.db", read_only=True, now=lambda: datetime.now(UTC)) as store:
        return store.work.queue()


def test_what_runs_is_charged_when_the_store_was_lost(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "long", f"params: {{rank: [1, 2, 3, 4], seconds: 12}}, {TWO_AT_ONCE}")
    assert here.run().code == 3
    until(lambda: len(starts(here)) == 2)
    for path in (here.root / ".mlops").glob("store.db*"):
        path.unlink()
    assert here.run().code == 3
    found = _queue(here)
    assert len(found["running"]) == 2, "live work of which the Store knew nothing is under a lease again"
    assert {each["reason"] for each in found["waiting"]} == {"WaitingForQuota"}
    assert len(starts(here)) == 2, "nothing more starts while the old work holds the whole quota"
    here.ok("--wait")
    assert len(starts(here)) == 4
    assert [each["info"]["status"] for each in runs(here, mlflow_url)] == ["FINISHED"] * 4
    assert _queue(here)["running"] == []


def test_a_pass_over_a_part_keeps_what_is_known_of_the_rest_of_the_queue(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "long", f"params: {{rank: [1, 2, 3], seconds: 8}}, {TWO_AT_ONCE}")
    assert here.run().code == 3
    before = _rows(here)
    assert [each.template != "" and "asked" in each.detail for each in before] == [True]
    here.run("--kind", "Dataset")
    after = _rows(here)
    assert [each.item for each in after] == [each.item for each in before]
    assert [(each.template, each.detail["asked"]) for each in after] == [(each.template, each.detail["asked"]) for each in before]
    here.ok("--wait")
