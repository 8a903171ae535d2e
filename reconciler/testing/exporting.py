"""The part of the contract suite for kinds that can be imported; see `contract.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.controller import Exports
from reconciler.errors import ReconcilerError
from reconciler.model import Owned
from reconciler.testing.contract import ControllerContract
from reconciler.testing.steps import Pass


class ExportContract(ControllerContract):
    """For kinds that can be imported (`reconciler.controller.Exports`)."""

    def test_what_is_there_is_found_and_its_manifest_plans_to_no_changes(self, engine: Pass, name: str) -> None:
        resource, controller = self.make(name), engine.controller
        assert isinstance(controller, Exports)
        seen = engine.create(resource)
        applied = self._applied(engine, resource) or {}
        owned = Owned(resource.ref, seen.external_id, resource.source, resource.digest, applied, resource.prune, declared=resource.declared)
        watched, calls = engine.recorded()
        ctx = replace(watched.fresh(), owned={resource.ref: owned})
        told = [controller.export(each, ctx) for each in controller.found(ctx) if name in each]
        assert len(told) == 1, "by a name that tells which one it is, and once"
        assert [each for each in calls if each.write] == []
        [found] = told
        assert (found["kind"], found["metadata"]["name"]) == (resource.ref.kind, resource.ref.name)
        assert found["metadata"].get("project") == resource.ref.project
        assert not found.get("lifecycle"), "it carries our mark, so that there is nothing to take over"
        spec = type(resource.spec).model_validate(found["spec"])
        assert engine.diff(replace(resource, spec=spec, labels=found["metadata"].get("labels", resource.labels))) == ()

    def test_what_is_not_there_is_told(self, engine: Pass, name: str) -> None:
        controller = engine.controller
        assert isinstance(controller, Exports)
        with pytest.raises(ReconcilerError):
            controller.export(f"{self.make(name).ref.path}-nowhere", engine.fresh())
