"""What a Workflow is in Airflow: compiled, delivered, looked at, started, and its tasks carried out."""
