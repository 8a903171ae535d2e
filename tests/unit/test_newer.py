"""No wait outlasts a newer manifest: it may say what to do about what is waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from reconciler.house import await_services, open_house
from reconciler.settings import Settings
from reconciler.testing import FakeServices
from tests.e2e.installation import RECONCILE
from tests.unit.test_cli import reconcile


def test_a_service_that_does_not_come_up_is_not_waited_for_when_the_manifests_have_changed(tmp_path: Path) -> None:
    house = open_house(Settings(root=tmp_path))
    services, newer = FakeServices(["mlflow"], looks=1_000_000), threading.Event()
    threading.Timer(1.0, newer.set).start()
    began = time.monotonic()
    await_services(house, services, ["mlflow"], began + 600, threading.Event(), newer.is_set)
    assert services.report()["mlflow"]["state"] == "starting"
    assert 1.0 <= time.monotonic() - began < 60


def test_waiting_until_all_is_ready_acts_on_a_manifest_that_is_saved_meanwhile(tmp_path: Path) -> None:
    assert reconcile("init", ".", cwd=tmp_path).returncode == 0
    manifest = tmp_path / "manifests/hello.yaml"
    first = "---\n".join(manifest.read_text().split("---\n")[:2]).replace("data/flowers.csv", "data/flowers.csv\n  settle: 0s")
    manifest.write_text(first)
    assert reconcile("--wait", "--timeout", "60s", cwd=tmp_path).returncode == 0
    manifest.write_text(first.replace("settle: 0s", "settle: 1h"))
    (tmp_path / "hello/data/flowers.csv").write_text("petal_length\n1\n")
    waits = subprocess.Popen([RECONCILE, "--wait", "--timeout", "600s"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    try:
        time.sleep(15)
        assert waits.poll() is None, "its data settles for an hour"
        manifest.write_text(first)
        out, _ = waits.communicate(timeout=60)
    finally:
        waits.kill()
    assert waits.returncode == 0, out
    assert "1 changed" in out
