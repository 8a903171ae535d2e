"""An installation with Airflow, and what to ask it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.installation import Installation, project

SCRIPT = """
import json, os, sys, time
from pathlib import Path
name, *rest = sys.argv[1:]
with Path("log.txt").open("a") as log:
    log.write(f"{name} {' '.join(rest)}\\n")
for each in rest:
    word, _, value = each.partition("=")
    if word == "sleep":
        until = time.monotonic() + float(value)
        while time.monotonic() < until and not Path("go").exists():
            time.sleep(0.05)
    if word == "fail" and not Path(value).exists():
        Path(value).touch()
        raise ValueError(f"no {value} yet")
    if word == "write":
        Path(value).write_text(f"a,b\\n{name},{os.environ['MLOPS_RUN_ID']}\\n")
if "MLOPS_OUTPUTS" in os.environ:
    Path(os.environ["MLOPS_OUTPUTS"]).write_text(json.dumps({"rows": 3, "word": "two words", "list": [1, 2]}))
"""
CALLS = "  allow: {hosts: [127.0.0.1]}\n"
SMALL = "resources: {memory: 48Mi, cpu: 100m, duration: 1s}"


def lab(root: Path, platform: str = "", quota: str = "nominal: {memory: 2Gi, cpu: 2}") -> Installation:
    """One project `p` with a program that notes what it is called with, a quota, and Airflow once a workflow is there."""
    here = Installation(root)
    here.write(
        {
            "manifests/platform.yaml": "apiVersion: reconciler.mlops/v1\nkind: Platform\nmetadata: {name: test}\n"
            f"spec:\n  installation: flows\n{platform}",
            "manifests/p.yaml": f"{project('p', CALLS)}---\napiVersion: reconciler.mlops/v1\nkind: ResourceQuota\n"
            f"metadata: {{name: share, project: p}}\nspec:\n  {quota}\n",
            "code/p/job.py": SCRIPT,
        }
    )
    return here


def trace(here: Installation, level: str, name: str = "heat") -> None:
    """What the sensors say from now on."""
    used = {"nominal": 0.1, "serious": 1.2}[level]
    here.write({f"{name}.jsonl": json.dumps({"at": 0, "level": level, "used": used, "watts": 5}) + "\n"})


def with_a_chain(root: Path) -> Installation:
    """As `lab`, with sensors and one workflow of two tasks."""
    sensors = "  admission: {capacity: {memory: 3Gi}, memoryReserve: '0', sensors: {trace: heat.jsonl}}\n"
    found = lab(root, sensors, "nominal: {memory: 40Gi, cpu: 8}")
    trace(found, "nominal")
    workflow(
        found,
        "chain",
        f"""name: first, command: "python job.py first", outputs: [rows, word, list], {SMALL}
        name: second, command: [job.py, second, "${{tasks.first.word}}", "${{tasks.first.rows}}", "${{run.id}}"], needs: [first]""",
        "  description: |\n    # A chain\n    Of two.\n  schedule: '0 3 * * *'\n",
    )
    return found


def workflow(here: Installation, name: str, tasks: str, spec: str = "", of: str = "p") -> Path:
    """Write its manifest; `tasks` are the items of the list."""
    lines = "".join(f"    - {{{each.strip()}}}\n" for each in tasks.strip().splitlines())
    head = f"apiVersion: reconciler.mlops/v1\nkind: Workflow\nmetadata: {{name: {name}, project: {of}}}\nspec:\n"
    path = here.root / "manifests" / f"{name}.yaml"
    path.write_text(f"{head}{spec}  tasks:\n{lines}")
    return path


def address(here: Installation) -> tuple[str, str]:
    """Base URL of its Airflow, and the password of our account."""
    home = here.root / ".mlops" / "services" / "airflow"
    return f"http://127.0.0.1:{(home / 'port').read_text().strip()}", json.loads((home / "passwords.json").read_text())["mlops"]


def theirs(here: Installation) -> str:
    """How a Platform says that it uses this Airflow, with its password in $THEIRS; without the bundle."""
    return f"managed: false, endpoint: '{address(here)[0]}', username: mlops, password: {{fromEnv: THEIRS}}"


def bundle(here: Installation) -> str:
    """And the repository that it reads."""
    return f"bundle: '{here.root / '.mlops' / 'services' / 'airflow' / 'dags'}'"


def airflow(here: Installation) -> httpx.Client:
    """A client of its REST interface, with our account."""
    base, password = address(here)
    client = httpx.Client(base_url=base, trust_env=False, timeout=30)
    token = client.post("/auth/token", json={"username": "mlops", "password": password}).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    client.base_url = httpx.URL(f"{base}/api/v2/")
    return client


def calls(here: Installation, name: str = "") -> list[str]:
    """What the program was called with, in order; only those whose first word is `name`."""
    path = here.root / "code" / "p" / "log.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [each for each in lines if not name or each.split()[0] == name]


def runs(client: httpx.Client, dag: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"dags/{dag}/dagRuns", params={"order_by": "run_after"}).json()["dag_runs"]
    return found


def state(client: httpx.Client, dag: str, run: str, task: str) -> str:
    """Of one task; empty while it has none."""
    return str(client.get(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}").json()["state"] or "")


def until(what: Callable[[], object], seconds: float = 180.0) -> Any:
    """What it returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def reconciled_until(here: Installation, what: Callable[[], object], seconds: float = 180.0) -> Any:
    """What it returns once that is true after a pass; a pass a second, which leaves the machine to Airflow in between."""
    deadline = time.monotonic() + seconds
    while True:
        here.run()
        if found := what():
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(1.0)
