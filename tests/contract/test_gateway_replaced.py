"""A planned restart of the gateway as the platform does it: the next process beside the one that runs, then that one ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.load import Load
from controllers.platform import PlatformController
from reconciler.errors import Transient
from reconciler.model import Create, Present, Update
from reconciler.model.serving import Bounds
from reconciler.platform import Services, ServiceSpec, process
from reconciler.platform.shared import Shared
from reconciler.testing import make_context, make_resource
from schemas.platform import KIND, PlatformSpec
from tests.contract.gateway_lab import RELEASED, Lab, free_port, lab, route, target, until
from tests.unit.test_cli import reconcile

pytestmark = pytest.mark.xdist_group("gateway")
beside = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told to send new connections to the new process")
"""Elsewhere a restart is a stop and a start, which refuses whoever asks in between."""
NAMES = ["gateway"]


def services(up: Lab, **settings: object) -> Services:
    return Services(up.state_dir, [replace(ServiceSpec("gateway"), **settings)])  # type: ignore[arg-type]


@pytest.fixture
def up() -> Iterator[Lab]:
    """A gateway that runs as the platform runs it, in front of one replica."""
    with lab() as found:
        found.replica("p.one.1")
        found.routes(route("n", target("p.one.1"), limits=Bounds(timeout=60)))
        house = services(found)
        try:
            house.ensure(NAMES, deadline=60)
            found.port = house.endpoint("gateway").port
            until(lambda: found.ready("p.one.1") == 1)
            yield found
        finally:
            house.stop()
            assert marked(found) == []


def marked(up: Lab) -> list[int]:
    return [each.pid for each in process.marked_processes(process.mark("gateway", up.state_dir))]


def load(up: Lab, **headers: str) -> Load:
    body = json.dumps({"instances": [{"x": 1}]}).encode()
    return Load(f"{up.url}/predict/p/n", body, {"authorization": f"Bearer {up.key('p')}", **headers}, workers=8, pause=0.0)


@beside
def test_a_restart_refuses_nobody_and_finishes_what_is_in_hand(up: Lab) -> None:
    """With connections that are kept, with a new one for each request, and with a request that takes longer than the restart."""
    (old,) = marked(up)
    RELEASED.clear()
    answers: list[int] = []

    def hold() -> None:
        with up.client() as client:
            answers.append(client.post("/predict/p/n", json={"instances": [{"x": 1, "do": "hold"}]}).status_code)

    slow = threading.Thread(target=hold)
    slow.start()
    until(lambda: up.state()["routes"]["p/n"]["ongoing"] == 1)
    with load(up) as kept, load(up, connection="close") as fresh:
        until(lambda: min(len(kept.answers), len(fresh.answers)) > 50)
        threading.Thread(target=lambda: (until(lambda: up.state()["pid"] != old), time.sleep(1.5), RELEASED.set())).start()
        services(up).renew(NAMES)
        renewed = time.monotonic()
        until(lambda: any(each.at > renewed for each in kept.answers) and any(each.at > renewed for each in fresh.answers))
    slow.join(30)
    assert (kept.failed(), fresh.failed(), answers) == ([], [], [200])
    assert process.birth(old) is None
    status = services(up).status()["gateway"]
    assert (status.state, [status.pid]) == ("running", marked(up))
    assert status.pid == up.state()["pid"] != old


@beside
def test_other_settings_replace_it_and_another_port_stops_it_first(tmp_path: Path, up: Lab) -> None:
    def at(**gateway: object) -> Shared:
        spec = PlatformSpec.model_validate({"installation": "lab", "mlflow": {"managed": False, "endpoint": up.url}, "gateway": gateway})
        return Shared(spec, up.state_dir, str)

    controller, port, (first,) = PlatformController(), free_port(), marked(up)
    ctx = make_context(tmp_path, services=at(), wanted=NAMES)
    controller.apply(Create(make_resource(KIND, "main", {"installation": "lab"})), ctx)
    assert marked(up) == [first]
    seen = []
    for gateway in ({"interpreter": sys.executable}, {"port": port}):
        later, here = make_resource(KIND, "main", {"installation": "lab", "gateway": gateway}), replace(ctx, services=at(**gateway))
        found = controller.observe([later], here)[later.ref]
        assert isinstance(found, Present)
        with load(up) as asking:
            until(lambda: len(asking.answers) > 20)
            controller.apply(Update(later, found, controller.diff(later, found)), here)
        seen.append((len(marked(up)), bool(asking.failed()), marked(up) != [first]))
        (first,) = marked(up)
    assert seen == [(1, False, True), (1, True, True)]


@beside
def test_one_that_does_not_start_leaves_the_old_one(up: Lab) -> None:
    before = marked(up)
    with load(up) as asking, pytest.raises(Transient, match="gateway was not replaced"):
        services(up, interpreter="/bin/false").renew(NAMES)
    assert asking.failed() == []
    assert marked(up) == before
    services(up).ensure(NAMES)
    assert services(up).status()["gateway"].state == "running"


@beside
def test_one_who_replaces_it_and_is_killed_at_any_moment_leaves_one_after_the_next_start(up: Lab) -> None:
    script = textwrap.dedent(
        f"""
        import pathlib
        from reconciler.platform import Services, ServiceSpec
        house = Services(pathlib.Path({str(up.state_dir)!r}), [ServiceSpec("gateway")])
        print("go", flush=True)
        house.renew(["gateway"])
        """
    )
    marker = up.state_dir / "services" / "gateway" / "next.json"
    for wait in (
        lambda: marker.exists(),
        lambda: len(marked(up)) == 2,
        lambda: up.state()["pid"] != services(up).status(probe=False)["gateway"].pid,
    ):
        starter = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
        until(wait)
        starter.kill()
        starter.wait()
        pid = services(up).ensure(NAMES)["gateway"].pid
        assert marked(up) == [pid] == [up.state()["pid"]]
        assert not marker.exists()


def test_a_person_restarts_it_by_name() -> None:
    folder = Path(tempfile.mkdtemp(prefix="gr-", dir="/tmp"))
    house = Services(folder / ".mlops", [ServiceSpec("gateway")])
    try:
        assert reconcile("init", ".", cwd=folder).returncode == 0
        (folder / ".mlops" / "serving").mkdir(mode=0o700, parents=True)
        before = house.ensure(NAMES)["gateway"].pid
        said = reconcile("platform", "restart", "gateway", cwd=folder)
        assert said.returncode == 0, said.stderr
        after = house.status()["gateway"]
        assert (after.state, after.pid == before, str(after.pid) in said.stdout) == ("running", False, True)
        assert [each.pid for each in process.marked_processes(process.mark("gateway", folder / ".mlops"))] == [after.pid]
        assert "services that are managed here" in reconcile("platform", "restart", "nobody", cwd=folder).stderr
    finally:
        house.stop()
        shutil.rmtree(folder, ignore_errors=True)
