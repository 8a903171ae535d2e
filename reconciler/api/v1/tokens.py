"""Routes: who asks, and the tokens of others."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from reconciler.api.v1 import bodies, shapes
from reconciler.api.v1.answers import answer, refusals
from reconciler.api.v1.asker import Asker
from reconciler.api.v1.authenticate import new_token
from reconciler.api.v1.door import Asking, TheDoor, refused, somewhere
from reconciler.api.v1.problems import not_found
from reconciler.report.show import rfc3339
from reconciler.report.tokens import token_value
from reconciler.state import Token
from reconciler.state.records import EVERY

router = APIRouter(tags=["tokens"])
Admin = Annotated[Asker, Depends(somewhere("administer"))]


@router.get("/me", operation_id="getMe", response_model=shapes.Me)
def me(who: Asking) -> Response:
    """Who asks, and what he may."""
    grants = [{"role": each.role, "projects": sorted(each.projects)} for each in who.grants]
    return answer({"name": who.name, "grants": grants, "expires": rfc3339(who.expires)})


@router.get("/tokens", operation_id="listTokens", response_model=shapes.Tokens)
def tokens(door: TheDoor, who: Admin) -> Response:
    """The tokens, the newest first; their texts are kept nowhere."""
    now = door.house.now()
    return answer({"items": [token_value(each, now) for each in door.house.store.doors.tokens() if _theirs(each.projects, who)]})


@router.post("/tokens", operation_id="createToken", response_model=shapes.MadeToken, status_code=201, responses=refusals(415))
def create(door: TheDoor, who: Admin, body: bodies.NewToken) -> Response:
    """Make a token. Its text is in this answer and nowhere else."""
    projects = frozenset(body.projects)
    if not _theirs(projects, who):
        raise refused(who, "administer")
    now = door.house.now()
    expires = now + timedelta(days=body.expires_in_days) if body.expires_in_days is not None else None
    token, text = new_token(body.name, body.role, projects, actor=who.name, now=now, expires=expires)
    door.house.store.doors.add_token(token)
    value: dict[str, Any] = {**token_value(token, now), "token": text}
    return answer(value, status=201)


@router.delete("/tokens/{id}", operation_id="revokeToken", response_model=shapes.TokenShape)
def revoke(door: TheDoor, who: Admin, id_: Annotated[str, Path(alias="id", max_length=64)]) -> Response:
    """End a token at once; safe to repeat."""
    doors = door.house.store.doors
    found: Token | None = doors.token(id_)
    if found is None or not _theirs(found.projects, who):
        raise not_found("token of that id")
    return answer(token_value(doors.revoke_token(id_, who.name) or found, door.house.now()))


def _theirs(projects: frozenset[str], who: Asker) -> bool:
    """Whoever administers all of these projects may give, and take, what is about them."""
    return all(who.may("administer", "" if each == EVERY else each) for each in projects)
