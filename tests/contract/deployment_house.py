"""One Deployment driven pass by pass against real Ray Serve, a real gateway and real packages; the engine's part is done here by hand.

Models are put into the cache of fetched files, so that no MLflow is needed. Everything that asks for room gets it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from controllers.deployment import DeploymentController
from reconciler.admission.values import Lease
from reconciler.controller import Call, Context
from reconciler.errors import Terminal
from reconciler.model import Absent, Change, Create, HealthReport, Observation, Owned, Present, Ref, Resource, Update
from reconciler.model.serving import folder, routes_file
from reconciler.serving.content import digest
from reconciler.testing import make_resource
from schemas.deployment import KIND
from tests.contract.model_folders import adding

MODEL = Ref("Model", "demo", "sum")


@dataclass
class House:
    """The installation, and one deployment of it."""

    ctx: Context
    gateway: str
    key: str
    spec: dict[str, Any]
    name: str = "sum"
    version: dict[str, str] = field(default_factory=dict)
    controller: DeploymentController = field(default_factory=DeploymentController)
    granted: dict[Ref, Lease] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    @property
    def resource(self) -> Resource[Any]:
        made = make_resource(KIND, self.name, self.spec, references=[MODEL])
        return replace(made, inputs={MODEL: {"alias": "champion", "version": "", "versions": "{}", **self.version}})

    def publish(self, number: str, code: str, **more: Any) -> None:
        """Have the alias lead to a version with this code."""
        staged = adding(self.ctx.state_dir / "staged", code, **more)
        found = digest(staged)
        place = folder(self.ctx.state_dir) / "models" / found
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        staged.rename(place)
        told = {"run": number * 32, "digest": found, "source": f"1/{number}/artifacts/model", "runtimes": json.dumps(["sklearn"])}
        self.version = {"version": number, **told}

    def reconcile(self) -> tuple[Change, ...]:
        """One pass; returns what it changed of the deployment itself."""
        ctx = replace(self.ctx, clients={}, granted=self.granted, wire=self.calls.append)
        resource = self.resource
        seen = self.controller.observe([resource], ctx)[resource.ref]
        facts = self.controller.facts([resource], ctx)[resource.ref]
        children = self.controller.children(resource, seen, facts)
        below = self.controller.child.observe(children, ctx)
        changes = self.controller.diff(resource, seen) if isinstance(seen, Present) else ()
        if isinstance(seen, Absent):
            self.controller.apply(Create(resource), ctx)
        elif changes and isinstance(seen, Present):
            self.controller.apply(Update(resource, seen, changes), ctx)
            again = self.controller.observe([resource], replace(ctx, focused=True))[resource.ref]
            assert isinstance(again, Present)
            assert self.controller.diff(resource, again) == (), "what was read after an apply must be as desired"
        self._replicas(children, below, ctx)
        return changes

    def until(self, what: str, seconds: float = 90.0) -> HealthReport:
        """Passes until the health's message begins with `what`."""
        deadline, report = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            self.reconcile()
            report = self.health()
            if report.message.startswith(what):
                return report
            time.sleep(0.5)
        raise AssertionError(f"expected {what!r} within {seconds:.0f} s, and it is: {report}")

    def health(self) -> HealthReport:
        resource, ctx = self.resource, replace(self.ctx, clients={})
        seen = self.controller.observe([resource], ctx)[resource.ref]
        assert isinstance(seen, Present)
        return self.controller.health(resource, seen)

    def delete(self) -> None:
        ref = self.resource.ref
        ctx = replace(self.ctx, clients={})
        self.controller.delete(Owned(ref, ref.path, "root", "", {}, "auto"), ctx)

    def ask(self, *instances: Mapping[str, float]) -> httpx.Response:
        """What the gateway answers once it works by the routes as they are: it looks at them by the clock."""
        wanted, deadline = state_of(routes_file(self.ctx.state_dir))["generation"], time.monotonic() + 10
        while (works_by := httpx.get(f"{self.gateway}/healthz", trust_env=False).json()["generation"]) < wanted:
            assert time.monotonic() < deadline, f"the gateway works by generation {works_by}, not by {wanted}"
            time.sleep(0.05)
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.gateway}/predict/demo/{self.name}"
        return httpx.post(url, json={"instances": list(instances)}, headers=headers, timeout=15, trust_env=False)

    def _replicas(self, children: Any, below: Mapping[Ref, Observation], ctx: Context) -> None:
        wanted = {each.ref: each for each in children}
        now = datetime.now(UTC)
        for ref, child in wanted.items():
            if isinstance(below[ref], Absent) and (asks := self.controller.child.demand(Create(child), ctx)) is not None:
                self.granted[ref] = Lease(ref, ref.owner, "here", asks.peak, 5, now, now, "serving")
        for ref, child in wanted.items():
            if isinstance(below[ref], Absent):
                self.controller.child.apply(Create(child), ctx)
        for ref, seen in below.items():
            if ref not in wanted and isinstance(seen, Present):
                self.controller.child.delete(Owned(ref, seen.external_id, "root", "", {}, "auto"), ctx)
                self.granted.pop(ref, None)


def refused(house: House) -> str:
    """Why the next pass refuses what is wanted."""
    try:
        house.reconcile()
    except Terminal as error:
        return str(error)
    return ""


def state_of(path: Path) -> dict[str, Any]:
    """A JSON file of the state folder."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
