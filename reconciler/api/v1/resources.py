"""Routes: resources, one of them, and everything in numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from reconciler.api.v1 import shapes
from reconciler.api.v1.answers import answer, tagged
from reconciler.api.v1.asker import Asker
from reconciler.api.v1.door import Asking, Door, TheDoor
from reconciler.api.v1.filters import LIMIT, After, Filter, Filtered, Limit, chosen, page, totals
from reconciler.api.v1.kept import Kept
from reconciler.api.v1.links import base_urls, links_of
from reconciler.api.v1.picture import Picture
from reconciler.api.v1.problems import not_found
from reconciler.model import Health, Owned, Ref, Status
from reconciler.report.json import status_value
from reconciler.report.models import listed, model_value
from reconciler.report.page import status_html, status_markdown
from reconciler.report.show import rfc3339
from reconciler.report.status import Overview, about_value
from reconciler.views.overview import overview, service_words

router = APIRouter(tags=["resources"])
FRESH, BOUND = 5.0, 10.0
"""Seconds for which the services' state is kept; that who asks waits for it."""
NONE = "-"
"""In a path: of no project."""
KindPart = Annotated[str, Path(max_length=64, examples=["experiment"])]
ProjectPart = Annotated[str, Path(max_length=64, description="`-` for what belongs to no project.", examples=["vision"])]
NamePart = Annotated[str, Path(max_length=253, examples=["rank-sweep"])]
Key = Annotated[str, Query(max_length=253, description="Of a child, such as a run: what follows `#` in its Ref.")]


@router.get("/resources", operation_id="listResources", response_model=shapes.Resources)
def resources(request: Request, door: TheDoor, who: Asking, wanted: Filtered, limit: Limit = LIMIT, after: After = None) -> Response:
    """Every resource, by Ref, children included."""
    version, picture = seen(door)

    def make() -> dict[str, Any]:
        found = chosen(door, picture, who, wanted)
        some, next_ = page(found, after, limit)
        owned = door.pictures.owned([each.ref for each in some])
        return {"items": [status_value(each, owned.get(each.ref)) for each in some], "next": next_, "total": len(found)}

    return tagged(request, who, version, make)


@router.get("/resources/{kind}/{project}/{name}", operation_id="getResource", response_model=shapes.OneResource)
def resource(request: Request, door: TheDoor, who: Asking, kind: KindPart, project: ProjectPart, name: NamePart, key: Key = "") -> Response:
    """One resource: status with conditions, its manifest as it was applied last, what was applied, and its children."""
    (version, picture), bases = seen(door), base_urls(door)
    ref = visible(door, picture, who, kind, project, name, key)
    return tagged(request, who, (version, bases), lambda: one_value(door, picture, ref))


def seen(door: Door) -> tuple[int, Picture]:
    """How the Store is, and a number that is as old: what is made of both may be newer than the number says, and never older."""
    version = door.house.store.changes()
    return version, door.pictures.now()


def visible(door: Door, picture: Picture, who: Asker, kind: str, project: str, name: str, key: str = "") -> Ref:
    """The resource that a path names. Raises Problem 404 where there is none, or it may not be seen."""
    ref = Ref(door.house.kinds.canonical(kind) or kind, None if project == NONE else project, name, key)
    if not who.sees(ref) or not (ref in picture.by_ref or door.pictures.owned([ref]) or _is_in_the_books(door, ref)):
        raise not_found("resource of that name")
    return ref


def _is_in_the_books(door: Door, ref: Ref) -> bool:
    """Whether it waits for room, or has some, and no pass has told of it yet."""
    leases, waiting = door.house.store.work.books()
    return any(each.ref == ref for each in leases) or any(each.ref == ref for each in waiting)


def one_value(door: Door, picture: Picture, ref: Ref) -> dict[str, Any]:
    """All that the Store knows of one resource."""
    owned, suspension = door.pictures.owned([ref]).get(ref), door.house.store.suspensions().get(ref)
    status = picture.by_ref.get(ref) or Status(ref, Health.UNKNOWN, (), message="no pass has looked at it yet")
    children = [each.ref for each in family(picture, ref)] if not ref.key else []
    return {
        **status_value(status, owned),
        "declared": door.pictures.declared(ref),
        "applied": dict(owned.applied) if owned is not None else None,
        "digest": owned.digest if owned is not None else None,
        "references": [str(each) for each in owned.references] if owned is not None else [],
        "suspended": {"reason": suspension.reason, "actor": suspension.actor, "at": rfc3339(suspension.at)} if suspension else None,
        "children": [str(each) for each in children],
        "links": links_of(door, ref, owned=owned),
    }


def family(picture: Picture, ref: Ref) -> list[Status]:
    """The children of a resource: they stand together, after it."""
    from bisect import bisect_left

    head = f"{ref}#"
    start = bisect_left(picture.refs, head)
    end = bisect_left(picture.refs, f"{ref}$", lo=start)  # the character after `#`
    return list(picture.statuses[start:end])


# --- in numbers ----------------------------------------------------------------------------------------------------


@router.get("/status", operation_id="getStatus", response_model=shapes.StatusShape)
def status(request: Request, door: TheDoor, who: Asking, wanted: Filtered) -> Response:
    """The installation, how its services are, and its resources counted by health, project and kind."""
    (version, picture), about = seen(door), about_of(door)
    told = about_value(about)
    if not who.everywhere:
        told |= {"sources": [], "quarantined": []}

    def make() -> dict[str, Any]:
        found = chosen(door, picture, who, wanted)
        ready = sum(each.ready for each in found)
        counted = {"ready": ready, "total": len(found), "totals": totals(found), "byKind": list(_by_kind(found))}
        return {"at": rfc3339(picture.at), **told, **counted}

    return tagged(request, who, (version, sorted(about.tools.items())), make)


def about_of(door: Door) -> Overview:
    """How the services are is asked for rarely, whoever wants to know it."""
    kept: Kept[dict[str, str]] = door.shared.setdefault(
        "services", Kept(door.asks, lambda: service_words(door.house), seconds=FRESH, bound=BOUND)
    )
    return overview(door.house, kept())


def _by_kind(found: Iterable[Status]) -> Iterable[dict[str, Any]]:
    grouped: dict[tuple[str, str], list[Status]] = defaultdict(list)
    for each in found:
        grouped[each.ref.owner, each.ref.kind].append(each)
    for (project, kind), some in sorted(grouped.items()):
        told = {"ready": sum(each.ready for each in some), "total": len(some), "totals": totals(some)}
        yield {"project": project or None, "kind": kind, **told}


@router.get("/projects", operation_id="listProjects", response_model=shapes.Projects)
def projects(request: Request, door: TheDoor, who: Asking) -> Response:
    """Every project in numbers: resources by health and kind, alerts that fire, and what waits for a yes."""
    version, picture = seen(door)

    def make() -> dict[str, Any]:
        fires: dict[str, int] = defaultdict(int)
        for each in door.house.store.alerts.listed():
            fires[each.ref.owner] += 1
        owned = door.house.store.owned_of_kind("Project")
        grouped: dict[str, list[Status]] = {ref.name: [] for ref in owned}
        for status in picture.statuses:
            if status.ref.owner:
                grouped.setdefault(status.ref.owner, []).append(status)
        return {
            "items": [_project(name, some, picture, owned, fires[name]) for name, some in sorted(grouped.items()) if who.may("read", name)]
        }

    return tagged(request, who, version, make)


def _project(name: str, found: list[Status], picture: Picture, owned: Mapping[Ref, Owned], fires: int) -> dict[str, Any]:
    kinds: dict[str, int] = defaultdict(int)
    for each in found:
        kinds[each.ref.kind] += not each.ref.key
    own = Ref("Project", None, name)
    waits = [each for each in found if any(condition.reason == "AwaitingApproval" for condition in each.conditions)]
    return {
        "name": name,
        "ready": sum(each.ready for each in found),
        "total": len(found),
        "health": str(max((each.health for each in found), default=Health.UNKNOWN)),
        "totals": totals(found),
        "kinds": {kind: number for kind, number in sorted(kinds.items()) if number},
        "resource": status_value(picture.by_ref[own], owned.get(own)) if own in picture.by_ref else None,
        "awaitingApproval": len(waits),
        "alerts": fires,
    }


# --- kinds ---------------------------------------------------------------------------------------------------------


@router.get("/models", operation_id="listModels", response_model=shapes.Models)
def models(request: Request, door: TheDoor, who: Asking, wanted: Filtered, limit: Limit = LIMIT, after: After = None) -> Response:
    """The registered models of all projects with every version, as the last pass saw them."""
    (version, picture), bases = seen(door), base_urls(door)

    def make() -> dict[str, Any]:
        some, next_, total = of_kind(door, picture, who, wanted, "Model", after, limit)
        owned = door.pictures.owned(some)
        values = [
            {**model_value(listed(ref, owned[ref].outputs, picture.by_ref.get(ref))), "links": links_of(door, ref, bases, owned[ref])}
            for ref in some
            if ref in owned
        ]
        return {"items": values, "next": next_, "total": total}

    return tagged(request, who, (version, bases), make)


def of_kind(
    door: Door, picture: Picture, who: Asker, wanted: Filter, kind: str, after: str | None, limit: int
) -> tuple[list[Ref], str | None, int]:
    """Those of a kind that are asked for and may be seen, children apart: a page of them, where the next begins, how many there are."""
    found = [each for each in chosen(door, picture, who, wanted) if each.ref.kind == kind and not each.ref.key]
    some, next_ = page(found, after, limit)
    return [each.ref for each in some], next_, len(found)


def _route(kind: str, path: str, title: str) -> None:
    @router.get(f"/{path}", operation_id=f"list{path.capitalize()}", response_model=shapes.OfKindPage, description=title)
    def found(request: Request, door: TheDoor, who: Asking, wanted: Filtered, limit: Limit = LIMIT, after: After = None) -> Response:
        (version, picture), bases = seen(door), base_urls(door)

        def make() -> dict[str, Any]:
            some, next_, total = of_kind(door, picture, who, wanted, kind, after, limit)
            return {"items": [_with_below(door, picture, ref) for ref in some], "next": next_, "total": total}

        return tagged(request, who, (version, bases), make)


def _with_below(door: Door, picture: Picture, ref: Ref) -> Mapping[str, Any]:
    below = family(picture, ref)
    return {**one_value(door, picture, ref), "below": {"total": len(below), "totals": totals(below)}}


for _kind, _path, _title in (
    ("Dataset", "datasets", "Datasets, with the version that each is at."),
    ("Experiment", "experiments", "Experiments, with their runs counted."),
    ("Deployment", "deployments", "Deployments: what each serves, and its replicas counted."),
    ("Monitor", "monitors", "Monitors: what each found last."),
    ("Workflow", "workflows", "Workflows, with the tasks that ask for room."),
):
    _route(_kind, _path, _title)


# --- report --------------------------------------------------------------------------------------------------------


@router.get(
    "/report",
    operation_id="getReport",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/html": {}, "text/markdown": {}, "application/json": {}}, "description": "As `status -o`."}},
)
def report(
    door: TheDoor,
    who: Asking,
    wanted: Filtered,
    format_: Annotated[shapes.ReportFormat, Query(alias="format", description="How it is written.")] = "html",
) -> Response:
    """Where everything stands, as one page for a wiki or a mail."""
    picture, about, now = door.pictures.now(), about_of(door), door.house.now()
    found = chosen(door, picture, who, wanted)
    if format_ == "markdown":
        return PlainTextResponse(status_markdown(found, about, now), media_type="text/markdown")
    if format_ == "json":
        owned = door.pictures.inventory()
        values = [status_value(each, owned.get(each.ref)) for each in found]
        return answer({"at": rfc3339(now), **about_value(about), "totals": totals(found), "resources": values})
    style = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
    return HTMLResponse(status_html(found, about, now), headers=style)
