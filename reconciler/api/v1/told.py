"""What answers about the tools look like, for the interface's description: their pages, traffic, windows, schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reconciler.api.v1.shapes import HealthName, Link, Page, Shape


class Links(Shape):
    """Base URLs of the tools' own pages, without credentials; a tool that was never started is not there."""

    items: list[Link]


class Target(Shape):
    """One version behind a deployment. `weight`: per cent of the requests. Counts are since the gateway started; null = not known."""

    version: str | None
    model: str | None
    run: str | None
    runtime: str | None
    role: str | None
    weight: int | None
    revision: str | None
    datasets: dict[str, Any]
    ready: int | None
    requests: int | None
    errors: int | None
    p50_seconds: float | None
    p95_seconds: float | None
    labels: int | None
    right: float | None


class Traffic(Shape):
    """`load`: mean of the requests in hand and waiting, of the last 15 seconds."""

    ongoing: int
    waiting: int
    load: float
    idle_seconds: float | None


class Served(Shape):
    """`off`: why nothing is served on purpose; empty = it is to be up."""

    ref: str
    off: str
    targets: list[Target]
    traffic: Traffic | None


class ServedPage(Shape):
    """`trouble`: why nothing is known of the traffic at the moment; empty = all is."""

    items: list[Served]
    trouble: str


class Window(Shape):
    """What one look found. `columns`: columns that were scored; null = not known any more."""

    start: datetime | None
    end: datetime | None
    verdict: str
    rows: int
    labels: int
    why: str
    drifted_columns: int | None
    columns: int | None
    checks: list[dict[str, Any]]
    measured: dict[str, float]
    scores: dict[str, float]
    report: str | None
    """Address of its report; null = there is none, or it is not known where."""


class Breach(Shape):
    id: str | None
    since: datetime | None
    ended: datetime | None
    failing: dict[str, Any]
    causes: list[str]
    done: list[str]
    suggestions: list[str]


class Watched(Shape):
    """One monitor; its windows, the oldest first. `breach` is open, `before` the last one that ended."""

    ref: str
    health: HealthName | None
    message: str
    windows: list[Window]
    breach: Breach | None
    before: Breach | None
    said: str
    links: list[Link]


class WatchedPage(Page):
    items: list[Watched]


class WorkflowRun(Shape):
    id: str | None
    state: str | None
    type: str | None
    note: str | None
    version: str | None
    started: datetime | None
    ended: datetime | None
    seconds: float | None
    failure: dict[str, Any] | None
    url: str | None


class Schedule(Shape):
    """`next`: when it starts by itself; null = by trigger or by hand only, or it is paused. `last`: the run that ended last.
    `runs`: those that passes saw end, the newest first."""

    ref: str
    schedule: str | None
    timezone: str
    paused: bool
    next: datetime | None
    last: WorkflowRun | None
    runs: list[WorkflowRun]
    triggers: list[str]


class SchedulePage(Page):
    items: list[Schedule]
