"""What users and accidents do to runs, through the program: each ends where it should, and what went wrong is told."""

from __future__ import annotations

import shutil
import signal
import subprocess
import uuid
from pathlib import Path

import psutil
import pytest

from tests.e2e.installation import RECONCILE, Installation
from tests.e2e.training import lab, runs, small, starts, sweep, until

pytestmark = pytest.mark.xdist_group("mlflow")


def _line(text: str, ref: str) -> str:
    """The line that begins with a glyph and this Ref."""
    return next(each for each in text.splitlines() if each.split()[1:2] == [ref])


def _of(here: Installation, what: str) -> list[psutil.Process]:
    """Live processes whose command line holds `what` and a path of this installation."""
    found = []
    for each in psutil.process_iter(["cmdline", "cwd", "status"]):
        words = " ".join(each.info["cmdline"] or [])
        if what in words and each.info["status"] != psutil.STATUS_ZOMBIE and str(here.root) in f"{words} {each.info['cwd']}":
            found.append(each)
    return found


def test_a_run_that_failed_is_never_told_as_finished(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "bad", f"params: {{fail: 'true'}}, {small()}")
    sweep(here, "good", f"params: {{rank: [2]}}, {small()}")
    done = here.run("--wait")
    assert done.code == 1
    assert done.out.startswith("Failed in part:")
    assert _line(done.out, f"experiment/{here.env['NAME']}/bad#failtrue-s0").split() == [
        "✗",
        f"experiment/{here.env['NAME']}/bad#failtrue-s0",
        "failed",
    ]
    assert "exit 3" in done.out
    assert "the loss is not a number" in done.out
    assert _line(done.out, f"experiment/{here.env['NAME']}/good#rank2-s0").endswith("finished")


def test_an_entrypoint_that_is_missing_is_told_in_the_plan_and_starts_once_it_is_there(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "later", small())
    program = here.root / "code" / here.env["NAME"] / "train.py"
    text = program.read_text()
    program.unlink()
    plan = here.run("--dry-run")
    assert plan.code == 3
    assert _line(plan.out, f"experiment/{here.env['NAME']}/later#s0").startswith("  ! ")
    assert "there is no train.py" in plan.out
    assert here.run("--wait").code != 0
    assert runs(here, mlflow_url) == []
    assert "there is no train.py" in here.run("why", "later#s0").out
    program.write_text(text)
    here.ok("--wait")
    assert len(starts(here)) == 1


@pytest.mark.parametrize(
    ("window", "told"),
    [
        ('{kind: allow, cron: "0 0 30 2 *", duration: 1h}', "windows.0.cron: '0 0 30 2 *' names a day that no calendar has"),
        ('{kind: deny, cron: "99 99 * * *", duration: 1h}', "windows.0.cron: not five cron fields"),
        (
            '{kind: deny, cron: "0 0 * * *", duration: 1h, timezone: Mars/Olympus}',
            "windows.0.timezone: there is no time zone 'Mars/Olympus'",
        ),
    ],
)
def test_a_time_that_does_not_exist_is_refused_and_harms_nobody_else(tmp_path: Path, mlflow_url: str, window: str, told: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    head = "apiVersion: reconciler.mlops/v1\n"
    here.write(
        {
            "manifests/other.yaml": f"{head}kind: Project\nmetadata: {{name: other}}\nspec: {{path: code/other}}\n---\n{head}"
            f"kind: ResourceQuota\nmetadata: {{name: odd, project: other}}\nspec: {{nominal: {{cpu: 1}}, windows: [{window}]}}\n",
            "code/other/train.py": "",
        }
    )
    sweep(here, "fine", small())
    plan = here.run("--dry-run")
    assert plan.code == 1
    assert told in plan.text
    assert f"experiment/{here.env['NAME']}/fine#s0" in plan.out


def test_a_pass_beside_a_running_loop_waits_for_its_turn(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url, quota="nominal: {memory: 2Gi, cpu: 200m}")
    here.ok("--wait")
    sweep(here, "grid", f"params: {{rank: [1, 2, 3, 4, 5, 6], seconds: 1}}, {small()}")
    quiet = {"cwd": here.root, "env": here.environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    loop = subprocess.Popen([RECONCILE, "watch", "--every", "1s"], **quiet)  # type: ignore[call-overload]
    once = [subprocess.Popen([RECONCILE, "--wait"], **quiet) for _ in range(2)]  # type: ignore[call-overload]
    try:
        for each in once:
            out, _ = each.communicate(timeout=120)
            assert each.returncode == 0, out
    finally:
        loop.send_signal(signal.SIGTERM)
        out, _ = loop.communicate(timeout=60)
    assert loop.returncode == 0, out
    assert len(starts(here)) == 6
    assert [each["info"]["status"] for each in runs(here, mlflow_url)] == ["FINISHED"] * 6


def test_a_run_whose_folder_is_removed_ends_and_leaves_nothing_behind(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    sweep(here, "lost", f"params: {{seconds: 300}}, {small(300)}")
    here.ok()
    until(lambda: len(starts(here)) == 1)
    [folder] = (here.root / ".mlops" / "runs").iterdir()
    while folder.exists():  # its supervisor may write a file in between
        shutil.rmtree(folder, ignore_errors=True)
    until(lambda: _of(here, "train.py") == [], 30)
    until(lambda: _of(here, "reconciler.runs.supervise") == [], 30)
    assert here.run("--wait").code == 1
    [run] = runs(here, mlflow_url)
    assert run["info"]["status"] == "FAILED"
    assert "Degraded" in here.run("status", "lost#seconds300-s0").out
    sweep(here, "lost", f"params: {{seconds: 0.1}}, {small()}")
    here.ok("--wait")


def test_work_is_paused_when_the_machine_gets_critically_hot_although_nothing_waits(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url, "  admission: {pauseAfter: 2s, sensors: {trace: heat.jsonl}}\n")
    here.write({"heat.jsonl": '{"at": 0, "level": "nominal", "used": 0.1}\n{"at": 3, "level": "critical", "used": 1.6}\n'})
    sweep(here, "long", f"params: {{seconds: 300}}, {small(300)}")
    with (here.root / "watch.log").open("w") as out:
        loop = subprocess.Popen([RECONCILE, "watch", "--every", "10m"], cwd=here.root, env=here.environment, stdout=out, stderr=out)
    try:
        until(lambda: [each.status() for each in _of(here, "train.py")] == [psutil.STATUS_STOPPED], 60)
    finally:
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(timeout=60) == 0, (here.root / "watch.log").read_text()
    assert "paused" in here.run("queue").out
    path = here.root / "manifests" / "platform.yaml"
    path.write_text(path.read_text().replace("sensors: {trace: heat.jsonl}", "sensors: none"))
    sweep(here, "long", f"params: {{seconds: 0.1}}, {small()}")
    here.ok("--wait")
    assert _of(here, "train.py") == []


def test_the_password_of_the_tracking_server_is_with_its_supervisor_only(tmp_path: Path, mlflow_url: str) -> None:
    here = lab(tmp_path / "root", mlflow_url)
    word = f"canary-{uuid.uuid4().hex}"
    here.env["PASSWORD"] = word
    path = here.root / "manifests" / "platform.yaml"
    path.write_text(path.read_text().replace("endpoint:", "username: bob, password: {fromEnv: PASSWORD}, endpoint:"))
    sweep(here, "secret", f"params: {{seconds: 4}}, {small(4)}")
    told = here.ok().text
    until(lambda: len(starts(here)) == 1)
    processes = [*_of(here, "train.py"), *_of(here, "reconciler.runs.supervise")]
    assert len(processes) >= 2
    for each in processes:
        assert word not in " ".join([*each.cmdline(), *each.environ().values()])
    [folder] = (here.root / ".mlops" / "runs").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    told += here.ok("--wait").text + here.run("history").text + here.run("queue", "-o", "json").text
    assert word not in told
    assert [str(each) for each in here.root.rglob("*") if each.is_file() and word in each.read_bytes().decode(errors="replace")] == []
