"""A planned restart of the gateway as the platform does it: the next process beside the one that runs, then that one ends."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
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

pytestmark = [
    pytest.mark.xdist_group("gateway"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told to send new connections to the new process"),
]
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
