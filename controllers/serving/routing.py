"""What the gateway is told of a deployment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from controllers.serving.revision import Revision
from controllers.serving.rollout import State, Terms, unloading, weights
from reconciler.model import Fields, Ref, Resource
from reconciler.model.demand import units
from reconciler.model.serving import Bounds, PredictionLog, Role, Route, Target, app_name
from schemas.base import duration_value
from schemas.deployment import DeploymentSpec


def route(resource: Resource[Any], state: State, by: Terms, revisions: Mapping[str, Revision], off: str) -> Route:
    """The route as it should be."""
    spec: DeploymentSpec = resource.spec
    named = [(digest, share, revisions[digest]) for digest, share in weights(state, by).items() if digest in revisions]
    targets = tuple(_target(resource.ref, each, share, "stable" if not at else "canary") for at, (_, share, each) in enumerate(named))
    limits, log = spec.limits, spec.predictions
    return Route(
        project=resource.ref.owner,
        name=resource.ref.name,
        targets=targets,
        auth=spec.auth,
        limits=Bounds(
            rate=limits.rate,
            burst=limits.burst,
            body=units("memory", limits.body),
            batch=limits.batch,
            queue=limits.queue,
            timeout=duration_value(limits.timeout).total_seconds(),
        ),
        predictions=PredictionLog(log.log, log.sample, log.id, log.redact, duration_value(log.retain).total_seconds()),
        header=spec.rollout.header,
        off=off,
        # a replica that is on its way has not registered yet: who woke it must not be refused for that
        wakes=not off and (spec.replicas.min == 0 or by.replicas == 0 or unloading(state, by)),
        wakes_above=by.replicas * spec.replicas.target_ongoing if 0 < by.replicas < spec.replicas.most and not off else 0.0,
        labels=dict(resource.labels),
    )


def settings(of: Route) -> Fields:
    """What a manifest says of a route, with its field names."""
    raw = asdict(of)
    return {
        "auth": of.auth,
        "limits": raw["limits"],
        "predictions": {**raw["predictions"], "redact": list(of.predictions.redact)},
        "rollout": {"header": of.header},
        "labels": dict(of.labels),
        "off": of.off,
        "wakes": of.wakes,
        "wakesAbove": of.wakes_above,
    }


def _target(ref: Ref, revision: Revision, share: int, role: Role) -> Target:
    return Target(
        app=app_name(ref, revision.digest),
        weight=share,
        role=role,
        version=revision.version,
        model=revision.model,
        run=revision.run,
        digest=revision.digest,
        runtime=revision.runtime,
        datasets=dict(revision.datasets),
    )
