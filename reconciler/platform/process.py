"""One service's process: spawned, recorded, found again, measured, ended.

A process is known by its PID and its *birth*, the moment it was started as the kernel counts it, so that a PID given to somebody else is
never taken for ours. A process that was spawned but not recorded (we were killed in between) is found by its environment, which names the
service and the state folder. Everything here is safe to repeat."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.files import private_append, write_private
from reconciler.platform.account import Account

if TYPE_CHECKING:
    import psutil

MARK = "MLOPS_SERVICE"
"""Environment variable that marks a service's processes: `name:digest of the state folder`."""

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
_ALWAYS = {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Launch:
    """How to run one service: no shell, no inherited environment beyond PATH, HOME, LANG and TMPDIR."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    account: Account | None = None


@dataclass(frozen=True)
class Record:
    """What is remembered of a started process. `pid` 0 is the intent, written before the spawn; `started` is in Unix seconds."""

    pid: int
    birth: str
    started: float
    digest: str


def mark(name: str, state_dir: Path) -> str:
    """The value of MARK: the same for one service of one state folder, however its path is written."""
    return f"{name}:{hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16]}"


def birth(pid: int) -> str | None:
    """When the live process `pid` was started, as text to compare for equality; None when there is none (a zombie is none).

    Linux: boot id and clock ticks since boot, both untouched by changes of the clock. Elsewhere: the kernel's start time."""
    if pid <= 0:
        return None
    if sys.platform == "linux":
        return _linux_birth(pid)
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except psutil.Error:
        return None


def _linux_birth(pid: int) -> str | None:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # proc_pid_stat(5): after "(name)" come state (field 3) ... starttime (field 22)
    return None if after_name[0] in "ZX" else f"{boot}:{after_name[19]}"


def started(pid: int) -> float:
    """When the process was started, in Unix seconds by today's clock; 0 when it is gone."""
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def is_alive(record: Record | None) -> bool:
    """True when the process that was recorded is the one that has its PID now."""
    return record is not None and record.pid > 0 and birth(record.pid) == record.birth


def fallen(state_dir: Path) -> frozenset[str]:
    """Services that were started in this folder and whose processes ended although nobody stopped them. Asks none of them anything."""
    found = {path.parent.name: read_record(path) for path in (state_dir / "services").glob("*/record.json")}
    return frozenset(name for name, record in found.items() if record is not None and record.pid > 0 and not is_alive(record))


def read_record(path: Path) -> Record | None:
    """The record at `path`; None when there is none or it is not one."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Record(int(raw["pid"]), str(raw["birth"]), float(raw["started"]), str(raw["digest"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Replace the record at `path`, all or nothing."""
    write_private(path, json.dumps(asdict(record)) + "\n")


def environment(launch: Launch, marked: str) -> dict[str, str]:
    """The whole environment that a service gets."""
    base = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {"PATH": os.defpath, **base, **_ALWAYS, **launch.env, MARK: marked}


def spawn(launch: Launch, marked: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a process of its own session that outlives us, with its output in `log` and nothing on its input."""
    direct = launch.account if launch.account and launch.account.direct else None
    with private_append(log) as output:
        return subprocess.Popen(
            [*(launch.account.prefix if launch.account else ()), *launch.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=launch.cwd,
            env=environment(launch, marked),
            start_new_session=True,
            umask=0o077,
            user=direct.uid if direct else None,
            group=direct.gid if direct else None,
            extra_groups=[] if direct else None,
        )


def marked_processes(marked: str) -> list[psutil.Process]:
    """Live processes whose environment carries the mark; those of other users that we may not look at are left out."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def living(pids: Iterable[int]) -> list[psutil.Process]:
    """Those of `pids` that are still there."""
    import psutil

    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found


def leader(processes: Iterable[psutil.Process]) -> int | None:
    """The PID of the one that leads a session, which is how we spawn a service; None when only its children are left."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == process.pid:
                return process.pid
    return None


def tree(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it."""
    import psutil

    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def pss_bytes(pid: int, *, session_only: bool = False) -> int | None:
    """Proportional memory of the process tree in bytes (unique memory where the kernel does not share out); None if unreadable.

    With `session_only` without what has made a session of its own."""
    import psutil

    total = 0
    for process in tree(pid):
        try:
            if session_only and os.getsid(process.pid) != pid:
                continue
            full = process.memory_full_info()
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
        except psutil.Error:
            return None
        total += getattr(full, "pss", 0) or full.uss
    return total or None


def end(processes: Sequence[psutil.Process], signals: Mapping[int, int], timeout: float) -> bool:
    """Send each PID its signal, wait up to `timeout` seconds for all of `processes`, kill what is left.

    True when nothing had to be killed. psutil refuses to signal a PID that was given to another process."""
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.pid in signals:
                process.send_signal(signals[process.pid])
    left = _wait(processes, timeout)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    _wait(left, 5.0)
    return not left


def _wait(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Those that are still there after `timeout` seconds. One that has ended is gone, even where another process has yet to reap it."""
    import psutil

    left, deadline = list(processes), time.monotonic() + timeout
    while left:
        left = [each for each in psutil.wait_procs(left, timeout=0.1)[1] if birth(each.pid) is not None]
        if time.monotonic() >= deadline:
            break
    return left
