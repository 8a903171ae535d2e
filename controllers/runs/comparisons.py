"""Comparisons of runs, kept as runs: metrics for each technique, the whole as JSON and Markdown, and which runs it is made of."""

from __future__ import annotations

from controllers.tools import mlflow_runs
from controllers.tools.artifacts import upload
from controllers.tools.mlflow import connect
from reconciler.controller import Comparison, Context
from reconciler.errors import Conflict

PURPOSE, COMPARISONS = "mlops.purpose", "comparisons"
DIGEST = "mlops.digest"
MOST_NAMED = 50
"""Runs that the tag names: MLflow takes 8,000 characters, and an id has 32."""


def keep(comparison: Comparison, ctx: Context) -> str:
    """One run for each comparison, in an experiment of the installation's own. Interrupted ones are completed."""
    mlflow, name = connect(ctx), f"comparisons of {ctx.installation}"
    tags = {PURPOSE: COMPARISONS, "mlops.installation": ctx.installation}
    found = mlflow.experiment_named(name)
    if found is not None and found.tags.get("mlops.installation") != ctx.installation:
        raise Conflict(f"MLflow has an experiment `{name}` that is not ours", hint="rename it there")
    if found is not None and found.stage != "active":
        mlflow.restore_experiment(found.id)
    experiment = found.id if found is not None else mlflow.create_experiment(name, tags, None)
    before = next(mlflow_runs.search(mlflow, [experiment], {DIGEST: comparison.digest}, "ACTIVE_ONLY"), None)
    if before is not None and before.status == "FINISHED":
        return f"MLflow has this comparison already: run {before.id} of `{name}`"
    now = ctx.now().timestamp()
    marks = {**tags, DIGEST: comparison.digest, "mlops.machine": comparison.machine, "mlops.runs": ",".join(comparison.runs[:MOST_NAMED])}
    run = before.id if before is not None else mlflow_runs.create(mlflow, experiment, f"comparison {comparison.digest[:8]}", marks, now)
    metrics = {_key(each): value for each, value in comparison.metrics.items()}
    if metrics:
        mlflow_runs.measure(mlflow, run, metrics, now)
    info = mlflow_runs.run(mlflow, run)
    where = info.artifacts.partition("mlflow-artifacts:/")[2].lstrip("/") if info is not None else ""
    for file, content in comparison.files.items():
        if where:
            upload(ctx, f"{where}/{file}", content)
    mlflow_runs.end(mlflow, run, "FINISHED", now)
    return f"Kept in MLflow: run {run} of `{name}`"


def _key(name: str) -> str:
    """What MLflow takes as a metric's name: letters, digits and some marks, 250 characters."""
    return "".join(each if each.isalnum() or each in "_-. /" else "-" for each in name)[:250]
