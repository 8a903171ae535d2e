"""The client's methods for `await`: each runs in a thread, so that a tool that is slow does not stop the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.client.runs import Run, active

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.client.answers import Fit
    from reconciler.client.client import MLOpsClient, Status
    from reconciler.client.datasets import DataVersion


class Aio:
    """`client.aio`. What it logs goes to the run that is active in the task that awaits."""

    def __init__(self, client: MLOpsClient) -> None:
        self._client = client

    def start_run(self, experiment: str = "default", **options: Any) -> AbstractAsyncContextManager[Run]:
        """See `MLOpsClient.start_run`, for `async with`."""
        return self._started(experiment, options)

    @asynccontextmanager
    async def _started(self, experiment: str, options: Mapping[str, Any]) -> AsyncIterator[Run]:
        run = await asyncio.to_thread(self._client.start_run, experiment, **options)
        token = active.set(run)
        try:
            yield run
        except BaseException as error:
            killed = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
            await asyncio.shield(asyncio.to_thread(run.end, "KILLED" if killed else "FAILED"))
            raise
        else:
            await asyncio.to_thread(run.end)
        finally:
            active.reset(token)

    async def create_experiment(self, name: str) -> str:
        return await asyncio.to_thread(self._client.create_experiment, name)

    async def log_params(self, params: Mapping[str, Any]) -> None:
        await asyncio.to_thread(self._client.log_params, params)

    async def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        await asyncio.to_thread(self._client.log_metrics, metrics, step)

    async def log_metrics_batch(self, rows: Iterable[Mapping[str, float]], first_step: int = 0) -> None:
        await asyncio.to_thread(self._client.log_metrics_batch, list(rows), first_step)

    async def log_artifact(self, path: str | Path, folder: str = "") -> None:
        await asyncio.to_thread(self._client.log_artifact, path, folder)

    async def log_model(self, model: Any, name: str = "model", **options: Any) -> None:
        await asyncio.to_thread(self._client.log_model, model, name, **options)

    async def set_tags(self, tags: Mapping[str, Any]) -> None:
        await asyncio.to_thread(self._client.set_tags, tags)

    async def log_apple_silicon_metrics(self, step: int = 0) -> dict[str, float]:
        return await asyncio.to_thread(self._client.log_apple_silicon_metrics, step)

    async def version_dataset(self, name: str, path: str | Path | None = None) -> DataVersion:
        return await asyncio.to_thread(self._client.version_dataset, name, path)

    async def dvc_push(self, name: str, remote: str | None = None) -> int:
        return await asyncio.to_thread(self._client.dvc_push, name, remote)

    async def dvc_pull(self, name: str, remote: str | None = None) -> DataVersion:
        return await asyncio.to_thread(self._client.dvc_pull, name, remote)

    async def load_data_version(self, name: str, version: str | None = None) -> DataVersion:
        return await asyncio.to_thread(self._client.load_data_version, name, version)

    async def should_run_task(self, **wanted: Any) -> Fit:
        return await asyncio.to_thread(self._client.should_run_task, **wanted)

    async def get_status(self) -> Status:
        return await asyncio.to_thread(self._client.get_status)

    async def predict(self, deployment: str, instances: Sequence[Any]) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._client.predict, deployment, instances)

    async def log_labels(self, deployment: str, labels: Mapping[str, Any]) -> None:
        await asyncio.to_thread(self._client.log_labels, deployment, labels)

    async def flush(self) -> int:
        return await asyncio.to_thread(self._client.flush)

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)
