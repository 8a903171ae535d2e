"""The runner that the reconciler uses: each job goes where its manifest says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler.controller import JobRunner
from reconciler.model.jobs import Job, Progress
from reconciler.runs.folder import folder_of, folders
from reconciler.runs.local import Credentials, LocalRunner, Sensors


class Jobs(JobRunner):
    """Sends each call to the runner of the job's backend. `ray_address` is asked only when a job wants Ray."""

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

    def launch(self, job: Job) -> None:
        """Start it where it belongs. Raises what that runner raises."""
        self._runner(job.backend).launch(job)

    def look(self) -> Mapping[str, Progress]:
        """Every job, by id. Ray is asked only when a job of Ray's has a folder."""
        found = dict(self._local.look())
        if any(self._backend(folder.id) == "ray" for folder in folders(self._state_dir)):
            found.update(self._ray().look())
        return found

    def stop(self, job_id: str, why: str) -> None:
        self._of(job_id).stop(job_id, why)

    def pause(self, job_id: str) -> None:
        self._of(job_id).pause(job_id)

    def resume(self, job_id: str) -> None:
        self._of(job_id).resume(job_id)

    def forget(self, job_id: str) -> None:
        self._of(job_id).forget(job_id)

    def tend(self) -> None:
        """See to jobs whose supervisor died."""
        self._local.tend()
        if any(self._backend(folder.id) == "ray" for folder in folders(self._state_dir)):
            self._ray().tend()

    def give_up(self, checkpoint: str) -> None:
        self._local.give_up(checkpoint)

    def sweep(self) -> None:
        self._local.sweep()

    def _of(self, job_id: str) -> LocalRunner:
        return self._runner(self._backend(job_id))

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
