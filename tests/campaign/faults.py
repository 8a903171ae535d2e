"""Everything that is thrown, by name. A fault begins, and what it takes back by itself is given to `Round.later`."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from tests.campaign import hands, repositories, wire
from tests.campaign.checks import Judge
from tests.campaign.site import SERVICES_SECONDS, Loop, Site
from tests.campaign.wire import Trouble
from tests.campaign.world import World


@dataclass
class Round:
    """What faults of one round share."""

    site: Site
    world: World
    judge: Judge
    rng: random.Random
    touched: set[str] = field(default_factory=set)
    """Refs that were edited by hand in this round: one edit each, so that what a person did can be told."""
    undone: list[threading.Timer] = field(default_factory=list)
    beside: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Take something back after a while."""
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        self.undone.append(timer)
        timer.start()

    def settle(self) -> None:
        """Nothing is harmed any more from here on."""
        for each in self.undone:
            each.join()
        for one in self.beside:
            with suppress(subprocess.TimeoutExpired):
                one.wait(60)
            if one.poll() is None:
                one.kill()
                one.wait()
        for loop in self.site.loops:
            loop.signal(signal.SIGCONT)
        self.site.wire.calm()
        self.site.git.status = 0
        self.site.restarted(0.0)


Fault = Callable[[Round], None]


def _on_the_wire(kind: str) -> Fault:
    def begin(here: Round) -> None:
        here.site.wire.arm(Trouble(kind, here.rng.randint(1, 4), writes=here.rng.random() < 0.6))

    return begin


def _outage(here: Round) -> None:
    here.site.wire.down()
    here.later(here.rng.uniform(0.3, 2.5), here.site.wire.up)


def _kill_loop(here: Round) -> None:
    here.site.loop.kill()
    here.site.restarted(here.rng.uniform(0.0, 0.5))


def _kill_soon(here: Round) -> None:
    """While it does what a save asks for: it reacts in some 0.3 s."""
    hands.touch(here.site, here.rng)
    time.sleep(here.rng.uniform(0.2, 0.9))
    _kill_loop(here)


def _kill_as_it_asks(here: Round) -> None:
    """While a write is on the wire; one is called for by somebody who deletes an experiment by hand."""
    site, loop = here.site, here.site.loop
    site.wire.kill = lambda: loop.signal(signal.SIGKILL)
    site.wire.arm(Trouble(here.rng.choice(wire.KILLS), here.rng.randint(1, 2), writes=True))
    hands.KINDS["experiment deleted"][0](here)
    with suppress(subprocess.TimeoutExpired):
        loop.process.wait(4.0)
    site.wire.disarm(*wire.KILLS)
    _fell(here, 0.5)


def _kill_as_it_stores(here: Round) -> None:
    """At the first sign of it in the folders of DVC, of the Store or of git."""
    from watchfiles import watch

    state, loop, over = here.site.root / ".mlops", here.site.loop, threading.Event()
    folders = [state / "dvc", state / "sources", here.site.root / ".git"] if here.rng.random() < 0.7 else [state]
    pause = here.rng.choice((0.0, 0.0, 0.001, 0.005, 0.02))

    def wait() -> None:
        for _ in watch(*[each for each in folders if each.exists()], debounce=1, step=1, rust_timeout=50, stop_event=over):
            time.sleep(pause)
            loop.signal(signal.SIGKILL)
            return

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    _write_loose_again(here)
    _fell(here, 4.0)
    over.set()
    thread.join()


def _write_loose_again(here: Round) -> None:
    """Data changes, and changes back: two versions, of which the second was there before."""
    loose = [each for each in here.world.of("Dataset") if not each.tracked and each.ref not in here.touched]
    if loose:
        chosen = here.rng.choice(loose)
        here.touched.add(chosen.ref)
        path = here.site.root / chosen.data_file
        path.write_text(chosen.data + "0,0\n")
        here.later(here.rng.uniform(0.0, 1.5), lambda: path.write_text(chosen.data))


def _fell(here: Round, seconds: float) -> None:
    """Wait until the loop is dead, and start it again."""
    with suppress(subprocess.TimeoutExpired):
        here.site.loop.process.wait(seconds)
    here.site.restarted(here.rng.uniform(0.0, 0.3))


def _end_loop(here: Round) -> None:
    here.site.loop.end()
    here.site.restarted(0.0)


def _kill_start(here: Round) -> None:
    """Twice, the second time while it comes up."""
    _kill_loop(here)
    time.sleep(here.rng.uniform(0.2, 1.5))
    _kill_loop(here)


def _stop_loop(here: Round) -> None:
    loop = here.site.loop
    loop.signal(signal.SIGSTOP)
    here.later(here.rng.uniform(0.2, 2.0), lambda: loop.signal(signal.SIGCONT))


def _take_over(here: Round) -> None:
    """A standby comes, the leader is killed, and is not started again."""
    old = here.site.loop
    here.site.start()
    time.sleep(here.rng.uniform(1.0, 3.0))
    old.kill()
    here.site.loops.remove(old)


def _take_over_asleep(here: Round) -> None:
    """A leader sleeps until another one leads, and wakes up with its writes in hand."""
    old, new = here.site.loop, here.site.start()
    time.sleep(2.0)
    old.signal(signal.SIGSTOP)
    until = time.monotonic() + 25
    while "leads from now on" not in new.said() and time.monotonic() < until:
        time.sleep(0.2)
    old.signal(signal.SIGCONT)
    time.sleep(here.rng.uniform(0.5, 2.0))
    old.end()
    here.site.loops = [new]


def _kill_mlflow(here: Round) -> None:
    """The server and its workers, by the PID that the platform recorded; whoever keeps the server starts it again."""
    services = here.site.services
    assert services is not None
    pid = services.status(probe=False)["mlflow"].pid
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    services.ensure(["mlflow"], deadline=SERVICES_SECONDS)


def _stop_mlflow(here: Round) -> None:
    import psutil

    services = here.site.services
    assert services is not None
    pid = services.status(probe=False)["mlflow"].pid
    if not pid:
        return
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    for each in family:
        each.suspend()
    time.sleep(here.rng.uniform(0.5, 2.5))
    for each in family:
        each.resume()


def _lock_store(here: Round) -> None:
    """Another process writes and does not end its transaction."""
    seconds = here.rng.choice((0.5, 1.0, 2.0, 2.0, 11.0))
    if here.site.store:
        _lock_postgresql(here, seconds)
        return
    text = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5); c.execute('BEGIN IMMEDIATE'); "
    text += "time.sleep(float(sys.argv[2])); c.execute('ROLLBACK')"
    place = str(here.site.root / ".mlops" / "store.db")
    here.beside.append(here.site.beside("-c", text, place, str(seconds), program=sys.executable))


def _lock_postgresql(here: Round, seconds: float) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(here.site.store)
    connection = engine.connect()
    connection.exec_driver_sql("LOCK TABLE inventory, journal, lease IN ACCESS EXCLUSIVE MODE")
    here.later(seconds, lambda: (connection.close(), engine.dispose()))


def _checkpoint(here: Round) -> None:
    """Somebody looks into the Store with a program of his own and empties its write-ahead log."""
    if not here.site.store:
        with suppress(sqlite3.Error), sqlite3.connect(here.site.root / ".mlops" / "store.db", timeout=2) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _full_disk(here: Round) -> None:
    """No file of the loop can grow (RLIMIT_FSIZE), its log included: its writes fail as on a full disk."""
    _limited(here, "RLIMIT_FSIZE", here.rng.choice((0, 4096, 65536)), here.rng.uniform(0.5, 3.0))


def _few_files(here: Round) -> None:
    """No more file descriptors."""
    _limited(here, "RLIMIT_NOFILE", here.rng.choice((8, 16, 24)), here.rng.uniform(0.3, 2.0))


def _answers(loop: Loop) -> bool:
    """Wait until it answers at its port."""
    until = time.monotonic() + 10
    while loop.process.poll() is None and time.monotonic() < until:
        with suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{loop.port}/healthz", trust_env=False, timeout=2)
            return True
        time.sleep(0.1)
    return False


def _limited(here: Round, what: str, most: int, seconds: float) -> None:
    """For a loop that is up: one that can open or write nothing while it starts ends, and is started again by whoever started it."""
    import resource

    if not sys.platform.startswith("linux") or not _answers(here.site.loop):
        return
    pid, number = here.site.loop.process.pid, getattr(resource, what)
    usual = resource.getrlimit(number)  # not the loop's own at this moment: another fault of the same kind may be in force
    with suppress(ProcessLookupError):
        resource.prlimit(pid, number, (most, usual[1]))

        def back() -> None:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, number, usual)

        here.later(seconds, back)


def _read_only(here: Round) -> None:
    """The state folder cannot be written to; nobody is kept from it who is root."""
    folder = here.site.root / ".mlops"
    folder.chmod(0o500)
    here.later(here.rng.uniform(0.5, 2.0), lambda: folder.chmod(0o700))


def _one_shot(here: Round) -> None:
    here.beside.append(here.site.beside())


def _one_shot_killed(here: Round) -> None:
    child = here.site.beside()
    here.beside.append(child)
    time.sleep(here.rng.uniform(0.4, 1.6))
    child.kill()


def _look(here: Round) -> None:
    """Somebody asks, in the middle of it all."""
    here.beside.append(here.site.beside(*here.rng.choice((("--dry-run",), ("status", "--all"), ("history",), ("diff",), ("doctor",)))))


def _clock(here: Round) -> None:
    """A pass of a process whose clock is wrong by hours, or years."""
    hours = here.rng.choice((-30 * 24, -25, -2, -0.5, 0.5, 2, 25, 24 * 400))
    words = ("-m", "tests.campaign.clock", str(here.site.root), str(hours))
    here.beside.append(here.site.beside(*words, program=sys.executable))


def _kinds() -> Mapping[str, tuple[Fault, int]]:
    """Name -> the fault and its weight."""
    found: dict[str, tuple[Fault, int]] = {f"wire: {kind}": (_on_the_wire(kind), 3) for kind in wire.KINDS}
    found["wire: hang"] = (_on_the_wire("hang"), 1)
    found |= {
        "tool: refuses connections": (_outage, 6),
        "tool: MLflow killed": (_kill_mlflow, 1),
        "tool: MLflow stopped": (_stop_mlflow, 3),
        "loop: killed": (_kill_loop, 5),
        "loop: killed in a pass": (_kill_soon, 8),
        "loop: killed as it asks a tool to write": (_kill_as_it_asks, 8),
        "loop: killed as it stores something": (_kill_as_it_stores, 8),
        "loop: killed while it starts": (_kill_start, 2),
        "loop: ended and started": (_end_loop, 3),
        "loop: stopped and continued": (_stop_loop, 6),
        "loop: killed, a standby takes over": (_take_over, 3),
        "loop: asleep, a standby takes over": (_take_over_asleep, 1),
        "store: locked by another process": (_lock_store, 5),
        "store: checkpointed": (_checkpoint, 3),
        "disk: full": (_full_disk, 6),
        "disk: no more file descriptors": (_few_files, 4),
        "beside: one-shot pass": (_one_shot, 4),
        "beside: one-shot pass killed": (_one_shot_killed, 4),
        "beside: somebody looks": (_look, 3),
        "beside: a clock that is wrong": (_clock, 3),
    }
    if os.geteuid() != 0:
        found["disk: read-only"] = (_read_only, 4)
    found |= {f"hand: {name}": (each, weight) for name, (each, weight) in hands.KINDS.items()}
    return found | {f"git: {name}": (each, weight) for name, (each, weight) in repositories.KINDS.items()}


KINDS = _kinds()


NEED_SERVICES = frozenset({"tool: MLflow killed", "tool: MLflow stopped"})
"""Faults of a server that nobody else uses."""


def drawn(rng: random.Random, count: int, only: str = "", *, own_server: bool = True) -> list[str]:
    """Names of so many faults, by weight; `only` those whose name holds it."""
    names = [name for name in KINDS if only in name and (own_server or name not in NEED_SERVICES)]
    if not names:
        raise SystemExit(f"no kind of fault is called '{only}'; there are: {', '.join(KINDS)}")
    return rng.choices(names, [KINDS[name][1] for name in names], k=count)
