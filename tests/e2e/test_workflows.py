"""Workflows on a real Airflow, through the program. The tests share one installation: each works with workflows of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from reconciler import delivery
from reconciler.platform.process import tree
from tests.e2e.installation import RECONCILE, Installation
from tests.e2e.workflows import SMALL, address, airflow, bundle, calls, lab, reconciled_until, runs, state, theirs, trace, until, workflow

pytestmark = pytest.mark.xdist_group("airflow")


@contextmanager
def _worker(here: Installation, name: str) -> Iterator[None]:
    argv = [RECONCILE, "worker", name, "--memory", "6Gi", "--cpu", "1", "--reserve", "0", "--trace", f"{name}.jsonl"]
    process = subprocess.Popen(argv, cwd=here.root, env=here.environment)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture
def here(flows: Installation) -> Installation:
    return flows


def test_a_workflow_is_a_dag_with_owner_page_and_digest(here: Installation) -> None:
    client = airflow(here)
    dag = client.get("dags/p.chain/details").json()
    tags = {each["name"] for each in dag["tags"]}
    assert {"installation:flows", "project:p", "template:custom"} <= tags
    assert dag["doc_md"].startswith("# A chain")
    assert (dag["is_paused"], dag["has_import_errors"], dag["bundle_name"]) == (False, False, "workflows")
    assert dag["next_dagrun_run_after"] is not None
    assert client.get("importErrors").json()["total_entries"] == 0
    assert runs(client, "p.chain") == [], "nothing starts before its time"
    ran, wire = here.wire()
    assert ran.code == 0, ran.text
    assert [each for each in wire if each["write"]] == []
    assert len(wire) <= 8, wire


def test_who_paused_it_by_hand_is_told_by_airflow(here: Installation) -> None:
    client = airflow(here)
    client.patch("dags/p.chain", params={"update_mask": "is_paused"}, json={"is_paused": True}).raise_for_status()
    [change] = next(each["changes"] for each in here.plan()["actions"] if each["ref"] == "workflow/p/chain")
    assert (change["path"], change["have"], change["want"]) == ("spec.paused", True, False)
    assert re.fullmatch(r"changed in the tool by mlops on [\d-]{10} [\d:]{8} UTC \(Airflow's pages or API\)", change["note"]), change
    ran, wire = here.wire()
    assert ran.code == 0, ran.text
    assert [each["target"] for each in wire].count("/api/v2/eventLogs") == 1, wire
    assert client.get("dags/p.chain").json()["is_paused"] is False
    assert re.search(r"changed: by mlops on [^\n]*\(Airflow's pages or API\)", here.ok("history", "workflow/p/chain").out)
    _, again = here.wire()
    assert "/api/v2/eventLogs" not in [each["target"] for each in again]


def test_airflow_listens_on_this_machine_only_and_asks_who_it_is(here: Installation) -> None:
    services = here.root / ".mlops" / "services"
    found: set[str] = set()
    for name in ("airflow", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"):
        for process in tree(json.loads((services / name / "record.json").read_text())["pid"]):
            with contextlib.suppress(psutil.Error):
                found |= {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    assert found == {"127.0.0.1"}
    client = airflow(here)
    assert httpx.get(f"{client.base_url}pools", trust_env=False).status_code == 401
    wrong = httpx.post(
        f"{client.base_url}".replace("/api/v2/", "/auth/token"), json={"username": "mlops", "password": "x"}, trust_env=False
    )
    assert wrong.status_code == 401
    for name in ("secrets.json", "passwords.json"):
        assert (services / "airflow" / name).stat().st_mode & 0o777 == 0o600
    password = json.loads((services / "airflow" / "passwords.json").read_text())["mlops"]
    assert password not in here.run("platform", "status").text
    assert password not in "".join(path.read_text(errors="replace") for path in services.glob("*/log"))


def test_a_call_is_made_with_its_secret_which_shows_nowhere(here: Installation) -> None:
    heard: list[tuple[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            heard.append((self.headers["Authorization"], text))
            answer = b'{"ticket": 7}'
            self.send_response(201 if "by-hand" in text else 500)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here.env["HOOK_TOKEN"] = secret = "canary-9d1f7"
    url = f"http://127.0.0.1:{server.server_address[1]}/done"
    call = f'url: "{url}", method: POST, headers: {{Authorization: {{fromEnv: HOOK_TOKEN}}}}, json: {{run: "${{run.id}}"}}, expect: [201]'
    workflow(
        here,
        "calls",
        f"""name: hook, step: {{call: {{{call}}}}}
        name: told, command: "python job.py told ${{tasks.hook.status}} '${{tasks.hook.body}}'", needs: [hook], {SMALL}""",
    )
    try:
        here.ok("--wait")
        ran = here.ok("run", "calls", "--wait")
    finally:
        server.shutdown()
    assert heard == [(secret, '{"run":"by-hand-1"}')]
    assert calls(here, "told") == ['told 201 {"ticket": 7}']
    assert secret not in ran.text + here.ok("history").text + json.dumps(here.status())
    kept = [path for path in (here.root / ".mlops").rglob("*") if path.is_file() and path.name != "store.db"]
    assert [path for path in kept if secret.encode() in path.read_bytes()] == []


def test_an_airflow_of_somebody_else_needs_a_bundle(here: Installation, tmp_path: Path) -> None:
    other = lab(tmp_path / "other", f"  airflow: {{{theirs(here)}}}\n")
    for name, old, new in (("platform", "flows", "others"), ("p", "name: p}", "name: q}"), ("p", "project: p}", "project: q}")):
        path = other.root / "manifests" / f"{name}.yaml"
        path.write_text(path.read_text().replace(old, new))
    other.env["THEIRS"] = address(here)[1]
    workflow(other, "away", f'name: one, command: "python job.py away", {SMALL}', of="q")
    ran = other.run()
    assert ran.code == 3, ran.text
    assert "no delivery" in ran.out, ran.out
    path = other.root / "manifests/platform.yaml"
    path.write_text(path.read_text().replace("}}", f"}}, {bundle(here)}}}"))
    other.ok("--wait")
    other.ok("run", "away", "--wait")
    assert calls(other, "away") == ["away "]
    assert "No changes" in here.ok().out, "what carries another installation's mark is not ours"
    (other.root / "manifests/away.yaml").unlink()
    other.ok("--confirm", other.run().out.split("--confirm ")[1].split()[0])
    assert airflow(here).get("dags/q.away").status_code == 404


def test_a_run_passes_outputs_on_and_keeps_its_version_and_cause(here: Installation) -> None:
    ran = here.ok("run", "chain", "--wait", "--conf", "rows=5")
    assert "succeeded" in ran.out
    client = airflow(here)
    run = runs(client, "p.chain")[-1]
    assert (run["state"], run["dag_run_id"], run["conf"]["rows"]) == ("success", "by-hand-1", "5")
    assert "by hand" in run["note"]
    delivered, spec = here.root / ".mlops/services/airflow/dags", "specs/p.chain.json"
    assert delivery.git(delivered, "show", f"{run['bundle_version']}:{spec}") == (delivered / spec).read_text()
    assert calls(here, "first") + calls(here, "second") == ["first ", "second two words 3 by-hand-1"]
    assert here.status()["workflow/p/chain"]["ready"]
    value = client.get(f"dags/p.chain/dagRuns/{run['dag_run_id']}/taskInstances/first/xcomEntries/rows").json()["value"]
    assert str(value) == "3"


@contextmanager
def _loop(here: Installation) -> Iterator[None]:
    process = subprocess.Popen([RECONCILE, "watch"], cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_loop_takes_up_what_tasks_ask_for(here: Installation) -> None:
    client = airflow(here)
    with _loop(here):
        here.ok("run", "chain")
        run = until(lambda: (last := runs(client, "p.chain")[-1])["state"] == "success" and last)
    assert run["dag_run_id"] == "by-hand-2"
    assert here.run().code == 0


@pytest.mark.full
def test_a_schedule_starts_a_run_at_its_time_with_its_interval(here: Installation) -> None:
    path = workflow(here, "minutely", f'name: now, command: "python job.py now ${{interval.end}}", {SMALL}', "  schedule: '* * * * *'\n")
    client = airflow(here)
    with _loop(here):
        run = until(lambda: (found := runs(client, "p.minutely")) and found[0]["state"] == "success" and found[0], 150)
        path.write_text(path.read_text().replace("schedule:", "paused: true\n  schedule:"))
        until(lambda: client.get("dags/p.minutely").json()["is_paused"])
    assert run["run_type"] == "scheduled"
    assert calls(here, "now")[0] == f"now {run['data_interval_end'].replace('Z', '+00:00')}"


def test_an_edited_task_changes_the_dag_and_keeps_the_history(here: Installation) -> None:
    path = here.root / "manifests" / "chain.yaml"
    before, client = path.read_text(), airflow(here)
    old = {each["name"] for each in client.get("dags/p.chain").json()["tags"] if each["name"].startswith("digest:")}
    path.write_text(before.replace("job.py first", "job.py first again"))
    plan = here.run("--dry-run").out
    assert " tasks.first.command" in plan, plan
    began = time.monotonic()
    here.ok()
    until(lambda: not old & {each["name"] for each in client.get("dags/p.chain").json()["tags"]}, 60)
    print(f"edited -> read by Airflow: {time.monotonic() - began:.1f} s")
    assert here.ok("run", "chain", "--wait").code == 0
    assert calls(here, "first")[-1] == "first again"
    assert [each["dag_run_id"] for each in runs(client, "p.chain")] == ["by-hand-1", "by-hand-2", "by-hand-3"]
    assert client.get("dags/p.chain/dagVersions").json()["total_entries"] == 2


def test_what_is_broken_is_refused_before_airflow_sees_it(here: Installation) -> None:
    path = here.root / "manifests" / "chain.yaml"
    before, head = path.read_text(), (here.root / ".mlops/services/airflow/dags/.git/refs/heads/main").read_text()
    for broken, word in (("needs: [frist]", "there is no task 'frist'"), ("needs: [second]", "circle"), ("rows}", "has no output")):
        path.write_text(before.replace("needs: [first]", broken) if "needs" in broken else before.replace("first.rows}", "first.row}"))
        ran = here.run("--dry-run")
        assert ran.code == 1, ran.text
        assert word in ran.text, ran.text
    path.write_text(before.replace("job.py first again", "jbo.py first"))
    ran = here.run("--dry-run")
    assert ran.code == 3, ran.text
    assert "jbo.py, which is not in code/p" in ran.out, ran.out
    assert here.run().code == 3
    path.write_text(before)
    here.ok("--wait")
    assert (here.root / ".mlops/services/airflow/dags/.git/refs/heads/main").read_text() == head


def test_a_failed_task_is_tried_again_and_then_told_with_everything(here: Installation) -> None:
    workflow(
        here,
        "shaky",
        f"""name: later, command: "python job.py later fail=there", retries: 1, retryDelay: 1s, {SMALL}
        name: never, command: "python job.py never fail=a/b/c", needs: [later], {SMALL}
        name: after, command: "python job.py after", needs: [never], {SMALL}""",
    )
    here.ok("--wait")
    ran = here.run("run", "shaky", "--wait")
    assert ran.code == 1, ran.text
    assert len(calls(here, "later")) == 2
    assert calls(here, "after") == []
    status = here.status()["workflow/p/shaky"]
    message = status["message"]
    for word in ("by-hand-1", "task never", "exit 1", "FileNotFoundError", "heat nominal", "memory pressure", "nothing else ran"):
        assert word in message, message
    assert {each["type"]: each["reason"] for each in status["conditions"]}["Ready"] == "RunFailed"
    assert "reconcile run workflow/p/shaky" in here.run("status").out
    (here.root / "code/p/a/b").mkdir(parents=True)
    (here.root / "code/p/a/b/c").touch()
    here.ok("run", "shaky", "--wait")
    assert here.status()["workflow/p/shaky"]["ready"]


def test_a_changed_dataset_starts_one_run_and_steps_wait_for_its_version(here: Installation) -> None:
    here.write({"code/p/d.csv": "a,b\n1,2\n"})
    here.write(
        {
            "manifests/d.yaml": "apiVersion: reconciler.mlops/v1\nkind: Dataset\nmetadata: {name: d, project: p}\n"
            "spec: {path: d.csv, settle: 0s}\n"
        }
    )
    workflow(
        here,
        "hears",
        f"""name: data, step: {{dataset: d}}
        name: use, command: "python job.py use ${{tasks.data.digest}} ${{run.id}}", needs: [data], {SMALL}""",
        "  triggers: [{dataset: d}]\n",
    )
    here.ok("--wait")
    client = airflow(here)
    assert runs(client, "p.hears") == [], "it only listens from now on"
    here.write({"code/p/d.csv": "a,b\n1,2\n3,4\n"})
    here.ok("--wait")
    here.ok("--wait")
    (run,) = runs(client, "p.hears")
    assert run["state"] == "success"
    assert run["conf"]["cause"]["name"] == "p/d"
    (line,) = calls(here, "use")
    assert line.split()[1].startswith(run["dag_run_id"].split("-")[2])
    assert "No changes" in here.ok().out


def test_heat_empties_the_pools_and_all_goes_on_after_cooling(here: Installation) -> None:
    workflow(
        here,
        "warm",
        f"""name: long, command: "python job.py long sleep=60", {SMALL}
        name: next, command: "python job.py next", needs: [long], {SMALL}""",
    )
    workflow(here, "cold", f'name: wants, command: "python job.py wants", {SMALL}')
    here.ok("--wait")
    client = airflow(here)
    full = client.get("pools/flows.p").json()["slots"]
    assert full >= 2
    here.ok("run", "warm")
    reconciled_until(here, lambda: calls(here, "long"))
    trace(here, "serious")
    here.run()
    assert client.get("pools/flows.p").json()["slots"] == 0
    here.ok("run", "cold")
    (here.root / "code/p/go").touch()  # what runs is left to finish
    until(lambda: state(client, "p.warm", "by-hand-1", "next") == "scheduled")
    until(lambda: state(client, "p.cold", "by-hand-1", "wants") == "scheduled")
    here.run()
    queue = here.ok("queue").out
    for name in ("workflow/p/warm#next@by-hand-1", "workflow/p/cold#wants@by-hand-1"):
        assert name in queue, queue
    assert "heat is serious" in queue
    assert calls(here, "next") == calls(here, "wants") == []
    trace(here, "nominal")
    here.ok("--wait", "--timeout", "120s")
    assert len(calls(here, "next")) == len(calls(here, "wants")) == 1
    assert 0 < client.get("pools/flows.p").json()["slots"] <= full
    (here.root / "code/p/go").unlink()


def test_what_dies_in_the_middle_loses_no_run(here: Installation) -> None:
    workflow(
        here,
        "tough",
        f"""name: holds, command: "python job.py holds sleep=60", {SMALL}
        name: ends, command: "python job.py ends", needs: [holds], {SMALL}""",
    )
    here.ok("--wait")
    here.ok("run", "tough")
    reconciled_until(here, lambda: calls(here, "holds"))
    services = here.root / ".mlops" / "services"
    for name in ("airflow-scheduler", "airflow-triggerer", "postgres"):
        pid = json.loads((services / name / "record.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL if name != "postgres" else signal.SIGQUIT)
    (here.root / "code/p/go").touch()
    here.ok("--wait", timeout=300)
    client = airflow(here)
    (run,) = runs(client, "p.tough")
    assert run["state"] == "success"
    assert (len(calls(here, "holds")), len(calls(here, "ends"))) == (1, 1)
    (here.root / "code/p/go").unlink()


def test_a_cleared_task_ends_what_runs_for_it(here: Installation) -> None:
    workflow(here, "cleared", f'name: runs, command: "python job.py runs sleep=60", {SMALL}')
    here.ok("--wait")
    here.ok("run", "cleared")
    reconciled_until(here, lambda: calls(here, "runs"))
    client = airflow(here)
    body = {"state": "failed"}
    done = client.patch("dags/p.cleared/dagRuns/by-hand-1", params={"update_mask": "state"}, json=body)
    assert done.status_code == 200, done.text
    reconciled_until(here, lambda: "cleared" not in here.ok("queue").out)
    assert not list((here.root / ".mlops/tasks/open").glob("*.json"))
    (here.root / "code/p/go").touch()
    here.ok("run", "cleared", "--wait")
    (here.root / "code/p/go").unlink()


def test_a_task_goes_to_a_node_with_room_that_is_cool(here: Installation) -> None:
    big = "resources: {memory: 4Gi, cpu: 200m}"
    tasks = "\n".join(f'name: {name}, command: "python job.py {name} sleep=60", {big}' for name in ("one", "two"))
    workflow(here, "spread", tasks)
    trace(here, "serious", "attic")
    trace(here, "nominal", "cellar")
    here.ok("--wait")
    here.ok("run", "spread")
    reconciled_until(here, lambda: "ExceedsMachine" in here.status()["workflow/p/spread"]["message"])
    with _worker(here, "attic"):
        with _worker(here, "cellar"):
            until(lambda: len(list((here.root / ".mlops/nodes").glob("*/node.json"))) == 2)
            reconciled_until(here, lambda: calls(here, "one") + calls(here, "two"))
            told = json.loads(here.ok("queue", "-o", "json").out)
            assert [each["node"] for each in told["running"]] == ["cellar"], "the cool one, and only one of the two fits there"
            (waiting,) = [each for each in told["waiting"] if "spread" in each["ref"]]
            assert waiting["reason"] in ("WaitingForMemory", "WaitingForHeat"), waiting
        assert calls(here, "one") + calls(here, "two")
    trace(here, "nominal", "attic")
    with _worker(here, "attic"), _worker(here, "cellar"):
        reconciled_until(here, lambda: calls(here, "one") and calls(here, "two"))
        nodes = {each["node"] for each in json.loads(here.ok("queue", "-o", "json").out)["running"]}
        assert nodes == {"attic", "cellar"}
        (here.root / "code/p/go").touch()
        here.ok("--wait")
    (here.root / "code/p/go").unlink()
    assert here.status()["workflow/p/spread"]["message"] == "run by-hand-1 succeeded"
    until(lambda: "No changes" in here.run().out)  # the pool is that of one machine again


def test_a_removed_workflow_is_gone_from_airflow(here: Installation) -> None:
    for name in ("shaky", "hears", "warm", "cold", "tough", "cleared", "spread", "calls", "minutely"):
        (here.root / "manifests" / f"{name}.yaml").unlink(missing_ok=True)
    held = here.run()
    assert held.code == 3, held.text
    asked = held.out.split("--confirm ")[1].split()[0]
    here.ok("--confirm", asked)
    client = airflow(here)
    dags = client.get("dags", params={"exclude_stale": False}).json()["dags"]
    assert [each["dag_id"] for each in dags if each["dag_id"].startswith("p.")] == ["p.chain"]  # an example's and a page's lie beside it
    time.sleep(3)
    here.ok("--wait")
    assert client.get("dags/p.warm").status_code == 404
    until(lambda: "No changes" in here.ok().out)
