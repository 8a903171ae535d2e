"""ResourceQuota: a project's share of the machine. The quota lives in the installation's own Store, where admission reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.controller import Context
from reconciler.diff import compare
from reconciler.errors import Terminal
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
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Update,
    manifest,
)
from schemas.resourcequota import KIND, ResourceQuotaSpec


class ResourceQuotaController:
    """See `reconciler.controller.Controller`; also Projects, Moves and Exports."""

    info = KIND
    tool = ""
    services = ()

    def observe(self, resources: Sequence[Resource[ResourceQuotaSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        seen: dict[Ref, Observation] = {}
        for each in resources:
            declared = ctx.memo(each.ref).get("quota")
            mark = Mark(ctx.installation, str(each.ref))
            seen[each.ref] = Absent() if declared is None else Present(each.ref.path, declared, mark=mark)
        return seen

    def desired(self, resource: Resource[ResourceQuotaSpec]) -> Fields:
        fields: Fields = resource.spec.model_dump(mode="json")
        return fields

    def diff(self, resource: Resource[ResourceQuotaSpec], seen: Present) -> Diff:
        return compare(self.desired(resource), seen.fields)

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        ctx.memo(resource.ref)["quota"] = self.desired(resource)
        return Done(resource.ref.path)

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        ctx.memo(owned.ref).clear()
        return Done(owned.external_id)

    def move(self, owned: Owned, resource: Resource[Any], ctx: Context) -> Outcome:
        """See `Moves`. All of it is a page of our notes, which the engine renames."""
        return Done(resource.ref.path)

    def found(self, ctx: Context) -> Sequence[str]:
        return [ref.path for ref in sorted(ctx.owned) if ref.kind == KIND.name]

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """From the page that admission reads."""
        project, _, name = external_id.partition("/")
        ref = Ref(KIND.name, project, name)
        if (page := ctx.memo(ref).get("quota")) is None:
            raise Terminal(f"no quota '{external_id}' was applied here", hint="name it as project/name")
        return manifest(ref, page)

    def health(self, resource: Resource[ResourceQuotaSpec], seen: Present) -> HealthReport:
        return HealthReport(Health.HEALTHY)
