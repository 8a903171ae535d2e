"""Looking at deployments: one answer of Serve and one of the gateway for all of them, the routes, the notebooks. Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from controllers.serving import packaging
from controllers.serving.revision import Revision
from controllers.serving.revision import found as found_revision
from controllers.serving.rollout import START, App, Facts, State, terms
from controllers.serving.scene import Notes, Scene, noted
from controllers.tools import bentoml, gateway, serve
from controllers.tools.code import reader
from controllers.tools.machine import probe
from controllers.tools.serve import AppInfo
from reconciler.controller import Context
from reconciler.model import Ref, Resource
from reconciler.model.runtimes import Machine
from reconciler.model.serving import AppStats, GatewayState, Route, app_name, replicas_folder
from schemas.base import duration_value
from schemas.deployment import DeploymentSpec

KIND = "Deployment"
FAILED = "DEPLOY_FAILED"
TROUBLED = (FAILED, "UNHEALTHY")
OF_FILES = "the model's f"
"""How a replica's reason begins when files or folder of its model are not as they must be (`reconciler.serving.content`, `replica`)."""
LONGEST = 400
"""Characters of Serve's own words in a reason."""


@dataclass(frozen=True)
class Sight:
    """What one pass has seen of Serve and of the gateway, so that all that it decides is decided from the same."""

    now: float
    """Unix seconds."""
    apps: Mapping[str, AppInfo]
    gateway: GatewayState | None
    machine: Machine
    by_ref: Mapping[str, Sequence[AppInfo]] = field(default_factory=dict)
    """Ours, by the Deployment's Ref as text."""


def sight(ctx: Context) -> Sight:
    """Looked at once in a pass. Raises Transient when Serve cannot be asked."""
    return ctx.client(Sight, _look)


def _look(ctx: Context) -> Sight:
    apps = serve.connect(ctx).applications()
    by_ref: dict[str, list[AppInfo]] = {}
    for each in apps.values():
        if each.ours and each.status != "DELETING":
            by_ref.setdefault(each.ref, []).append(each)
    return Sight(ctx.now().timestamp(), apps, gateway.connect(ctx).state(), probe(ctx).machine(), by_ref)


@dataclass
class Expanded:
    """Deployments whose replicas were worked out in this pass."""

    refs: set[Ref] = field(default_factory=set)


def expanded(ctx: Context) -> Expanded:
    return ctx.client(Expanded, lambda _: Expanded())


def scenes(resources: Sequence[Resource[DeploymentSpec]], ctx: Context) -> Mapping[Ref, Scene]:
    """What is known of each of them now."""
    told, tags, here = gateway.connect(ctx).routes().routes, set(bentoml.connect(ctx).bentos()), sight(ctx)
    return {each.ref: _scene(each, told.get(each.ref.path), tags, here, ctx) for each in resources}


def is_there(ref: Ref, scene: Scene, ctx: Context) -> bool:
    """Whether anything of it is left anywhere."""
    return scene.route is not None or bool(ctx.memo(ref).get("rollout")) or str(ref) in sight(ctx).by_ref


def failure(app: AppInfo, ctx: Context) -> str:
    """What is wrong with an application, in the words of its last replica; empty when nothing is."""
    if app.status not in TROUBLED:
        return ""
    told = max(_failures(app.name, ctx), default=(0.0, ""))[1]
    words = app.message.strip().splitlines() or [app.status]
    return told or words[-1][-LONGEST:]


def _scene(resource: Resource[DeploymentSpec], route: Route | None, tags: set[str], here: Sight, ctx: Context) -> Scene:
    ref, spec = resource.ref, resource.spec
    ours = here.by_ref.get(str(ref), ())
    notes = noted(ctx.memo(ref))
    if notes == Notes() and route is not None:
        notes = _recovered(route, {each.digest: each for each in ours})
    code = reader(ctx).read(resource.root, spec.service.class_.partition(":")[0], spec.service.code, pinned=False) if spec.service else None
    project = ctx.projects.get(ref.owner)
    idle = not project.spec.active if project is not None else bool(route and route.off)
    return Scene(
        facts=_facts(ref, notes, ours, here, ctx),
        notes=notes,
        route=route,
        stats=here.gateway.routes.get(ref.path) if here.gateway else None,
        machine=here.machine,
        code=code.digest if code else "",
        trouble=code.trouble if code else "",
        room=ctx.room(ref),
        margin=ctx.platform.admission.margin,
        inactive=f"project {ref.owner} is not active" if idle else "",
        gone=frozenset(digest for digest, each in notes.revisions.items() if each.bento and not _whole(ref, each, tags, here, ctx)),
    )


def _whole(ref: Ref, revision: Revision, tags: set[str], here: Sight, ctx: Context) -> bool:
    """Whether a package can be started from. What its files hold is read only when a replica has refused to start: models are large."""
    if revision.bento not in tags:
        return False
    if not revision.source or not revision.content:  # known from its route only: it serves on, and cannot be built again
        return True
    app = here.apps.get(app_name(ref, revision.digest))
    refused = app is not None and failure(app, ctx).startswith(OF_FILES)
    return packaging.stored(ref, revision, ctx).is_dir() and not (refused and packaging.spoilt(ref, revision, ctx))


def _facts(ref: Ref, notes: Notes, ours: Sequence[AppInfo], here: Sight, ctx: Context) -> Facts:
    state, by_digest = notes.state, {each.digest: each for each in ours}
    digests = {*by_digest, *notes.revisions, *state.retiring, state.stable, state.candidate} - {""}
    told = here.gateway
    stats = told.routes[ref.path].apps if told and ref.path in told.routes else {}
    apps = {
        digest: _app(by_digest.get(digest), stats.get(app_name(ref, digest), AppStats()), notes.begun.get(digest, 0.0), ctx)
        for digest in digests
    }
    if told is None:
        return Facts(here.now, apps=apps)
    draining = {digest: told.draining.get(app_name(ref, digest), 0) for digest in digests}
    return Facts(here.now, told.started, told.generation, draining, apps)


def _app(info: AppInfo | None, stats: AppStats, begun: float, ctx: Context) -> App:
    if info is None:
        return App(stats=stats, ready=stats.ready)
    return App(stats.ready, info.target, info.running, failure(info, ctx), info.status == FAILED, begun, stats)


def _recovered(route: Route, apps: Mapping[str, AppInfo]) -> Notes:
    """The notebook of a deployment that serves although its notebook is lost: what has the most weight is the stable revision."""
    targets = sorted(route.targets, key=lambda each: -each.weight)
    revisions = {each.digest: found_revision(each, apps[each.digest].args if each.digest in apps else {}) for each in targets}
    others = dict.fromkeys({*revisions, *apps} - {targets[0].digest if targets else ""}, 0)
    if not targets:
        return Notes(State(retiring=others))
    first = targets[0].digest
    replicas = apps[first].target if first in apps else None
    return Notes(State(stable=first, retiring=others), revisions, replicas)


def _failures(app: str, ctx: Context) -> Iterator[tuple[float, str]]:
    """(when it started, why it refused to serve) of each replica whose file is still there."""
    for path in (replicas_folder(ctx.state_dir) / app).glob("*.json"):
        with suppress(OSError, ValueError):
            raw: Any = json.loads(path.read_bytes())
            if isinstance(raw, dict) and raw.get("state") == "failed" and raw.get("why"):
                yield float(raw.get("since") or 0.0), str(raw["why"])


def again(scene: Scene, resource: Resource[DeploymentSpec]) -> float | None:
    """Unix seconds at which to look again; None = nothing is on its way that the clock decides about."""
    notes, now = scene.notes, scene.facts.now
    state, found = notes.state, list[float]()
    if scene.inactive:
        return None
    if state.retiring:
        found.append(now + 1.0)
    if state.candidate and not state.held:
        steps = terms(resource.spec.rollout, 1, unloads=False, off=False).steps
        holds = steps[state.step][1] if START < state.step < len(steps) else 0.0
        found.append(min(now + 5.0, max(now + 1.0, state.since + holds)) if state.step > START else now + 3.0)
    if notes.fewer.since:
        found.append(max(now + 1.0, notes.fewer.since + duration_value(resource.spec.replicas.scale_down_after).total_seconds()))
    return min(found, default=None)
