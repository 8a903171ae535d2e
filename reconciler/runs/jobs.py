"""The runner that the reconciler uses: each job goes where its manifest says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler import exchange
from reconciler.controller import JobRunner
from reconciler.model.jobs import Job, Progress
from reconciler.runs import nodes
from reconciler.runs.folder import folder_of, folders
from reconciler.runs.local import Credentials, LocalRunner, Sensors
from reconciler.serving import register
from reconciler.serving.look import is_slot
from reconciler.serving.look import look as look_at_replicas


class Jobs(JobRunner):
    """Sends each call to the runner of the job's backend. `ray_address` is asked only when a job wants Ray.

    Replicas of what is served are looked at like jobs, and are nobody's to stop or to pause here."""

    def __init__(
        self,
        state_dir: Path,
        credentials: Credentials,
        ray_address: Callable[[], str],
        sensors: Sensors | None = None,
    ) -> None:
        self._state_dir = state_dir.resolve()
        self._local = LocalRunner(state_dir, credentials, sensors)
        self._credentials, self._sensors = credentials, sensors
        self._ray_address = ray_address
        self._remote: LocalRunner | None = None
        self._nodes: dict[str, nodes.NodeRunner] = {}

    def launch(self, job: Job) -> None:
        """Start it where it belongs. Raises what that runner raises."""
        for name in nodes.names(self._state_dir) - {job.node}:
            self._node(name).take_back(job.id)
        (self._node(job.node) if job.node else self._runner(job.backend)).launch(job)

    def look(self) -> Mapping[str, Progress]:
        """Every job and every replica, by id. Ray is asked only when a job of Ray's has a folder."""
        found = {**self._local.look(), **look_at_replicas(self._state_dir)}
        if any(self._backend(folder.id) == "ray" for folder in folders(self._state_dir)):
            found.update(self._ray().look())
        for name in nodes.names(self._state_dir):
            found.update(self._node(name).look())
        return found

    def stop(self, job_id: str, why: str) -> None:
        if not is_slot(job_id):
            self._of(job_id).stop(job_id, why)

    def pause(self, job_id: str) -> None:
        if not is_slot(job_id):
            self._of(job_id).pause(job_id)

    def resume(self, job_id: str) -> None:
        if not is_slot(job_id):
            self._of(job_id).resume(job_id)

    def forget(self, job_id: str) -> None:
        if not is_slot(job_id):
            self._of(job_id).forget(job_id)

    def tend(self) -> None:
        """See to jobs whose supervisor died."""
        self._local.tend()
        for name in nodes.names(self._state_dir):
            self._node(name).tend()
        if any(self._backend(folder.id) == "ray" for folder in folders(self._state_dir)):
            self._ray().tend()

    def give_up(self, checkpoint: str) -> None:
        self._local.give_up(checkpoint)

    def sweep(self) -> None:
        self._local.sweep()
        register.sweep(self._state_dir)
        exchange.sweep(exchange.folder(self._state_dir), time.time())

    def _of(self, job_id: str) -> LocalRunner:
        there = next((node for name in nodes.names(self._state_dir) if (node := self._node(name)).holds(job_id)), None)
        return there or self._runner(self._backend(job_id))

    def _node(self, name: str) -> nodes.NodeRunner:
        if name not in self._nodes:
            self._nodes[name] = nodes.NodeRunner(self._state_dir, name, self._credentials, self._sensors)
        return self._nodes[name]

    def _backend(self, job_id: str) -> str:
        known = self._local.known(folder_of(self._state_dir, job_id))
        return known.backend if known is not None else "local"

    def _runner(self, backend: str) -> LocalRunner:
        return self._local if backend == "local" else self._ray()

    def _ray(self) -> LocalRunner:
        if self._remote is None:
            from reconciler.runs.ray import RayRunner

            self._remote = RayRunner(self._state_dir, self._ray_address, self._credentials, self._sensors)
        return self._remote
