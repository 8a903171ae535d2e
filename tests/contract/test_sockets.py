"""What listens where, with Ray, Serve, replicas and the gateway up; and how they end with their head."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from reconciler.model.serving import replicas_folder
from reconciler.platform import Services, ServiceSpec, process, ray
from reconciler.platform.spec import Site
from tests.contract.serve_lab import ServeLab, close_lab, open_lab, until

pytestmark = pytest.mark.xdist_group("ray")

APP = "demo.sum.aaaaaaaa"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture(scope="module")
def lab(ray_url: str) -> Iterator[ServeLab]:
    found = open_lab(ray_url)
    try:
        found.client.declare(found.spec("sum"))
        found.ready(APP)
        yield found
    finally:
        close_lab(found)


@pytest.fixture(scope="module")
def gateway(lab: ServeLab) -> Iterator[Services]:
    services = Services(lab.state, [ServiceSpec("gateway")])
    try:
        services.ensure(["gateway"], deadline=60)
        yield services
    finally:
        services.stop()


def listening(pid: int) -> dict[tuple[str, int], str]:
    """Where the process and its descendants listen, and who."""
    found: dict[tuple[str, int], str] = {}
    for one in process.tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in one.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN or not each.raddr:
                    found[each.laddr.ip, each.laddr.port] = one.name()
    return found


def test_nothing_listens_beyond_this_machine(lab: ServeLab, gateway: Services, ray_services: Services) -> None:
    head, own = ray_services.status(probe=False)["ray"].pid or 0, gateway.status(probe=False)["gateway"].pid or 0
    found = {**listening(head), **listening(own)}
    assert {where: who for where, who in found.items() if where[0] not in LOOPBACK} == {}
    [replica] = lab.ready(APP)
    assert listening(replica.pid), "the replica's gRPC server, which Serve would open to everybody"
    assert {port for (_, port) in listening(own)} == {gateway.endpoint("gateway").port}


def test_the_gateway_is_found_again_and_tells_its_state_only_whom_it_may(lab: ServeLab, gateway: Services) -> None:
    where = gateway.endpoint("gateway")
    seen = Services(lab.state, [ServiceSpec("gateway")]).status()["gateway"]
    assert (seen.state, seen.message, seen.url) == ("running", "", f"http://gateway:***@127.0.0.1:{where.port}")
    token = lab.state / "services" / "gateway" / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert where.password == token.read_text()
    assert where.password not in repr(where) + " ".join(psutil.Process(seen.pid).cmdline())
    for headers, status in (({}, 401), ({"Authorization": "Bearer guess"}, 401), ({"Authorization": f"Bearer {where.password}"}, 200)):
        assert httpx.get(f"http://127.0.0.1:{where.port}/-/state", headers=headers, trust_env=False).status_code == status


def test_replicas_finish_what_they_have_in_hand_before_their_head_is_stopped(lab: ServeLab, ray_services: Services) -> None:
    [replica], answers = lab.ready(APP), list[Any]()
    home = lab.state / "services" / "ray"
    home.mkdir(mode=0o700)
    (home / "token").write_text(str(httpx.URL(lab.address).password))
    thread = threading.Thread(target=lambda: answers.append(lab.ask(replica, "wait")))
    thread.start()
    ray.drain(Site(ServiceSpec("ray"), home, ray_services.endpoint("ray").port))
    thread.join()
    assert answers == [[0.0]]
    until(lambda: not lab.replicas(APP), 10)
    assert not list((replicas_folder(lab.state) / APP).glob("*.json")), "it left, it was not killed"
    assert not Path(replica.socket).parent.exists()
    assert lab.client.applications() == {}
