"""What MLflow answers when several requests come at once: it may be asked again, and is not taken for a no."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controllers.tools import mlflow_runs
from controllers.tools.mlflow import connect
from reconciler.errors import Transient
from reconciler.testing.context import make_context
from reconciler.testing.services import ServicesAt
from tests.contract.proxy import answering

pytestmark = pytest.mark.xdist_group("mlflow")
PAGE = "<html><body>Service Unavailable</body></html>"
LIMIT = '{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}'


@pytest.mark.parametrize(("status", "text"), [(429, PAGE), (503, PAGE), (502, PAGE), (504, PAGE), (429, LIMIT), (503, "{}")])
def test_who_asks_to_be_left_alone_for_a_while_is(tmp_path: Path, status: int, text: str) -> None:
    """In whatever words a gateway says it."""
    with answering(text, status, {"Retry-After": "7"}) as url:
        mlflow = connect(make_context(tmp_path, services=ServicesAt({"mlflow": url})))
        with pytest.raises(Transient, match="MLflow is busy") as told:
            mlflow.create_experiment("busy/one", {}, None)
    assert told.value.retry_after == 7


def test_runs_that_are_the_first_to_name_a_dataset_at_once(tmp_path: Path, mlflow_url: str) -> None:
    ctx = make_context(tmp_path, services=ServicesAt({"mlflow": mlflow_url}))
    mlflow = connect(ctx)
    experiment = mlflow.create_experiment(f"races/{uuid.uuid4().hex}", {}, None)
    runs = [mlflow_runs.create(mlflow, experiment, f"r{number}", {}, time.time()) for number in range(8)]

    def describe(given: tuple[str, str]) -> str:
        run, digest = given
        for _ in range(20):
            try:
                mlflow_runs.log_inputs(mlflow, run, [{"name": "table", "digest": digest, "source": "{}"}])
            except Transient:  # anything else, such as Rejected, would cost the launch
                told.append("again")
            else:
                return "done"
        return "never"

    told: list[str] = []
    with ThreadPoolExecutor(8) as pool:
        rounds = 0
        while rounds < 5 or (not told and rounds < 40):  # until two of them have met in the server
            digest, rounds = uuid.uuid4().hex, rounds + 1
            assert Counter(pool.map(describe, [(run, digest) for run in runs])) == {"done": 8}
    for run in runs:
        inputs = mlflow.call("GET", "runs/get", params={"run_id": run}, write=False)["run"]["inputs"]["dataset_inputs"]
        assert len(inputs) == rounds
