"""A place in which tests run real jobs: a state folder, a project's folder, and a tracking server to report to."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from reconciler.model.jobs import Job, Progress
from reconciler.runs.folder import Folder, folder_of
from reconciler.runs.local import LocalRunner
from reconciler.runs.processes import marked
from reconciler.runs.program import MARK, mark

PATIENCE = 40.0
"""Seconds; a loaded machine of two cores."""


@dataclass
class JobHouse:
    """Runs programs as jobs and looks at what becomes of them."""

    folder: Path
    url: str = ""
    """Of the tracking server; empty = none."""
    credentials: tuple[str, str] | None = None
    runner: LocalRunner = field(init=False)

    def __post_init__(self) -> None:
        self.state_dir = self.folder / "state"
        self.work = self.folder / "project"
        self.work.mkdir(parents=True, exist_ok=True)
        self.runner = self.open()

    def open(self) -> LocalRunner:
        """A runner as a new reconciler would make it."""
        return LocalRunner(self.state_dir, lambda: self.credentials)

    def job(self, program: str, *arguments: str, name: str = "train.py", **more: Any) -> Job:
        """A job that runs this text as a script."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(program, encoding="utf-8")
        run_id, experiment = self.create_run() if self.url else (uuid.uuid4().hex, "")
        given: dict[str, Any] = {
            "id": run_id,
            "ref": f"experiment/p/e#{run_id[:6]}",
            "backend": "local",
            "cwd": str(self.work),
            "entrypoint": name,
            "arguments": arguments,
            "requirements": (),
            "project": "p",
            "tracking": self.url,
            "experiment": experiment,
        }
        return Job(**{**given, **more})

    def start(self, program: str, *arguments: str, **more: Any) -> str:
        """Launch it; its id."""
        job = self.job(program, *arguments, **more)
        self.runner.launch(job)
        return job.id

    def at(self, job_id: str) -> Folder:
        return folder_of(self.state_dir, job_id)

    def wait(self, job_id: str, until: Callable[[Progress], bool], seconds: float = PATIENCE) -> Progress:
        """Look until it is so."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.runner.look()[job_id]
            if until(found):
                return found
            if time.monotonic() > deadline:
                log = self.at(job_id).supervisor_log
                raise AssertionError(f"still {found}\n{log.read_text() if log.exists() else ''}")
            time.sleep(0.05)

    def ended(self, job_id: str, seconds: float = PATIENCE) -> Progress:
        """Look until it has ended and its end is told."""
        return self.wait(job_id, lambda found: found.state in ("ended", "lost") and found.reported, seconds)

    def running(self, job_id: str, word: str = "ready") -> Progress:
        """Look until the program has printed the word."""
        found = self.wait(
            job_id, lambda found: found.state in ("ended", "lost") or (found.state == "running" and word in self.output(job_id))
        )
        assert found.state == "running", found
        return found

    def output(self, job_id: str) -> str:
        log = self.at(job_id).log
        return log.read_text(errors="replace") if log.exists() else ""

    def processes(self, job_id: str) -> list[psutil.Process]:
        """Live processes of the program."""
        return marked(MARK, mark(self.at(job_id)))

    # --- the tracking server ---------------------------------------------------------------------------------------

    def create_run(self) -> tuple[str, str]:
        """A run in a new experiment; ids of both."""
        experiment = self.call("experiments/create", {"name": f"runs/{uuid.uuid4().hex[:12]}"})["experiment_id"]
        run = self.call("runs/create", {"experiment_id": experiment, "start_time": round(time.time() * 1000)})
        return str(run["run"]["info"]["run_id"]), str(experiment)

    def run(self, run_id: str) -> Mapping[str, Any]:
        answer = httpx.get(f"{self.url}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, timeout=30, trust_env=False)
        found: dict[str, Any] = answer.raise_for_status().json()["run"]
        return found

    def tags(self, run_id: str) -> dict[str, str]:
        return {each["key"]: each["value"] for each in self.run(run_id)["data"].get("tags", [])}

    def metrics(self, run_id: str) -> dict[str, float]:
        return {each["key"]: each["value"] for each in self.run(run_id)["data"].get("metrics", [])}

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        params = {"run_id": run_id, "metric_key": key}
        answer = httpx.get(f"{self.url}/api/2.0/mlflow/metrics/get-history", params=params, timeout=30, trust_env=False)
        return [(each.get("step", 0), each["value"]) for each in answer.raise_for_status().json().get("metrics", [])]

    def artifact(self, run_id: str, path: str) -> bytes | None:
        root = self.run(run_id)["info"]["artifact_uri"].partition(":/")[2].lstrip("/")
        answer = httpx.get(f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{root}/{path}", timeout=30, trust_env=False)
        return answer.content if answer.is_success else None

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/api/2.0/mlflow/{path}", json=body, timeout=30, trust_env=False)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def close(self) -> None:
        """Leave no process behind."""
        for job_id, found in self.runner.look().items():
            if found.state not in ("ended", "lost") or not found.reported:
                self.runner.stop(job_id, "the test is over")
            for process in [*self.processes(job_id), *supervisors(self.at(job_id))]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
                    process.wait(5)
        self.runner.look()


def supervisors(folder: Folder) -> list[psutil.Process]:
    """Live supervisors of the job."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder.path) in process.cmdline() and "reconciler.runs.supervise" in process.cmdline():
                found.append(process)
    return found
