"""A process is ours only when PID and birth agree; records, accounts, addresses and argv as data."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reconciler.errors import Terminal, Transient
from reconciler.platform import Endpoint, Services, ServiceSpec, account, lock, logs, mlflow, ports, postgres, process
from reconciler.platform.process import Launch, Record
from reconciler.platform.spec import Site


def test_a_pid_given_to_somebody_else_is_not_ours() -> None:
    mine = process.birth(os.getpid())
    assert mine is not None
    assert process.is_alive(Record(os.getpid(), mine, 0.0, ""))
    assert not process.is_alive(Record(os.getpid(), mine + "1", 0.0, ""))
    assert not process.is_alive(Record(0, "", 0.0, ""))


def test_a_zombie_and_a_process_that_ended_have_no_birth() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.birth(child.pid) is None
    child.wait()
    assert process.birth(child.pid) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": 1}', '{"pid": "x", "birth": "", "started": 0, "digest": ""}', "nonsense"])
def test_what_is_no_record_reads_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    assert process.read_record(tmp_path / "record.json") is None


def test_a_record_reads_back_and_is_private(tmp_path: Path) -> None:
    record = Record(12, "boot:34", 5.5, "abc")
    process.write_record(tmp_path / "r", record)
    assert process.read_record(tmp_path / "r") == record
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600


def test_the_environment_is_minimal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found = process.environment(Launch(("x",), tmp_path, {"A": "b"}), "mlflow:1")
    assert set(found) <= {"PATH", "HOME", "LANG", "TMPDIR", "DO_NOT_TRACK", "PYTHONUNBUFFERED", "A", process.MARK}


def test_the_mark_is_one_for_all_ways_to_write_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert process.mark("mlflow", tmp_path / "real") == process.mark("mlflow", tmp_path / "link")
    assert process.mark("mlflow", tmp_path / "real") != process.mark("mlflow", tmp_path)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "enters"),
    [
        (0o700, 1, 1, True),
        (0o700, 2, 1, False),
        (0o711, 2, 2, True),
        (0o710, 2, 1, True),
        (0o701, 2, 1, False),
        (0o077, 1, 1, False),
    ],
)
def test_who_may_enter_a_folder_of_user_1_and_group_1(mode: int, uid: int, gid: int, enters: bool) -> None:
    assert account.may_enter(os.stat_result((mode | stat.S_IFDIR, 0, 0, 1, 1, 1, 0, 0, 0, 0)), uid, gid) is enters


def test_the_closed_folder_is_named_as_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    inside = account.first_closed(tmp_path / "closed" / "x" / "y", os.geteuid(), os.getegid())
    assert inside == (tmp_path / "closed").resolve()


def test_root_without_a_way_down_is_told_where_the_way_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    monkeypatch.setenv("PATH", "")
    if os.geteuid() != 0:
        assert account.unprivileged([tmp_path / "closed" / "x"]) is None
    else:
        with pytest.raises(Terminal, match="without the program setpriv"):
            account.unprivileged([tmp_path / "closed" / "x"])


@pytest.mark.parametrize(
    ("endpoint", "public"),
    [
        (Endpoint("mlflow", "http", "127.0.0.1", 5000), "http://127.0.0.1:5000"),
        (Endpoint("p", "postgresql", "127.0.0.1", 1, "mlops", "p@ss", "db"), "postgresql://mlops:***@127.0.0.1:1/db"),
        (Endpoint("p", "postgresql", "/t/s", 5432, "mlops", "p@ss", "db"), "postgresql://mlops:***@/db?host=/t/s&port=5432"),
    ],
)
def test_a_password_is_in_the_url_and_nowhere_else(endpoint: Endpoint, public: str) -> None:
    assert endpoint.public_url == public
    assert endpoint.url == public.replace("***", "p%40ss")
    assert "p@ss" not in repr(endpoint)
    assert "p%40ss" not in repr(endpoint)


def test_another_database_of_the_same_server() -> None:
    there = Endpoint("p", "postgresql", "/s", 5432, "mlops", "x", "postgres").for_database("mlflow", "psycopg2")
    assert there.url == "postgresql+psycopg2://mlops:x@/mlflow?host=/s&port=5432"


def test_the_password_of_the_database_is_in_no_argv(tmp_path: Path) -> None:
    (tmp_path / "pg").mkdir()
    (tmp_path / "pg" / "password").write_text("canary")
    (tmp_path / "pg" / "socket").write_text("/tmp/s")
    site = Site(ServiceSpec("mlflow", 5000, workers=3), tmp_path, 5000, {"postgres": Site(ServiceSpec("postgres"), tmp_path / "pg", 5432)})
    launch = mlflow.launch(site)
    assert "canary" not in " ".join(launch.argv)
    assert "canary" not in repr(launch)
    assert launch.env["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mlops:canary@/mlflow?host=/tmp/s&port=5432"
    assert launch.env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert launch.env["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert launch.argv[launch.argv.index("--workers") + 1] == "3"
    assert launch.argv[launch.argv.index("--host") + 1] == "127.0.0.1"


def test_a_named_database_replaces_the_embedded_one(tmp_path: Path) -> None:
    spec = ServiceSpec("mlflow", 5000, extra={"database": "postgresql://u@db/x"})
    assert Services(tmp_path, [spec]).names == ("mlflow",)
    assert mlflow.launch(Site(spec, tmp_path, 5000)).env["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://u@db/x"


def test_postgres_listens_on_tcp_only_where_a_port_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "socket").write_text("/tmp/s")
    spec = ServiceSpec("postgres", extra={"work_mem": "8MB", "listen_addresses": "*"})
    private = postgres.launch(Site(spec, tmp_path, 5432)).argv
    public = postgres.launch(Site(ServiceSpec("postgres", 6000), tmp_path, 6000)).argv
    assert "work_mem=8MB" in private
    assert "listen_addresses=" in private
    assert "listen_addresses=127.0.0.1" in public
    assert "port=6000" in public


def test_data_of_an_unknown_postgres_are_refused(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("15\n")
    with pytest.raises(Terminal, match="written by PostgreSQL 15"):
        postgres.binaries(tmp_path)


def test_a_pid_file_of_a_killed_server_whose_pid_is_another_programs_is_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("18")
    (tmp_path / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n1000\n5432\n/tmp\n")
    site = Site(ServiceSpec("postgres"), tmp_path, 5432)
    assert postgres.find(site) is None
    postgres.prepare(site)
    assert not (tmp_path / "data" / "postmaster.pid").exists()
    Path((tmp_path / "socket").read_text()).rmdir()


def test_what_needs_something_brings_it_along(tmp_path: Path) -> None:
    assert Services(tmp_path, [ServiceSpec("mlflow")]).names == ("postgres", "mlflow")
    with pytest.raises(Terminal, match="no service 'mlfow'"):
        Services(tmp_path, [ServiceSpec("mlfow")])
    with pytest.raises(Terminal, match="ray is not one of the services"):
        Services(tmp_path, []).endpoint("ray")


def test_a_look_before_the_first_start_writes_nothing(tmp_path: Path) -> None:
    services = Services(tmp_path / "state", [ServiceSpec("mlflow")])
    assert {name: each.state for name, each in services.status().items()} == {"postgres": "stopped", "mlflow": "stopped"}
    services.stop()
    assert services.logs("mlflow") == ""
    for name in services.names:
        with pytest.raises(Transient, match="never started"):
            services.endpoint(name)
    assert not (tmp_path / "state").exists()


def test_ports_are_chosen_free_and_the_same_again() -> None:
    port = ports.choose("mlflow:abc")
    assert port == ports.choose("mlflow:abc")
    assert ports.is_free(port)


def test_a_held_lock_names_its_holder(tmp_path: Path) -> None:
    with (
        lock.held(tmp_path / "s" / "lock"),
        pytest.raises(Transient, match=f"pid {os.getpid()}"),
        lock.held(tmp_path / "s" / "lock", wait=0.1),
    ):
        pass
    with lock.held(tmp_path / "s" / "lock", wait=0.1):
        pass


def test_the_log_before_is_kept_and_a_follower_sees_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")

    def restart() -> None:
        logs.rotate(path)
        path.write_text("one\ntwo\n")

    later = threading.Timer(0.1, restart)
    later.start()
    follower = logs.follow(path, lambda: False, pause=0.01)
    assert [next(follower), next(follower)] == ["one", "two"]
    later.join()
    assert (tmp_path / "log.1").read_text() == "old\n"
    assert logs.tail(path, 1) == "two"
