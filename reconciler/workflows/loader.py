"""The workflows of mlops-reconciler as Airflow DAGs: one for each file in `specs`."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from reconciler.workflows.dags import dags

globals().update(dags(Path(__file__).parent / "specs", get_parsing_context().dag_id))
