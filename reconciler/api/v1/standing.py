"""What answers about admission look like, for the interface's description: the queue, quotas, this machine, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from reconciler.api.v1.shapes import Resource, Shape


class Why(Shape):
    """As `reconcile why -o json`."""

    ref: str
    state: Literal["waiting", "running", "unknown", "ready", "notReady"]
    waiting: dict[str, Any] | None
    remedies: list[dict[str, Any]]
    running: dict[str, Any] | None
    why_stopped: str | None
    status: Resource | None
    causes: list[dict[str, Any]]
    suspended: str | None
    output: dict[str, Any] | None


class Node(Shape):
    name: str
    capacity: dict[str, Any]
    reserve: dict[str, Any]
    services: dict[str, Any]
    other_programs: dict[str, Any]
    leased: dict[str, Any]
    heat: str
    headroom_used: float | None
    watts: float | None
    heat_source: str | None
    memory_pressure: str


class Queue(Shape):
    """As `reconcile queue -o json`."""

    at: datetime
    nodes: list[Node]
    running: list[dict[str, Any]]
    waiting: list[dict[str, Any]]
    aside: list[dict[str, Any]]
    warnings: list[str]


class QuotaProject(Shape):
    project: str
    cohort: str | None
    running: int
    waiting: int
    share: float | None
    resources: dict[str, dict[str, float | None]]


class Quotas(Shape):
    """As `reconcile top -o json`: who borrows, and who lends."""

    at: datetime
    nodes: list[Node]
    projects: list[QuotaProject]
    warnings: list[str]


class Hardware(Shape):
    """As `reconcile doctor --hardware -o json`, less the probes."""

    at: datetime
    note: str
    machine: dict[str, Any]
    heat: dict[str, Any]
    memory: dict[str, Any]
    load: float
    watts: float | None
    joules: float | None


class Point(Shape):
    at: datetime
    watts: float | None
    headroom_used: float | None
    memory_used: int | None = None
    """Bytes; null = not kept for that moment."""


class Points(Shape):
    """The oldest first; one each ten seconds, of an hour at most."""

    items: list[Point]


class Fits(Shape):
    """As `reconcile fits -o json`."""

    ref: str
    project: str
    amounts: dict[str, Any]
    now: bool
    reason: str
    message: str
    expected: dict[str, Any] | None
    warnings: list[str]
