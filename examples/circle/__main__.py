"""The whole circle, without a hand's touch: `python -m examples.circle [--held] [--keep]`.

A model serves; a scanner starts to report in centimetres instead of millimetres. What follows is the platform's own doing: drift is found,
the ward is told, training runs on the new records, the gate passes, a canary takes over, the monitor is green again. With `--held` the ward
mixes up what it writes down meanwhile: the new version is no good, the gate holds it back, and the old one goes on serving. Everything is
real and lives in a temporary folder: MLflow, DVC, Airflow, Ray Serve, the gateway, Evidently, a receiver of alerts. Each step's time is
printed."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from reconciler.alerting.verify import Refused, verify

HERE = Path(__file__).parent
RECONCILE = Path(sys.executable).with_name("reconcile")
FIELDS = {
    "mean_radius": 0,
    "mean_perimeter": 2,
    "mean_area": 3,
    "worst_radius": 20,
    "mean_texture": 1,
    "mean_smoothness": 4,
    "mean_concavity": 6,
    "mean_symmetry": 8,
}
"""Measure -> its column in scikit-learn's breast cancer data."""
CENTIMETRES = {"mean_radius": 10.0, "mean_perimeter": 10.0, "mean_area": 100.0, "worst_radius": 10.0}
MODEL, MONITOR, WORKFLOW = "model/scanner/benign", "monitor/scanner/benign", "workflow/scanner/retrain"
PER_REQUEST = 10
PATIENCE = 420.0
"""Seconds that any one step may take."""


class Ward:
    """Patients: real records, drawn again and again; what is found out about them is recorded."""

    def __init__(self, root: Path) -> None:
        from sklearn.datasets import load_breast_cancer

        found = load_breast_cancer()
        order = np.random.default_rng(7).permutation(len(found.target))
        table, labels = found.data[:, list(FIELDS.values())][order], found.target[order]
        self.known, self.new = (table[:285], labels[:285]), (table[285:], labels[285:])
        self.data = root / "scanner" / "data"
        self.data.mkdir()
        self._draw = np.random.default_rng(11)
        self.mixed_up = False
        """Whether what is written down belongs to other patients."""
        self.write("records", *(each[:200] for each in self.known))
        self.write("later", *(each[200:] for each in self.known))
        with (self.data / "ward.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(["time", *FIELDS, "label"])

    def write(self, name: str, table: Any, labels: Any) -> None:
        with (self.data / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow([*FIELDS, "label"])
            lines.writerows([*map(float, row), int(label)] for row, label in zip(table, labels, strict=True))

    def patients(self, count: int, *, centimetres: bool) -> tuple[list[dict[str, float]], list[int]]:
        """Records that no model has seen, a little different each time, as the scanner reports them."""
        rows = self._draw.integers(len(self.new[1]), size=count)
        table = self.new[0][rows] * self._draw.normal(1.0, 0.01, size=(count, len(FIELDS)))
        scale = np.array([1 / CENTIMETRES.get(name, 1.0) if centimetres else 1.0 for name in FIELDS])
        return [dict(zip(FIELDS, map(float, row), strict=True)) for row in table * scale], [int(each) for each in self.new[1][rows]]

    def record(self, patients: list[dict[str, float]], labels: list[int]) -> None:
        now = datetime.now(UTC).isoformat()
        if self.mixed_up:
            labels = [int(each) for each in self._draw.integers(2, size=len(labels))]
        with (self.data / "ward.csv").open("a", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerows([now, *patient.values(), label] for patient, label in zip(patients, labels, strict=True))


class Stream(threading.Thread):
    """Asks the gateway about patients, and tells it what was true, until it is stopped."""

    def __init__(self, ward: Ward, url: str, key: str) -> None:
        super().__init__(name="stream", daemon=True)
        self._ward, self._url, self._key = ward, url, key
        self.centimetres, self.stopped = False, threading.Event()
        self.asked = self.failed = 0

    def run(self) -> None:
        while not self.stopped.wait(0.25):
            patients, labels = self._ward.patients(PER_REQUEST, centimetres=self.centimetres)
            self.asked += 1
            try:
                told = self._post("predict", {"instances": patients})
                self._post("feedback", {"labels": [{"id": id_, "label": label} for id_, label in zip(told["ids"], labels, strict=True)]})
            except OSError as error:
                self.failed += 1
                print(f"  a request failed: {error}", flush=True)
            self._ward.record(patients, labels)

    def _post(self, what: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(f"{self._url}/{what}/scanner/benign", json.dumps(body).encode(), headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.load(answer)


class Receiver(ThreadingHTTPServer):
    """What the ward's pager would be: takes alerts whose signature is good, each once."""

    def __init__(self, secret: str) -> None:
        self.secret, self.seen, self.refused = secret, set[str](), 0
        self.alerts: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Page)

    def has(self, status: str) -> bool:
        return any(each["status"] == status for each in list(self.alerts))


class _Page(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if verify(self.server.secret, dict(self.headers), body, self.server.seen):
                self.server.alerts.append(json.loads(body))
            self.send_response(204)
        except Refused:
            self.server.refused += 1
            self.send_response(401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Installation:
    """The folder, and the `reconcile` program in it."""

    def __init__(self, root: Path, *, fresh: bool = True) -> None:
        self.root = root
        for name in ("manifests", "scanner") if fresh else ():
            shutil.copytree(HERE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, *arguments: str) -> str:
        done = subprocess.run([RECONCILE, *arguments], cwd=self.root, capture_output=True, text=True, check=False, env=environment())
        if done.returncode:
            raise SystemExit(f"reconcile {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [RECONCILE, "status", "--all", "-o", "json"], cwd=self.root, capture_output=True, text=True, check=False, env=environment()
        )
        return {each["ref"]: each for each in json.loads(done.stdout)["resources"]}

    def version(self) -> str:
        """Of the model, the one that has the alias."""
        told: str = self.status()[MODEL]["message"]
        return next((word for word in told.replace(",", " ").split() if word.isdigit()), "")

    def route(self) -> dict[str, Any]:
        """The deployment as the gateway is told."""
        found = json.loads((self.root / ".mlops/serving/routes.json").read_text(encoding="utf-8"))
        route: dict[str, Any] = found["routes"]["scanner/benign"]
        return route


def environment() -> dict[str, str]:
    return {**{name: each for name, each in os.environ.items() if not name.startswith("MLOPS_")}, "NO_COLOR": "1", "COLUMNS": "160"}


class Clock:
    """Prints each step with its time."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()
        self.steps: list[tuple[str, float]] = []

    def step(self, what: str, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {PATIENCE:.0f} s: {what}")
            time.sleep(0.5)
        now = time.monotonic()
        self.steps.append((what, now - self.began))
        print(f"  {now - self.began:6.1f} s  (+{now - self.last:5.1f})  {what}", flush=True)
        self.last = now


@contextlib.contextmanager
def loop(root: Path) -> Iterator[None]:
    """`reconcile watch`, as it runs for months."""
    with (root / "watch.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [RECONCILE, "watch", "--every", "10s"], cwd=root, stdout=log, stderr=subprocess.STDOUT, env=environment()
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def play(root: Path, *, held: bool = False) -> Clock:
    """The circle in the folder `root`, to the end where the new version is promoted, or to the one where it is `held` back. Raises
    SystemExit when a step does not come."""
    here, ward, secret = Installation(root), Ward(root), secrets.token_urlsafe(32)
    receiver = Receiver(secret)
    (root / "secrets").mkdir(mode=0o700)
    (root / "secrets" / "key").write_text(secret, encoding="utf-8")
    (root / "secrets" / "url").write_text(f"http://127.0.0.1:{receiver.server_address[1]}/", encoding="utf-8")
    threading.Thread(target=receiver.serve_forever, name="receiver", daemon=True).start()
    print("The circle: a model is trained, judged and served ...", flush=True)
    here.run("--wait", "--timeout", "600s")
    key = here.run("keys", "create", "--project", "scanner", "--scope", "feedback", "--scope", "predict").strip()
    url = (root / ".mlops/services/gateway/port").read_text(encoding="utf-8").strip()
    stream = Stream(ward, f"http://127.0.0.1:{url}", key)
    with loop(root):
        stream.start()
        try:
            return _turn(here, ward, stream, receiver, held=held)
        finally:
            stream.stopped.set()
            stream.join(30)
            print(f"  {stream.asked} requests were answered meanwhile, {stream.failed} failed", flush=True)
            receiver.shutdown()


def _turn(here: Installation, ward: Ward, stream: Stream, receiver: Receiver, *, held: bool) -> Clock:
    first = here.route()["targets"][0]["version"]

    def told(ref: str, text: str) -> Callable[[], bool]:
        return lambda: text in here.status()[ref]["message"]

    def monitor() -> dict[str, Any]:
        return here.status()[MONITOR]

    clean = Clock()
    print("A clean stream:", flush=True)
    clean.step("a first window is as it was", told(MONITOR, "the last window is as it was"))
    print("The scanner changes to centimetres:", flush=True)
    ward.mixed_up, stream.centimetres, clock = held, True, Clock()
    clock.step("drift is found", lambda: monitor()["health"] == "Degraded")
    print(f"           {monitor()['message'][:600]}", flush=True)
    clock.step("the ward is told", lambda: receiver.has("firing"))
    clock.step("the retraining is started", told(MONITOR, "started workflow/scanner/retrain"))
    if held:
        clock.step("the gate holds the new version back", told(MODEL, "nor does"))
        print(f"           {here.status()[MODEL]['message'][:600]}", flush=True)
        clock.step("the retraining ends, without success", lambda: here.status()[WORKFLOW]["health"] == "Degraded")
        print(f"           {here.status()[WORKFLOW]['message'][:600]}", flush=True)
        return clock
    clock.step("the gate passes: a new version has the alias", lambda: here.version() != first)
    clock.step("a canary gets a part of the requests", lambda: len(here.route()["targets"]) > 1)
    clock.step("the canary is promoted", lambda: len(served := here.route()["targets"]) == 1 and served[0]["version"] != first)
    clock.step("the monitor is green again", lambda: monitor()["health"] == "Healthy")
    clock.step("the ward is told that it is over", lambda: receiver.has("resolved"))
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.circle", description="From drift to a new version, by itself.")
    parser.add_argument("--held", action="store_true", help="the ward's new records are no good: the new version is held back")
    parser.add_argument("--keep", action="store_true", help="keep the folder, with the reports and all logs")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    root = Path(tempfile.mkdtemp(prefix="circle-"))
    try:
        seconds = play(root, held=asked.held).steps[-1][1]
        if asked.held:
            print(f"The new version is held back, the old one serves: {seconds:.0f} s from the change.", flush=True)
        else:
            print(f"The circle is closed: {seconds:.0f} s from the change to green.", flush=True)
    finally:
        subprocess.run([RECONCILE, "platform", "down"], cwd=root, stdout=subprocess.DEVNULL, check=False, env=environment())
        if asked.keep:
            print(f"Kept: {root}", flush=True)
        else:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
