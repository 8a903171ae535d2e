"""The real services that tests share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.platform import Services, ServiceSpec

START_SECONDS = 240.0
"""Longest wait for PostgreSQL and MLflow together on a busy machine of two cores."""


@pytest.fixture(scope="session")
def mlflow_url() -> Iterator[str]:
    """Base URL of a real MLflow server on a real PostgreSQL, started once for the session and stopped at its end.

    Tests that use it carry `@pytest.mark.xdist_group("mlflow")`, so that one worker runs them all and starts it once.
    They share it: each works with names of its own and expects other experiments to be there."""
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))  # short: a socket's path may have 104 characters on macOS
    services = Services(folder, [ServiceSpec("mlflow")])
    try:
        services.ensure(["mlflow"], deadline=START_SECONDS)
        yield services.endpoint("mlflow").url
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long matrices too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason="a long matrix: make test-full runs it"))
