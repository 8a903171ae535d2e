"""Scores side by side: the best first, told to MLflow once, with what it was that they were judged on."""

from __future__ import annotations

from collections.abc import Mapping

from controllers.tools import mlflow_runs
from controllers.tools.mlflow import connect
from controllers.workflows.asking import TaskSpec
from reconciler.controller import Context
from reconciler.errors import Transient
from reconciler.exchange import Answer
from reconciler.model import Ref, Resource

SHARED = "shared"
"""Name of the federated model among the scores."""
REQUEST = "mlops.request"
"""Tag of the run in MLflow: one for each comparison, however often it is told."""


def compare(child: Resource[TaskSpec], ctx: Context) -> Answer:
    """Log the comparison, and answer with it. Safe to repeat."""
    work, scores = child.spec.work, {name: float(each) for name, each in child.spec.work["scores"].items()}
    experiment = Ref.parse(str(work["experiment"]), ["Experiment"])
    assert experiment is not None
    ranked, gain = ranking(scores, str(work["goal"])), gained(scores, str(work["goal"]))
    run = _log(child, experiment, scores, ranked[0], gain, ctx)
    outputs = {"best": ranked[0], "metric": scores[ranked[0]], "run": run, **({} if gain is None else {"gain": gain})}
    least = work.get("minGain")
    if least is not None and gain is not None and gain < least:
        shared = f"the shared model's {work['metric']} is {scores[SHARED]:.4f}"
        why = f"{shared}; it gains {gain:+.4f} on the best single one, and needs {least:+.4f}"
        return Answer(False, why, outputs)
    return Answer(True, outputs=outputs)


def ranking(scores: Mapping[str, float], goal: str) -> list[str]:
    """Names, the best first; equal ones by name."""
    sign = -1.0 if goal == "maximize" else 1.0
    return sorted(scores, key=lambda name: (sign * scores[name], name))


def gained(scores: Mapping[str, float], goal: str) -> float | None:
    """How much better the shared model is than the best single one; None without a shared one."""
    alone = [value for name, value in scores.items() if name != SHARED]
    if SHARED not in scores or not alone:
        return None
    return scores[SHARED] - max(alone) if goal == "maximize" else min(alone) - scores[SHARED]


def _log(child: Resource[TaskSpec], experiment: Ref, scores: Mapping[str, float], best: str, gain: float | None, ctx: Context) -> str:
    mlflow, work = connect(ctx), child.spec.work
    home = mlflow.ids([experiment.path]).get(experiment.path)
    if home is None:
        raise Transient(f"{experiment} is not there yet")
    there = next(iter(mlflow_runs.search(mlflow, [home], {REQUEST: child.spec.id})), None)
    now = ctx.now().timestamp()
    tags = {REQUEST: child.spec.id, "mlops.workflow": str(child.ref), "mlops.run": child.spec.run, "mlops.best": best}
    run = there.id if there is not None else mlflow_runs.create(mlflow, home, f"{work['what']} {child.spec.run}", tags, child.spec.created)
    mlflow_runs.log(mlflow, run, params={name: str(each) for name, each in work["tell"].items()})
    found = {f"{work['metric']}.{name.replace('@', '-')}": value for name, value in scores.items()}
    mlflow_runs.measure(mlflow, run, {**found, **({} if gain is None else {"gain": gain})}, now)
    mlflow_runs.end(mlflow, run, "FINISHED", now)
    return run
