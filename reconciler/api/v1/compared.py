"""Shapes of `/performance`: techniques side by side, and what projects spent."""

from __future__ import annotations

from datetime import datetime

from reconciler.api.v1.shapes import Shape


class ProjectSpent(Shape):
    """What the runs of one project took; `timedRuns` and `meteredRuns` say of how many runs the sums are, null = not known."""

    project: str
    finished: int
    failed: int
    seconds: float | None
    timedRuns: int
    joules: float | None
    wattHours: float | None
    meteredRuns: int
    energySources: list[str]
    peakMemoryBytes: int | None


class TechniqueEntry(Shape):
    """The best run of one technique; `median...` are of all its runs. `pareto`: no other is better in something and as good in the rest."""

    place: int
    technique: str | None
    pareto: bool
    value: float
    seconds: float | None
    joules: float | None
    wattHours: float | None
    energySource: str | None
    peakMemoryBytes: int | None
    perWattHour: float | None
    perSecond: float | None
    perGiB: float | None
    run: str
    id: str
    runs: int
    medianSeconds: float | None
    medianJoules: float | None
    experiments: list[str]
    ids: list[str]


class TechniqueComparison(Shape):
    """Techniques that can be compared: the same metric, data and processor. `judged`: what the Pareto marks go by."""

    metric: str
    goal: str
    data: dict[str, str]
    hardware: str | None
    judged: list[str]
    techniques: list[TechniqueEntry]


class PerformanceReport(Shape):
    """As `reconcile compare -o json`. `trouble`: why nothing can be said of runs at the moment; empty = all is known."""

    at: datetime
    projects: list[ProjectSpent]
    comparisons: list[TechniqueComparison]
    alone: list[TechniqueComparison]
    withoutValue: list[str]
    trouble: str
