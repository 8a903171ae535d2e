"""Comparisons of techniques in MLflow: one run for each, in an experiment that the installation keeps for them."""

from __future__ import annotations

import json

from controllers.runs.standing import Tag
from controllers.tools import mlflow_runs
from controllers.tools.artifacts import location, upload
from controllers.tools.mlflow import Mlflow, connect
from reconciler.controller import Context
from reconciler.errors import Conflict, Transient
from reconciler.model.performance import Entered

HOME = "mlops.comparisons"
"""Tag of that experiment. It has no `mlops.ref`: no manifest stands for it, and it is no orphan."""
DIGEST = "mlops.comparison"
TABLES = "mlflow.loggedArtifacts"
"""By this tag MLflow's pages find tables, as `mlflow.log_table` writes it (mlflow.utils.mlflow_tags, 3.x)."""


def enter(entered: Entered, ctx: Context) -> tuple[str, bool]:
    """See `Compares`. A run that is not FINISHED was left half-written, and is written to its end."""
    mlflow, now = connect(ctx), ctx.now().timestamp()
    home = _home(mlflow, ctx)
    mark = {Tag.INSTALLATION: ctx.installation, DIGEST: entered.digest}
    there = next(iter(mlflow_runs.search(mlflow, [home], mark, "ACTIVE_ONLY")), None)
    if there is not None and there.status == "FINISHED":
        return there.id, False
    tables = {TABLES: json.dumps([{"path": entered.table, "type": "table"}])}
    run = there.id if there is not None else mlflow_runs.create(mlflow, home, entered.name, {**entered.tags, **mark, **tables}, now)
    mlflow_runs.log(mlflow, run, params=entered.params)
    mlflow_runs.measure(mlflow, run, entered.metrics, now)
    made = mlflow_runs.run(mlflow, run)
    if made is None:
        raise Transient(f"the comparison's run {run} is gone from MLflow", hint="log it again")
    for name, content in entered.files.items():
        upload(ctx, location(made.artifacts, name), content)
    mlflow_runs.end(mlflow, run, "FINISHED", now)
    return run, True


def _home(mlflow: Mlflow, ctx: Context) -> str:
    """Id of the experiment for comparisons; its name cannot be a manifest's, which have a `/`. Deleted in the UI, it is brought back."""
    name = f"comparisons ({ctx.installation})"
    found = mlflow.experiment_named(name)
    if found is None:
        tags = {HOME: "true", Tag.INSTALLATION: ctx.installation}
        try:
            return mlflow.create_experiment(name, tags, None)
        except Conflict:  # somebody else made it between the two calls
            if (found := mlflow.experiment_named(name)) is None:
                raise
    if found.tags.get(Tag.INSTALLATION) != ctx.installation or HOME not in found.tags:
        raise Conflict(f"MLflow has an experiment '{name}' that is not this installation's", hint="rename it there, then log again")
    if found.stage == "deleted":
        mlflow.restore_experiment(found.id)
    return found.id
