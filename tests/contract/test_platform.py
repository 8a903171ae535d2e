"""The Platform kind, over services that can be let die, and over a real MLflow server that is not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.platform import PlatformController
from reconciler.controller import Context
from reconciler.model import Create, Health, Present, Resource, Started, Update
from reconciler.platform.shared import Shared
from reconciler.testing import FakeServices, make_context, make_resource
from reconciler.testing.context import INSTALLATION
from reconciler.testing.exporting import ExportContract
from reconciler.testing.steps import Pass
from schemas.platform import KIND, PlatformSpec
from tests.contract.proxy import answering


class TestPlatform(ExportContract):
    @pytest.fixture
    def controller(self) -> PlatformController:
        return PlatformController()

    @pytest.fixture
    def ctx(self, tmp_path: Path) -> Context:
        self.services = FakeServices(["postgres", "mlflow"])
        return make_context(tmp_path, services=self.services, wanted=["mlflow"])

    def make(self, name: str, **spec: Any) -> Resource[Any]:
        return make_resource(KIND, name, {"installation": INSTALLATION, **spec})

    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        return self.make(resource.ref.name, mlflow={"workers": 2})

    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        self.services.kill("mlflow")
        return "services.mlflow"

    # --- what is particular to the platform ---

    def test_starting_is_progressing_and_nothing_to_do(self, tmp_path: Path, name: str) -> None:
        ctx = make_context(tmp_path, services=FakeServices(["mlflow"], looks=3), wanted=["mlflow"])
        engine, resource = Pass(PlatformController(), ctx), self.make(name)
        assert isinstance(engine.controller.apply(Create(resource), ctx), Started)
        seen = engine.see(resource)
        assert engine.controller.diff(resource, seen) == ()
        assert engine.controller.health(resource, seen).health is Health.PROGRESSING
        assert engine.ready(resource)

    def test_a_dead_service_is_named_with_the_reason(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        self.services.kill("mlflow")
        told = engine.controller.health(resource, engine.see(resource))
        assert (told.health, told.reason) == (Health.DEGRADED, "ServiceDown")
        assert "its process ended by itself" in told.message

    @pytest.mark.parametrize(
        ("below", "state", "restarted"),
        [("running", "degraded", True), ("running", "unhealthy", True), ("dead", "unhealthy", False), ("running", "starting", False)],
    )
    def test_what_hangs_is_restarted_once_what_it_stands_on_works(
        self, ctx: Context, engine: Pass, name: str, below: str, state: str, restarted: bool
    ) -> None:
        resource = self.make(name)
        engine.create(resource)
        self.services.start(["postgres"])
        engine.ready(resource)
        self.services.fall("postgres", below)
        self.services.fall("mlflow", state)
        seen = engine.see(resource)
        engine.controller.apply(Update(resource, seen, engine.controller.diff(resource, seen)), ctx)
        assert ("mlflow" in self.services.stopped) is restarted

    def test_services_that_nothing_needs_are_not_started(self, engine: Pass, name: str) -> None:
        idle = replace(engine, ctx=replace(engine.ctx, wanted=()))
        idle.create(self.make(name))
        assert self.services.report()["mlflow"]["state"] == "stopped"

    def test_a_service_that_a_later_manifest_needs_is_started(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        replace(engine, ctx=replace(engine.ctx, wanted=())).create(resource)
        assert [each.path for each in engine.update(resource)] == ["services.mlflow"]
        assert self.services.report()["mlflow"]["state"] == "running"

    def test_the_name_of_the_installation_cannot_change(self, engine: Pass, name: str) -> None:
        engine.create(self.make(name))
        (change,) = engine.diff(self.make(name, installation="another"))
        assert (change.path, change.forces_replace) == ("spec.installation", True)


def at(tmp_path: Path, url: str) -> tuple[Pass, Resource[Any]]:
    platform = {"mlflow": {"managed": False, "endpoint": url}}
    spec = PlatformSpec.model_validate({"installation": INSTALLATION, **platform})
    shared = Shared(spec, tmp_path / "state", lambda reference: "")
    ctx = make_context(tmp_path, platform=platform, services=shared, wanted=["mlflow"])
    return Pass(PlatformController(), ctx), make_resource(KIND, "main", {"installation": INSTALLATION, **platform})


@pytest.mark.xdist_group("mlflow")
def test_a_server_of_somebody_else(tmp_path: Path, mlflow_url: str) -> None:
    engine, resource = at(tmp_path, mlflow_url)
    seen = engine.create(resource)
    assert engine.controller.health(resource, seen).health is Health.HEALTHY
    assert seen.raw["services"]["mlflow"]["version"]
    assert engine.diff(resource) == ()
    engine.delete(resource, seen.external_id)
    assert Shared(engine.ctx.platform, engine.ctx.state_dir, lambda reference: "").report()["mlflow"]["state"] == "external"


@pytest.mark.parametrize(("told", "version"), [("3.10", "3.10"), ('{"version": "3.3.2", "git_version": null}', "3.3.2"), ("2.0\n", "2.0")])
def test_the_version_that_a_server_of_somebody_else_tells(tmp_path: Path, told: str, version: str) -> None:
    with answering(told) as url:
        engine, resource = at(tmp_path, url)
        assert engine.create(resource).raw["services"]["mlflow"]["version"] == version


def test_a_server_of_somebody_else_that_is_not_there(tmp_path: Path) -> None:
    with answering("") as url:
        pass
    engine, resource = at(tmp_path, url)
    engine.controller.apply(Create(resource), engine.fresh())
    told = engine.controller.health(resource, engine.see(resource))
    assert (told.health, told.reason) == (Health.DEGRADED, "ServiceDown")
