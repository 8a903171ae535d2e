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
from reconciler.model.ranking import Fell, Ranked, Ranking
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
    fell = tuple(_fell(each) for each in runs if each.status == "FAILED" and not each.deleted)
    return Ranking(resource.ref, name, goal, tuple(ordered), tuple(sorted(set(resource.spec.techniques))), fell)


def _ranked(run: RunInfo, metric: str) -> Ranked:
    value = run.metrics.get(metric)
    return Ranked(
        ref=Ref.parse(run.tags.get(Tag.REF, ""), [KIND]) or Ref(KIND, None, run.id),
        id=run.id,
        value=value if value is not None and math.isfinite(value) else None,
        params=run.params,
        metrics=run.metrics,
        seconds=_number(run, "seconds"),
        peak_memory=_peak(run),
        joules=_number(run, "energy_joules"),
        meter=run.tags.get("mlops.receipt.energy_source", ""),
        hardware=run.tags.get("mlops.context.chip", ""),
        data={name.removeprefix(Tag.DATASET): each for name, each in run.tags.items() if name.startswith(Tag.DATASET)},
    )


def _fell(run: RunInfo) -> Fell:
    return Fell(run.id, _number(run, "seconds"), _number(run, "energy_joules"), _peak(run), run.tags.get("mlops.receipt.energy_source", ""))


def _peak(run: RunInfo) -> int | None:
    peak = _number(run, "peak_memory")
    return None if peak is None else round(peak)


def _number(run: RunInfo, receipt: str) -> float | None:
    """A receipt that is a finite number of something that can be spent; None otherwise."""
    try:
        found = float(run.tags[f"mlops.receipt.{receipt}"])
    except (KeyError, ValueError):
        return None
    return found if math.isfinite(found) and found >= 0 else None
