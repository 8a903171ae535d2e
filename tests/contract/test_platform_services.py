"""The real PostgreSQL and the real MLflow, started once, in a folder with a space in its path and a closed folder above it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from reconciler.platform import Services, ServiceSpec, ports, postgres, process
from reconciler.platform.account import unprivileged

pytestmark = pytest.mark.xdist_group("services")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    closed = tmp_path_factory.mktemp("closed to others")
    closed.chmod(0o700)
    yield closed / "state dir"
    fresh(closed / "state dir").stop()


@pytest.fixture(scope="module")
def events(state: Path) -> list[str]:
    """What was told while everything was started from nothing."""
    told: list[str] = []
    begun = time.monotonic()
    seen = fresh(state).ensure(["mlflow"], on_event=lambda name, what: told.append(f"{name} {what}"))
    print(f"from nothing: {time.monotonic() - begun:.1f} s until {', '.join(each.state for each in seen.values())}")
    return told


@pytest.fixture
def up(state: Path, events: list[str]) -> Services:
    services = fresh(state)
    services.ensure(["mlflow"])
    return services


def fresh(state: Path) -> Services:
    return Services(state, [ServiceSpec("mlflow")])


def until(check: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


def kill(pid: int) -> None:
    psutil.Process(pid).kill()
    until(lambda: process.birth(pid) is None)


def pids(services: Services) -> dict[str, int]:
    return {name: each.pid for name, each in services.status(probe=False).items() if each.pid}


def everyone(services: Services) -> list[psutil.Process]:
    return [each for pid in pids(services).values() for each in process.tree(pid)]


def listening(services: Services) -> set[tuple[str, int]]:
    """Where any process of the services listens; one that ends meanwhile (PostgreSQL has such) listens nowhere."""
    found: set[tuple[str, int]] = set()
    for one in everyone(services):
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets = [each for each in one.net_connections("inet") if each.status == psutil.CONN_LISTEN or not each.raddr]
            found.update((each.laddr.ip, each.laddr.port) for each in sockets)
    return found


def argv(one: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(one.cmdline())
    return ""


def test_all_come_up_in_order_and_tell_their_versions(up: Services, events: list[str]) -> None:
    assert [each.split()[:2] for each in events] == [
        ["postgres", "starting"],
        ["postgres", "ready"],
        ["mlflow", "starting"],
        ["mlflow", "ready"],
    ]
    seen = up.status()
    assert {name: each.state for name, each in seen.items()} == {"postgres": "running", "mlflow": "running"}
    assert (seen["postgres"].version or "").startswith("18.")
    assert (seen["mlflow"].version or "").startswith("3.")
    assert all(each.since is not None and not each.message for each in seen.values())
    memory = {name: (each.pss_bytes or 0) >> 20 for name, each in seen.items()}
    print(f"memory in MiB: {memory}")
    assert all(memory.values())


def test_they_are_found_again_and_not_started_twice(up: Services, state: Path) -> None:
    before = pids(up)
    told: list[str] = []
    fresh(state).ensure(["mlflow"], on_event=lambda name, what: told.append(f"{name} {what}"))
    assert told == ["postgres running", "mlflow running"]
    assert pids(fresh(state)) == before


def test_they_lead_their_own_sessions_with_nothing_of_ours_open(up: Services) -> None:
    for pid in pids(up).values():
        assert os.getsid(pid) == pid != os.getsid(0)
        assert {Path(each.path).name for each in psutil.Process(pid).open_files()} & {"lock", "record.json"} == set()


def test_nothing_listens_beyond_this_machine(up: Services) -> None:
    assert listening(up) == {("127.0.0.1", up.endpoint("mlflow").port)}


def test_the_password_is_in_no_argv_no_log_and_no_open_file(up: Services, state: Path) -> None:
    password = up.endpoint("postgres").password
    assert len(password) >= 32
    assert not [each for each in everyone(up) if password in argv(each)]
    assert not [name for name in up.names if password in up.logs(name, 10_000) or password in repr(up.endpoint(name))]
    assert password not in repr(up.status())
    home = state / "services" / "postgres"
    for path in (home / "password", home / "log", home / "record.json", state / "services" / "mlflow" / "log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(up.endpoint("postgres").host).stat().st_mode) == 0o700


def test_a_wrong_or_missing_password_is_refused(up: Services) -> None:
    import psycopg

    where = up.endpoint("postgres")
    for password in ("wrong", ""):
        with pytest.raises(psycopg.OperationalError, match=r"password|no password"):
            psycopg.connect(host=where.host, port=where.port, user=where.user, password=password, dbname="postgres", connect_timeout=5)


def test_settings_and_databases_of_postgres(up: Services) -> None:
    import psycopg

    with psycopg.connect(up.endpoint("postgres").for_database("mlflow").url, connect_timeout=5) as connection:
        settings: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
    assert (settings["max_connections"], settings["fsync"], settings["listen_addresses"]) == ("200", "on", "")
    assert (settings["server_encoding"], settings["data_checksums"]) == ("UTF8", "on")


def test_a_service_gets_a_minimal_environment(up: Services) -> None:
    found = psutil.Process(pids(up)["mlflow"]).environ()
    ours = {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "DO_NOT_TRACK", "MLOPS_SERVICE"}
    assert set(found) <= ours | {"PATH", "HOME", "LANG", "TMPDIR", "PYTHONUNBUFFERED", "__CF_USER_TEXT_ENCODING"}


def test_mlflow_answers_only_to_its_own_names_and_keeps_artifacts(up: Services) -> None:
    with httpx.Client(base_url=up.endpoint("mlflow").url, timeout=10, trust_env=False) as client:
        search = {"max_results": 1}
        assert client.post("/api/2.0/mlflow/experiments/search", json=search).status_code == 200
        assert client.post("/api/2.0/mlflow/experiments/search", json=search, headers={"Host": "evil.example"}).status_code == 403
        assert client.post("/api/2.0/mlflow/experiments/search", json=search, headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.put("/api/2.0/mlflow-artifacts/artifacts/0/x/a.txt", content=b"kept").status_code == 200
        assert client.get("/api/2.0/mlflow-artifacts/artifacts/0/x/a.txt").content == b"kept"


def test_one_that_hangs_is_told_within_the_deadline(up: Services) -> None:
    stopped = process.tree(pids(up)["mlflow"])
    try:
        for each in stopped:
            each.suspend()
        begun = time.monotonic()
        seen = up.status()["mlflow"]
        assert time.monotonic() - begun < 15
        assert (seen.state, seen.message) == ("unhealthy", "a search of experiments was not answered in 5 s")
    finally:
        for each in stopped:
            each.resume()


def test_a_killed_postgres_comes_back_once_and_mlflow_recovers_by_itself(up: Services, state: Path) -> None:
    before = pids(up)
    kill(before["postgres"])
    seen = up.status()
    assert (seen["postgres"].state, seen["mlflow"].state) == ("dead", "unhealthy")
    starters = [threading.Thread(target=fresh(state).ensure, args=(["postgres"],)) for _ in range(3)]
    for each in starters:
        each.start()
    for each in starters:
        each.join()
    assert len([each for each in psutil.process_iter() if _is_postmaster(each, state)]) == 1
    back = fresh(state).ensure(["mlflow"])
    assert {each.state for each in back.values()} == {"running"}
    assert back["mlflow"].pid == before["mlflow"]
    assert back["postgres"].pid != before["postgres"]


def test_a_killed_postgres_comes_back_while_its_parent_lives_and_has_not_buried_it(up: Services, state: Path) -> None:
    kill(pids(up)["postgres"])
    parent = fresh(state)  # as a loop that goes on: it holds the process that it spawned, and does not look at it
    buried = parent.ensure(["postgres"])["postgres"].pid
    assert buried is not None
    kill(buried)
    until(lambda: psutil.Process(buried).status() == psutil.STATUS_ZOMBIE)
    assert {each.state for each in fresh(state).ensure(["mlflow"]).values()} == {"running"}
    assert psutil.Process(buried).status() == psutil.STATUS_ZOMBIE
    parent.status(probe=False)  # now it is


def _is_postmaster(candidate: psutil.Process, state: Path) -> bool:
    try:
        return str(state / "services" / "postgres" / "data") in candidate.cmdline() and candidate.name() == "postgres"
    except psutil.Error:
        return False


def test_a_postgres_that_was_not_recorded_is_found(up: Services, state: Path) -> None:
    before = pids(up)
    process.write_record(state / "services" / "postgres" / "record.json", process.Record(0, "", time.time(), ""))
    assert fresh(state).ensure(["postgres"])["postgres"].pid == before["postgres"]
    assert pids(up) == before


def test_a_killed_mlflow_comes_back_at_its_port(up: Services, state: Path) -> None:
    url, before = up.endpoint("mlflow").url, pids(up)
    kill(before["mlflow"])
    assert up.status(probe=False)["mlflow"].state == "dead"
    back = fresh(state).ensure(["mlflow"])
    assert back["mlflow"].state == "running"
    assert fresh(state).endpoint("mlflow").url == url
    assert len(process.marked_processes(process.mark("mlflow", state))) == len(process.tree(back["mlflow"].pid or 0))


def test_a_stop_goes_through_the_dependants_and_leaves_nothing(up: Services, state: Path) -> None:
    gone = everyone(up)
    socket_folder = Path(up.endpoint("postgres").host)
    begun = time.monotonic()
    Services.recorded(state).stop(["postgres"])
    print(f"stop: {time.monotonic() - begun:.1f} s")
    assert not [each for each in gone if process.birth(each.pid) and each.is_running()]
    assert not socket_folder.exists()
    assert "database system is shut down" in up.logs("postgres")
    begun = time.monotonic()
    again = fresh(state).ensure(["mlflow"])
    print(f"warm start: {time.monotonic() - begun:.1f} s")
    assert {each.state for each in again.values()} == {"running"}


BODY = """
import os, pathlib, sys
from reconciler.platform import ServiceSpec, Services
assert os.geteuid() != 0
services = Services(pathlib.Path(sys.argv[1]), [ServiceSpec("postgres", int(sys.argv[2]) or None)])
try:
    print(services.ensure(["postgres"])["postgres"].state, services.endpoint("postgres").host)
finally:
    services.stop()
"""


def test_an_ordinary_user_runs_it_below_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 30)
    folder.mkdir()
    account = unprivileged([Path(sys.executable).resolve(), Path(sys.prefix), Path(postgres.__file__), folder / "x"])
    if account:
        account.own(folder)
    direct = account if account and account.direct else None
    done = subprocess.run(
        [*(account.prefix if account else ()), sys.executable, "-c", textwrap.dedent(BODY), str(folder / "state"), "0"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        check=False,
        user=direct.uid if direct else None,
        group=direct.gid if direct else None,
        extra_groups=[] if direct else None,
    )
    assert done.stdout.startswith("running /"), done.stderr


def test_a_port_that_was_asked_for_is_opened_on_this_machine_only_and_a_free_way_needs_no_capability() -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)
    services = Services(folder, [ServiceSpec("postgres", ports.choose("postgres test"))])
    try:
        services.ensure(["postgres"])
        where = services.endpoint("postgres")
        assert where.host == "127.0.0.1"
        assert {ip for ip, _ in listening(services)} == {"127.0.0.1"}
        assert psutil.Process(pids(services)["postgres"]).uids().real != 0
        account = unprivileged([postgres.binaries(folder) / "postgres", folder / "services"])
        if account and account.direct and sys.platform == "linux":
            assert "CapEff:\t0000000000000000" in Path(f"/proc/{pids(services)['postgres']}/status").read_text()
    finally:
        services.stop()
        shutil.rmtree(folder)
