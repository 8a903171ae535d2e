"""What runs inside Airflow: specs into DAGs, the operator of every task, the trigger that it waits with."""
