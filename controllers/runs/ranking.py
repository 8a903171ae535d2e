"""The finished runs of experiments, the best first: one listing for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from controllers.runs.observing import KIND, listing
from controllers.runs.standing import Tag, superseded
from controllers.tools.mlflow import connect
from controllers.tools.mlflow_runs import RunInfo
from reconciler.controller import Context
from reconciler.model import Ref, Resource
from reconciler.model.ranking import Ranked, Ranking
from schemas.experiment import ExperimentSpec


def ranking(resources: Sequence[Resource[ExperimentSpec]], ctx: Context) -> Mapping[Ref, Ranking]:
    """Every experiment with its finished runs that are still wanted. Reads only."""
    found = listing(connect(ctx), [each.ref for each in resources], ctx)
    return {each.ref: _ranking(each, found.all.get(each.ref, ())) for each in resources}


def _ranking(resource: Resource[ExperimentSpec], runs: Sequence[RunInfo]) -> Ranking:
    metric = resource.spec.metric
    name, goal = (metric.name, metric.goal) if metric else ("", "maximize")
    sign = 1.0 if goal == "minimize" else -1.0
    wanted = [each for each in runs if each.status == "FINISHED" and not each.deleted and not superseded(each)]
    ranked = [_ranked(each, name) for each in wanted]
    last = (True, 0.0)
    ordered = sorted(ranked, key=lambda each: ((False, sign * each.value) if each.value is not None else last, each.ref))
    data = tuple(each if "/" in each else f"{resource.ref.owner}/{each}" for each in resource.spec.datasets)
    return Ranking(resource.ref, name, goal, tuple(ordered), resource.spec.techniques, data)


def _ranked(run: RunInfo, metric: str) -> Ranked:
    value = run.metrics.get(metric)
    return Ranked(
        ref=Ref.parse(run.tags.get(Tag.REF, ""), [KIND]) or Ref(KIND, None, run.id),
        id=run.id,
        value=value if value is not None and math.isfinite(value) else None,
        params=run.params,
        metrics=run.metrics,
        seconds=_number(run, "seconds"),
        peak_memory=round(peak) if (peak := _number(run, "peak_memory")) is not None else None,
        joules=_number(run, "energy_joules"),
    )


def _number(run: RunInfo, receipt: str) -> float | None:
    try:
        return float(run.tags[f"mlops.receipt.{receipt}"])
    except (KeyError, ValueError):
        return None
