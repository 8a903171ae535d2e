"""One replica of a Deployment's revision: a slot of its Serve application, with a lease of its own. A child of the Deployment; no
manifest names it.

Serve knows a number of replicas, not which is which: the application has as many as there are leases, slots count from 0, and the last
ones go first. Marks are in the application's arguments (`controllers.tools.serve_apps.config`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from controllers.serving import packaging
from controllers.serving.looking import KIND, expanded, failure, sight
from controllers.serving.replicas import DIGITS, ReplicaSpec, demand, name, slot_of
from controllers.serving.scene import noted
from controllers.tools import serve
from controllers.tools.serve import AppInfo
from reconciler.controller import Context
from reconciler.errors import Rejected, Terminal, Transient
from reconciler.model import (
    Absent,
    Change,
    Create,
    Demand,
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
)
from reconciler.model.serving import app_name
from schemas.base import KindInfo


@dataclass
class Shrinking:
    """How far each application shrinks in this pass: several slots of one may go at once, in any order."""

    least: dict[str, int] = field(default_factory=dict)
    locks: dict[str, Lock] = field(default_factory=dict)


class ReplicaController:
    """See `reconciler.controller.Controller`; also Demands and Projects."""

    info = KindInfo(name=KIND, spec=ReplicaSpec, scope="project", prune="auto", summary="One replica of a deployment.")
    tool = "serve"
    services = ("mlflow", "ray", "gateway")

    def observe(self, resources: Sequence[Resource[ReplicaSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        seen: dict[Ref, Observation] = {}
        # Of a deployment whose replicas could not be worked out in this pass, none may look as if it were not wanted.
        for parent in {replace(each.ref, key="") for each in resources} | expanded(ctx).refs:
            for app in sight(ctx).by_ref.get(str(parent), ()):
                for slot in range(app.target):
                    ref = replace(parent, key=name(app.digest, slot))
                    seen[ref] = _present(ref, slot, app, ctx)
            for ref, token in _lost(parent, ctx):
                seen.setdefault(ref, Present(token, {"status": "LOST"}, {}, Mark(ctx.installation, str(ref))))
        for resource in resources:
            if "revision" not in getattr(seen.get(resource.ref), "raw", {}):  # what Serve has lost is not there for who wants it
                seen[resource.ref] = Absent()
        return seen

    def desired(self, resource: Resource[ReplicaSpec]) -> Fields:
        return {"version": resource.spec.label, **{key: each for key, each in resource.spec.amounts._asdict().items() if each}}

    def diff(self, resource: Resource[ReplicaSpec], seen: Present) -> Diff:
        have, spec = str(seen.raw["revision"]), resource.spec
        if have == spec.revision:
            return (Change("status", seen.raw["status"], "RUNNING", note=f"started once more: {spec.restart}"),) if spec.restart else ()
        return (Change("revision", have[:DIGITS], spec.revision[:DIGITS], note="its application was changed outside the reconciler"),)

    def demand(self, action: Create | Update | Replace, ctx: Context) -> Demand | None:
        if not isinstance(action, Create):
            return None  # what it was granted stands
        child: Resource[Any] = action.resource
        return demand(child.spec)

    def health(self, resource: Resource[ReplicaSpec], seen: Present) -> HealthReport:
        if resource.spec.slot < seen.raw["running"]:
            return HealthReport(Health.HEALTHY)
        if seen.raw["failed"]:
            return HealthReport(Health.DEGRADED, str(seen.raw["failed"]), "ReplicaFailed")
        return HealthReport(Health.PROGRESSING, "it loads the model and answers its examples", "Starting")

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        child: Resource[Any] = action.resource
        spec: ReplicaSpec = child.spec
        parent = replace(child.ref, key="")
        app, leased = app_name(parent, spec.revision), _leased(parent, spec.revision, ctx)
        if spec.slot >= leased:
            if child.ref not in ctx.granted:
                raise Terminal(f"{child.ref} has no lease", hint="work starts only when admission has granted what it needs")
            raise Transient("the replica before this one waits for room")
        revision = noted(ctx.memo(parent)).revisions.get(spec.revision)
        if revision is None or not revision.bento:
            raise Transient(f"{parent} has not packaged this revision yet")
        there = serve.connect(ctx).applications().get(app)
        if there is not None and there.ours and spec.restart:
            serve.connect(ctx).remove([app])  # asked for again, it would stay as it is: the next pass asks anew
        elif there is not None and there.ours and there.digest == spec.revision and there.config is not None:
            if there.target < leased:
                _begin(parent, spec.revision, ctx)
                serve.connect(ctx).scale(app, leased)
        else:
            _begin(parent, spec.revision, ctx)
            serve.connect(ctx).declare(packaging.application(parent, revision, leased, ctx.granted[child.ref].amounts, ctx))
        return Started(f"serve:{app}:{spec.slot}")

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Let go of a slot: the application shrinks to those before it."""
        parent, found = replace(owned.ref, key=""), slot_of(owned.ref)
        tool = serve.connect(ctx)
        app = next((each for each in tool.applications().values() if _is(each, parent, owned.ref)), None)
        if found is not None and app is None:
            tool.remove([app_name(parent, found[0])])  # Serve has lost it: nothing counts a lease for it any more
        if found is None or app is None or app.target <= found[1]:
            return Done(owned.external_id)
        shrinking = ctx.client(Shrinking, lambda _: Shrinking())
        with ctx.lock:
            lock = shrinking.locks.setdefault(app.name, Lock())
        with lock:
            least = shrinking.least[app.name] = min(found[1], shrinking.least.get(app.name, found[1]))
            try:
                tool.scale(app.name, least)
            except Rejected:  # it is gone
                return Done(owned.external_id)
        return Done(owned.external_id)


def _lost(parent: Ref, ctx: Context) -> Iterator[tuple[Ref, str]]:
    """Slots that were asked for and that Serve knows nothing of, each with its token."""
    for app, entry in serve.connect(ctx).lost().items():
        if entry.get("ref") == str(parent):
            for slot in range(int(entry.get("replicas") or 0)):
                yield replace(parent, key=name(str(entry.get("digest")), slot)), f"serve:{app}:{slot}"


def _is(app: AppInfo, parent: Ref, child: Ref) -> bool:
    return app.ours and app.ref == str(parent) and child.key.startswith(f"{app.digest[:DIGITS]}-")


def _present(ref: Ref, slot: int, app: AppInfo, ctx: Context) -> Present:
    token = f"serve:{app.name}:{slot}"
    raw = {"revision": app.digest, "running": app.running, "failed": failure(app, ctx), "status": app.status}
    return Present(token, {"status": app.status}, {}, Mark(ctx.installation, str(ref), app.digest[:16]), raw=raw)


def _leased(parent: Ref, revision: str, ctx: Context) -> int:
    """How many replicas may run: the slots that hold a lease, counted from the first."""
    number = 0
    while replace(parent, key=name(revision, number)) in ctx.granted:
        number += 1
    return number


def _begin(parent: Ref, revision: str, ctx: Context) -> None:
    """Note when Serve was asked for (more of) it: what is not ready long after that has failed."""
    with ctx.lock:
        page = ctx.memo(parent)
        page["begun"] = {**(page.get("begun") or {}), revision: ctx.now().timestamp()}
