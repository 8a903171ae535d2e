"""Route: what a project's program asks through `reconciler.client`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from reconciler.api.v1 import shapes, standing
from reconciler.api.v1.admission import MOST_KEPT, decided, discreet, kept
from reconciler.api.v1.answers import answer
from reconciler.api.v1.door import Asking, TheDoor
from reconciler.api.v1.problems import Problem
from reconciler.errors import UsageError
from reconciler.model import Ref
from reconciler.report.queue import item_value
from reconciler.views.fits import answered, sized
from reconciler.views.tools import address

router = APIRouter(tags=["admission"])
Quantity = Annotated[str | None, Query(max_length=32, description="A quantity, such as `2Gi` or `500m`.")]


@router.get("/projects/{project}/client", operation_id="configureClient", response_model=shapes.ClientPlace, tags=["resources"])
def configure(door: TheDoor, who: Asking, project: Annotated[str, Path(max_length=64, examples=["vision"])]) -> Response:
    """What a program of the project needs to find the tools, without the installation's manifests. Holds no secret."""
    if not who.may("read", project) or Ref("Project", None, project) not in door.house.store.owned_of_kind("Project"):
        raise Problem(404, "there is no project of that name here that you may see")
    platform = door.pictures.platform()
    places = {each: address(door.house, platform, each) or None for each in ("mlflow", "gateway")}
    return answer({"project": project, "installation": platform.installation if platform is not None else "", **places})


@router.get("/fits", operation_id="getFits", response_model=standing.Fits)
def fits(
    request: Request,
    door: TheDoor,
    who: Asking,
    project: Annotated[str, Query(max_length=64, description="Whose work it would be.")],
    memory: Quantity = None,
    cpu: Quantity = None,
    gpu: Quantity = None,
    watts: Quantity = None,
    duration: Annotated[str | None, Query(max_length=32, description="How long it would take, such as `10m`.")] = None,
    priority: Annotated[int | None, Query(ge=1, le=10, description="The project's, where it is not said.")] = None,
) -> Response:
    """Whether work of this size would start now; if not, why and when. Reserves nothing."""
    if len(request.query_params.getlist("project")) > 1:
        raise Problem(422, "`project` is given more than once")
    if not who.may("read", project) or Ref("Project", None, project) not in door.house.store.owned_of_kind("Project"):
        raise Problem(404, "there is no project of that name here that you may see")
    try:
        size = sized({"memory": memory, "cpu": cpu, "gpu": gpu, "watts": watts}, duration, priority)
    except UsageError as error:
        raise Problem(422, str(error)) from None
    taken = decided(door).taken
    found = kept(door, f"fits {project} {size}", lambda: answered(door.house, taken, project, size))
    if len(door.shared) > MOST_KEPT:
        door.shared.clear()
    verdict = found.verdict if who.everywhere else discreet(found.verdict, who)
    value = {**item_value(found.item, verdict, taken.now), "now": verdict.admitted}
    return answer({**value, "warnings": list(found.warnings) if who.everywhere else []})
