"""Runs under admission, through the program alone: each exists exactly once, whatever is killed, and waits for room with a reason."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.installation import RECONCILE, Installation
from tests.e2e.training import lab, runs, small, starts, sweep, until

pytestmark = pytest.mark.xdist_group("runs")


def _programs(here: Installation) -> list[psutil.Process]:
    """Training programs of this installation that live now."""
    found = []
    for each in psutil.process_iter(["cmdline", "cwd"]):
        if each.info["cwd"] == str(here.root / "code" / here.env["NAME"]) and "train.py" in " ".join(each.info["cmdline"] or []):
            found.append(each)
    return found


def test_runs_exist_exactly_once(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "grid", f"params: {{rank: [1, 2]}}, seeds: [0, 1], {small()}")
    plan = here.run("--dry-run").text
    assert "would start now: rank1-s0" in plan
    done = here.ok("--wait")
    assert "created" in done.out
    found = runs(here, mlflow_url)
    assert sorted(each["tags"]["mlflow.runName"] for each in found) == ["rank1-s0", "rank1-s1", "rank2-s0", "rank2-s1"]
    assert {each["info"]["status"] for each in found} == {"FINISHED"}
    assert {each["metrics"]["accuracy"] for each in found} == {0.1, 0.2}
    for each in found:
        assert {"mlops.receipt.peak_memory", "mlops.receipt.seconds", "mlops.receipt.queued_seconds"} <= each["tags"].keys()
        assert each["metrics"]["system/process_memory_megabytes"] > 0
    again, calls = here.wire()
    assert again.code == 0
    assert "No changes" in again.out
    assert [each for each in calls if each["write"]] == []
    assert len(starts(here)) == 4
    assert "rank2-s0" in here.ok("leaderboard").out
    assert "4 runs finished" in here.ok("status", "--all").out


def test_a_changed_dataset_starts_only_its_runs_again(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "uses-one", f"params: {{rank: [1, 2]}}, {small()}", "one")
    sweep(here, "uses-two", f"params: {{rank: [3]}}, {small()}", "two")
    here.ok("--wait")
    assert len(starts(here)) == 3
    before = (here.root / "code" / here.env["NAME"] / "two.csv").read_text()
    (here.root / "code" / here.env["NAME"] / "two.csv").write_text(before + "9\n")
    plan = here.run("--dry-run").text
    assert "uses-two#rank3-s0" in plan
    assert "uses-one#" not in plan
    here.ok("--wait")
    assert [line.split("data=")[1] for line in starts(here)[3:]] == ["two.csv"]
    old = [each for each in runs(here, mlflow_url) if each["tags"].get("mlops.superseded") == "true"]
    assert [each["tags"]["mlflow.runName"] for each in old] == ["rank3-s0"]
    (here.root / "code" / here.env["NAME"] / "two.csv").write_text(before)
    here.ok("--wait")
    assert len(starts(here)) == 4, "data that is as before is served by the run that was made of it"
    assert "No changes" in here.ok().out


def test_trainings_outlive_a_killed_reconciler_and_are_adopted(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "long", f"params: {{rank: [1, 2, 3], seconds: 4}}, {small(4)}")
    child = subprocess.Popen(
        [RECONCILE, "--wait"], cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: len(starts(here)) >= 2)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    alive = _programs(here)
    assert alive, "a training ended with the reconciler"
    here.ok("--wait")
    assert len(starts(here)) == 3
    assert [each["info"]["status"] for each in runs(here, mlflow_url)] == ["FINISHED"] * 3
    assert "No changes" in here.ok().out


@pytest.mark.parametrize("seed", [0, *(pytest.param(each, marks=pytest.mark.full) for each in range(1, 40))])
def test_kills_at_any_moment_make_no_twin(tmp_path: Path, mlflow_url: str, seed: int) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "grid", f"params: {{rank: [1, 2, 3, 4], seconds: 1}}, {small()}")
    draw = random.Random(seed)
    for _ in range(4):
        child = subprocess.Popen([RECONCILE], cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5 + draw.uniform(0.0, 1.5))
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        child.wait()
    here.ok("--wait")
    names = sorted(each["tags"]["mlflow.runName"] for each in runs(here, mlflow_url) if each["info"]["status"] == "FINISHED")
    assert names == ["rank1-seconds1-s0", "rank2-seconds1-s0", "rank3-seconds1-s0", "rank4-seconds1-s0"]
    assert len(starts(here)) == 4
    assert "No changes" in here.ok().out


def test_a_killed_training_is_tried_again_then_stalls_with_its_last_words(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "fragile", f"params: {{seconds: 60}}, retries: 1, {small()}")
    child = subprocess.Popen([RECONCILE, "--wait"], cwd=here.root, env=here.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for attempt in (1, 2):
        until(lambda attempt=attempt: len(starts(here)) == attempt and len(_programs(here)) == 1)
        _programs(here)[0].kill()
    assert child.wait(timeout=60) != 0
    found = here.status()[f"experiment/{here.env['NAME']}/fragile#seconds60-s0"]
    assert found["health"] == "Degraded"
    assert any(each["type"] == "Stalled" for each in found["conditions"])
    why = here.run("why", "fragile#seconds60-s0").out
    assert "SIGKILL" in why
    assert "training with" in why
    assert here.run().code != 0
    assert len(starts(here)) == 2, "a stalled run started again by itself"
    sweep(here, "fragile", f"params: {{seconds: 60}}, retries: 1, rerun: once-more, {small()}")
    here.run()
    until(lambda: len(starts(here)) == 3)
    sweep(here, "fragile", f"params: {{seconds: 0.1}}, {small()}")
    here.ok("--wait")
    assert _programs(here) == [], "a run that is not wanted any more goes on"


def _trace(here: Installation, *lines: dict[str, object]) -> None:
    here.write({"heat.jsonl": "".join(json.dumps(each) + "\n" for each in lines)})


def test_a_hot_machine_starts_only_what_is_exempt_until_it_has_cooled(tmp_path: Path, mlflow_url: str) -> None:
    sensors = "  admission: {sensors: {trace: heat.jsonl}}\n"
    here = lab(tmp_path / "root", mlflow_url, sensors)
    _trace(here, {"at": 0, "level": "serious", "used": 1.2, "watts": 30})
    sweep(here, "usual", f"params: {{rank: [1, 2]}}, {small()}")
    sweep(here, "urgent", f"params: {{rank: [3]}}, priority: 8, {small()}")
    held = here.run("--wait", "--timeout", "25s")
    assert held.code == 3, held.text
    assert [line.split()[1] for line in starts(here)] == ["rank=3.0"]
    queue = here.ok("queue").out
    assert "usual#rank1-s0" in queue
    assert "serious" in queue or "heat" in queue
    assert "serious" in here.run("why", "usual#rank1-s0").out
    _trace(here, {"at": 0, "level": "nominal", "used": 0.1, "watts": 3})
    until(lambda: here.run("--wait", "--timeout", "60s").code == 0, 180)
    assert len(starts(here)) == 3


def test_unknown_sensors_leave_quotas_in_charge_and_say_so(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url, "  admission: {sensors: none}\n", "nominal: {memory: 2Gi, cpu: 100m}")
    sweep(here, "grid", f"params: {{rank: [1, 2]}}, {small()}")
    plan = here.run("--dry-run").text
    assert "heat" in plan, plan
    assert "rank2-s0 would start" in plan
    here.ok("--wait")
    assert len(starts(here)) == 2


def test_a_run_that_can_never_fit_is_refused_with_the_number_to_change(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "huge", "resources: {memory: 900Ti, cpu: 100m}")
    sweep(here, "fine", f"params: {{rank: [1]}}, {small()}")
    plan = here.run("--dry-run")
    assert plan.code == 3
    assert "ExceedsM" in json.dumps(here.plan())
    assert "manifests/huge.yaml" in plan.out
    assert "GiB" in plan.out or "TiB" in plan.out
    assert here.run("--wait").code == 3
    assert len(starts(here)) == 1, "the healthy run beside it was not started"


def test_more_launches_than_the_budget_ask_first(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url, "  admission: {launchBudget: 2}\n")
    sweep(here, "grid", f"params: {{rank: [1, 2, 3]}}, {small()}")
    held = here.run("--wait")
    assert held.code == 3
    assert starts(here) == []
    assert "launchBudget" in held.out
    digest = held.out.split("--confirm ")[1].split()[0].strip("`.;")
    here.ok("--wait", "--confirm", digest)
    assert len(starts(here)) == 3


def test_the_loop_starts_what_is_saved_and_ends_without_taking_runs_with_it(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url, quota="nominal: {memory: 2Gi, cpu: 200m}")
    here.ok("--wait")
    log = here.root / "watch.log"
    with log.open("w") as out:
        loop = subprocess.Popen([RECONCILE, "watch", "--every", "60s"], cwd=here.root, env=here.environment, stdout=out, stderr=out)
    try:
        time.sleep(2)
        sweep(here, "grid", f"params: {{rank: [1, 2, 3, 4]}}, {small()}")
        until(lambda: len(starts(here)) == 4)
        until(lambda: [each["info"]["status"] for each in runs(here, mlflow_url)] == ["FINISHED"] * 4)
        sweep(here, "broken", "nonsense: true")
        until(lambda: "nonsense" in log.read_text())
        (here.root / "manifests" / "broken.yaml").unlink()
        sweep(here, "grid", f"params: {{rank: [1, 2, 3, 4], seconds: 5}}, {small()}")
        until(lambda: len(starts(here)) >= 5)
    finally:
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(timeout=30) == 0, log.read_text()
    assert _programs(here), "a training ended with the loop"
    here.ok("--wait")
    assert len(starts(here)) == 8


def test_what_waited_for_room_uses_the_data_of_now(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url, quota="nominal: {memory: 2Gi, cpu: 100m}")
    sweep(here, "grid", f"params: {{rank: [1, 2, 3], seconds: 0.5}}, {small()}")
    here.ok("--wait")
    (here.root / "code" / here.env["NAME"] / "one.csv").write_text("a\n1\n2\n3\n")
    here.ok("--wait")
    current = [each for each in runs(here, mlflow_url) if each["tags"].get("mlops.superseded") != "true"]
    assert len(starts(here)) == 6
    assert len({each["tags"]["mlops.dataset.one"] for each in current}) == 1
    assert len(current) == 3
    assert "No changes" in here.ok().out
