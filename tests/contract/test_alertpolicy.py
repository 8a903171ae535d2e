"""The AlertPolicy kind, whose real thing is a page of the installation's own Store; and its health."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.alertpolicy import AlertPolicyController
from reconciler.controller import Context
from reconciler.model import Health, Present, Resource
from reconciler.testing import make_context, make_resource
from reconciler.testing.contract import ManyContract
from reconciler.testing.exporting import ExportContract
from schemas.alertpolicy import KIND

CHAT = {"name": "chat", "apprise": {"fromEnv": "ALERTS_CHAT"}}
OPS = {"name": "ops", "webhook": {"url": "http://127.0.0.1:9/", "secret": {"fromEnv": "ALERTS_SECRET"}}}
NIGHT = {"from": "22:00", "to": "07:00"}


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_CHAT", "json://127.0.0.1:9/")
    monkeypatch.setenv("ALERTS_SECRET", "s")


class TestAlertPolicy(ExportContract, ManyContract):
    @pytest.fixture
    def controller(self) -> AlertPolicyController:
        return AlertPolicyController()

    @pytest.fixture
    def ctx(self, tmp_path: Path) -> Context:
        return make_context(tmp_path)

    def make(self, name: str) -> Resource[Any]:
        return make_resource(KIND, name, {"receivers": [CHAT, OPS], "routes": [{"receivers": ["chat", "ops"]}], "quietHours": [NIGHT]})

    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        return make_resource(KIND, resource.ref.name, {"receivers": [CHAT], "routes": [{"receivers": ["chat"]}], "repeatEvery": "1h"})

    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        ctx.memo(resource.ref)["policy"]["groupWait"] = "1s"
        return "spec.groupWait"


def _health(ctx: Context, **more: Any) -> tuple[Health, str, str]:
    controller = AlertPolicyController()
    resource: Any = make_resource(KIND, "ops", {"receivers": [CHAT, OPS], "routes": [{"receivers": ["chat", "ops"]}], **more})
    ctx.memo(resource.ref)["policy"] = controller.desired(resource)
    seen = controller.observe([resource], ctx)[resource.ref]
    assert isinstance(seen, Present)
    told = controller.health(resource, seen)
    return told.health, told.reason, told.message


def test_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = make_context(tmp_path)
    assert _health(ctx) == (Health.HEALTHY, "", "2 receivers, 1 route")
    daily = {"name": "daily", "receivers": ["chat"], "schedule": "0 8 * * *"}
    assert _health(ctx, routes=[], reports=[daily]) == (Health.HEALTHY, "", "2 receivers, 1 report")
    failing = replace(ctx, undelivered=lambda name: {"ops": "it answered 503"} if name == "ops" else {})
    assert _health(failing) == (Health.DEGRADED, "ReceiverFailing", "messages do not arrive: ops: it answered 503")
    monkeypatch.delenv("ALERTS_CHAT")
    health, reason, message = _health(failing)
    assert (health, reason) == (Health.DEGRADED, "SecretMissing")
    assert message.startswith("chat: ")
