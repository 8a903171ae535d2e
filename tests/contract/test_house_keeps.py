"""What a process keeps between its passes: one runner that sees its children end, one measurement of the services."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from reconciler.controller import Context
from reconciler.house import House, context, open_house
from reconciler.model import Ref, Resource
from reconciler.platform import Services, ServiceSpec
from reconciler.platform.shared import MEASURED_FOR, Meter, Shared
from reconciler.settings import Settings
from reconciler.testing import make_resource
from schemas.platform import KIND, PlatformSpec
from tests.contract.job_house import JobHouse

PLATFORM = {"installation": "kept", "mlflow": {"managed": False, "endpoint": "http://127.0.0.1:9"}}


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[JobHouse]:
    with contextlib.closing(JobHouse(tmp_path)) as found:
        yield found


@pytest.fixture
def house(tmp_path: Path, jobs: JobHouse) -> House:
    return open_house(Settings(root=tmp_path, state_dir=jobs.state_dir))


def a_pass(house: House, **platform: Any) -> Context:
    """The context that one more pass gets."""
    resource: Resource[Any] = make_resource(KIND, "main", {**PLATFORM, **platform})
    found = context(house, {Ref("Platform", None, "main"): resource}, {})
    assert found is not None
    return found


def zombies() -> list[int]:
    return [each.pid for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE]


def test_a_supervisor_that_has_ended_is_reaped_by_the_next_look_of_another_pass(house: House, jobs: JobHouse) -> None:
    first, before = a_pass(house), zombies()
    assert first.jobs is not None
    job = jobs.job("print('done')\n")
    first.jobs.launch(job)
    jobs.ended(job.id)
    deadline = time.monotonic() + 40
    while zombies() == before:
        assert time.monotonic() < deadline, "its supervisor never left"
        time.sleep(0.05)
    second = a_pass(house)
    assert second.jobs is not None
    assert second.jobs.look()[job.id].state == "ended"
    assert zombies() == before


def test_a_job_that_is_launched_again_is_seen_as_it_is_now(house: House, jobs: JobHouse) -> None:
    """The runner lives on; what it knew of the job of this id does not."""
    first = a_pass(house).jobs
    assert first is not None
    job = jobs.job("print('done')\n", memory=1 << 30)
    first.launch(job)
    jobs.ended(job.id)
    assert first.look()[job.id].granted.memory == 1 << 30
    deadline = time.monotonic() + 40
    while jobs.at(job.id).path.exists():
        assert time.monotonic() < deadline
        with contextlib.suppress(Exception):  # its supervisor has not left yet
            jobs.open().forget(job.id)
    jobs.open().launch(replace(job, memory=2 << 30))
    jobs.ended(job.id)
    second = a_pass(house).jobs
    assert second is not None
    assert second.look()[job.id].granted.memory == 2 << 30


def test_the_runner_works_with_the_platform_of_the_last_pass(house: House, jobs: JobHouse) -> None:
    """A supervisor is told of the sensors that the Platform asks for now."""
    first = a_pass(house).jobs
    assert a_pass(house, admission={"sensors": "none"}).jobs is first
    assert first is not None
    job = jobs.job("print('done')\n")
    first.launch(job)
    assert json.loads(jobs.at(job.id).sensors.read_text())["admission"]["sensors"] == "none"
    jobs.ended(job.id)


# --- the services' memory ---


class Clock:
    """A clock that the test moves."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


def test_a_measurement_holds_for_ten_seconds() -> None:
    clock, told = Clock(), iter([100, 200, 300])
    meter = Meter(clock)
    seen = []
    for clock.at in (0.0, 5.0, MEASURED_FOR - 0.1, MEASURED_FOR, MEASURED_FOR + 9.0):
        seen.append(meter(lambda: next(told)))
    assert seen == [100, 100, 100, 200, 200]
    meter.forget()
    assert meter(lambda: next(told)) == 300


@pytest.mark.xdist_group("mlflow")
def test_the_memory_of_real_services_is_measured_once_for_all_passes(tmp_path: Path) -> None:
    spec = PlatformSpec.model_validate({"installation": "kept", "mlflow": {"managed": True}})
    services, clock = Services(tmp_path / "s", [ServiceSpec("postgres")]), Clock()
    meter = Meter(clock)
    try:
        services.ensure(["postgres"], deadline=240.0)
        first = Shared(spec, tmp_path / "s", lambda reference: "", meter).memory()
        assert first > 1 << 20
        services.stop()
        assert Shared(spec, tmp_path / "s", lambda reference: "", meter).memory() == first, "of now it would be none"
        clock.at = MEASURED_FOR
        assert Shared(spec, tmp_path / "s", lambda reference: "", meter).memory() == 0
    finally:
        services.stop()
