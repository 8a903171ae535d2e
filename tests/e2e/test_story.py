"""From an empty folder to drift and back, on real DVC and MLflow, through the program alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.e2e.installation import RECONCILE, Installation, dataset, experiment, project, start

pytestmark = pytest.mark.xdist_group("mlflow")


@pytest.fixture
def here(tmp_path: Path, mlflow_url: str) -> Installation:
    """Two projects with two datasets and three experiments, committed; on the shared server under names of its own."""
    one, two = (f"{name}-{uuid.uuid4().hex[:6]}" for name in ("alpha", "beta"))
    found = start(tmp_path / "root with space", mlflow_url, f"story-{uuid.uuid4().hex[:8]}")
    found.env = {"ONE": one, "TWO": two}
    found.write(
        {
            f"manifests/projects/{one}/project.yaml": project(one, "  shares: [dataset/tickets]\n"),
            f"manifests/projects/{one}/data.yaml": dataset("tickets", one, "data/tickets.csv"),
            f"manifests/projects/{one}/experiments.yaml": experiment(
                "sweep", one, "  description: ranks\n  tags: {owner: nlp}\n  datasets: [tickets]\n"
            )
            + "---\n"
            + experiment("plain", one),
            f"manifests/projects/{two}/all.yaml": "---\n".join(
                [
                    project(two),
                    dataset("pixels", two, "data/pixels"),
                    experiment("probe", two, f"  datasets: [pixels, {one}/tickets]\n"),
                ]
            ),
            f"code/{one}/data/tickets.csv": "id,text\n1,hello\n2,world\n",
            f"code/{two}/data/pixels/a.csv": "1,2\n",
            f"code/{two}/data/pixels/b.csv": "3,4\n",
        }
    )
    found.commit("first")
    return found


def _experiment_id(url: str, name: str) -> str:
    import httpx

    answer = httpx.get(f"{url}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": name}, trust_env=False)
    return str(answer.json()["experiment"]["experiment_id"])


def _by_client(url: str, code: str) -> None:
    """Do something through MLflow's own client, in a process of its own."""
    program = f"from mlflow import MlflowClient\nclient = MlflowClient({url!r})\n{code}"
    env = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, capture_output=True, env=env)


def test_manifests_become_real_and_a_second_pass_writes_nothing(here: Installation) -> None:
    before = here.plan()
    assert {each["action"] for each in before["actions"]} == {"create"}
    assert not (here.root / ".mlops" / "store.db").exists(), "a dry run must not create a Store"

    first = here.ok("--wait", "--timeout", "120s")
    assert "9 created" in first.text or "created" in first.text
    assert all(each["ready"] for each in here.status().values())

    ran, calls = here.wire()
    assert ran.code == 0
    assert "No changes" in ran.out
    assert calls, "the tools were not asked"
    assert [each for each in calls if each["write"]] == []
    assert here.run("--dry-run", "--detailed-exitcode").code == 0


def test_drift_by_hand_is_shown_at_its_path_and_corrected(here: Installation, mlflow_url: str) -> None:
    one = here.env["ONE"]
    here.ok("--wait")
    changed = _experiment_id(mlflow_url, f"{one}/sweep")
    _by_client(mlflow_url, f"client.set_experiment_tag('{changed}', 'owner', 'somebody-else')")

    told = here.run("--dry-run", "--detailed-exitcode")
    assert told.code == 2, told.text
    changes = [(each["ref"], [change["path"] for change in each["changes"]]) for each in here.plan()["actions"] if each["action"] != "keep"]
    assert changes == [(f"experiment/{one}/sweep", ["spec.tags.owner"])]
    assert "somebody-else" in told.out
    assert "nlp" in told.out

    here.ok()
    assert here.run("--dry-run", "--detailed-exitcode").code == 0

    _by_client(mlflow_url, f"client.delete_experiment('{changed}')")
    assert here.run("--dry-run", "--detailed-exitcode").code == 2
    here.ok()
    assert _experiment_id(mlflow_url, f"{one}/sweep") == changed, "restored, not made again"
    assert here.run("--dry-run", "--detailed-exitcode").code == 0


def test_a_changed_file_is_a_new_version_and_a_revert_brings_the_old_hash_back(here: Installation) -> None:
    one = here.env["ONE"]
    data = here.root / "code" / one / "data" / "tickets.csv"
    ref = f"dataset/{one}/tickets"
    here.ok("--wait")
    first, objects = _version(here, one), here.cache

    data.write_text(data.read_text() + "3,again\n")
    here.commit("more tickets")
    plan = {each["ref"]: each for each in here.plan()["actions"]}
    assert plan[ref]["action"] == "update"
    assert plan[f"experiment/{one}/sweep"]["action"] == "update", "what reads the data follows"
    here.ok("--wait")
    second = _version(here, one)
    assert second != first
    assert len(here.cache) == len(objects) + 1

    here.git("revert", "--no-edit", "HEAD")
    here.ok("--wait")
    assert _version(here, one) == first
    assert len(here.cache) == len(objects) + 1, "the old bytes are there once"
    assert "No changes" in here.ok().out


def _version(here: Installation, one: str) -> str:
    """The digest that MLflow's experiment says it reads."""
    import httpx
    import yaml

    platform = yaml.safe_load((here.root / "manifests/platform.yaml").read_text())
    url = platform["spec"]["mlflow"]["endpoint"]
    answer = httpx.get(f"{url}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": f"{one}/sweep"}, trust_env=False).json()
    return next(tag["value"] for tag in answer["experiment"]["tags"] if tag["key"] == "mlops.dataset.tickets")


def test_missing_bytes_come_back(here: Installation) -> None:
    here.ok("--wait")
    data = here.root / "code" / here.env["ONE"] / "data" / "tickets.csv"
    before = data.read_text()
    data.unlink()
    assert here.run("--dry-run", "--detailed-exitcode").code == 2
    here.ok()
    assert data.read_text() == before


def test_removing_the_projects_deletes_nothing_until_exactly_that_set_is_confirmed(here: Installation, mlflow_url: str) -> None:
    import shutil

    one = here.env["ONE"]
    here.ok("--wait")
    shutil.rmtree(here.root / "manifests" / "projects")
    ran, calls = here.wire()
    assert ran.code == 3, "held, not failed"
    assert [each for each in calls if each["write"]] == []
    assert "broken source" in ran.text
    held = here.plan()
    digest = held["confirmation"]
    assert f"reconcile --confirm {digest}" in ran.text
    assert {each["action"] for each in held["actions"] if each["ref"].startswith("experiment/")} == {"blocked"}
    assert here.run("--dry-run", "--detailed-exitcode").code == 3

    wrong = here.run("--confirm", "deadbeef")
    assert (wrong.code, "deadbeef names nothing that waits for a yes" in wrong.text) == (3, True), wrong.text
    assert here.plan()["confirmation"] == digest, "another digest agrees to nothing"
    data = here.root / "code" / one / "data" / "tickets.csv"
    here.ok("--confirm", digest)
    assert data.exists(), "the bytes in the project's own tree are the user's"
    assert "No changes" in here.ok().out

    here.write({"manifests/projects/new.yaml": project("later") + "---\n" + _quota("later"), "code/later/x.py": ""})
    here.ok()
    here.write({"manifests/projects/new.yaml": project("later")})
    here.ok()
    assert "resourcequota/later/share" not in here.status(), "what was confirmed does not count against the budget of the next deletion"
    import httpx

    answer = httpx.get(f"{mlflow_url}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": f"{one}/sweep"}, trust_env=False)
    assert answer.json()["experiment"]["lifecycle_stage"] == "deleted"


def _quota(of: str) -> str:
    head = f"apiVersion: reconciler.mlops/v1\nkind: ResourceQuota\nmetadata: {{name: share, project: {of}}}\n"
    return f"{head}spec: {{nominal: {{memory: 1Gi}}}}\n"


def test_an_empty_tree_and_a_filter_delete_nothing(here: Installation) -> None:
    here.ok("--wait")
    everything = here.status().keys()
    two = here.env["TWO"]
    (here.root / "manifests/projects" / two / "all.yaml").unlink()
    for arguments in (["--project", here.env["ONE"]], ["--kind", "Experiment"], ["-f", f"manifests/projects/{here.env['ONE']}"]):
        assert "delete" not in {each["action"] for each in here.plan(*arguments)["actions"]}, arguments
    (here.root / "manifests" / "projects" / "broken.yaml").write_text("kind: [")
    ran = here.run()
    assert ran.code == 1
    assert here.status().keys() == everything
    for path in sorted((here.root / "manifests").rglob("*.yaml")):
        path.unlink()
    assert here.run().code != 0
    assert here.status().keys() == everything


def test_a_lost_store_is_rebuilt_from_the_marks(here: Installation) -> None:
    here.ok("--wait")
    for path in (here.root / ".mlops").glob("store.db*"):
        path.unlink()
    ran, calls = here.wire("--wait")
    assert ran.code == 0, ran.text
    assert [each["target"] for each in calls if each["write"] and each["tool"] == "mlflow"] == []
    assert "adopted" in ran.text
    assert "No changes" in here.ok().out


def test_somebody_elses_experiment_is_left_alone_until_adopted(here: Installation, mlflow_url: str) -> None:
    one = here.env["ONE"]
    _by_client(mlflow_url, f"client.create_experiment('{one}/plain', tags={{'by': 'hand'}})")
    ran = here.run("--wait", "--timeout", "30s")
    assert "lifecycle.adopt: true" in ran.text
    assert here.run("--dry-run", "--detailed-exitcode").code == 3
    path = here.root / f"manifests/projects/{one}/experiments.yaml"
    path.write_text(path.read_text().replace("metadata: {name: plain", "lifecycle: {adopt: true}\nmetadata: {name: plain"))
    here.ok()
    assert here.run("--dry-run", "--detailed-exitcode").code == 0


def test_interrupt_stops_cleanly_and_the_next_pass_finishes(here: Installation) -> None:
    one = here.env["ONE"]
    many = "---\n".join(experiment(f"many-{index}", one) for index in range(500))
    here.write({f"manifests/projects/{one}/many.yaml": many})
    child = subprocess.Popen([RECONCILE], cwd=here.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here.environment)
    store, deadline = here.root / ".mlops" / "store.db", time.monotonic() + 60
    while time.monotonic() < deadline and _recorded(store) < 10:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode != 0, out + err
    assert "Traceback" not in out + err
    begun = _recorded(store)
    assert 0 < begun < 500
    here.ok("--wait")
    assert "No changes" in here.ok().out


def _recorded(store: Path) -> int:
    import sqlite3

    if not store.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            return int(connection.execute("select count(*) from inventory").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
