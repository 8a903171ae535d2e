"""Project: a namespace in every tool, and requirements that are checked against the other projects'.

In MLflow the namespace is the names (`project/name`) and tags of what the project owns; in DVC it is a repository of its own
in the installation's DVC area, which is also the mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controllers.tools import uv
from controllers.tools.dvc import Dvc, Entry
from controllers.tools.dvc_open import open_dvc
from reconciler.controller import Context
from reconciler.diff import compare
from reconciler.errors import ReconcilerError, Terminal
from reconciler.model import (
    JSON,
    Absent,
    Change,
    Create,
    Diff,
    Done,
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
    manifest,
)
from schemas.project import KIND, ProjectSpec, Sync

UNJUDGED = "requirements"
"""Shown when they changed in a pass that looked at a part of the projects only."""
JUDGED = ("spec.requirements", "spec.active", UNJUDGED)
"""After a change of one of these the resolver is asked again."""


class ProjectController:
    """See `reconciler.controller.Controller`; also Projects and Exports."""

    info = KIND
    tool = "dvc"
    unmovable = "the names of all that it holds begin with its own, in every tool; declare a new one, and import what it is to hold"
    services = ()

    def observe(self, resources: Sequence[Resource[ProjectSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        names = ctx.client(Dvc, open_dvc).names
        made = set(names.projects())
        seen: dict[Ref, Observation] = {}
        for each in resources:
            memo, name = ctx.memo(each.ref), each.ref.name
            applied = memo.get("applied")
            if applied is None and name not in made:
                seen[each.ref] = Absent()
                continue
            fields = {**(applied or {}), "namespace": name in made and names.ready(name)}
            fields["checked"] = ctx.focused or not memo.get("unjudged")
            raw = {
                "folder": (ctx.root / each.spec.path).is_dir(),
                "clashes": memo.get("clashes", []),
                "unchecked": memo.get("unchecked", ""),
            }
            seen[each.ref] = Present(name, fields, {"path": each.spec.path}, Mark(ctx.installation, str(each.ref)), raw=raw)
        return seen

    def desired(self, resource: Resource[ProjectSpec]) -> Fields:
        unset = {"sync"} if resource.spec.sync == Sync() else set()
        fields: Fields = resource.spec.model_dump(mode="json", exclude=unset)
        return fields

    def diff(self, resource: Resource[ProjectSpec], seen: Present) -> Diff:
        changes = compare(self.desired(resource), seen.fields, {name: seen.fields[name] for name in ("sync",) if name in seen.fields})
        if not seen.fields["checked"]:
            changes = (*changes, Change(UNJUDGED, "changed while only a part was looked at", "checked against the other projects'"))
        if not seen.fields["namespace"]:
            changes = (*changes, Change("namespace.dvc", "missing or configured otherwise", "ready", note="the Platform's dvc settings"))
        return changes

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        ctx.client(Dvc, open_dvc).names.make(resource.ref.name)
        if not isinstance(action, Update) or any(each.path in JUDGED for each in action.changes):
            if ctx.focused:  # the other projects are not all here: the next whole pass asks
                ctx.memo(resource.ref)["unjudged"] = True
            else:
                _check_requirements(ctx)
        ctx.memo(resource.ref)["applied"] = self.desired(resource)
        return Done(resource.ref.name, {"path": resource.spec.path})

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Removes the empty namespace. Raises Conflict while it still holds data."""
        ctx.client(Dvc, open_dvc).names.remove(owned.ref.name)
        ctx.memo(owned.ref).clear()
        _check_requirements(ctx)  # what stood against it stands no more
        return Done(owned.external_id)

    def found(self, ctx: Context) -> Sequence[str]:
        """Those that are registered, and those whose data was not forgotten with them."""
        return sorted({ref.name for ref in ctx.owned if ref.kind == KIND.name} | set(ctx.client(Dvc, open_dvc).names.projects()))

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """As it was applied. Of one that never was, as a namespace in a tool may be of, its folder is all that can be told."""
        ref = Ref(KIND.name, None, external_id)
        if (page := ctx.memo(ref).get("applied")) is not None:
            return manifest(ref, page)
        return manifest(ref, {"path": _folder(external_id, ctx)})

    def health(self, resource: Resource[ProjectSpec], seen: Present) -> HealthReport:
        if not seen.raw["folder"]:
            return HealthReport(Health.DEGRADED, f"its folder {resource.spec.path} does not exist", "FolderMissing")
        if not resource.spec.active:
            return HealthReport(Health.SUSPENDED, "spec.active is false: nothing new starts, nothing is deleted", "Inactive")
        if seen.raw["clashes"]:
            return HealthReport(Health.HEALTHY, "; ".join(seen.raw["clashes"]), "RequirementsConflict")
        if seen.raw["unchecked"]:
            return HealthReport(Health.HEALTHY, str(seen.raw["unchecked"]))
        return HealthReport(Health.HEALTHY)


def _folder(name: str, ctx: Context) -> str:
    """Where the code of a project is of which only the name is known: where its data was, or a folder of its name that is alone so."""
    entries = ctx.client(Dvc, open_dvc).names.listing([name])[name].values()
    told = {each.notes.get("root", "") for each in entries if isinstance(each, Entry)}
    named = [path for pattern in (name, f"*/{name}") for path in ctx.root.glob(pattern) if not path.name.startswith(".")]
    for candidates in ([Path(each) for each in told if each], named):
        there = {each for each in candidates if each.is_dir() and each.is_relative_to(ctx.root) and each != ctx.root}
        if len(there) == 1:
            return there.pop().relative_to(ctx.root).as_posix()
    raise Terminal(
        f"the folder of project '{name}' is not known: it was never registered, and no folder below {ctx.root} has its name alone",
        hint="write its manifest by hand, then import again",
    )


def _check_requirements(ctx: Context) -> None:
    """Ask the resolver about all active projects together, and write into each project's notebook what stands against it.

    A conflict is told, not an error: every project has an environment of its own."""
    active = {name: each.spec.requirements for name, each in ctx.projects.items() if each.spec.active}
    try:
        clashes, unchecked = uv.connect(ctx).clashes(active), ""
    except ReconcilerError as error:
        clashes, unchecked = (), error.message
    with ctx.lock:
        for name, project in ctx.projects.items():
            mine = [each for each in clashes if name in (each.first, each.second)]
            ctx.memo(project.ref)["clashes"] = [_told(name, each) for each in mine]
            ctx.memo(project.ref)["unchecked"] = unchecked
            ctx.memo(project.ref).pop("unjudged", None)


def _told(name: str, clash: uv.Clash) -> str:
    if clash.first == clash.second:
        return f"its requirements exclude each other: {clash.why}"
    other = clash.second if clash.first == name else clash.first
    return f"requirements conflict with project {other}: {clash.why}"
