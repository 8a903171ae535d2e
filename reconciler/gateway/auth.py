"""Who asks, and whether he may."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.gateway.access import Trip
from reconciler.gateway.core import Gateway
from reconciler.gateway.keys import ADMIN, ALL, Key, Scope
from reconciler.gateway.problems import Problem
from reconciler.model.serving import Route

ANYBODY = Key("", "", frozenset())
"""Whoever asks without a key."""
_CHALLENGE = {"www-authenticate": 'Bearer realm="mlops"'}


def presented(headers: Mapping[bytes, bytes]) -> str:
    """The text of the key, from `Authorization: Bearer` or `X-API-Key`; empty when there is none."""
    scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return text.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()


def who(gateway: Gateway, trip: Trip) -> Key | None:
    """The key of a request; None when it has none. Raises Problem 401 for one that is not good."""
    text = presented(trip.headers)
    if not text:
        return None
    key = gateway.keys.find(text)
    if key is None:
        raise Problem(401, "the key is not known, or good no longer", headers=_CHALLENGE)
    trip.key = key.id
    return key


def scoped(gateway: Gateway, trip: Trip, scope: Scope) -> Key:
    """The key of a request that needs one with this scope. Raises Problem 401, 403."""
    key = who(gateway, trip)
    if key is None:
        raise Problem(401, "send a key: `Authorization: Bearer KEY` or `X-API-Key: KEY`", headers=_CHALLENGE)
    if scope not in key.scopes:
        raise Problem(403, f"the key is not for this: it lacks the scope `{scope}`")
    return key


def admin(gateway: Gateway, trip: Trip) -> None:
    """Raises Problem 401, 403 unless the platform itself asks."""
    if scoped(gateway, trip, "metrics") is not ADMIN:
        raise Problem(403, "only the gateway's own token may ask this")


def route_for(gateway: Gateway, trip: Trip, project: str, name: str, scope: Scope) -> tuple[Route, Key]:
    """The route, and whose request it is. Raises Problem 401, 403, 404.

    What the answer is must not depend on whether something exists that the key may not see: without a good key it is 401, with one
    for another project 403, both decided before the route is looked at. 404 is only told of a project that the key is for. A route that
    asks for no key is public, so its existence is no secret."""
    route = gateway.table.get(f"{project}/{name}")
    if route is not None and route.auth == "none":
        return route, who(gateway, trip) or ANYBODY
    key = scoped(gateway, trip, scope)
    if not key.allows(project, scope):
        raise Problem(403, "the key is for another project")
    if route is None:
        raise Problem(404, f"there is no deployment {name[:80]!r} in project {project[:80]!r}")
    return route, key


def sees(key: Key | None, route: Route) -> bool:
    """Whether the route may be shown to the holder of the key."""
    return route.auth == "none" or (key is not None and (key.project in (ALL, route.project)) and "models" in key.scopes)
