"""What the gateway serves, and how it goes: the routes that it is told, and what it counts. Asks the gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.model.serving import BOUNDS, app_name, quantile, routes_file

if TYPE_CHECKING:
    from reconciler.house import House
    from schemas.platform import PlatformSpec

PATIENCE = 5.0
"""Seconds for one answer of the gateway, which has it at hand."""
COUNTED = ("ready", "requests", "errors", "p50Seconds", "p95Seconds", "labels", "right")


def served(house: House, platform: PlatformSpec | None) -> tuple[dict[str, dict[str, Any]], str]:
    """`project/name` -> what stands behind it, as plain values; and why the gateway tells nothing of its traffic, empty = it does."""
    routes, trouble = _routes(house)
    if not routes or trouble:
        return {}, trouble
    state, trouble = _state(house, platform)
    counted: Mapping[str, Any] = state.get("routes") or {}
    return {path: _told(path, each, counted.get(path)) for path, each in routes.items()}, trouble


def _routes(house: House) -> tuple[Mapping[str, Any], str]:
    try:
        found = json.loads(routes_file(house.settings.state).read_bytes())["routes"]
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, KeyError, TypeError):
        return {}, "the file of routes cannot be read; the next pass of the loop writes it anew when it is removed"
    return (found, "") if isinstance(found, dict) else ({}, "the file of routes is damaged")


def _state(house: House, platform: PlatformSpec | None) -> tuple[Mapping[str, Any], str]:
    import httpx

    from reconciler.errors import ReconcilerError
    from reconciler.platform.ray import connect
    from reconciler.platform.shared import Shared
    from reconciler.secret import secret

    if platform is None:
        return {}, "no Platform was applied yet"
    try:
        with connect(Shared(platform, house.settings.state, secret).endpoint("gateway"), PATIENCE) as client:
            found = client.get("/-/state").raise_for_status().json()
    except (ReconcilerError, httpx.HTTPError, ValueError) as error:
        why = str(error) if isinstance(error, ReconcilerError) else type(error).__name__
        return {}, f"the gateway does not answer ({why}): `reconcile platform up gateway` starts it"
    return (found, "") if isinstance(found, dict) else ({}, "the gateway answers something else than its state")


def _told(path: str, route: Mapping[str, Any], counted: Mapping[str, Any] | None) -> dict[str, Any]:
    apps: Mapping[str, Any] = (counted or {}).get("apps") or {}
    return {
        "off": route.get("off") or "",
        "targets": [_target(path, each, apps) for each in route.get("targets") or ()],
        "traffic": None
        if counted is None
        else {
            "ongoing": counted.get("ongoing", 0),
            "waiting": counted.get("waiting", 0),
            "load": counted.get("load", 0.0),
            "idleSeconds": counted.get("idle"),
        },
    }


def _target(path: str, target: Mapping[str, Any], apps: Mapping[str, Any]) -> dict[str, Any]:
    counts = apps.get(str(target.get("app") or _app(path, target)))
    kept = ("version", "model", "run", "runtime", "role", "weight")
    told = {**{name: target.get(name) for name in kept}, "revision": target.get("digest"), "datasets": dict(target.get("datasets") or {})}
    if counts is None:
        return {
            **told,
            "ready": None,
            "requests": None,
            "errors": None,
            "p50Seconds": None,
            "p95Seconds": None,
            "labels": None,
            "right": None,
        }
    latency = tuple(counts.get("latency") or ())
    known = len(latency) == len(BOUNDS) + 1 and sum(latency) > 0
    labels = int(counts.get("labels", 0))
    return {
        **told,
        "ready": counts.get("ready", 0),
        "requests": counts.get("requests", 0),
        "errors": counts.get("errors", 0),
        "p50Seconds": quantile(0.5, latency) if known else None,
        "p95Seconds": quantile(0.95, latency) if known else None,
        "labels": labels,
        "right": counts.get("correct", 0) / labels if labels else None,
    }


def _app(path: str, target: Mapping[str, Any]) -> str:
    from reconciler.model import Ref

    project, _, name = path.partition("/")
    return app_name(Ref("Deployment", project, name), str(target.get("digest") or ""))
