"""Every task of every workflow: it writes down what is to be done, and waits for the answer, deferred, at no cost.

The work itself is done by the reconciler when it grants a lease. Airflow keeps order, retries and history."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent, TriggerEvent

from reconciler.exchange import Answer, Request, answer, answered, ask, identity, is_open, run_folder
from reconciler.workflows.filling import filled

LOOK_SECONDS = 0.5
FAILURE = "failure"
"""XCom of a task that failed for good: why, with which last words, on what machine."""


class Work(BaseOperator):
    """One task. `place` is the folder of requests, `work` what is asked for; both are part of the DAG's serialized form."""

    ui_color = "#e8f0fe"

    def __init__(self, *, place: str, work: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = place
        self.work = work

    def execute(self, context: Context) -> None:
        """Write the request, then defer. Airflow may call it twice for one try: the request is the same."""
        ti, run = context["ti"], context["dag_run"]
        index = -1 if ti.map_index is None else ti.map_index
        start, end = (_text(context.get(name)) for name in ("data_interval_start", "data_interval_end"))
        place, left = Path(self.place), run_folder(Path(self.place), ti.dag_id, run.run_id)
        values = {
            "run.folder": str(left),
            "out": str(left / ti.task_id),
            "run.id": run.run_id,
            "interval.start": start,
            "interval.end": end,
            "attempt": str(ti.try_number),
        }
        values |= {f"conf.{name}": value for name, value in (run.conf or {}).items()}
        found = Request(
            id=identity(ti.dag_id, run.run_id, ti.task_id, index, ti.try_number, str(ti.id)),
            dag=ti.dag_id,
            run=run.run_id,
            task=ti.task_id,
            attempt=ti.try_number,
            created=time.time(),
            work=filled(self.work, values, lambda task, name: str(left / task) if name == "out" else ti.xcom_pull(task_ids=task, key=name)),
            index=index,
            interval=(start, end),
        )
        ask(place, found)
        self.log.info("waits as %s for a lease and its answer", found.id)
        self.defer(trigger=Answered(place=self.place, request=found.id), method_name="resumed")

    def resumed(self, context: Context, event: Any = None) -> None:
        """Not reached: the trigger ends the task itself."""


class Answered(BaseTrigger):
    """Waits until a request is answered, then ends the task with that."""

    def __init__(self, place: str, request: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.place, self.request = place, request

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "reconciler.workflows.operator.Answered", {"place": self.place, "request": self.request}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        place = Path(self.place)
        while (found := answered(place, self.request)) is None:
            if not is_open(place, self.request) and answered(place, self.request) is None:
                found = Answer(False, "its request is gone: it was removed by hand, or the state folder was lost")
                break
            await asyncio.sleep(LOOK_SECONDS)
        if found.ok:
            yield TaskSuccessEvent(xcoms=dict(found.outputs))
            return
        for line in (f"failed: {found.why}", *found.tail.splitlines(), *(f"{name}: {value}" for name, value in found.facts.items())):
            self.log.error("%s", line)
        yield TaskFailedEvent(xcoms={FAILURE: {"why": found.why, "tail": found.tail, "facts": dict(found.facts), "at": found.at}})

    async def on_kill(self) -> None:
        """Somebody cleared the task or marked it: nobody waits for the answer any more."""
        answer(Path(self.place), self.request, Answer(False, CANCELLED))


CANCELLED = "its task was cleared or marked by hand"


def _text(moment: Any) -> str:
    return moment.isoformat() if moment is not None else ""
