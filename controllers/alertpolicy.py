"""AlertPolicy: who is told of what. The policy lives in the installation's own Store, where the sender reads it."""

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
from schemas.alertpolicy import KIND, AlertPolicySpec
from schemas.receiver import secrets

PAGE = "policy"
"""In the notebook: what the sender goes by."""


class AlertPolicyController:
    """See `reconciler.controller.Controller`; also Projects and Exports."""

    info = KIND
    tool = ""
    unmovable = "what it has told is kept under its name; declare it anew, and remove the old one: what fires then may be told once more"
    services = ()

    def observe(self, resources: Sequence[Resource[AlertPolicySpec]], ctx: Context) -> Mapping[Ref, Observation]:
        seen: dict[Ref, Observation] = {}
        for each in resources:
            declared = ctx.memo(each.ref).get(PAGE)
            if declared is None:
                seen[each.ref] = Absent()
                continue
            raw: dict[str, JSON] = {"missing": _missing(each.spec, ctx), "undelivered": dict(ctx.undelivered(each.ref.name))}
            seen[each.ref] = Present(each.ref.path, declared, mark=Mark(ctx.installation, str(each.ref)), raw=raw)
        return seen

    def desired(self, resource: Resource[AlertPolicySpec]) -> Fields:
        fields: Fields = resource.spec.model_dump(mode="json")
        return fields

    def diff(self, resource: Resource[AlertPolicySpec], seen: Present) -> Diff:
        return compare(self.desired(resource), seen.fields)

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        ctx.memo(resource.ref)[PAGE] = self.desired(resource)
        return Done(resource.ref.path)

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        ctx.memo(owned.ref).clear()
        return Done(owned.external_id)

    def found(self, ctx: Context) -> Sequence[str]:
        return [ref.path for ref in sorted(ctx.owned) if ref.kind == KIND.name]

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """From the page that the sender goes by. It holds references to secrets, and no secret."""
        ref = Ref(KIND.name, None, external_id)
        if (page := ctx.memo(ref).get(PAGE)) is None:
            raise Terminal(f"no alert policy '{external_id}' was applied here", hint="`reconcile alerts` tells of those that are")
        return manifest(ref, page)

    def health(self, resource: Resource[AlertPolicySpec], seen: Present) -> HealthReport:
        missing, undelivered = seen.raw["missing"], seen.raw["undelivered"]
        if missing:
            told = "; ".join(f"{name}: {why}" for name, why in sorted(missing.items()))
            return HealthReport(Health.DEGRADED, told, "SecretMissing")
        if undelivered:
            told = "; ".join(f"{name}: {why}" for name, why in sorted(undelivered.items()))
            return HealthReport(Health.DEGRADED, f"messages do not arrive: {told}", "ReceiverFailing")
        spec = resource.spec
        counted = (("receiver", spec.receivers), ("route", spec.routes), ("report", spec.reports))
        return HealthReport(Health.HEALTHY, ", ".join(f"{len(each)} {noun}{'s'[: len(each) - 1]}" for noun, each in counted if each))


def _missing(spec: AlertPolicySpec, ctx: Context) -> dict[str, JSON]:
    """Receiver -> why a secret of it cannot be had here. No value is kept."""
    found: dict[str, JSON] = {}
    for receiver in spec.receivers:
        for reference in secrets(receiver):
            try:
                ctx.secret(reference)
            except Terminal as error:
                found.setdefault(receiver.name, error.message)
    return found
