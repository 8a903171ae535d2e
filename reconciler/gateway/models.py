"""What is told of deployments: `GET /models`, and whether they are up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.gateway.core import Gateway
from reconciler.model.serving import Route, Target


def summary(gateway: Gateway, route: Route) -> dict[str, Any]:
    """One entry of the list."""
    return {
        "deployment": route.path,
        "project": route.project,
        "name": route.name,
        "up": bool(gateway.up(route)),
        "off": route.off,
        "auth": route.auth,
        "url": f"/predict/{route.path}",
        "labels": dict(route.labels),
        "targets": [_target(gateway, each) for each in route.targets],
    }


def detail(gateway: Gateway, route: Route) -> dict[str, Any]:
    """With what it accepts and answers; of the version that gets most of the requests."""
    contract = next((found for each in _by_weight(route) if (found := gateway.replicas.contract(each.app))), None)
    return {
        **summary(gateway, route),
        "input": contract.input if contract else {},
        "output": contract.output if contract else {},
        "example": {"instances": list(contract.example)} if contract and contract.example else None,
        "limits": {"body": route.limits.body, "batch": route.limits.batch, "rate": route.limits.rate, "timeout": route.limits.timeout},
        "header": route.header,
    }


def missing(gateway: Gateway, route: Route) -> str:
    """Why it does not answer though it should; empty when it does, or is not meant to. One that starts with the first request is up."""
    if route.off or route.wakes or gateway.up(route):
        return ""
    if any(gateway.replicas.starting(each.app) for each in route.targets):
        return "its replicas are starting"
    return "none of its replicas is up" if route.targets else "it has no version to serve yet"


def _by_weight(route: Route) -> Sequence[Target]:
    return sorted(route.targets, key=lambda each: -each.weight)


def _target(gateway: Gateway, target: Target) -> Mapping[str, Any]:
    return {
        "model": target.model,
        "version": target.version,
        "run": target.run,
        "revision": target.digest,
        "datasets": dict(target.datasets),
        "runtime": target.runtime,
        "role": target.role,
        "weight": target.weight,
        "ready": len(gateway.replicas.ready(target.app)),
    }
