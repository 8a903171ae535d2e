"""Routes: what is made of what, from data to what watches the models that serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from reconciler.api.v1 import shapes
from reconciler.api.v1.admission import Of
from reconciler.api.v1.answers import tagged
from reconciler.api.v1.door import Asking, Door, TheDoor
from reconciler.api.v1.filters import totals
from reconciler.api.v1.picture import Picture
from reconciler.api.v1.resources import family, seen
from reconciler.model import Health, Ref, Status

router = APIRouter(tags=["resources"])
MOST = 500
"""Resources of one answer: more is no picture any more."""
Few = Annotated[int, Query(ge=1, le=MOST, description="How many resources at most; with them what is between them.")]
Sides = Mapping[Ref, tuple[tuple[Ref, ...], tuple[Ref, ...]]]
"""What each names, and what it requires without naming it."""


@router.get("/lineage", operation_id="getLineage", response_model=shapes.Lineage)
def lineage(request: Request, door: TheDoor, who: Asking, project: Of = [], limit: Few = MOST) -> Response:  # noqa: B006
    """What is made of what: resources with their health, and which comes from which. Runs and replicas are counted.

    With `project`, those of other projects that it is made of or that are made of it are there too, as far as they may be seen."""
    version, picture = seen(door)
    last = door.board.last

    def make() -> dict[str, Any]:
        sides = _sides(door)
        known = {each for each in (*picture.by_ref, *sides) if not each.key and who.sees(each)}
        edges = [each for each in _edges(sides) if each[0] in known and each[1] in known]
        return lineage_value(picture, known, edges, frozenset(project), limit)

    return tagged(request, who, f"lineage {version} {last.number if last is not None else 0}", make)


Edge = tuple[Ref, Ref, str]
"""From what it is made of, to what is made of it, and how: `uses` or `requires`."""


def lineage_value(picture: Picture, known: Iterable[Ref], edges: list[Edge], projects: frozenset[str], limit: int) -> dict[str, Any]:
    """The resources of `projects` (empty = of all) among `known`, and those that an edge other than `requires` joins to them.

    Of more than `limit` resources those of the first projects, so that what is shown hangs together."""
    chosen = {each for each in known if not projects or each.owner in projects}
    if projects:
        used = [(start, end) for start, end, how in edges if how == "uses"]
        chosen |= {end for start, end in used if start.owner in projects} | {start for start, end in used if end.owner in projects}
    shown = sorted(chosen, key=lambda each: (each.owner, str(each)))[:limit]
    there = frozenset(shown)
    return {
        "nodes": [_node(picture, each) for each in shown],
        "edges": [
            {"from": str(start), "to": str(end), "how": how}
            for start, end, how in sorted(edges, key=lambda each: (str(each[0]), str(each[1]), each[2]))
            if start in there and end in there
        ],
        "total": len(chosen),
    }


def _node(picture: Picture, ref: Ref) -> dict[str, Any]:
    status = picture.by_ref.get(ref) or Status(ref, Health.UNKNOWN, (), message="no pass has looked at it yet")
    below = family(picture, ref)
    return {
        "ref": str(ref),
        "kind": ref.kind,
        "project": ref.project,
        "name": ref.name,
        "ready": status.ready,
        "health": str(status.health),
        "message": status.message,
        "below": {"total": len(below), "totals": totals(below)},
    }


def _sides(door: Door) -> Sides:
    """As the loop read the manifests last, else as they were applied."""
    if (last := door.board.last) is not None:
        return {ref: (each.references, each.requires) for ref, each in last.proposal.resources.items()}
    return {ref: (each.references, ()) for ref, each in door.pictures.inventory().items()}


def _edges(sides: Sides) -> set[Edge]:
    """Between resources: what a run or replica is made of, its resource is made of."""
    found: set[Edge] = set()
    for ref, (names, requires) in sides.items():
        end = replace(ref, key="")
        named = {replace(each, key="") for each in names}
        found |= {(each, end, "uses") for each in named if each != end}
        found |= {(each, end, "requires") for each in (replace(other, key="") for other in requires) if each != end and each not in named}
    return found
