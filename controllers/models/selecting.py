"""Which runs compete to become the next version, the best first. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from controllers.models.scene import Goal, Scene
from controllers.runs.standing import superseded
from controllers.tools.mlflow_runs import RunInfo
from reconciler.model import Ref
from schemas.grid import argument
from schemas.model import ModelSpec, Select

MOST = 5
"""Runs that are looked at, from the best down, until one passes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One finished run."""

    run: RunInfo
    value: float | None
    """Of the metric that counts; None = none counts."""

    @property
    def label(self) -> str:
        """`rank8-s0`."""
        return label_of(self.run)


def label_of(run: RunInfo) -> str:
    """What people call a run: its name in the experiment."""
    ref = Ref.parse(run.tags.get("mlops.ref", ""), ["Experiment"])
    return ref.key if ref is not None and ref.key else run.id[:8]


def criterion(spec: ModelSpec, scene: Scene) -> tuple[str, Goal]:
    """What counts, and in which direction: the manifest's own, or else the experiment's. An empty name: nothing was declared."""
    select = spec.select
    if select.metric is None or select.metric == scene.metric:
        return select.metric or scene.metric, select.goal or scene.goal
    return select.metric, select.goal or "maximize"


def finished(runs: Sequence[RunInfo], select: Select) -> list[RunInfo]:
    """Those that came to their end and have the values that the manifest asks for. What was superseded competes only where nothing else
    does: it was made of other data, code or parameters than are declared now."""
    ended = [each for each in runs if each.status == "FINISHED" and not each.deleted and _fits(each, select)]
    return [each for each in ended if not superseded(each)] or ended


def ranked(spec: ModelSpec, scene: Scene) -> list[Candidate]:
    """The best first; equals in the order in which they ended, so that an equal run never takes the alias from an older one.

    A run that did not log the metric does not compete. Where no metric was declared, the newest is the best."""
    metric, goal = criterion(spec, scene)
    runs = finished(scene.runs, spec.select)
    if not metric:
        return [Candidate(each, None) for each in sorted(runs, key=lambda each: (-each.ended, each.id))]
    sign = 1.0 if goal == "minimize" else -1.0
    able = [Candidate(each, value) for each in runs if (value := each.metrics.get(metric)) is not None and math.isfinite(value)]
    return sorted(able, key=lambda each: (sign * (each.value or 0.0), each.run.ended, each.run.id))


def _fits(run: RunInfo, select: Select) -> bool:
    for name, wanted in select.params.items():
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        if run.params.get(name) not in {argument(each) for each in values}:
            return False
    return True
