"""Two loops side by side over one installation on a real MLflow, each with a part of the projects."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.model import Ref
from reconciler.shard import Shard
from reconciler.state import open_store
from tests.e2e.installation import RECONCILE, Installation, experiment, project, start
from tests.e2e.training import until

pytestmark = pytest.mark.xdist_group("mlflow")
NAMES = ("east", "west", "north", "south")
ONE, TWO = (next(name for name in NAMES if Shard(number, 2).holds(Ref("Project", None, name))) for number in (1, 2))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, mlflow_url: str) -> Installation:
    found = start(tmp_path_factory.mktemp("shards") / "root", mlflow_url, "shards")
    for name in (ONE, TWO):
        found.write(
            {f"manifests/{name}.yaml": project(name), f"code/{name}/README": "", f"manifests/{name}-e.yaml": experiment("first", name)}
        )
    return found


def loop(here: Installation, shard: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as out:
        return subprocess.Popen(
            [RECONCILE, "watch", "--every", "5s", "--shard", shard], cwd=here.root, env=here.environment, stdout=out, stderr=out
        )


@pytest.fixture
def loops(here: Installation, tmp_path: Path) -> Iterator[dict[str, tuple[subprocess.Popen[bytes], Path]]]:
    made = {}
    for number in ("1", "2"):
        log = tmp_path / f"{number}.log"
        made[number] = (loop(here, f"{number}/2", log), log)
    try:
        yield made
    finally:
        for process, _ in made.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
                process.wait(60)


def test_each_does_its_part_at_once_and_goes_on_without_the_other(
    here: Installation, loops: dict[str, tuple[subprocess.Popen[bytes], Path]], tmp_path: Path
) -> None:
    (one, said_one), (_, said_two) = loops["1"], loops["2"]
    until(lambda: f"+ experiment/{ONE}/first  done" in said_one.read_text(), log=said_one)
    until(lambda: f"+ experiment/{TWO}/first  done" in said_two.read_text(), log=said_two)
    assert f"experiment/{TWO}/first  done" not in said_one.read_text()
    third = tmp_path / "third.log"
    other = loop(here, "2/3", third)
    try:
        until(lambda: "leads part 1 of 2 of this installation" in third.read_text())
    finally:
        other.terminate()
        other.wait(60)
    os.kill(one.pid, signal.SIGKILL)
    one.wait(10)
    for name in (ONE, TWO):
        here.write({f"manifests/{name}-f.yaml": experiment("second", name)})
    (here.root / "manifests" / f"{TWO}-e.yaml").unlink()
    until(lambda: f"+ experiment/{TWO}/second  done" in said_two.read_text(), log=said_two)
    until(lambda: f"experiment/{TWO}/first  ConfirmDelete" in said_two.read_text(), log=said_two)
    with open_store(here.root / ".mlops" / "store.db", read_only=True) as store:
        assert Ref("Experiment", ONE, "second") not in store.inventory(), "nobody looks after that part now"
    assert here.run().code == 3, "the deletion still waits for a yes"
    assert here.status()[f"experiment/{ONE}/second"]["ready"], "a single pass looks after everything"
    told = here.run("status")
    assert "watched: the tools are looked at every 5.0 s" in told.out
