"""The client's methods for `await`: each runs in a thread, so that a tool that is slow does not stop the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.client.runs import Run, active

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.client.client import MLOpsClient


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

    async def flush(self) -> int:
        return await asyncio.to_thread(self._client.flush)

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)
