"""The Project kind: a namespace in DVC, and requirements that are checked against the others'."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.project import ProjectController
from reconciler.controller import Context
from reconciler.errors import Conflict
from reconciler.model import Health, Present, Resource
from reconciler.testing import make_context, make_resource
from reconciler.testing.contract import ManyContract
from reconciler.testing.exporting import ExportContract
from reconciler.testing.steps import Pass
from schemas.project import KIND


class TestProject(ExportContract, ManyContract):
    @pytest.fixture
    def controller(self) -> ProjectController:
        return ProjectController()

    @pytest.fixture
    def ctx(self, tmp_path: Path) -> Context:
        self.root = tmp_path / "tree"
        return make_context(tmp_path)

    def make(self, name: str, **spec: Any) -> Resource[Any]:
        (self.root / name).mkdir(parents=True, exist_ok=True)
        return make_resource(KIND, name, {"path": name, "owners": ["ann"], **spec})

    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        return self.make(resource.ref.name, owners=["ann", "bob"], level="advanced", shares=["dataset/*"])

    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        config = ctx.state_dir / "dvc" / "projects" / resource.ref.name / ".dvc" / "config"
        config.write_text(config.read_text() + "\n[core]\n    analytics = true\n")
        return "namespace.dvc"

    # --- what is particular to projects ---

    def test_the_namespace_is_a_dvc_repository(self, engine: Pass, name: str) -> None:
        engine.create(self.make(name))
        assert (engine.ctx.state_dir / "dvc" / "projects" / name / ".dvc" / "config").is_file()

    def test_a_namespace_deleted_by_hand_comes_back(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        (engine.ctx.state_dir / "dvc" / "projects" / name / ".dvc" / "config").unlink()
        assert [each.path for each in engine.update(resource)] == ["namespace.dvc"]
        assert engine.diff(resource) == ()

    def test_a_namespace_that_still_holds_data_is_not_deleted(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        held = engine.ctx.state_dir / "dvc" / "projects" / name / "digits"
        held.mkdir()
        (held / "digits.csv.dvc").write_text("outs:\n- md5: 0cc175b9c0f1b6a831c399e269772661\n  size: 1\n  hash: md5\n  path: digits.csv\n")
        with pytest.raises(Conflict):
            engine.delete(resource, seen.external_id)
        assert engine.diff(resource) == ()

    @pytest.mark.parametrize(
        ("spec", "folder", "health", "reason"),
        [
            ({}, True, Health.HEALTHY, ""),
            ({}, False, Health.DEGRADED, "FolderMissing"),
            ({"active": False}, True, Health.SUSPENDED, "Inactive"),
        ],
    )
    def test_how_it_is(self, engine: Pass, name: str, spec: Any, folder: bool, health: Health, reason: str) -> None:
        resource = self.make(name, **spec)
        seen = engine.create(resource)
        if not folder:
            (self.root / name).rmdir()
            seen = engine.see(resource)
        told = engine.controller.health(resource, seen)
        assert (told.health, told.reason) == (health, reason)

    def test_requirements_that_exclude_each_other_are_named_on_both_projects(self, engine: Pass, name: str) -> None:
        """Versions that no index needs to be asked for: they contradict in themselves."""
        one = self.make(f"{name}-a", requirements=["numpy>=2"])
        other = self.make(f"{name}-b", requirements=["numpy<2"])
        together = replace(engine, ctx=replace(engine.ctx, projects={each.ref.name: each for each in (one, other)}))
        for each in (one, other):
            together.create(each)
        told = [together.controller.health(each, together.see(each)) for each in (one, other)]
        assert {each.reason for each in told} == {"RequirementsConflict"}
        assert other.ref.name in told[0].message
        assert one.ref.name in told[1].message
