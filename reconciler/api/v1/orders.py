"""Routes: orders. Each is one that the command line gives too; what takes a controller is left to the loop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Request
from starlette.responses import Response

from reconciler.api.v1 import bodies, shapes
from reconciler.api.v1.answers import answer, refusals
from reconciler.api.v1.asker import Act, Asker
from reconciler.api.v1.door import Asking, Door, TheDoor, must, somewhere
from reconciler.api.v1.problems import Problem, busy, not_found
from reconciler.api.v1.resources import NONE, Key, KindPart, NamePart, ProjectPart, visible
from reconciler.api.v1.trail import last_plan
from reconciler.model import Ref
from reconciler.orders import approve as yes
from reconciler.orders.start import can_roll_back, can_start
from reconciler.orders.suspend import resume, suspend
from reconciler.report.show import rfc3339
from reconciler.state import AuditEntry, Order
from reconciler.wake import wake

router = APIRouter(tags=["orders"], responses=refusals(409, 415))
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9._:-]+$",
        description="A name for this request: sent again within a day, it is answered as before and not carried out twice.",
    ),
]


def once(door: Door, request: Request, who: Asker, key: str | None, body: bodies.Closed | None, do: Callable[[], Response]) -> Response:
    """Carry it out, or answer as the first time. Raises Problem 409 for a name that was given to something else, or is under way."""
    if key is None:
        return do()
    asked = f"{request.method} {request.url.path}?{request.url.query} {body.model_dump_json() if body is not None else ''}"
    digest, doors = hashlib.sha256(asked.encode()).hexdigest(), door.house.store.doors
    if (before := doors.claim(who.key, key, digest)) is not None:
        if before.request != digest:
            raise Problem(409, "this Idempotency-Key was given to another request")
        if not before.status:
            raise busy("the request of this Idempotency-Key is under way", 1, status=409)
        return Response(before.body, before.status, headers={"idempotency-replayed": "true"}, media_type="application/json")
    try:
        made = do()
    except BaseException:
        doors.unclaim(who.key, key)
        raise
    doors.answer(who.key, key, made.status_code, bytes(made.body).decode())
    return made


def _done(door: Door, what: str, status: int = 200) -> Response:
    door.board.ask()
    return answer({"what": what, "after": door.house.store.lines.last()}, status=status)


Operator = Annotated[Asker, Depends(somewhere("operate"))]


@router.post("/reconcile", operation_id="reconcileNow", response_model=shapes.Done, status_code=202)
def reconcile(request: Request, door: TheDoor, who: Operator, idempotency_key: IdempotencyKey = None) -> Response:
    """Let the loop make a whole pass now."""

    def do() -> Response:
        store, now = door.house.store, door.house.now()
        after = store.lines.last()
        store.audit([AuditEntry(at=now, actor=who.name, ref=None, action="reconcile")])
        wake(door.house.settings.state)
        door.board.ask()
        return answer({"what": "the loop makes a pass", "after": after}, status=202)

    return once(door, request, who, idempotency_key, None, do)


def whole(request: Request, door: TheDoor, who: Asking, kind: KindPart, project: ProjectPart, name: NamePart) -> Ref:
    """The resource of a path about which the asker may order something. Raises Problem 404, 403."""
    return any_one(request, door, who, kind, project, name)


def any_one(request: Request, door: TheDoor, who: Asking, kind: KindPart, project: ProjectPart, name: NamePart, key: Key = "") -> Ref:
    """The same, or a child of it. Raises Problem 404, 403."""
    ref = visible(door, door.pictures.now(), who, kind, project, name, key)
    permitted(door, who, "operate", ref, request.url.path.rpartition("/")[2])
    return ref


def permitted(door: Door, who: Asker, act: Act, ref: Ref | None, action: str) -> None:
    """Raises Problem 403, after a line in the audit log: who tries what he may not is worth knowing."""
    owner = ref.owner if ref is not None else ""
    if not who.may(act, owner):
        why = {"why": f"the role does not include it: {', '.join(sorted({each.role for each in who.grants}))}"}
        line = AuditEntry(at=door.house.now(), actor=who.name, ref=ref, action=action, result="failed", detail=why)
        door.house.store.audit([line])
    must(who, act, owner)


Whole = Annotated[Ref, Depends(whole)]
AnyOne = Annotated[Ref, Depends(any_one)]


@router.post("/resources/{kind}/{project}/{name}/suspend", operation_id="suspendResource", response_model=shapes.Done)
def suspend_one(
    request: Request,
    door: TheDoor,
    who: Asking,
    ref: AnyOne,
    body: bodies.Reason,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Leave a resource alone until it is resumed. A Project's suspension covers the whole project, the Platform's everything."""

    def do() -> Response:
        suspend(door.house, ref, body.reason, who.name)
        return _done(door, f"{ref} is looked at and not written")

    return once(door, request, who, idempotency_key, body, do)


@router.post("/resources/{kind}/{project}/{name}/resume", operation_id="resumeResource", response_model=shapes.Done)
def resume_one(
    request: Request,
    door: TheDoor,
    who: Asking,
    ref: AnyOne,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """End a suspension."""

    def do() -> Response:
        if not resume(door.house, ref, who.name):
            raise Problem(409, f"{ref} is not suspended; `lifecycle.suspend` of its manifest is changed there")
        return _done(door, f"{ref} is brought to what its manifest says")

    return once(door, request, who, idempotency_key, None, do)


@router.post("/resources/{kind}/{project}/{name}/run", operation_id="runResource", response_model=shapes.OrderShape, status_code=202)
def run(
    request: Request,
    door: TheDoor,
    who: Asking,
    ref: Whole,
    body: bodies.Conf,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Start a run of a workflow: the loop does, at the beginning of its next pass."""
    can_start(door.house, ref.kind)
    return once(door, request, who, idempotency_key, body, lambda: _order(door, ref, "run", who, dict(body.conf)))


@router.post(
    "/resources/{kind}/{project}/{name}/rollback", operation_id="rollBackResource", response_model=shapes.OrderShape, status_code=202
)
def roll_back(
    request: Request,
    door: TheDoor,
    who: Asking,
    ref: Whole,
    body: bodies.Reason,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Back to the last good one, and keep the other out: the loop does, at the beginning of its next pass."""
    can_roll_back(door.house, ref.kind)
    return once(door, request, who, idempotency_key, body, lambda: _order(door, ref, "rollback", who, {"reason": body.reason}))


def _order(door: Door, ref: Ref, action: Literal["run", "rollback"], who: Asker, detail: dict[str, Any]) -> Response:
    found = door.house.store.doors.order(ref, action, who.name, detail)
    wake(door.house.settings.state)
    door.board.ask()
    return answer(_order_value(found), status=202)


def _order_value(each: Order) -> dict[str, Any]:
    told = {"number": each.number, "ref": str(each.ref), "actor": each.actor, "action": each.action}
    return {**told, "state": each.state, "result": each.result, "at": rfc3339(each.at), "finished": rfc3339(each.finished)}


@router.get("/orders/{number}", operation_id="getOrder", response_model=shapes.OrderShape)
def order(door: TheDoor, who: Asking, number: Annotated[int, Path(ge=1, le=2**62)]) -> Response:
    """What became of an order."""
    found = door.house.store.doors.order_of(number)
    if found is None or not who.sees(found.ref):
        raise not_found("order of that number")
    return answer(_order_value(found))


@router.post("/approvals/{project}", operation_id="approve", response_model=shapes.Done)
def approve(
    request: Request,
    door: TheDoor,
    who: Asking,
    project: ProjectPart,
    body: bodies.Yes,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Say yes to exactly what was seen: `digest` as `/approvals` shows it. What the manifests ask for later waits again."""
    owner = "" if project == NONE else project
    if not who.may("read", owner):
        raise not_found("project of that name")
    permitted(door, who, "approve", Ref("Project", None, owner) if owner else None, "approve")

    def do() -> Response:
        proposal = last_plan(door).proposal
        waiting = proposal.policy.asked if proposal.policy is not None else None
        here = {str(ref): ref for ref in waiting.waiting if ref.owner == owner} if waiting is not None else {}
        if waiting is None or not here:
            raise Problem(409, f"nothing of project {project!r} waits for approval")
        yes.must_be_seen(Ref("Project", None, project), body.digest, waiting)
        if unknown := [each for each in body.refs or () if each not in here]:
            raise Problem(409, f"{unknown[0]!r} does not wait for approval")
        chosen = [here[each] for each in body.refs] if body.refs else list(here.values())
        yes.must_count(chosen, waiting, who.name)
        yes.approve(chosen, waiting, proposal, door.house, who.name)
        return _done(door, f"{len(chosen)} of project {project} approved")

    return once(door, request, who, idempotency_key, body, do)
