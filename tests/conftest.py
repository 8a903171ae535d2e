"""The real services that tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from reconciler.platform import Services, ServiceSpec

START_SECONDS = 240.0
"""Longest wait for PostgreSQL and MLflow together, or for Ray, on a busy machine of two cores."""


@pytest.fixture(scope="session")
def mlflow_url() -> Iterator[str]:
    """Base URL of a real MLflow server on a real PostgreSQL, started once for the session and stopped at its end.

    Tests that use it carry `@pytest.mark.xdist_group("mlflow")`, so that one worker runs them all and starts it once; those that train
    carry `runs` in its place, so that two workers share the load.
    They share it: each works with names of its own and expects other experiments to be there."""
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))  # short: a socket's path may have 104 characters on macOS
    services = Services(folder, [ServiceSpec("mlflow")])
    try:
        services.ensure(["mlflow"], deadline=START_SECONDS)
        yield services.endpoint("mlflow").url
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_services() -> Iterator[Services]:
    """A real Ray head, started once for the session and stopped at its end.

    Tests that use it carry `@pytest.mark.xdist_group("ray")`. They share it: each works with job ids of its own."""
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    services = Services(folder, [ServiceSpec("ray", extra={"cpus": "2"})])
    try:
        services.ensure(["ray"], deadline=START_SECONDS)
        yield services
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_url(ray_services: Services) -> str:
    """Base URL of the jobs interface of `ray_services`, token included."""
    return ray_services.endpoint("ray").url


@pytest.fixture(scope="session", autouse=True)
def _quiet_environment() -> Iterator[None]:
    """No setting of the machine reaches the tests, and the tools send nothing home."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("MLOPS_", "MLFLOW_", "GIT_", "RAY_"))]:
        del os.environ[name]
    for name in ("PYTHONDONTWRITEBYTECODE", "COLUMNS", "LINES"):  # the width of somebody's terminal is not ours
        os.environ.pop(name, None)
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1"})
    yield
    os.environ.clear()
    os.environ.update(before)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long matrices too, and the property tests with many more examples")


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("usual", deadline=None)
    settings.register_profile("full", deadline=None, max_examples=2000)
    settings.load_profile("full" if config.getoption("--full") else "usual")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `--full` the long matrices are deselected, so that a skip never stands for one."""
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
