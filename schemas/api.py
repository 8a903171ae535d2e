"""Part of the Platform: who may ask the API, and under which names it answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import DnsLabel, Strict

Role = Literal["viewer", "operator", "approver", "admin"]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$")]


class OidcRole(Strict):
    """Whoever's token says so has a role."""

    claim: Annotated[str, StringConstraints(min_length=1)] = "groups"
    """Name of a claim; a dot leads into an object, as in `realm_access.roles`."""
    value: Annotated[str, StringConstraints(min_length=1)]
    """That the claim is, or holds."""
    role: Role
    projects: tuple[DnsLabel | Literal["*"], ...] = ("*",)
    """Names of projects; `*` = all of them, and what belongs to none."""


class Oidc(Strict):
    """An issuer of bearer tokens (OpenID Connect)."""

    issuer: Url
    """As its tokens spell it; its keys are found through `ISSUER/.well-known/openid-configuration`."""
    audience: Annotated[str, StringConstraints(min_length=1)]
    """That its tokens must be for."""
    username: Annotated[str, StringConstraints(min_length=1)] = "sub"
    """Claim that names people in the audit log, and as owners of rules: one that they cannot choose themselves."""
    jwks: Url | None = None
    """Address of its keys, where it has no such page."""
    roles: Annotated[tuple[OidcRole, ...], Field(min_length=1)]


class Api(Strict):
    """The REST API of `reconcile watch --listen`."""

    anonymous_read: bool = True
    """Whoever is on this machine may read without a token; writing always takes one."""
    hosts: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+$")], ...] = ()
    """Names beside `localhost` under which a reverse proxy brings requests."""
    oidc: Oidc | None = None


def check(api: Api) -> Iterator[tuple[str, str]]:
    """Conditions that span fields."""
    for name in ("issuer", "jwks"):
        url = getattr(api.oidc, name) if api.oidc is not None else None
        if url and url.startswith("http://") and not url.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]")):
            yield f"oidc.{name}", "must be https: whoever sits in between could give us keys of his own"
