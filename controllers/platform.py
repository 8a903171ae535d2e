"""Platform: the shared services run, as declared.

The mark is the state folder itself: what runs from it is this installation's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from reconciler.controller import Context
from reconciler.diff import compare
from reconciler.errors import Terminal
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
    Started,
    Update,
    manifest,
)
from schemas.base import Immutable, marked
from schemas.platform import KIND, PlatformSpec

IMMUTABLE = marked(PlatformSpec, Immutable)
UP = ("running", "external")
NOT_OURS = "unreachable"
"""State of somebody else's server that does not answer: told by health, for there is nothing here to start."""
RESTARTING = {
    "mlflow": ("spec.mlflow.port", "spec.mlflow.workers", "spec.mlflow.interpreter", "spec.mlflow.managed", "spec.database"),
    "ray": ("spec.ray",),
    "gateway": ("spec.gateway",),
    "evidently": ("spec.evidently",),
    **dict.fromkeys(("airflow", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"), ("spec.airflow",)),
}
"""Service -> a change below one of these needs it to be started again. Jobs that run on Ray end with it."""


class PlatformController:
    """See `reconciler.controller.Controller`; also Projects and Exports."""

    info = KIND
    tool = ""
    unmovable = "it is the installation itself, which its services and its Store are recorded under; leave its name as it is"
    services = ()

    def observe(self, resources: Sequence[Resource[PlatformSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        seen: dict[Ref, Observation] = {}
        for each in resources:
            applied = ctx.memo(each.ref).get("applied")
            if applied is None:
                seen[each.ref] = Absent()
                continue
            report = ctx.services.report() if ctx.wanted else {}
            states = {name: report.get(name, {}) for name in ctx.wanted}
            fields = {**applied, "services": {name: state.get("state", "stopped") for name, state in states.items()}}
            mark = Mark(str(applied.get("installation", "")), str(each.ref))
            seen[each.ref] = Present(str(applied.get("installation", "")), fields, mark=mark, raw={"services": states})
        return seen

    def desired(self, resource: Resource[PlatformSpec]) -> Fields:
        fields: Fields = resource.spec.model_dump(mode="json")
        return fields

    def diff(self, resource: Resource[PlatformSpec], seen: Present) -> Diff:
        changes = compare(self.desired(resource), seen.fields, immutable=IMMUTABLE)
        late = {name: state for name, state in seen.fields["services"].items() if state not in (*UP, "starting", NOT_OURS)}
        messages = {name: str(seen.raw["services"][name].get("message") or "") for name in late}
        return (*changes, *(Change(f"services.{name}", state, "running", note=messages[name]) for name, state in sorted(late.items())))

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        resource: Resource[Any] = action.resource
        changes, before = action.changes if isinstance(action, Update) else (), _states(ctx)
        late = [name for name in ctx.wanted if _is_concerned(name, changes) or _must_restart(name, before, ctx.wanted)]
        with suppress(Terminal):  # the next look tells why; what needs no service must not wait for one that cannot start
            try:
                ctx.services.renew(late)
            finally:
                ctx.services.start(ctx.wanted)
        ctx.memo(resource.ref)["applied"] = self.desired(resource)
        after = _states(ctx)
        if all(after.get(name) in (*UP, NOT_OURS) for name in ctx.wanted):
            return Done(resource.spec.installation)
        return Started(resource.spec.installation)

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Stops what nothing else needs; the data stays on disk."""
        ctx.services.stop([name for name in ctx.services.report() if not ctx.wanted])
        ctx.memo(owned.ref).clear()
        return Done(owned.external_id)

    def found(self, ctx: Context) -> Sequence[str]:
        return [ref.path for ref in sorted(ctx.owned) if ref.kind == KIND.name]

    def export(self, external_id: str, ctx: Context) -> Mapping[str, JSON]:
        """As it was applied; its services run by that."""
        ref = Ref(KIND.name, None, external_id)
        if (page := ctx.memo(ref).get("applied")) is None:
            raise Terminal(f"no platform '{external_id}' was applied here", hint=f"there is: {', '.join(self.found(ctx)) or 'none'}")
        return manifest(ref, page)

    def health(self, resource: Resource[PlatformSpec], seen: Present) -> HealthReport:
        states: Mapping[str, str] = seen.fields["services"]
        starting = sorted(name for name, state in states.items() if state == "starting")
        down = sorted(name for name, state in states.items() if state not in (*UP, "starting"))
        if down:
            why = "; ".join(f"{name} is {states[name]}: {seen.raw['services'][name].get('message') or 'no more is known'}" for name in down)
            return HealthReport(Health.DEGRADED, why, "ServiceDown")
        if starting:
            return HealthReport(Health.PROGRESSING, f"{', '.join(starting)} starting")
        return HealthReport(Health.HEALTHY)


def _states(ctx: Context) -> Mapping[str, str]:
    return {name: str(each.get("state")) for name, each in ctx.services.report().items()} if ctx.wanted else {}


def _is_concerned(name: str, changes: Sequence[Change]) -> bool:
    return any(each.path.startswith(RESTARTING.get(name, ())) for each in changes)


def _must_restart(name: str, states: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """It runs otherwise than declared; or it hangs although all that it stands on works."""
    below = all(state == "running" for other, state in states.items() if other not in wanted)
    return states.get(name) == "degraded" or (states.get(name) == "unhealthy" and below)
