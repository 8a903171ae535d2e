"""Routes: what was done, what fires, and what the loop was about to do."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from reconciler.alerting.values import Silence
from reconciler.api.v1 import compared, shapes
from reconciler.api.v1.admission import Of, kept
from reconciler.api.v1.answers import answer, tagged
from reconciler.api.v1.asker import Asker
from reconciler.api.v1.door import Asking, Door, TheDoor
from reconciler.api.v1.filters import LIMIT, Limit
from reconciler.api.v1.links import base_urls, links_of
from reconciler.api.v1.problems import Problem
from reconciler.api.v1.resources import Key, KindPart, NamePart, ProjectPart, visible
from reconciler.board import Planned
from reconciler.errors import ReconcilerError
from reconciler.model import Ref
from reconciler.model.ranking import Ranking
from reconciler.report.alerts import Overview, Scheduled, alerts_value
from reconciler.report.json import history_value, plan_value
from reconciler.report.leaderboard import board_value
from reconciler.report.performance import performance_markdown, performance_value
from reconciler.report.performance_page import performance_html
from reconciler.report.show import rfc3339
from reconciler.state import AuditEntry
from reconciler.views.alerts import scheduled, silences
from reconciler.views.leaderboard import ranked
from reconciler.views.performance import installation_of, performance_of

router = APIRouter(tags=["history"])
MONTH = timedelta(days=30)
RANKED = 30.0
"""Seconds for which what tools say of runs is kept."""
Before = Annotated[int | None, Query(ge=1, le=2**62, description="`next` of the page before.")]


def entry_value(number: int, entry: AuditEntry) -> dict[str, Any]:
    """One line of the audit log with its number."""
    return {"number": number, **history_value(entry)}


@router.get("/history", operation_id="listHistory", response_model=shapes.Entries)
def history(request: Request, door: TheDoor, who: Asking, project: Of = [], limit: Limit = LIMIT, before: Before = None) -> Response:  # noqa: B006
    """What was done, when and by whom; the newest first."""
    seen = None if who.everywhere and not project else frozenset(project) or who.projects
    if seen is not None and not who.everywhere:
        seen &= who.projects
    return _page(request, door, who, None, seen, before, limit)


@router.get("/resources/{kind}/{project}/{name}/history", operation_id="getResourceHistory", response_model=shapes.Entries)
def of_resource(
    request: Request,
    door: TheDoor,
    who: Asking,
    kind: KindPart,
    project: ProjectPart,
    name: NamePart,
    key: Key = "",
    limit: Limit = LIMIT,
    before: Before = None,
) -> Response:
    """What was done to one resource, and to its children; the newest first."""
    ref = visible(door, door.pictures.now(), who, kind, project, name, key)
    return _page(request, door, who, ref, None, before, limit)


def _page(
    request: Request, door: Door, who: Asker, ref: Ref | None, projects: frozenset[str] | None, before: int | None, limit: int
) -> Response:
    newest = door.house.store.lines.last()

    def make() -> dict[str, Any]:
        lines = door.house.store.lines.page(ref=ref, projects=projects, before=before, limit=limit + 1)
        shown = lines[:limit]
        return {"items": [entry_value(*each) for each in shown], "next": shown[-1][0] if len(lines) > limit else None}

    return tagged(request, who, newest, make)


@router.get("/alerts", operation_id="listAlerts", response_model=shapes.Alerts, tags=["alerts"])
def alerts(
    door: TheDoor,
    who: Asking,
    project: Of = [],  # noqa: B006 - FastAPI copies it
    over: Annotated[bool, Query(description="What is over, and every message, too; for the last 30 days.")] = False,
) -> Response:
    """What fires now, since when, why, and who was told."""
    store, now = door.house.store, door.house.now()
    asked = [each for each in store.alerts.listed(now - MONTH if over else None) if who.sees(each.ref)]
    found = [each for each in asked if not project or each.ref.owner in project]
    known = {each.id for each in found}
    whole = who.everywhere and not project
    told = [each for each in store.deliveries.listed(now - MONTH) if whole or any(part.subject in known for part in each.parts)]
    held = [each for each in silences(door.house, now) if who.everywhere or _is_theirs(each, who)]
    come = [each for each in scheduled(door.house, now) if who.everywhere or _is_about_theirs(each, who)]
    return answer(alerts_value(Overview(found, told, held, len(store.alerts.policies()), now, come), all_=over))


def _is_theirs(silence: Silence, who: Asker) -> bool:
    return bool(silence.projects) and all(who.may("read", each) for each in silence.projects)


def _is_about_theirs(each: Scheduled, who: Asker) -> bool:
    return bool(each.report.projects) and all(who.may("read", project) for project in each.report.projects)


# --- the loop's plan -----------------------------------------------------------------------------------------------


def last_plan(door: Door) -> Planned:
    """Raises Problem 404 where this process has made none."""
    if (last := door.board.last) is None:
        raise Problem(404, "there is no plan yet: this loop has made no whole pass, or another one leads")
    return last


@router.get("/plan", operation_id="getPlan", response_model=shapes.Plan, tags=["plan"])
def plan(request: Request, door: TheDoor, who: Asking) -> Response:
    """What the last whole pass of the loop was about to do."""
    last = last_plan(door)
    return tagged(request, who, f"plan {last.number}", lambda: _seen(plan_of(door, last), who))


def plan_of(door: Door, last: Planned) -> dict[str, Any]:
    """As `reconcile --dry-run -o json`; worked out once for each pass."""
    before: tuple[int, dict[str, Any]] | None = door.shared.get("plan")
    if before is None or before[0] != last.number:
        before = (last.number, {"number": last.number, **plan_value(last.proposal, all_=False, at=last.at)})
        door.shared["plan"] = before
    return before[1]


def _seen(value: dict[str, Any], who: Asker) -> dict[str, Any]:
    """What of a plan may be seen: of others' projects nothing, nor what concerns the whole installation."""
    if who.everywhere:
        return value
    mine = [each for each in value["actions"] if who.may("read", _owner(each["ref"]))]
    actions = [{**each, "after": [ref for ref in each["after"] if who.may("read", _owner(ref))]} for each in mine]
    approvals = [each for each in value["approvals"] if who.may("read", each["project"])]
    kept = ("number", "at", "outcome", "digest", "installation", "environment")
    counted = dict(Counter(each["action"] for each in mine))
    return {**{name: value[name] for name in kept}, "totals": counted, "actions": actions, "approvals": approvals}


def _owner(ref: str) -> str:
    """The project that a Ref as text belongs to."""
    kind, *rest = ref.partition("#")[0].split("/")
    return rest[0] if len(rest) > 1 or kind == "project" else ""


@router.get("/approvals", operation_id="listApprovals", response_model=shapes.Approvals, tags=["plan"])
def approvals(request: Request, door: TheDoor, who: Asking) -> Response:
    """What waits for somebody's yes, by project, with the actions that would follow and the digest that a yes names."""
    last = last_plan(door)

    def make() -> dict[str, Any]:
        value = _seen(plan_of(door, last), who)
        items = [{**each, "actions": _actions(value, set(each["refs"]))} for each in value["approvals"]]
        return {"number": last.number, "at": rfc3339(last.at), "items": items}

    return tagged(request, who, f"approvals {last.number}", make)


def _actions(value: dict[str, Any], refs: set[str]) -> list[dict[str, Any]]:
    return [each for each in value["actions"] if each["ref"] in refs or each["ref"].partition("#")[0] in refs]


@router.get("/leaderboards", operation_id="listLeaderboards", response_model=shapes.Leaderboards, tags=["experiments"])
def leaderboards(
    door: TheDoor,
    who: Asking,
    project: Of = [],  # noqa: B006 - FastAPI copies it
    top: Annotated[int | None, Query(ge=1, le=1000, description="Only the best of each experiment.")] = None,
) -> Response:
    """The finished runs of every experiment, the best first; half a minute old at most."""
    boards, trouble = _boards(door)
    mine = [each for each in boards if who.sees(each.ref) and (not project or each.ref.owner in project)]
    owned, bases = door.pictures.owned([each.ref for each in mine]), base_urls(door)
    items = [_linked(board_value(each, top), links_of(door, each.ref, bases, owned.get(each.ref))) for each in mine]
    return answer({"items": items, "trouble": trouble})


def _linked(value: dict[str, Any], links: list[dict[str, Any]]) -> dict[str, Any]:
    """With the pages of the experiment and of its runs."""
    value["links"] = links
    for each in value["runs"]:
        each["url"] = f"{links[0]['url']}/runs/{quote(each['id'], safe='')}" if links and each["id"] else None
    return value


def _boards(door: Door) -> tuple[list[Ranking], str]:
    """All experiments with their runs, and why they are not known now."""
    resources = last_plan(door).proposal.resources
    whole = [each for ref, each in resources.items() if not ref.key]
    try:
        return kept(door, "leaderboards", lambda: ranked(door.house, resources, whole, focused=False), RANKED), ""
    except ReconcilerError as error:  # a tool that is away costs what it knows, not the page
        return [], str(error)


@router.get(
    "/performance",
    operation_id="getPerformance",
    response_model=compared.PerformanceReport,
    responses={200: {"content": {"text/html": {}, "text/markdown": {}}, "description": "As `reconcile compare -o`."}},
    tags=["experiments"],
)
def performance(
    door: TheDoor,
    who: Asking,
    project: Of = [],  # noqa: B006 - FastAPI copies it
    format_: Annotated[shapes.ReportFormat, Query(alias="format", description="How it is written.")] = "json",
) -> Response:
    """Techniques compared by result, time, energy and memory, and what each project spent; of the projects that may be seen. Half a minute
    old at most."""
    boards, trouble = _boards(door)
    mine = [each for each in boards if who.sees(each.ref) and (not project or each.ref.owner in project)]
    found, at = performance_of(mine), door.house.now()
    if format_ == "json":
        return answer({"at": rfc3339(at), **performance_value(found), "trouble": trouble})
    if format_ == "markdown":
        return PlainTextResponse(performance_markdown(found, installation_of(door.house), at, trouble), media_type="text/markdown")
    style = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
    return HTMLResponse(performance_html(found, installation_of(door.house), at, trouble), headers=style)
