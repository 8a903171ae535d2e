"""The Deployment kind against real Ray Serve, BentoML and the real gateway: one deployment from its first version to its end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model import Absent, Health
from reconciler.model.serving import routes_file
from reconciler.platform import Services, ServiceSpec
from reconciler.serving.register import standing
from reconciler.testing import ServicesAt, make_context
from tests.contract.deployment_house import House, refused, state_of
from tests.contract.model_folders import SUM

pytestmark = pytest.mark.xdist_group("ray")
ONE = {"a": 1.0, "b": 2.0}
TENFOLD = SUM.replace("each['a'] + each['b']", "10 * (each['a'] + each['b'])")
LOADS_NOT = "def load(folder):\n    raise RuntimeError('the weights do not fit')\n"


@pytest.fixture(scope="module")
def house(ray_url: str) -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    state = folder / "state"
    gateway = Services(state, [ServiceSpec("gateway")])
    try:
        gateway.ensure(["gateway"], deadline=60)
        where = gateway.endpoint("gateway")
        services = ServicesAt({"ray": ray_url, "gateway": where.url})
        made = House(
            make_context(folder, services=services, deadline=60.0),
            f"http://127.0.0.1:{where.port}",
            where.password,
            {"model": "sum@champion", "resources": {"memory": "600Mi"}},
        )
        yield made
        if not isinstance(made.controller.observe([made.resource], replace(made.ctx, clients={}))[made.resource.ref], Absent):
            made.delete()
    finally:
        gateway.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_from_the_first_version_to_the_end(house: House) -> None:
    assert house.reconcile() == ()
    assert house.health().reason == "WaitingForModel"
    assert house.ask(ONE).status_code == 503

    house.publish("1", SUM)
    report = house.until("v1 on 1 replica (sklearn), 100 %")
    assert report.health is Health.HEALTHY
    answer = house.ask(ONE)
    assert (answer.json()["predictions"], answer.headers["x-model-version"]) == ([3.0], "1")
    house.calls.clear()
    assert house.reconcile() == ()
    assert [each for each in house.calls if each.write] == []

    house.publish("2", TENFOLD)
    [change] = house.reconcile()
    assert (change.path, change.have, change.want) == ("version", "1", "2")
    assert house.ask(ONE).json()["predictions"] == [3.0]
    house.until("v2 on 1 replica")
    assert house.ask(ONE).json()["predictions"] == [30.0]

    house.publish("3", LOADS_NOT)
    report = house.until("v3 was taken back")
    assert report.health is Health.DEGRADED
    assert "the weights do not fit" in report.message
    assert house.ask(ONE).headers["x-model-version"] == "2"
    house.reconcile()
    assert house.health().reason == "RolledBack"

    house.publish("4", SUM, packages={"scikit-learn": "0.1.0"})
    assert "made with scikit-learn 0.1.0" in refused(house)
    assert house.ask(ONE).headers["x-model-version"] == "2"
    assert house.health().reason == "Refused"
    assert house.reconcile() == ()

    routes = routes_file(house.ctx.state_dir)
    routes.write_text(routes.read_text().replace('"weight": 100', '"weight": 0'))
    [change] = house.reconcile()
    assert change.path == "weights"
    assert house.ask(ONE).status_code == 200

    _spoil_the_store(house)
    deadline = time.monotonic() + 90
    while "package" not in (each.path for each in house.reconcile()):
        assert time.monotonic() < deadline, f"nobody noticed: {house.health()}"
        time.sleep(0.5)
    while (answer := house.ask(ONE)).status_code != 200:
        house.reconcile()
        assert time.monotonic() < deadline, f"it does not come back: {house.health()}"
        time.sleep(0.5)
    assert answer.json()["predictions"] == [30.0]

    house.delete()
    assert house.ask(ONE).status_code == 404
    assert state_of(routes)["routes"] == {}
    assert house.controller.observe([house.resource], replace(house.ctx, clients={})) == {house.resource.ref: Absent()}
    assert not list((house.ctx.state_dir / "bentoml" / "bentos").glob("*/*/bento.yaml"))


def _spoil_the_store(house: House) -> None:
    """Change a file of every model in BentoML's store, and end the replica that has loaded it."""
    for path in (house.ctx.state_dir / "bentoml" / "models").glob("*/*/files/*.py"):
        path.write_text(path.read_text() + "\n# spoilt\n")
    for replica in (each for found in standing(house.ctx.state_dir).values() for each in found):
        os.kill(replica.pid, signal.SIGKILL)
