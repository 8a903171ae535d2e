"""`kill -9` of the program at random moments of a pass: the next pass finishes, with no twin, no orphan and an empty journal."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
import uuid
from pathlib import Path

import httpx
import pytest

from tests.e2e.installation import RECONCILE, Installation, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")
FEW, MANY = range(3), range(3, 60)


def _installation(root: Path, url: str) -> Installation:
    name = f"kill-{uuid.uuid4().hex[:8]}"
    here = start(root, url, name)
    here.env = {"NAME": name}
    manifests = [project(name), *(dataset(f"d{index}", name, f"d{index}.csv") for index in range(3))]
    manifests += [experiment(f"e{index}", name, f"  datasets: [d{index % 3}]\n") for index in range(12)]
    here.write({"manifests/all.yaml": "---\n".join(manifests), **{f"code/{name}/d{index}.csv": f"a\n{index}\n" for index in range(3)}})
    return here


@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(each, marks=pytest.mark.full) for each in MANY)])
def test_a_killed_pass_is_finished_by_the_next(tmp_path: Path, mlflow_url: str, seed: int) -> None:
    here = _installation(tmp_path / "root", mlflow_url)
    moment = random.Random(seed).uniform(0.0, 1.2)
    for _ in range(3):
        child = subprocess.Popen([RECONCILE], cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.4 + moment)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        child.wait()
    here.ok("--wait")
    assert "No changes" in here.ok().out

    body = {"max_results": 1000, "view_type": "ALL", "filter": f"tags.`mlops.installation` = '{here.env['NAME']}'"}
    answer = httpx.post(f"{mlflow_url}/api/2.0/mlflow/experiments/search", json=body, trust_env=False, timeout=30).json()
    assert sorted(each["name"] for each in answer["experiments"]) == sorted(f"{here.env['NAME']}/e{index}" for index in range(12))
    with sqlite3.connect(here.root / ".mlops" / "store.db") as store:
        assert store.execute("select count(*) from journal").fetchone() == (0,)
        assert store.execute("select count(*) from inventory").fetchone() == (17,)
