"""Compiled workflows into DAGs. A spec is checked before it is delivered (`controllers.workflows.compiling`); here it is only built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable

from reconciler.workflows.operator import Work


def dags(folder: Path, project: str, only: str | None = None) -> dict[str, DAG]:
    """By DAG id: all of the project, or the one that a task of is about to run."""
    paths = sorted(folder.glob(f"{project}.*.json")) if only is None else [folder / f"{only}.json"]
    return {path.stem: build(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()}


def build(spec: Mapping[str, Any]) -> DAG:
    """One DAG."""
    timetable = CronDataIntervalTimetable(spec["schedule"], timezone=spec["timezone"]) if spec["schedule"] else None
    dag = DAG(
        dag_id=spec["dag"],
        schedule=timetable,
        start_date=datetime.fromisoformat(spec["start"]) if spec["start"] else None,
        catchup=spec["catchup"],
        max_active_runs=spec["maxActiveRuns"],
        tags=spec["tags"],
        description=spec["description"],
        doc_md=spec["doc"],
        default_args={"owner": spec["owner"]},
        is_paused_upon_creation=spec["paused"],
    )
    made = {each["name"]: _task(each, spec, dag) for each in spec["tasks"]}
    for each in spec["tasks"]:
        for name in each["needs"]:
            made[name] >> made[each["name"]]
    return dag


def _task(task: Mapping[str, Any], spec: Mapping[str, Any], dag: DAG) -> Work:
    return Work(
        task_id=task["name"],
        dag=dag,
        place=spec["place"],
        work=task["work"],
        pool=task["pool"],
        priority_weight=task["priority"],
        weight_rule="absolute",
        retries=task["retries"],
        retry_delay=timedelta(seconds=task["retrySeconds"]),
        retry_exponential_backoff=2.0,
        max_retry_delay=timedelta(hours=1),
        doc_md=task["doc"],
    )
