"""Deployment: a model version, packaged with BentoML, run by Ray Serve, reached through the gateway.

What exists of it: its route (`serving/routes.json`), one Serve application per revision (marks in its arguments), packages (labels) and
its notebook. The route is what makes it exist; replicas are children (`controllers.replica`). How one revision takes over from another
is decided in `controllers.serving.rollout`; here it is carried out: package, note, tell the gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from controllers.replica import ReplicaController
from controllers.serving import packaging, replicas, telling
from controllers.serving.looking import KIND as NAME
from controllers.serving.looking import again, expanded, is_there, scenes, sight
from controllers.serving.rollout import advance, quarantine
from controllers.serving.scaling import Fewer, note
from controllers.serving.scene import Following, Notes, Refused, Scene, follow, noted, written
from controllers.tools import bentoml, gateway, serve
from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model import (
    JSON,
    Absent,
    Create,
    Diff,
    Done,
    Fields,
    Health,
    HealthReport,
    Mark,
    Observation,
    Outcome,
    Outputs,
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Update,
    manifest,
    output,
)
from schemas.deployment import KIND, DeploymentSpec

DRAIN_SECONDS = 15.0
"""Longest wait for the last answers of a deployment that is deleted."""
LOOK_SECONDS = 0.2
SCENE = "scene"
"""In `Present.raw`, and in what is told to `children`."""


class DeploymentController:
    """See `reconciler.controller.Controller`; also Projects, Expands, RollsBack and Exports."""

    info = KIND
    tool = "serve"
    unmovable = (
        "its name is the address that clients ask, and their keys are for it; declare the new one beside it, and remove the old one "
        "once nobody asks it any more"
    )
    services = ("mlflow", "ray", "gateway")
    child = ReplicaController()
    released = "it answers what it has in hand, then ends"

    def observe(self, resources: Sequence[Resource[DeploymentSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        found = scenes(resources, ctx)
        seen: dict[Ref, Observation] = {
            each.ref: _present(each, found[each.ref], ctx) if is_there(each.ref, found[each.ref], ctx) else Absent() for each in resources
        }
        return seen if ctx.focused else {**_orphans(ctx), **seen}

    def desired(self, resource: Resource[DeploymentSpec]) -> Fields:
        asked: dict[str, JSON] = resource.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        model = next((each for each in resource.references if each.kind == "Model"), None)
        pinned = resource.spec.model.partition("@")[2]
        if model is not None:
            asked["version"] = pinned if pinned.isdigit() else output(resource.inputs.get(model, {}), "version") or None
        return {**asked, "labels": dict(resource.labels)}

    def diff(self, resource: Resource[DeploymentSpec], seen: Present) -> Diff:
        scene: Scene = seen.raw[SCENE]
        return telling.changes(scene, follow(resource, scene))

    def health(self, resource: Resource[DeploymentSpec], seen: Present) -> HealthReport:
        scene: Scene = seen.raw[SCENE]
        return telling.health(resource, scene, follow(resource, scene))

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        scene = scenes([resource], ctx)[resource.ref]
        scene, then, trouble = _packaged(resource, scene, ctx)
        _carry_out(resource, scene, then, ctx)
        if trouble is not None:
            raise trouble
        return Done(resource.ref.path, _outputs(resource.ref, then))

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """The route first; then, when the gateway has answered what it had in hand, everything else."""
        generation = gateway.connect(ctx).put({owned.ref.path: None})
        lost = [name for name, each in serve.connect(ctx).lost().items() if each.get("ref") == str(owned.ref)]
        names = [*(each.name for each in sight(ctx).by_ref.get(str(owned.ref), ())), *lost]
        _await_drained(names, generation, ctx)
        serve.connect(ctx).remove(names)
        store = bentoml.connect(ctx)
        tags = {tag for tag, each in store.bentos().items() if each.ref == str(owned.ref)}
        if tags - set(store.remove(tags, ())):
            raise Transient("its packages cannot be removed while another one is being built")
        ctx.memo(owned.ref).clear()
        return Done(owned.external_id)

    def facts(self, resources: Sequence[Resource[DeploymentSpec]], ctx: Context) -> Mapping[Ref, Mapping[str, JSON]]:
        if ctx.services.pristine(self.services):
            return {each.ref: {} for each in resources}
        found = scenes(resources, ctx)
        expanded(ctx).refs.update(found)
        return {ref: {SCENE: scene} for ref, scene in found.items()}

    def children(self, resource: Resource[DeploymentSpec], seen: Observation, facts: Mapping[str, JSON]) -> Sequence[Resource[Any]]:
        scene: Scene | None = facts.get(SCENE)
        return replicas.children(resource, scene, follow(resource, scene)) if scene is not None else ()

    def sum_up(
        self, resource: Resource[DeploymentSpec], own: HealthReport, children: Sequence[tuple[Resource[Any], Health, str]], ctx: Context
    ) -> HealthReport:
        _note_load(resource, ctx)
        stuck = [reason for _, health, reason in children if health is Health.MISSING and reason.startswith("Exceeds")]
        if own.health is Health.PROGRESSING and stuck:
            message = (
                f"{own.message}; a replica is larger than what it can ever be given ({_word(stuck[0])}): change `resources` or the quota"
            )
            return HealthReport(Health.DEGRADED, message, stuck[0], stalled=True)
        waits = [reason for _, health, reason in children if health is Health.PROGRESSING and reason not in ("Starting", "Progressing")]
        if own.health is Health.PROGRESSING and waits:
            number = f"{len(waits)} replica{'s' if len(waits) > 1 else ''}"
            return replace(own, message=f"{own.message}; {number} {_word(waits[0])}", reason=waits[0])
        worst = max((health for _, health, _ in children), default=Health.HEALTHY)
        if own.health is Health.HEALTHY and worst is Health.PROGRESSING:
            return HealthReport(worst, f"{own.message}; {_word(waits[0]) if waits else 'more replicas start'}", "Scaling")
        return own

    def found(self, ctx: Context) -> Sequence[str]:
        """Of a route or application that is ours `project/name`, of another application its name in Serve."""
        theirs = (each.name for each in sight(ctx).apps.values() if not each.ours and each.status != "DELETING")
        return sorted({*(ref.path for ref in _orphans(ctx)), *theirs})

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """As its manifest said last: a route and its applications hold only what came of it."""
        project, _, name = external_id.partition("/")
        ref = Ref(NAME, project, name)
        if ref not in _orphans(ctx):
            if external_id not in sight(ctx).apps:
                raise Terminal(f"neither the gateway nor Serve has '{external_id}'", hint="name it as project/name")
            raise Terminal(
                "not deployed by this installation: what it runs is Python code of whoever deployed it, which a manifest cannot say",
                hint="register its model in MLflow, and declare a Deployment of it",
            )
        if (declared := ctx.declared(ref)) is None:
            raise Terminal(
                "its manifest is not known to this Store, and what serves holds only what came of it",
                hint="restore a backup of the Store (`reconcile platform restore FILE`), or write the manifest by hand",
            )
        return manifest(ref, declared)

    def roll_back(self, ref: Ref, ctx: Context, why: str, by: str) -> str:
        """See `RollsBack`."""
        notes = noted(ctx.memo(ref))
        state = notes.state
        bad = state.candidate or state.stable
        good = state.stable if state.candidate else next(iter(state.good), "")
        if not bad:
            raise Terminal(f"{ref} serves nothing that could be taken back")
        if not good:
            raise Terminal(f"there is no earlier revision of {ref} to go back to", hint="name a good version in spec.model")
        ctx.memo(ref).update(written(replace(notes, state=quarantine(state, bad, f"{why} (by {by})"))))
        back, taken = notes.revisions[good].label, notes.revisions[bad].label
        return f"back to {back}; {taken} is not served again until manifest or alias lead elsewhere"


def _present(resource: Resource[DeploymentSpec], scene: Scene, ctx: Context) -> Present:
    ref, soon = resource.ref, again(scene, resource)
    serving = scene.notes.revisions.get(scene.notes.state.stable)
    outputs = {"path": ref.path, "version": serving.version if serving else "", "digest": serving.digest if serving else ""}
    mark = Mark(ctx.installation, str(ref), scene.notes.state.stable[:16])
    recheck = datetime.fromtimestamp(soon, UTC) if soon is not None else None
    return Present(ref.path, telling.fields(scene), outputs, mark, recheck, raw={SCENE: scene})


def _orphans(ctx: Context) -> Mapping[Ref, Observation]:
    """Routes and applications with our mark, whoever asks for them."""
    paths = {path: Ref(NAME, *path.split("/", 1)) for path in gateway.connect(ctx).routes().routes}
    marked = {Ref.parse(text, [NAME]) for text in sight(ctx).by_ref}
    refs = {*paths.values(), *(each for each in marked if each is not None and not each.key)}
    return {ref: Present(ref.path, {}, {"path": ref.path}, Mark(ctx.installation, str(ref))) for ref in refs}


def _packaged(resource: Resource[Any], scene: Scene, ctx: Context) -> tuple[Scene, Following, Terminal | None]:
    """What follows, with a package for each revision that is about to run. What cannot be packaged is refused, and what is there goes
    on: the last value says why."""
    then = follow(resource, scene)
    for digest in (then.state.candidate, then.state.stable):
        revision = then.revisions.get(digest)
        if revision is None or (revision.bento and digest not in scene.gone):
            continue
        try:
            made = packaging.package(resource, revision, ctx)
        except Terminal as error:
            if digest == then.state.stable:
                raise
            refused = Refused(digest, str(error), scene.facts.now)
            left = replace(scene, notes=replace(scene.notes, refused=refused))
            return left, follow(resource, left), error
        then = replace(then, revisions={**then.revisions, digest: made})
    return scene, then, None


def _carry_out(resource: Resource[Any], scene: Scene, then: Following, ctx: Context) -> None:
    """Tell the gateway, then note it: who is killed in between tells the same once more."""
    generation = gateway.connect(ctx).put({resource.ref.path: then.route})
    state = replace(then.state, retiring={digest: each or generation for digest, each in then.state.retiring.items()})
    state = advance(state, then.aim, scene.facts, then.terms)  # one that the gateway had let go of before
    page = ctx.memo(resource.ref)
    known = {state.stable, state.candidate, *state.retiring}
    begun = {digest: each for digest, each in (page.get("begun") or {}).items() if digest in known}
    refused = scene.notes.refused if scene.notes.refused.digest == then.wanted.digest else Refused()
    notes = Notes(state, then.revisions, then.replicas, scene.notes.fewer, refused, begun)
    if then.replicas != scene.notes.replicas:
        notes = replace(notes, fewer=Fewer())
    page.update(written(notes))
    packaging.tidy(resource.ref, state, tuple(then.revisions.values()), resource.spec.bentos, ctx)


def _note_load(resource: Resource[DeploymentSpec], ctx: Context) -> None:
    """Remember since when fewer replicas would be enough; the next passes decide by it."""
    page, told = ctx.memo(resource.ref), gateway.connect(ctx).state()
    stats = told.routes.get(resource.ref.path) if told else None
    notes = noted(page)
    if notes.replicas is None:
        return
    fewer = note(resource.spec.replicas, notes.replicas, stats, notes.fewer, ctx.now().timestamp())
    if fewer != notes.fewer:
        page["fewer"] = asdict(fewer) if fewer.since else None


def _await_drained(names: Sequence[str], generation: int, ctx: Context) -> None:
    """Wait until the gateway has let go of these applications; a gateway that does not answer has nothing in hand."""
    until = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < until:
        told = gateway.connect(ctx).ask()
        if told is None or (told.generation >= generation and not any(told.draining.get(name) for name in names)):
            return
        time.sleep(LOOK_SECONDS)


def _outputs(ref: Ref, then: Following) -> Outputs:
    serving = then.revisions.get(then.state.stable)
    return {"path": ref.path, "version": serving.version if serving else "", "digest": serving.digest if serving else ""}


def _word(reason: str) -> str:
    """`WaitingForMemory` -> `waiting for memory`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in reason).strip()
