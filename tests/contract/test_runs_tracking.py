"""What a real tracking server knows of a job."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from reconciler.platform.process import read_record
from reconciler.runs.folder import is_held, read_result
from tests.contract.job_house import JobHouse

pytestmark = pytest.mark.xdist_group("runs")

TRAINS = """
import json, os, pathlib, sys, time
out = pathlib.Path(os.environ["MLOPS_OUT"])
with open(out / "metrics.jsonl", "a") as log:
    for step in range(3):
        print(json.dumps({"step": step, "loss": 1 / (step + 1), "note": "text", "flag": True}), file=log, flush=True)
        print("step", step, flush=True)
(out / "plots").mkdir()
(out / "plots" / "a b.txt").write_text("a plot")
(out / "metrics.json").write_text(json.dumps({"accuracy": 0.9, "loss": 0.25, "name": "x", "odd (%)": 5, "none": float("nan")}))
(out / "leads away").symlink_to("/etc/hostname")
time.sleep(0.5)
"""


@pytest.fixture
def house(tmp_path: Path, mlflow_url: str) -> Iterator[JobHouse]:
    with contextlib.closing(JobHouse(tmp_path, mlflow_url)) as found:
        yield found


class Line:
    """A line to a server that can be cut and mended, on one address. It speaks HTTP, because MLflow refuses hosts it does not know."""

    def __init__(self, url: str) -> None:
        self.target = url
        self.port = 0
        self.mend()
        self.url = f"http://127.0.0.1:{self.port}"

    def mend(self) -> None:
        target = self.target

        class Handler(BaseHTTPRequestHandler):
            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {"Content-Type": self.headers.get("Content-Type") or "application/octet-stream"}
                answer = httpx.request(self.command, f"{target}{self.path}", content=body, headers=headers, trust_env=False, timeout=60)
                self.send_response(answer.status_code)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do_PUT = forward

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def cut(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def line(mlflow_url: str) -> Iterator[Line]:
    found = Line(mlflow_url)
    yield found
    found.cut()


def test_a_good_run_is_told_with_all_that_belongs_to_it(house: JobHouse) -> None:
    job_id = house.start(TRAINS, tags={"mlops.ref": "run/p/e#a"}, queued=12.5, waited_for="memory")
    house.ended(job_id)
    run = house.run(job_id)
    assert run["info"]["status"] == "FINISHED"
    assert abs(int(run["info"]["end_time"]) / 1000 - time.time()) < 60
    assert house.history(job_id, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3), (2, 0.25)]
    metrics = house.metrics(job_id)
    assert (metrics["accuracy"], metrics["loss"], metrics["odd ___"]) == (0.9, 0.25, 5.0)
    assert not {"note", "flag", "name", "step"} & set(metrics)
    assert metrics["system/process_memory_megabytes"] > 0
    assert metrics["system/system_memory_usage_megabytes"] > 0
    tags = house.tags(job_id)
    assert tags["mlops.ref"] == "run/p/e#a"
    assert tags["mlops.receipt.exit"] == "exit 0"
    assert tags["mlops.receipt.queued_seconds"] == "12.5"
    assert tags["mlops.receipt.waited_for"] == "memory"
    assert float(tags["mlops.receipt.seconds"]) >= 0
    assert int(tags["mlops.receipt.peak_memory"]) > 1 << 20
    assert {"mlops.context.chip", "mlops.context.os", "mlops.context.python", "mlops.context.environment"} <= set(tags)
    assert house.artifact(job_id, "logs/output.txt") == b"step 0\nstep 1\nstep 2\n"
    assert house.artifact(job_id, "plots/a b.txt") == b"a plot"
    assert json.loads(house.artifact(job_id, "metrics.json") or b"")["accuracy"] == 0.9
    assert house.artifact(job_id, "leads away") is None


def test_failed_and_stopped_runs_have_their_status(house: JobHouse) -> None:
    failed = house.start("import sys\nprint('no luck')\nsys.exit(3)\n", name="fails.py")
    stopped = house.start("import time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    house.running(stopped)
    house.runner.stop(stopped, "superseded")
    house.ended(failed)
    house.ended(stopped)
    assert (house.run(failed)["info"]["status"], house.tags(failed)["mlops.receipt.exit"]) == ("FAILED", "exit 3")
    assert house.artifact(failed, "logs/output.txt") == b"no luck\n"
    assert (house.run(stopped)["info"]["status"], house.tags(stopped)["mlops.receipt.exit"]) == ("KILLED", "stopped: superseded")


def test_metrics_are_seen_while_it_runs(house: JobHouse) -> None:
    program = (
        "import os, time\nlog = open(os.environ['MLOPS_OUT'] + '/metrics.jsonl', 'w')\n"
        'log.write(\'{"step": 1, "loss": 0.5}\\n{"step": 2, "lo\'); log.flush()\nprint(\'ready\', flush=True)\ntime.sleep(600)\n'
    )
    job_id = house.start(program)
    house.running(job_id)
    deadline = time.monotonic() + 20
    while not house.history(job_id, "loss") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert house.history(job_id, "loss") == [(1, 0.5)]
    assert house.run(job_id)["info"]["status"] == "RUNNING"
    assert house.tags(job_id)["mlops.context.os"]
    house.runner.stop(job_id, "seen")
    house.ended(job_id)


def test_a_program_finds_its_run_as_mlflow_clients_do(house: JobHouse) -> None:
    program = (
        "import json, os, urllib.request\nname = os.environ['MLFLOW_RUN_ID']\n"
        "url = os.environ['MLFLOW_TRACKING_URI'] + '/api/2.0/mlflow/runs/set-tag'\n"
        "body = json.dumps({'run_id': name, 'key': 'mine', 'value': os.environ['MLFLOW_EXPERIMENT_ID']}).encode()\n"
        "urllib.request.urlopen(urllib.request.Request(url, body, {'Content-Type': 'application/json'}))\n"
    )
    job_id = house.start(program)
    found = house.ended(job_id)
    assert found.exit_code == 0, found.tail
    assert house.tags(job_id)["mine"] == house.run(job_id)["info"]["experiment_id"]


def test_an_end_that_nobody_heard_is_told_when_the_server_is_back(house: JobHouse, line: Line) -> None:
    job_id = house.start(TRAINS + "time.sleep(600 if sys.argv[1:] else 1.5)\n", tracking=line.url)
    house.wait(job_id, lambda _: "step 2" in house.output(job_id))
    line.cut()
    found = house.wait(job_id, lambda each: each.state == "ended")
    assert (found.exit_code, found.reported) == (0, False), "the result is there at once, whatever the server does"
    time.sleep(1.0)
    line.mend()
    house.ended(job_id)
    assert house.run(job_id)["info"]["status"] == "FINISHED"
    assert [step for step, _ in house.history(job_id, "loss")] == [0, 1, 2, 2]
    assert house.artifact(job_id, "logs/output.txt") == b"step 0\nstep 1\nstep 2\n"


def test_an_end_that_its_supervisor_could_not_tell_is_told_by_the_next(house: JobHouse, line: Line) -> None:
    line.cut()
    job_id = house.start(TRAINS, tracking=line.url, tags={"mark": "ours"})
    house.wait(job_id, lambda found: found.state == "ended")
    record = read_record(house.at(job_id).record)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    line.mend()
    found = house.wait(job_id, lambda _: not is_held(house.at(job_id).lock))
    assert (found.state, found.reported) == ("ended", False)
    house.open().tend()
    house.ended(job_id)
    assert house.run(job_id)["info"]["status"] == "FINISHED"
    assert house.tags(job_id)["mark"] == "ours"
    assert house.tags(job_id)["mlops.context.os"]
    assert [step for step, _ in house.history(job_id, "loss")] == [0, 1, 2, 2]


def test_a_lost_run_is_failed_with_its_output(house: JobHouse) -> None:
    job_id = house.start("import time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    house.running(job_id)
    record = read_record(house.at(job_id).record)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    house.wait(job_id, lambda found: found.state == "lost")
    house.runner.tend()
    found = house.ended(job_id)
    assert found.state == "lost"
    assert house.run(job_id)["info"]["status"] == "FAILED"
    assert house.tags(job_id)["mlops.receipt.exit"].startswith("its supervisor ended without a result")
    assert house.artifact(job_id, "logs/output.txt") == b"ready\n"


def test_a_run_that_was_deleted_does_not_keep_its_supervisor(house: JobHouse) -> None:
    job_id = house.start("import time\nprint('ready', flush=True)\ntime.sleep(1)\n")
    house.running(job_id)
    house.call("runs/delete", {"run_id": job_id})
    found = house.ended(job_id)
    assert (found.state, found.exit_code) == ("ended", 0)
    assert "is not taken" in house.at(job_id).supervisor_log.read_text()


def test_what_the_server_refuses_does_not_hold_up_the_rest(house: JobHouse) -> None:
    program = (
        "import json, os\nlog = open(os.environ['MLOPS_OUT'] + '/metrics.jsonl', 'w')\n"
        "log.write(json.dumps({'step': 1, 'loss': 10 ** 400}) + chr(10))\n"
        "log.write(json.dumps({'step': 2, 'loss': 0.5}) + chr(10) + 'not json' + chr(10))\n"
    )
    job_id = house.start(program)
    house.ended(job_id)
    assert house.run(job_id)["info"]["status"] == "FINISHED"
    result = read_result(house.at(job_id))
    assert result is not None
    assert result.reported
