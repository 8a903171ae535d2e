"""The real services that tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from reconciler.platform import Services, ServiceSpec
from tests.e2e.installation import Installation
from tests.e2e.workflows import with_a_chain

os.environ["OMP_NUM_THREADS"] = "1"
"""Before the first numeric package is loaded: threads that wait for each other by spinning take the other workers' time, up to ten fold."""

START_SECONDS = 240.0
"""Longest wait for PostgreSQL and MLflow together, or for Ray, on a busy machine of two cores."""


GROUPS = ("airflow", "mlflow", "serving", "ray", "runs")
"""Groups that take minutes, the longest first: with two workers the suite ends when both have nothing left to do."""
TESTS = Path(__file__).parent
_ends = pytest.StashKey[ExitStack]()


@pytest.fixture(scope="session")
def group_ends(pytestconfig: pytest.Config) -> Iterator[ExitStack]:
    """Left when the last test of the group that runs has ended: services that no other group uses must not take time of its tests."""
    yield pytestconfig.stash[_ends]
    pytestconfig.stash[_ends].close()  # where the session ends before the group does


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
def ray_services(group_ends: ExitStack) -> Services:
    """A real Ray head, started once and stopped with the last test of its group.

    Tests that use it carry `@pytest.mark.xdist_group("ray")`. They share it: each works with job ids of its own."""
    folder = Path(tempfile.mkdtemp(prefix="mlops-", dir="/tmp"))
    group_ends.callback(shutil.rmtree, folder, ignore_errors=True)
    services = Services(folder, [ServiceSpec("ray", extra={"cpus": "2"})])
    group_ends.callback(services.stop)
    services.ensure(["ray"], deadline=START_SECONDS)
    return services


@pytest.fixture(scope="session")
def ray_url(ray_services: Services) -> str:
    """Base URL of the jobs interface of `ray_services`, token included."""
    return ray_services.endpoint("ray").url


@pytest.fixture(scope="session")
def flows(tmp_path_factory: pytest.TempPathFactory, group_ends: ExitStack) -> Installation:
    """An installation with a real Airflow, up, and one workflow of two tasks. Others name its Airflow as `tests.e2e.workflows.theirs` says.

    Tests that use it carry `@pytest.mark.xdist_group("airflow")`. They share it: each works with workflows of its own."""
    found = with_a_chain(tmp_path_factory.mktemp("flows"))
    group_ends.callback(found.run, "platform", "down")
    found.ok("--wait")
    return found


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
    config.stash[_ends] = ExitStack()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `--full` the long matrices are deselected, so that a skip never stands for one. Tests without a group are one with those of
    their file, which share its fixtures; each group is in one piece."""
    if not config.getoption("--full") and (left_out := [item for item in items if item.get_closest_marker("full")]):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(TESTS))))
    order = {name: at for at, name in enumerate(dict.fromkeys([*GROUPS, *map(_group, items)]))}
    items.sort(key=lambda item: order[_group(item)])


@pytest.hookimpl(trylast=True)  # when the fixtures of the module have ended
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or _group(nextitem) != _group(item):
        item.config.stash[_ends].close()


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""
