"""The ResourceQuota kind, whose real thing is a page of the installation's own Store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controllers.resourcequota import ResourceQuotaController
from reconciler.controller import Context
from reconciler.model import Present, Resource
from reconciler.testing import make_context, make_resource
from reconciler.testing.contract import ManyContract
from reconciler.testing.exporting import ExportContract
from schemas.resourcequota import KIND


class TestResourceQuota(ExportContract, ManyContract):
    @pytest.fixture
    def controller(self) -> ResourceQuotaController:
        return ResourceQuotaController()

    @pytest.fixture
    def ctx(self, tmp_path: Path) -> Context:
        return make_context(tmp_path)

    def make(self, name: str) -> Resource[Any]:
        return make_resource(KIND, name, {"nominal": {"memory": "2Gi", "cpu": 2}, "windows": [WINDOW]})

    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        return make_resource(KIND, resource.ref.name, {"nominal": {"memory": "4Gi"}, "priority": 7})

    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        ctx.memo(resource.ref)["quota"]["priority"] = 1
        return "spec.priority"


WINDOW = {"kind": "deny", "cron": "0 9 * * 1", "duration": "1h", "timezone": "Europe/Berlin"}
