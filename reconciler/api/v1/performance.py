"""Route: what techniques reached and what they cost."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from reconciler.api.v1 import shapes
from reconciler.api.v1.admission import Of, kept
from reconciler.api.v1.answers import answer
from reconciler.api.v1.door import Asking, TheDoor
from reconciler.api.v1.shapes import Shape
from reconciler.api.v1.trail import RANKED, last_plan
from reconciler.errors import ReconcilerError
from reconciler.model.performance import performance as summed
from reconciler.report.performance import performance_html, performance_markdown, performance_value
from reconciler.views.leaderboard import ranked
from reconciler.views.machine import machine_words

router = APIRouter(tags=["experiments"])


class Spent(Shape):
    """By finished runs; sums are null where nothing was measured. Seconds, joules, bytes."""

    runs: int
    seconds: float | None
    timed_runs: int
    joules: float | None
    metered_runs: int
    peak_memory_bytes: int | None
    typical_seconds: float | None
    typical_joules: float | None


class OfProject(Spent):
    project: str


class OfTechnique(Spent):
    technique: str


class Entry(Shape):
    """The best run of a combination of techniques."""

    techniques: list[str]
    experiment: str
    runs: int
    undominated: bool
    ref: str
    id: str
    value: float | None
    seconds: float | None
    joules: float | None
    peak_memory_bytes: int | None


class Contest(Shape):
    """Results that can be compared, the best first."""

    metric: str
    goal: Literal["maximize", "minimize"]
    datasets: list[str]
    entries: list[Entry]


class PerformanceShape(Shape):
    """As `reconcile compare -o json`. `trouble`: why nothing can be said of runs at the moment; empty = all is known."""

    machine: str
    projects: list[OfProject]
    techniques: list[OfTechnique]
    contests: list[Contest]
    trouble: str


@router.get(
    "/performance",
    operation_id="getPerformance",
    response_model=PerformanceShape,
    responses={200: {"content": {"text/html": {}, "text/markdown": {}}}},
)
def performance(
    door: TheDoor,
    who: Asking,
    project: Of = [],  # noqa: B006 - FastAPI copies it
    format_: Annotated[shapes.ReportFormat, Query(alias="format", description="How it is written.")] = "json",
) -> Response:
    """What techniques reached and what they cost: results on the same data, time, energy and memory; half a minute old at most."""
    resources = last_plan(door).proposal.resources
    whole = [each for ref, each in resources.items() if not ref.key]
    trouble = ""
    try:
        boards = kept(door, "leaderboards", lambda: ranked(door.house, resources, whole, focused=False), RANKED)
    except ReconcilerError as error:  # a tool that is away costs what it knows, not the page
        boards, trouble = [], str(error)
    mine = [each for each in boards if who.sees(each.ref) and (not project or each.ref.owner in project)]
    found, machine, now = summed(mine), machine_words(door.house), door.house.now()
    if format_ == "markdown":
        return PlainTextResponse(performance_markdown(found, machine, now), media_type="text/markdown")
    if format_ == "html":
        style = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
        return HTMLResponse(performance_html(found, machine, now), headers=style)
    return answer({**performance_value(found, machine), "trouble": trouble})
