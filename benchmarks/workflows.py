"""Two hundred workflows on a real Airflow: what looking at them costs, how soon a change is read, how long a small run takes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import psutil

from benchmarks import measure
from benchmarks.measure import MIB, Run, percentile
from benchmarks.page import Budget, Section, budgets, figure, machine
from benchmarks.site import Site
from reconciler.platform.process import tree

TITLE = "Workflows"
WORKFLOWS, PROJECTS = 200, 10
CHANGES, RUNS, IDLE_SECONDS = 5, 5, 60.0
SERVICES = ("postgres", "airflow", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
HEAD = "apiVersion: reconciler.mlops/v1\nkind: "
SMALL = "resources: {memory: 48Mi, cpu: 100m, duration: 1s}"


def run(folder: Path) -> Section:
    """Deliver all, look, change some, run one, wait."""
    site = Site(folder / "flows")
    _build(site.root)
    try:
        created = site.reconcile("--wait", "--timeout", "600s")
        wire = site.root / "wire.jsonl"
        site.reconcile()
        looks = [site.reconcile("--wire-log", str(wire), "--detailed-exitcode") for _ in range(3)]
        calls, writes = measure.calls(wire)
        changes = [_change(site, at) for at in range(CHANGES)]
        runs = [_ran(site) for _ in range(RUNS)]
        time.sleep(10.0)
        idle = _idle(site.root)
    finally:
        site.down()
    return Section(TITLE, _lines(created, measure.median(looks), calls["airflow"] // 3, writes, changes, runs, idle))


def _build(root: Path) -> None:
    (root / "manifests").mkdir(parents=True)
    (root / "manifests/platform.yaml").write_text(f"{HEAD}Platform\nmetadata: {{name: p}}\nspec: {{installation: bench-flows}}\n")
    for at in range(PROJECTS):
        (root / f"code/p{at}").mkdir(parents=True)
        (root / f"code/p{at}/job.py").write_text("print('done')\n")
        (root / f"manifests/p{at}.yaml").write_text(f"{HEAD}Project\nmetadata: {{name: p{at}}}\nspec: {{path: code/p{at}}}\n")
    for at in range(WORKFLOWS):
        (root / f"manifests/w{at:03}.yaml").write_text(_manifest(at, 0))


def _manifest(at: int, version: int) -> str:
    """Three tasks in a row."""
    head = f'{HEAD}Workflow\nmetadata: {{name: w{at:03}, project: p{at % PROJECTS}}}\nspec:\n  schedule: "0 3 * * *"\n  tasks:\n'
    rows = [(f"t{number}", f"[t{number - 1}]" if number else "[]") for number in range(3)]
    return head + "".join(f"    - {{name: {name}, command: python job.py v{version}, needs: {needs}, {SMALL}}}\n" for name, needs in rows)


def _client(root: Path) -> httpx.Client:
    home = root / ".mlops/services/airflow"
    base = f"http://127.0.0.1:{(home / 'port').read_text().strip()}"
    client = httpx.Client(trust_env=False, timeout=30, base_url=f"{base}/api/v2/")
    account = {"username": "mlops", "password": json.loads((home / "passwords.json").read_text())["mlops"]}
    client.headers["Authorization"] = f"Bearer {client.post(f'{base}/auth/token', json=account).json()['access_token']}"
    return client


def _change(site: Site, at: int) -> float:
    """Seconds from the command that delivers one change to Airflow's having read it."""
    client = _client(site.root)
    before = client.get(f"dags/p{at % PROJECTS}.w{at:03}").json()["tags"]
    (site.root / f"manifests/w{at:03}.yaml").write_text(_manifest(at, 1))
    began = time.monotonic()
    site.reconcile()
    while client.get(f"dags/p{at % PROJECTS}.w{at:03}").json()["tags"] == before:
        time.sleep(0.05)
    return time.monotonic() - began


def _ran(site: Site) -> float:
    """Seconds from trigger to success of three small tasks, as Airflow tells them."""
    site.reconcile("run", "workflow/p7/w007", "--wait")
    last = _client(site.root).get("dags/p7.w007/dagRuns", params={"order_by": "-run_after", "limit": 1}).json()["dag_runs"][0]
    from controllers.tools.airflow import moment

    return moment(last["end_date"]) - moment(last["queued_at"])


def _idle(root: Path) -> dict[str, tuple[float, float]]:
    """Share of a core (per cent) and proportional memory (MiB) of each service."""
    trees = {name: tree(json.loads((root / f".mlops/services/{name}/record.json").read_text())["pid"]) for name in SERVICES}

    def cpu(name: str) -> float:
        return sum(sum(each.cpu_times()[:4]) for each in trees[name] if each.is_running())

    before, began = {name: cpu(name) for name in SERVICES}, time.monotonic()
    time.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - began
    found = {}
    for name, processes in trees.items():
        memory = sum(_memory(each) for each in processes if each.is_running())
        found[name] = (100 * (cpu(name) - before[name]) / seconds, memory / MIB)
    return found


def _memory(process: psutil.Process) -> int:
    info = process.memory_full_info()
    return int(getattr(info, "pss", 0) or info.uss)


def _lines(
    created: Run, look: Run, calls: int, writes: int, changes: list[float], runs: list[float], idle: dict[str, tuple[float, float]]
) -> list[str]:
    total_cpu, total_memory = (sum(column) for column in zip(*idle.values(), strict=True))
    rows = [
        Budget(f"no-op pass over {WORKFLOWS} workflows: calls to Airflow", 20, calls, "calls"),
        Budget("edited manifest -> read by Airflow, worst, the pass included", 5, max(changes), "s"),
        Budget("Airflow and PostgreSQL idle: share of a core", 20, total_cpu, "%"),
    ]
    return [
        *budgets(rows),
        machine(),
        "",
        f"{WORKFLOWS} workflows of three tasks in {PROJECTS} projects, each with a schedule. No-op pass: {figure(look.cpu)} s CPU, "
        f"{figure(look.wall)} s, {figure(look.peak)} MiB, {writes} writes. All delivered and read, services from nothing: "
        f"{figure(created.wall)} s.",
        "",
        f"One change, n={len(changes)}: median {figure(percentile(changes, 0.5))} s, worst {figure(max(changes))} s. Three small tasks "
        f"in a row, from trigger to success, n={len(runs)}: median {figure(percentile(runs, 0.5))} s, worst {figure(max(runs))} s.",
        "",
        "| service, idle | % of a core | MiB (PSS) |",
        "|---|---:|---:|",
        *(f"| {name} | {figure(cpu)} | {figure(memory)} |" for name, (cpu, memory) in idle.items()),
        f"| together | {figure(total_cpu)} | {figure(total_memory)} |",
    ]
