"""Routes: pages of the tools, traffic of deployments, windows of monitors, schedules of workflows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from reconciler.api.v1 import told
from reconciler.api.v1.admission import Of, kept
from reconciler.api.v1.answers import answer, tagged
from reconciler.api.v1.asker import Asker
from reconciler.api.v1.door import Asking, Door, TheDoor
from reconciler.api.v1.filters import LIMIT, After, Filter, Filtered, Limit
from reconciler.api.v1.links import base_urls, links_of
from reconciler.api.v1.picture import Picture
from reconciler.api.v1.resources import of_kind, seen
from reconciler.model import JSON, Ref
from reconciler.views.schedules import standing
from reconciler.views.serving import served
from reconciler.views.tools import TITLES
from reconciler.views.windows import windows_of

router = APIRouter(tags=["tools"])
TRAFFIC = 2.0
"""Seconds for which what the gateway tells is kept."""
MINUTE = "%Y-%m-%dT%H:%M"
Windows = Annotated[int, Query(ge=1, le=60, description="Windows of each monitor at most, the newest.")]


@router.get("/links", operation_id="listLinks", response_model=told.Links)
def links(door: TheDoor, who: Asking) -> Response:
    """Where the tools' own pages are."""
    items = [{"tool": tool, "title": TITLES[tool], "url": url} for tool, url in base_urls(door).items()]
    return answer({"items": items})


@router.get("/serving", operation_id="listServing", response_model=told.ServedPage)
def serving(door: TheDoor, who: Asking, project: Of = []) -> Response:  # noqa: B006 - FastAPI copies it
    """The versions behind each deployment, how requests are split between them, and what the gateway counts of each."""
    found, trouble = kept(door, "serving", lambda: served(door.house, door.pictures.platform()), TRAFFIC)
    items = []
    for path, each in sorted(found.items()):
        owner, _, name = path.partition("/")
        ref = Ref("Deployment", owner, name)
        if who.sees(ref) and (not project or owner in project):
            items.append({"ref": str(ref), **each})
    return answer({"items": items, "trouble": trouble if items or who.everywhere else ""})


@router.get("/windows", operation_id="listWindows", response_model=told.WatchedPage)
def windows(
    request: Request, door: TheDoor, who: Asking, wanted: Filtered, limit: Limit = 20, after: After = None, newest: Windows = 60
) -> Response:
    """What each monitor has found lately, window by window: verdict, scores of columns, what was measured."""
    version, picture = seen(door)
    bases = base_urls(door)

    def make() -> dict[str, Any]:
        some, next_, total = of_kind(door, picture, who, wanted, "Monitor", after, limit)
        return {"items": [_watched(door, picture, each, bases, newest) for each in _noted(door, some)], "next": next_, "total": total}

    return tagged(request, who, (version, bases), make)


def _noted(door: Door, refs: list[Ref]) -> list[tuple[Ref, Mapping[str, JSON]]]:
    notes = door.house.store.memos_of(refs)
    return [(ref, notes.get(ref, {})) for ref in refs]


def _watched(door: Door, picture: Picture, noted: tuple[Ref, Mapping[str, JSON]], bases: Mapping[str, str], newest: int) -> dict[str, Any]:
    ref, notes = noted
    status, found = picture.by_ref.get(ref), windows_of(door.house.settings.state, ref, notes, newest)
    links = links_of(door, ref, bases)
    for each in found["windows"]:
        report = each["report"]
        each["report"] = f"{links[0]['url']}/reports/{quote(report, safe='')}" if report and links else None
    health = {"health": str(status.health) if status is not None else None, "message": status.message if status is not None else ""}
    return {"ref": str(ref), **health, **found, "links": links}


@router.get("/schedules", operation_id="listSchedules", response_model=told.SchedulePage)
def schedules(request: Request, door: TheDoor, who: Asking, wanted: Filtered, limit: Limit = LIMIT, after: After = None) -> Response:
    """When each workflow runs next, what else starts it, and how its last run went."""
    version, picture = seen(door)
    bases, now = base_urls(door), door.house.now()

    def make() -> dict[str, Any]:
        return _schedules(door, picture, who, wanted, bases, after, limit)

    return tagged(request, who, (version, now.strftime(MINUTE), bases), make)


def _schedules(
    door: Door, picture: Picture, who: Asker, wanted: Filter, bases: Mapping[str, str], after: str | None, limit: int
) -> dict[str, Any]:
    some, next_, total = of_kind(door, picture, who, wanted, "Workflow", after, limit)
    items = []
    for ref, notes in _noted(door, some):
        spec = (door.pictures.declared(ref) or {}).get("spec")
        found = standing(notes, spec if isinstance(spec, Mapping) else {}, door.house.now())
        links = links_of(door, ref, bases)
        for each in (*([found["last"]] if found["last"] is not None else []), *found["runs"]):
            each["url"] = f"{links[0]['url']}/runs/{quote(str(each['id']), safe='')}" if links and each["id"] else None
        items.append({"ref": str(ref), **found})
    return {"items": items, "next": next_, "total": total}
