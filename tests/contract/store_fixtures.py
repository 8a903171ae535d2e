"""Where a Store is tested: a new SQLite file, and a new database of a real PostgreSQL. A pytest plugin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.platform import Endpoint, Services, ServiceSpec
from reconciler.state import Store, open_store
from tests.contract.store_values import Clock, admin


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    services = Services(tmp_path_factory.mktemp("store server"), [ServiceSpec("postgres")])
    services.ensure(["postgres"])
    yield services.endpoint("postgres")
    services.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where a Store may be made; nothing is there yet."""
    return _new(request, tmp_path / "a folder, 100 % new #1?" / "store.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Another such place."""
    return _new(request, tmp_path / "elsewhere" / "store.db")


def _new(request: pytest.FixtureRequest, file: Path) -> str | Path:
    if request.param == "sqlite":
        return file
    server: Endpoint = request.getfixturevalue("server")
    name = f"store_{time.monotonic_ns()}"
    with admin(server.for_database("postgres", "psycopg").url) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return server.for_database(name, "psycopg").url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(place: str | Path, clock: Clock) -> Iterator[Store]:
    with open_store(place, now=clock) as opened:
        yield opened
