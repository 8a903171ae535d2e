"""Model: a registered model in MLflow whose alias follows the best run that passes every gate.

Marks: the tags `mlops.installation`, `mlops.ref` and `mlops.digest`, set in the request that registers the name; versions carry the first
two as well. In the registry it is called `project.name`: MLflow takes no `/` there. Tags that start with `mlops.` are ours altogether; of
the others only those that a manifest sets. Versions are never deleted while their Model is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controllers.models.doing import Doer, stop_trials
from controllers.models.evidence import outputs
from controllers.models.fields import fields_of, mark_tags, model_tags, tag_of
from controllers.models.looking import Around, scene_now
from controllers.models.scene import Scene, Tag, Version, mark_of, model_name
from controllers.models.steps import Step, Try, needs_room, steps
from controllers.models.telling import health
from controllers.models.trials import data_digest, demand
from controllers.runs.standing import lives
from controllers.tools import mlflow_registry as registry
from controllers.tools import mlflow_runs
from controllers.tools.mlflow import FEW, Mlflow, connect
from controllers.tools.mlflow_registry import ModelInfo, VersionInfo
from reconciler.controller import Context
from reconciler.diff import compare, without_ignored
from reconciler.errors import Conflict, Terminal, Transient
from reconciler.model import (
    JSON,
    Absent,
    Attribution,
    Change,
    Create,
    Demand,
    Diff,
    Done,
    Drift,
    Fields,
    HealthReport,
    Mark,
    Observation,
    Outcome,
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Started,
    Update,
    manifest,
)
from schemas.model import KIND, ModelSpec

NAME = "metadata.name"
SCENE = "scene"
MOST_STEPS = 40
"""Of one apply: five versions with everything that is written on each, and the alias."""


class ModelController:
    """See `reconciler.controller.Controller`; also Projects, Demands, Moves and Exports."""

    info = KIND
    tool = "mlflow"
    services = ("mlflow",)

    def observe(self, resources: Sequence[Resource[ModelSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        mlflow = connect(ctx)
        around = Around(resources, mlflow, ctx)
        by_name = {model_name(each.ref): each for each in resources}
        if ctx.focused and len(resources) <= FEW:
            found = {each.ref: scene_now(each, around, mlflow) for each in resources}
            if None not in found.values():  # one that is not there by its name may go by another: only the whole listing tells
                return {each.ref: _present(each, scene) for each in resources if (scene := found[each.ref]) is not None}
        seen: dict[Ref, Observation] = {each.ref: Absent() for each in resources}
        asked = {each.ref: each for each in resources}
        versions = _by_model(registry.versions(mlflow, f"tags.`{Tag.INSTALLATION}` = '{ctx.installation}'"))
        for info in registry.models(mlflow, {}):
            mark, named = mark_of(info.tags), by_name.get(info.name)
            if named is not None:
                seen[named.ref] = _present(named, around.scene(named, info, versions.get(info.name, ())))
            elif mark is not None and mark.installation == ctx.installation:
                ref = Ref.parse(mark.ref, [KIND.name])
                if ref in asked and not isinstance(seen[ref], Present):  # it goes by another name now
                    seen[ref] = _present(asked[ref], around.scene(asked[ref], info, versions.get(info.name, ())))
                elif ref is not None and ref not in asked:
                    seen[ref] = Present(info.name, fields_of(info), {}, mark)
        return seen

    def desired(self, resource: Resource[ModelSpec]) -> Fields:
        spec = resource.spec
        wanted: dict[str, JSON] = {
            "experiment": spec.experiment,
            "alias": spec.alias,
            "tags": dict(spec.tags),
            "labels": dict(resource.labels),
        }
        if spec.description is not None:
            wanted["description"] = spec.description
        return wanted

    def attribution(self, drifts: Sequence[Drift], ctx: Context) -> Mapping[Ref, Attribution]:
        """MLflow tells when a description changed, and nothing of tags (seen with a 3.17 server); one call for each of a few."""
        found = {each.resource.ref: Attribution(channel="MLflow tells neither who nor when") for each in drifts}
        described = [each for each in drifts if {one.path for one in each.changes} == {"spec.description"}]
        for each in described[:FEW]:
            info = registry.model(connect(ctx), str(each.seen.raw[SCENE].name))
            if info is not None and info.updated is not None and (each.since is None or info.updated > each.since):
                found[each.resource.ref] = Attribution(when=info.updated, channel="MLflow does not tell who")
        return found

    def diff(self, resource: Resource[ModelSpec], seen: Present) -> Diff:
        scene: Scene = seen.raw[SCENE]
        last = resource.last or {}
        before = {**{key: last[key] for key in ("tags", "description") if key in last}, "labels": seen.fields["labels"]}
        changes = compare(self.desired(resource), seen.fields, before)
        if scene.name != model_name(resource.ref):
            changes = (Change(NAME, scene.name, model_name(resource.ref), note="renamed in MLflow"), *changes)
        return (*changes, *(each.change for each in steps(resource, scene)))

    def demand(self, action: Create | Update | Replace, ctx: Context) -> Demand | None:
        """A trial, when nothing else is left to do."""
        if not isinstance(action, Update):
            return None
        resource: Resource[Any] = action.resource
        todo = steps(resource, action.seen.raw[SCENE])
        if len(todo) < len(action.changes) or not needs_room(todo) or data_digest(resource) is None:
            return None
        return demand(resource)

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        mlflow, resource = connect(ctx), action.resource
        match action:
            case Create():
                self._create(mlflow, resource, ctx)
            case Update(seen=seen, changes=changes):
                self._update(mlflow, resource, seen, changes, ctx)
            case Replace():
                raise Terminal(f"{resource.ref}: nothing of a Model forces a replacement")
        return _advance(mlflow, resource, ctx)

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """The registered model with its versions, for good; what the runs left stays with them."""
        mlflow = connect(ctx)
        stop_trials(owned.ref, ctx)
        found = registry.model(mlflow, owned.external_id)
        if found is not None:
            mark = mark_of(found.tags)
            if mark is None or (mark.installation, mark.ref) != (ctx.installation, str(owned.ref)):
                raise Conflict(
                    f"registered model {found.name} no longer carries the mark of {owned.ref}; it was left alone",
                    hint="put its manifest back and reconcile, which writes the mark again; then remove the manifest",
                )
            registry.delete_model(mlflow, found.name)
        return Done(owned.external_id)

    def move(self, owned: Owned, resource: Resource[Any], ctx: Context) -> Outcome:
        """See `Moves`. Versions and aliases come with the name; a trial that runs is begun again under the new one."""
        mlflow, ref, name = connect(ctx), resource.ref, model_name(resource.ref)
        old, new = registry.model(mlflow, owned.external_id), registry.model(mlflow, name)
        found = old or new
        if found is None:
            raise Transient(f"registered model {owned.external_id} is not there any more", hint="the next pass looks again")
        mark = mark_of(found.tags)
        if mark is not None and (mark.installation, mark.ref) not in {(ctx.installation, str(each)) for each in (owned.ref, ref)}:
            raise Conflict(f"registered model {found.name} no longer carries the mark of {owned.ref}; it was left alone")
        if old is not None and new is not None and owned.external_id != name:
            raise Conflict(f"MLflow has another registered model '{name}'", hint="choose another name, or remove that one")
        stop_trials(owned.ref, ctx)
        if found.name != name:
            registry.rename_model(mlflow, found.name, name)
        for each in registry.versions(mlflow, f"name = '{name}'"):
            if each.tags.get(Tag.REF) == str(owned.ref):
                registry.tag_version(mlflow, name, each.number, Tag.REF, str(ref))
        for key, value in ((Tag.INSTALLATION, ctx.installation), (Tag.REF, str(ref))):
            if found.tags.get(key) != value:
                registry.tag_model(mlflow, name, key, value)
        return Done(name)

    def health(self, resource: Resource[ModelSpec], seen: Present) -> HealthReport:
        return health(resource, seen.raw[SCENE])

    def roll_back(self, ref: Ref, ctx: Context, why: str, by: str) -> str:
        """See `RollsBack`. The version is marked in MLflow, where a person takes the mark away again."""
        mlflow, name = connect(ctx), model_name(ref)
        found = registry.model(mlflow, name)
        bad = found.tags.get(Tag.CHAMPION, "") if found is not None else ""
        if not bad:
            raise Terminal(f"no version of {ref} has the alias")
        had = [each for each in map(Version, registry.versions(mlflow, f"name = '{name}'")) if each.promoted and not each.quarantined]
        good = max((each for each in had if each.number != bad), key=lambda each: each.promoted, default=None)
        if good is None:
            raise Terminal(f"{ref} has no earlier version to go back to", hint="a better run has to pass first")
        registry.tag_version(mlflow, name, bad, Tag.QUARANTINED, f"{why} (by {by})")
        return f"back to v{good.number}; v{bad} is out until its tag `{Tag.QUARANTINED}` is removed in MLflow"

    def found(self, ctx: Context) -> Sequence[str]:
        return [each.name for each in _listed(ctx).values()]

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """What MLflow shows, with the conditions as its manifest gave them last."""
        mlflow, named = connect(ctx), external_id.replace("/", ".", 1)
        info = _listed(ctx).get(named) if Listed in ctx.clients else registry.model(mlflow, named)
        if info is None:
            raise Terminal(f"MLflow has no registered model '{external_id}'", hint="name it as project/name, or as MLflow shows it")
        mark = mark_of(info.tags)  # whatever it is called now, it is ours by its mark
        ours = Ref.parse(mark.ref, [KIND.name]) if mark is not None and mark.installation == ctx.installation else None
        project, _, name = info.name.partition(".")
        if ours is None and not (project and name):
            raise Terminal("by its name in MLflow it belongs to no project", hint="rename it there to project.name")
        ref = ours or Ref(KIND.name, project, name)
        declared = ctx.declared(ref)
        if ours and declared is None:
            raise Terminal(
                "what its versions must pass is not known to this Store: a manifest that does not say it would let everything pass",
                hint="restore a backup of the Store (`reconcile platform restore FILE`), or write the manifest by hand",
            )
        fields = fields_of(info, info.description)
        alias = fields["alias"] or (next(iter(info.aliases)) if len(info.aliases) == 1 else None)
        told: dict[str, JSON] = {"alias": alias} if alias else {}
        told["experiment"] = fields["experiment"] or _experiment_of(info.name, ref.owner, mlflow)
        spec = {**(declared or {}), **told, "tags": fields["tags"], "description": fields.get("description")}
        return manifest(ref, spec, labels=fields["labels"], adopt=ours is None)

    def _create(self, mlflow: Mlflow, resource: Resource[Any], ctx: Context) -> None:
        wanted, name = self.desired(resource), model_name(resource.ref)
        tags = {**model_tags(wanted), **mark_tags(resource.ref, wanted, ctx.installation)}
        try:
            registry.create_model(mlflow, name, tags, wanted.get("description", ""))
        except Conflict:
            # A request that timed out may have been carried out: ours by its mark, then it is the one that we wanted.
            found = registry.model(mlflow, name)
            if found is None or mark_of(found.tags) != Mark(ctx.installation, str(resource.ref), tags[Tag.MARK_DIGEST]):
                raise

    def _update(self, mlflow: Mlflow, resource: Resource[Any], seen: Present, changes: Diff, ctx: Context) -> None:
        """What the registered model itself says. The alias that an earlier manifest named goes: nobody keeps it any more."""
        scene, name, wanted = seen.raw[SCENE], model_name(resource.ref), self.desired(resource)
        paths = {each.path for each in changes}
        if NAME in paths and registry.model(mlflow, scene.name) is not None:
            registry.rename_model(mlflow, scene.name, name)
        if "spec.description" in paths:
            registry.describe_model(mlflow, name, wanted.get("description", ""))
        if "spec.alias" in paths and (old := scene.tags.get(Tag.ALIAS, "")) not in ("", resource.spec.alias):
            registry.set_alias(mlflow, name, old, None)
        tags = model_tags(wanted)
        for key in sorted({tag_of(path) for path in paths} - {""}):
            registry.tag_model(mlflow, name, key, tags.get(key))
        for key, value in mark_tags(resource.ref, wanted, ctx.installation).items():
            if scene.tags.get(key) != value:
                registry.tag_model(mlflow, name, key, value)


class Listed(dict[str, ModelInfo]):
    """Every registered model by name, as this pass has listed them."""


def _listed(ctx: Context) -> Listed:
    return ctx.client(Listed, lambda ctx: Listed({each.name: each for each in registry.models(connect(ctx), {})}))


def _experiment_of(model: str, project: str, mlflow: Mlflow) -> str:
    """The experiment whose run became the newest version of a model that says of none. Raises Terminal when no version tells."""
    for version in registry.versions(mlflow, f"name = '{model}'"):
        run = mlflow_runs.run(mlflow, version.run) if version.run else None
        if run is not None and (info := mlflow.experiment(run.experiment)) is not None:
            return info.name.removeprefix(f"{project}/")
    raise Terminal(
        f"no version of '{model}' tells which experiment it comes from", hint="write a Model manifest that names one, with lifecycle.adopt"
    )


def _advance(mlflow: Mlflow, resource: Resource[Any], ctx: Context) -> Outcome:
    """Everything that can be done now, one step after the other, each decided on what the one before has led to. Started while a trial
    runs, or has to be admitted first; Done when nothing is left."""
    around, doer, name = Around([resource], mlflow, ctx), Doer(resource, mlflow, ctx), model_name(resource.ref)
    scene, launched = None, ""
    for _ in range(MOST_STEPS):
        scene = scene or scene_now(resource, around, mlflow)
        if scene is None:
            raise Transient(f"registered model {name} is not there yet")
        todo = _wanted(steps(resource, scene), resource, ctx)
        able = [each for each in todo if not isinstance(each, Try) or resource.ref in ctx.granted]
        if not able:
            job = launched or next((id for id, each in scene.jobs.items() if lives(each)), "")
            return Started(job or name) if todo or job else Done(name, outputs(scene, resource.spec))
        scene = doer.do(able[0], scene)
        if isinstance(able[0], Try):
            around, launched = Around([resource], mlflow, ctx), doer.launched
    raise Terminal(f"{resource.ref} does not come to rest after {MOST_STEPS} steps")


def _wanted(todo: Iterable[Step], resource: Resource[Any], ctx: Context) -> list[Step]:
    """Less what a rule leaves to somebody else."""
    kept = without_ignored(tuple(each.change for each in todo), resource.lifecycle.ignore, ctx.now())
    return [each for each in todo if each.change in kept]


def _by_model(found: Iterable[VersionInfo]) -> Mapping[str, list[VersionInfo]]:
    grouped: dict[str, list[VersionInfo]] = {}
    for each in found:
        grouped.setdefault(each.model, []).append(each)
    return grouped


def _present(resource: Resource[ModelSpec], scene: Scene) -> Present:
    fields = fields_of(scene, scene.description)
    return Present(model_name(resource.ref), fields, outputs(scene, resource.spec), mark_of(scene.tags), raw={SCENE: scene})
