"""Experiment: an MLflow experiment with its description, tags and data versions.

Marks: the tags `mlops.installation`, `mlops.ref` and `mlops.digest`, set in the same request that creates the experiment, so that
nothing of ours is ever unmarked. Tags that start with `mlops.` are ours altogether; of the others only those that a manifest sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controllers.run import RunController
from controllers.runs import comparisons, expanding
from controllers.runs.ranking import ranking
from controllers.runs.releasing import let_go_all, rename_all
from controllers.runs.standing import Tag, superseded
from controllers.tools.mlflow import FEW, ExperimentInfo, Mlflow, connect
from controllers.tools.mlflow_runs import search
from reconciler.controller import Context
from reconciler.diff import compare
from reconciler.errors import Conflict, Terminal, Transient
from reconciler.model import (
    JSON,
    Absent,
    Attribution,
    Change,
    Create,
    Diff,
    Done,
    Drift,
    Fields,
    Health,
    HealthReport,
    Mark,
    Observation,
    Outcome,
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Update,
    digest_of,
    manifest,
    output,
)
from reconciler.model.performance import Entered
from reconciler.model.ranking import Ranking
from schemas.base import Immutable as ImmutableMarker
from schemas.base import marked
from schemas.experiment import KIND, ExperimentSpec

NOTE = "mlflow.note.content"
OURS = "mlops."
IMMUTABLE = marked(ExperimentSpec, ImmutableMarker)
LIFECYCLE = "lifecycleStage"
NAME = "metadata.name"
DEFAULT = "0"
"""Id of the experiment that MLflow makes itself."""


class ExperimentController:
    """See `reconciler.controller.Controller`."""

    info = KIND
    tool = "mlflow"
    services = ("mlflow",)
    child = RunController()
    released = "it ends where it runs, and what it made is kept, marked as superseded"

    def observe(self, resources: Sequence[Resource[ExperimentSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        mlflow = connect(ctx)
        if ctx.focused and len(resources) <= FEW:
            found = {each.ref: mlflow.experiment_named(each.ref.path) for each in resources}
            if None not in found.values():  # one that is not there by its name may go by another: only the whole listing tells
                return {ref: _present(info) for ref, info in found.items() if info is not None}
        by_name = {each.ref.path: each.ref for each in resources}
        seen: dict[Ref, Observation] = {ref: Absent() for ref in by_name.values()}
        for info in mlflow.experiments():
            present = _present(info)
            if info.name in by_name:
                seen[by_name[info.name]] = present
            elif present.mark and present.mark.installation == ctx.installation and info.stage == "active":
                ref = Ref.parse(present.mark.ref, [KIND.name])
                if ref is not None and not isinstance(seen.get(ref), Present):
                    seen[ref] = present  # an orphan; or, when it was asked for, one that goes by another name now
        return seen

    def desired(self, resource: Resource[ExperimentSpec]) -> Fields:
        spec = resource.spec
        wanted: dict[str, JSON] = {
            "tags": dict(spec.tags),
            "metric": f"{spec.metric.name} ({spec.metric.goal})" if spec.metric else None,
            "techniques": list(spec.techniques),
            "datasets": {_short(ref, resource.ref): output(resource.inputs.get(ref, {}), "digest") for ref in _datasets(resource)},
            "labels": dict(resource.labels),
        }
        if spec.description is not None:
            wanted["description"] = spec.description
        if spec.artifact_location is not None:
            wanted["artifactLocation"] = spec.artifact_location
        return wanted

    def attribution(self, drifts: Sequence[Drift], ctx: Context) -> Mapping[Ref, Attribution]:
        """MLflow keeps no record of it: tags, where all of ours is, do not even touch `last_update_time` (seen with a 3.17 server)."""
        return {each.resource.ref: Attribution(channel="MLflow tells neither who nor when") for each in drifts}

    def diff(self, resource: Resource[ExperimentSpec], seen: Present) -> Diff:
        last = resource.last or {}
        ours = {key: seen.fields[key] for key in ("datasets", "labels")}
        before = {**{key: last[key] for key in ("tags", "description") if key in last}, **ours}
        changes = compare(self.desired(resource), seen.fields, before, immutable=IMMUTABLE)
        if seen.raw["stage"] == "deleted":
            changes = (Change(LIFECYCLE, "deleted", "active", note="deleted in MLflow; its runs come back with it"), *changes)
        if seen.raw["name"] != resource.ref.path:
            changes = (Change(NAME, seen.raw["name"], resource.ref.path, note="renamed in MLflow"), *changes)
        return changes

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        mlflow = connect(ctx)
        resource: Resource[Any] = action.resource
        match action:
            case Update(seen=seen, changes=changes):
                self._update(mlflow, resource, seen, changes, ctx)
                return Done(seen.external_id, {"id": seen.external_id})
            case Replace(seen=seen):
                _step_aside(mlflow, seen)
        experiment_id = self._create(mlflow, resource, ctx)
        expanding.begin_again(resource.ref, ctx)
        return Done(experiment_id, {"id": experiment_id})

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        mlflow = connect(ctx)
        found = mlflow.experiment(owned.external_id)
        if found is not None and found.stage == "active":
            mark = _mark(found.tags)
            if mark is None or mark.installation != ctx.installation or mark.ref != str(owned.ref):
                # Also after a server was set up again, or exchanged: its ids then name other experiments.
                raise Conflict(
                    f"experiment {found.name} (id {found.id}) no longer carries the mark of {owned.ref}; it was left alone",
                    hint="put its manifest back and reconcile, which writes the mark again; then remove the manifest",
                )
            let_go_all(mlflow, owned.external_id, ctx)
            mlflow.delete_experiment(owned.external_id)
        return Done(owned.external_id)

    def move(self, owned: Owned, resource: Resource[Any], ctx: Context) -> Outcome:
        """See `Moves`. The name first, then the marks of its runs, then its own."""
        mlflow, ref = connect(ctx), resource.ref
        found, taken = mlflow.experiment(owned.external_id), mlflow.experiment_named(ref.path)
        if found is None:
            raise Transient(f"experiment {owned.external_id} is not there any more", hint="the next pass looks again")
        mark = _mark(found.tags)
        if mark is not None and (mark.installation, mark.ref) not in {(ctx.installation, str(each)) for each in (owned.ref, ref)}:
            raise Conflict(f"experiment {found.name} (id {found.id}) no longer carries the mark of {owned.ref}; it was left alone")
        if taken is not None and taken.id != found.id:
            state = ", deleted, which keeps its name" if taken.stage == "deleted" else ""
            raise Conflict(
                f"MLflow has another experiment '{ref.path}' (id {taken.id}{state})", hint="choose another name, or remove that one"
            )
        if found.stage == "deleted":
            mlflow.restore_experiment(found.id)
        if found.name != ref.path:
            mlflow.rename_experiment(found.id, ref.path)
        rename_all(mlflow, found.id, owned.ref, ref, ctx)
        for key, value in (("mlops.installation", ctx.installation), ("mlops.ref", str(ref))):
            if found.tags.get(key) != value:
                mlflow.set_experiment_tag(found.id, key, value)
        return Done(found.id, {"id": found.id})

    def health(self, resource: Resource[ExperimentSpec], seen: Present) -> HealthReport:
        if seen.raw["stage"] == "deleted":
            return HealthReport(Health.MISSING, "deleted in MLflow", "DeletedInTool")
        return HealthReport(Health.HEALTHY)

    def facts(self, resources: Sequence[Resource[ExperimentSpec]], ctx: Context) -> Mapping[Ref, Mapping[str, JSON]]:
        return expanding.facts(resources, ctx)

    def children(self, resource: Resource[ExperimentSpec], seen: Observation, facts: Mapping[str, JSON]) -> Sequence[Resource[Any]]:
        return expanding.children(resource, seen, facts)

    def sum_up(
        self, resource: Resource[ExperimentSpec], own: HealthReport, children: Sequence[tuple[Resource[Any], Health, str]], ctx: Context
    ) -> HealthReport:
        return expanding.sum_up(resource, own, children, ctx)

    def ranking(self, resources: Sequence[Resource[ExperimentSpec]], ctx: Context) -> Mapping[Ref, Ranking]:
        return ranking(resources, ctx)

    def enter(self, entered: Entered, ctx: Context) -> tuple[str, bool]:
        return comparisons.enter(entered, ctx)

    def needs(self, resource: Resource[ExperimentSpec]) -> tuple[str, ...]:
        return ("ray",) if resource.spec.runs is not None and resource.spec.runs.backend == "ray" else ()

    def found(self, ctx: Context) -> Sequence[str]:
        """MLflow's own `Default`, which every server has and no manifest can name, and where comparisons are kept are left out."""
        there = [each for each in _listed(ctx).values() if each.stage == "active" and each.id != DEFAULT]
        return [each.name for each in there if comparisons.HOME not in each.tags]

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """What MLflow shows, with the runs and the model's size as its manifest gave them last."""
        mlflow = connect(ctx)
        known = _listed(ctx).get(external_id) if Listed in ctx.clients else None
        info = known or mlflow.experiment_named(external_id) or (mlflow.experiment(external_id) if external_id.isdigit() else None)
        if info is None:
            raise Terminal(f"MLflow has no experiment '{external_id}'", hint="name it as MLflow shows it, or give its id")
        ours = _ours(_mark(info.tags), ctx)
        project, _, name = info.name.partition("/")
        if ours is None and not (project and name):
            raise Terminal("by its name in MLflow it belongs to no project", hint="rename it there to project/name")
        ref = ours or Ref(KIND.name, project, name)
        declared = ctx.declared(ref)
        if ours and declared is None and not all(map(superseded, search(mlflow, [info.id], {Tag.INSTALLATION: ctx.installation}))):
            raise Terminal(
                "which runs it must hold is not known to this Store: a manifest that does not say it would give them up",
                hint="restore a backup of the Store (`reconcile platform restore FILE`), or write the manifest by hand",
            )
        fields = _present(info).fields
        return manifest(ref, {**(declared or {}), **_spec(fields, declared or {})}, labels=fields["labels"], adopt=ours is None)

    def _create(self, mlflow: Mlflow, resource: Resource[ExperimentSpec], ctx: Context) -> str:
        wanted = self.desired(resource)
        tags = {**_tags(wanted), **_mark_tags(resource.ref, wanted, ctx.installation)}
        try:
            return mlflow.create_experiment(resource.ref.path, tags, wanted.get("artifactLocation"))
        except Conflict:
            # A request that timed out may have been carried out: ours by its mark, then it is the one that we wanted.
            found = mlflow.experiment_named(resource.ref.path)
            if (
                found is not None
                and _mark(found.tags) == Mark(ctx.installation, str(resource.ref), tags["mlops.digest"])
                and found.stage == "active"
            ):
                return found.id
            raise

    def _update(self, mlflow: Mlflow, resource: Resource[ExperimentSpec], seen: Present, changes: Diff, ctx: Context) -> None:
        if any(each.path == LIFECYCLE for each in changes):
            mlflow.restore_experiment(seen.external_id)
        if any(each.path == NAME for each in changes):
            mlflow.rename_experiment(seen.external_id, resource.ref.path)
        wanted = self.desired(resource)
        tags, marks = _tags(wanted), _mark_tags(resource.ref, wanted, ctx.installation)
        have = seen.raw["tags"]
        for key in sorted({_tag_of(each.path) for each in changes} - {""}):
            if key in tags:
                mlflow.set_experiment_tag(seen.external_id, key, tags[key])
            else:
                mlflow.delete_experiment_tag(seen.external_id, key)
        for key, value in marks.items():
            if have.get(key) != value:
                mlflow.set_experiment_tag(seen.external_id, key, value)


def _datasets(resource: Resource[ExperimentSpec]) -> Iterable[Ref]:
    return (ref for ref in resource.references if ref.kind == "Dataset")


def _short(ref: Ref, of: Ref) -> str:
    return ref.name if ref.project == of.project else ref.path


def _tags(wanted: Fields) -> dict[str, str]:
    """Desired fields as MLflow tags."""
    tags: dict[str, str] = dict(wanted["tags"])
    if "description" in wanted:
        tags[NOTE] = wanted["description"]
    if wanted["metric"]:
        tags["mlops.metric"] = wanted["metric"]
    if wanted["techniques"]:
        tags["mlops.techniques"] = json.dumps(wanted["techniques"])
    tags |= {f"mlops.dataset.{name}": digest for name, digest in wanted["datasets"].items()}
    tags |= {f"mlops.label.{name}": value for name, value in wanted["labels"].items()}
    return tags


def _tag_of(path: str) -> str:
    """The tag that holds the field at `path`; empty for what is not a tag."""
    for prefix, key in (("spec.tags.", ""), ("spec.datasets.", "mlops.dataset."), ("spec.labels.", "mlops.label.")):
        if path.startswith(prefix):
            return key + path.removeprefix(prefix)
    return {"spec.description": NOTE, "spec.metric": "mlops.metric", "spec.techniques": "mlops.techniques"}.get(path, "")


def _mark_tags(ref: Ref, wanted: Fields, installation: str) -> dict[str, str]:
    return {"mlops.installation": installation, "mlops.ref": str(ref), "mlops.digest": digest_of(wanted)[:16]}


def _mark(tags: Mapping[str, str]) -> Mark | None:
    if "mlops.ref" not in tags:
        return None
    return Mark(tags.get("mlops.installation", ""), tags["mlops.ref"], tags.get("mlops.digest", ""))


def _ours(mark: Mark | None, ctx: Context) -> Ref | None:
    """Whose experiment it is by our mark, whatever it is called now; None = it is not this installation's."""
    return Ref.parse(mark.ref, [KIND.name]) if mark is not None and mark.installation == ctx.installation else None


def _present(info: ExperimentInfo) -> Present:
    tags = info.tags
    fields: dict[str, JSON] = {
        "tags": {key: value for key, value in tags.items() if not key.startswith((OURS, "mlflow."))},
        "metric": tags.get("mlops.metric"),
        "techniques": _list(tags.get("mlops.techniques")),
        "datasets": {key.removeprefix("mlops.dataset."): value for key, value in tags.items() if key.startswith("mlops.dataset.")},
        "labels": {key.removeprefix("mlops.label."): value for key, value in tags.items() if key.startswith("mlops.label.")},
        "artifactLocation": info.artifact_location,
    }
    if NOTE in tags:
        fields["description"] = tags[NOTE]
    raw = {"stage": info.stage, "name": info.name, "tags": dict(tags)}
    return Present(info.id, fields, {"id": info.id}, _mark(tags), raw=raw)


def _list(text: str | None) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return [str(text)]  # edited by hand: shown as it is, and put right
    return [str(each) for each in found] if isinstance(found, list) else [str(found)]


def _step_aside(mlflow: Mlflow, seen: Present) -> None:
    """Free the name: MLflow keeps names of deleted experiments reserved, so the old one is renamed before it is deleted.

    Looks first how far an earlier try came: MLflow refuses to rename what is deleted."""
    aside, now = f"{seen.raw['name']}@replaced-{seen.external_id}", mlflow.experiment(seen.external_id)
    if now is None or (now.name, now.stage) == (aside, "deleted"):
        return
    if now.stage == "deleted":
        mlflow.restore_experiment(seen.external_id)
    mlflow.rename_experiment(seen.external_id, aside)
    for key in ("mlops.ref", "mlops.installation"):
        mlflow.delete_experiment_tag(seen.external_id, key)
    mlflow.delete_experiment(seen.external_id)


class Listed(dict[str, ExperimentInfo]):
    """Every experiment by name, as this import has listed them."""


def _listed(ctx: Context) -> Listed:
    return ctx.client(Listed, lambda ctx: Listed({each.name: each for each in connect(ctx).experiments()}))


def _spec(fields: Fields, declared: Fields) -> dict[str, JSON]:
    """What MLflow itself says of a spec. The first dataset is the one that runs get as `--data`; tags have no order."""
    named = list(declared.get("datasets", ()))
    datasets = named if set(named) == set(fields["datasets"]) else sorted(fields["datasets"])
    spec: dict[str, JSON] = {"description": fields.get("description"), "tags": fields["tags"]}
    metric, _, goal = str(fields["metric"] or "").rpartition(" ")
    spec["metric"] = {"name": metric, "goal": goal.strip("()")} if metric else None
    return {**spec, "techniques": list(fields["techniques"]), "datasets": datasets}
