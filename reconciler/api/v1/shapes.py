"""What answers look like, for the interface's description. What is sent is made by `reconciler/report`, as what `-o json` prints."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

HealthName = Literal["Healthy", "Suspended", "Progressing", "Unknown", "Missing", "Degraded"]
ReportFormat = Literal["html", "markdown", "json"]
RoleName = Literal["viewer", "operator", "approver", "admin"]


class Shape(BaseModel):
    """Fields may be added; none is renamed or removed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")


def _shown(example: dict[str, Any]) -> ConfigDict:
    """With an example in the description."""
    return ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", json_schema_extra={"examples": [example]})


# --- refusals ------------------------------------------------------------------------------------------------------


class Mistake(Shape):
    path: str
    message: str


class ProblemDetails(Shape):
    """RFC 9457. `type` is left out: the status says all that there is."""

    model_config = _shown({"title": "Not Found", "status": 404, "detail": "there is no resource of that name here that you may see"})

    title: str
    status: int
    detail: str
    errors: list[Mistake] = []


# --- resources -----------------------------------------------------------------------------------------------------


class Place(Shape):
    """Where a manifest says it."""

    file: str
    line: int | None
    column: int | None


class ConditionShape(Shape):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    since: datetime | None


class Resource(Shape):
    """Where one resource stands after the last pass that looked at it."""

    model_config = _shown(
        {
            "ref": "experiment/vision/rank-sweep",
            "kind": "Experiment",
            "project": "vision",
            "name": "rank-sweep",
            "key": None,
            "ready": False,
            "health": "Progressing",
            "message": "6 of 8 runs finished, 1 running, 1 waiting for memory",
            "observedDigest": "3f9c2e1ab04d",
            "externalId": "12",
            "source": "root",
            "outputs": {"id": "12"},
            "location": {"file": "manifests/vision/runs.yaml", "line": 3, "column": None},
            "conditions": [{"type": "Ready", "status": "False", "reason": "Progressing", "message": "", "since": "2026-03-01T12:00:00Z"}],
        }
    )

    ref: str = Field(examples=["experiment/vision/rank-sweep"])
    kind: str
    project: str | None
    name: str
    key: str | None
    ready: bool
    health: HealthName
    message: str
    observed_digest: str
    external_id: str | None
    source: str | None
    outputs: dict[str, Any]
    location: Place | None
    conditions: list[ConditionShape]


class Suspended(Shape):
    reason: str
    actor: str
    at: datetime


class Link(Shape):
    """A page of a tool about one resource."""

    tool: Literal["mlflow", "airflow", "ray", "evidently"]
    title: str
    url: str


class OneResource(Resource):
    """With what its manifest said when it was applied last, what was applied, and what belongs to it."""

    declared: dict[str, Any] | None
    applied: dict[str, Any] | None
    digest: str | None
    references: list[str]
    suspended: Suspended | None
    children: list[str]
    links: list[Link]


class Page(Shape):
    """`next`: what to give as `after` for the next page; null = this is the last one. `total`: of all pages."""

    next: str | None
    total: int


class Resources(Page):
    items: list[Resource]


class Counts(Shape):
    """Resources by health."""

    healthy: int = Field(0, alias="Healthy")
    suspended: int = Field(0, alias="Suspended")
    progressing: int = Field(0, alias="Progressing")
    unknown: int = Field(0, alias="Unknown")
    missing: int = Field(0, alias="Missing")
    degraded: int = Field(0, alias="Degraded")


class KindCounts(Shape):
    project: str | None
    kind: str
    ready: int
    total: int
    totals: Counts


class StatusShape(Shape):
    """The installation: as `reconcile status -o json`, less the resources."""

    at: datetime
    installation: str
    environment: str | None
    revision: str
    applied_at: datetime | None
    applied_by: str
    tools: dict[str, str]
    sources: list[dict[str, Any]]
    quarantined: list[dict[str, Any]]
    watched: bool
    looked: dict[str, dict[str, Any]]
    ready: int
    total: int
    totals: Counts
    by_kind: list[KindCounts]


class Project(Shape):
    """One project in numbers."""

    name: str
    ready: int
    total: int
    health: HealthName
    totals: Counts
    kinds: dict[str, int]
    resource: Resource | None
    awaiting_approval: int
    alerts: int


class ClientPlace(Shape):
    """Where a project's programs find the tools; null = there is none, or it is not known yet."""

    project: str
    installation: str
    mlflow: str | None
    gateway: str | None


class Projects(Shape):
    items: list[Project]


class Below(Shape):
    """Children of a resource (runs, replicas, windows, tasks), counted."""

    total: int
    totals: Counts


class OfKind(OneResource):
    below: Below


class OfKindPage(Page):
    items: list[OfKind]


class LineageNode(Shape):
    """A resource, with its children counted."""

    ref: str
    kind: str
    project: str | None
    name: str
    ready: bool
    health: HealthName
    message: str
    below: Below


class LineageEdge(Shape):
    """`to` is made of `from`; or, where it is no more than `requires`, has to come after it."""

    from_: str = Field(alias="from")
    to: str
    how: Literal["uses", "requires"]


class Lineage(Shape):
    """What is made of what. `total`: resources that there are; fewer are told where there are more than were asked for."""

    nodes: list[LineageNode]
    edges: list[LineageEdge]
    total: int


class Model(Shape):
    """As `reconcile models -o json`, with its page in the tool."""

    ref: str
    alias: str
    version: str | None
    run: str | None
    datasets: dict[str, Any]
    health: str | None
    message: str
    versions: list[dict[str, Any]]
    links: list[Link]


class Models(Page):
    items: list[Model]


# --- history ---------------------------------------------------------------------------------------


class Entry(Shape):
    """One line of the audit log."""

    model_config = _shown(
        {
            "number": 118,
            "at": "2026-03-01T12:00:00Z",
            "actor": "ci",
            "ref": "deployment/vision/search",
            "action": "suspend",
            "result": "done",
            "revision": "",
            "location": "",
            "detail": {"reason": "labels are being corrected by hand"},
        }
    )

    number: int
    at: datetime
    actor: str
    ref: str | None
    action: str
    result: Literal["done", "started", "failed"]
    revision: str
    location: str | None
    detail: dict[str, Any]


class Entries(Shape):
    """The newest first. `next`: what to give as `before` for older ones."""

    items: list[Entry]
    next: int | None


class Alerts(Shape):
    """As `reconcile alerts -o json`."""

    at: datetime
    alerts: list[dict[str, Any]]
    silences: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    deliveries: list[dict[str, Any]] = []


# --- plan ----------------------------------------------------------------------------------------------------------


class Plan(Shape):
    """As `reconcile --dry-run -o json`, of the loop's last whole pass."""

    number: int
    at: datetime
    outcome: str
    digest: str
    totals: dict[str, Any]
    approvals: list[dict[str, Any]]
    actions: list[dict[str, Any]]


class Approval(Shape):
    """What waits in a project, under the digest that a yes names."""

    project: str
    digest: str
    refs: list[str]
    actions: list[dict[str, Any]]


class Approvals(Shape):
    number: int
    at: datetime
    items: list[Approval]


class Leaderboard(Shape):
    """As `reconcile leaderboard -o json`, with its page in the tool; each run has its `url` there, or null."""

    ref: str
    metric: str | None
    goal: str
    finished: int
    runs: list[dict[str, Any]]
    links: list[Link]


class Leaderboards(Shape):
    """`trouble`: why nothing can be said of runs at the moment; empty = all is known."""

    items: list[Leaderboard]
    trouble: str


# --- orders and tokens ---------------------------------------------------------------------------------------------


class Done(Shape):
    """`after`: the number of the newest line of the audit log; what comes of it has a greater one."""

    model_config = _shown({"what": "the loop makes a pass", "after": 118})

    what: str
    after: int


class OrderShape(Shape):
    """Something that the loop was asked to do; `result`: what came of it, in words."""

    number: int
    at: datetime
    ref: str
    actor: str
    action: Literal["run", "rollback"]
    state: Literal["waiting", "begun", "done", "failed"]
    result: str
    finished: datetime | None


class TokenShape(Shape):
    id: str
    name: str
    role: RoleName
    projects: list[str]
    actor: str
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    good: bool


class MadeToken(TokenShape):
    token: str
    """Its text; not to be had again."""


class Tokens(Shape):
    items: list[TokenShape]


class Granted(Shape):
    role: RoleName
    projects: list[str]


class Me(Shape):
    name: str
    grants: list[Granted]
    expires: datetime | None
