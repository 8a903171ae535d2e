"""The workflows of one project of mlops-reconciler as Airflow DAGs: one for each of its files in `specs`. The file's name says whose."""

from pathlib import Path

from airflow.sdk import get_parsing_context

from reconciler.workflows.dags import dags

globals().update(dags(Path(__file__).parent / "specs", Path(__file__).stem.partition("_")[2], get_parsing_context().dag_id))
