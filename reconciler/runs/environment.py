"""The Python environment of a project's programs: made by uv once for each set of requirements, and shared by all jobs that want it.

::

    environments/<project>-<digest>/        a virtual environment; `.complete` in it says that it is whole
    environments/.<project>-<digest>.make   locked while it is made or removed
    environments/.<project>-<digest>.use    locked, shared, by every job that uses it"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler.errors import Terminal, Transient

UNUSED_SECONDS = 14 * 24 * 3600.0
"""An environment that no job used for so long is removed when its project makes another one."""
MAKING_SECONDS = 1800.0
"""Longest time that making one may take: a first download of a deep-learning framework over a slow line."""
_DIGEST = 12
_OFFLINE = ("dns error", "failed to fetch", "error sending request", "network was disabled", "network is unreachable", "timed out")
"""What uv says when the index could not be reached; whole phrases, because a reason names packages (`networkx`)."""
_NO_STOP: Callable[[], str | None] = lambda: None  # noqa: E731


def prepare(project: str, requirements: Sequence[str], lock: str, state_dir: Path, stop: Callable[[], str | None] = _NO_STOP) -> Path:
    """The Python program of an environment that holds these requirements, or the lock file's packages with their hashes checked.

    Reused when there is one already. Raises Terminal when the requirements cannot be installed, Transient when the package index
    cannot be reached and the cache does not hold them, or when `stop` gives a reason to stop."""
    home = state_dir.resolve() / "environments"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = home / f"{project or 'default'}-{digest(requirements, lock)[:_DIGEST]}"
    python = folder / "bin" / "python"
    with _locked(_beside(folder, "make"), stop) as lock_handle:
        if not _whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, python, requirements, lock, Uv(lock_handle, stop))
            (folder / ".complete").write_text("\n".join(requirements) + "\n", encoding="utf-8")
            remove_unused(home, project, keep=folder)
        (folder / ".used").touch()
    return python


def digest(requirements: Sequence[str], lock: str) -> str:
    """Of what is installed and for which interpreter: same digest, same environment. Raises Terminal when the lock file is not there."""
    parts = [sys.version, sys.executable, *([] if lock else sorted(" ".join(each.split()) for each in requirements))]
    if lock:
        try:
            parts.append(hashlib.sha256(Path(lock).read_bytes()).hexdigest())
        except OSError as error:
            raise Terminal(f"the lock file cannot be read: {lock}", hint=str(error.strerror)) from error
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def hold(python: Path) -> int:
    """Keep the environment from being removed, until the returned handle is closed or this process ends."""
    handle = os.open(_beside(python.parent.parent, "use"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def remove_unused(home: Path, project: str, keep: Path, now: float | None = None) -> list[Path]:
    """Remove the project's environments that no job uses and none has used for UNUSED_SECONDS; returns those."""
    removed = []
    own = re.compile(re.escape(project or "default") + rf"-[0-9a-f]{{{_DIGEST}}}")
    for folder in home.iterdir():
        if folder == keep or not own.fullmatch(folder.name) or not folder.is_dir():
            continue
        used = max((path.stat().st_mtime for path in (folder, folder / ".used") if path.exists()), default=0.0)
        if (now or time.time()) - used < UNUSED_SECONDS:
            continue
        busy = partial(_locked, stop=lambda: "in use")
        with contextlib.suppress(Transient), busy(_beside(folder, "make")), busy(_beside(folder, "use")):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _whole(folder: Path) -> bool:
    return (folder / ".complete").exists() and os.access(folder / "bin" / "python", os.X_OK)


def _make(folder: Path, python: Path, requirements: Sequence[str], lock: str, uv: Uv) -> None:
    failed = uv.run(["venv", "--no-project", "--python", sys.executable, str(folder)])
    if failed:
        raise Terminal(f"no environment could be made: {failed}")
    if not lock and not requirements:
        return
    what = ["--require-hashes", "-r", lock] if lock else ["-r", "-"]
    # without --compile-bytecode: 9 s more for scikit-learn, pandas and MLX, to save 1.5 s of the first import (measured on two cores)
    install = ["pip", "install", "--python", str(python), *what]
    failed = uv.run(install, requirements)
    if failed and _unreachable(failed):
        failed = uv.run([*install, "--offline"], requirements) and failed
        if failed:
            raise Transient(f"packages cannot be fetched: {failed}")
    if failed:
        raise Terminal(f"requirements cannot be installed: {failed}", hint="change spec.requirements of the Project")


@dataclass(frozen=True, slots=True)
class Uv:
    """Runs uv. It gets the handle of the environment's lock: when we are killed, the lock is held for as long as it goes on writing."""

    lock: int
    stop: Callable[[], str | None]

    def run(self, arguments: Sequence[str], lines: Sequence[str] = ()) -> str:
        """Empty when all went well, otherwise uv's reason in one line. Raises Transient when it is stopped."""
        process = subprocess.Popen(
            [_program(), *arguments, "--no-config", "--quiet", "--color", "never"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=(self.lock,),
        )
        deadline = time.monotonic() + MAKING_SECONDS
        given: str | None = "\n".join(lines) + "\n"
        while True:
            try:
                _, errors = process.communicate(given, timeout=0.2)
            except subprocess.TimeoutExpired:
                given = None
                why = self.stop() or (f"it took longer than {MAKING_SECONDS:.0f} s" if time.monotonic() > deadline else None)
                if why is not None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                    raise Transient(f"stopped while its environment was made: {why}") from None
            else:
                return "" if process.returncode == 0 else readable(errors) or f"uv ended with {process.returncode}"


def readable(errors: str) -> str:
    """uv's tree of causes as one line that begins with the cause: `Because there is no version of nosuch ...`."""
    text = " ".join(re.sub(r"[×╰─▶├│]+", " ", errors).split())
    because = text.find("Because")
    return text[max(because, 0) :][:600]


def _unreachable(reason: str) -> bool:
    return any(word in reason.lower() for word in _OFFLINE)


def _program() -> str:
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise Terminal("uv is not installed", hint="pip install uv") from error


def _beside(folder: Path, what: str) -> Path:
    return folder.parent / f".{folder.name}.{what}"


@contextlib.contextmanager
def _locked(path: Path, stop: Callable[[], str | None]) -> Iterator[int]:
    """Hold the lock file alone; waits for as long as `stop` gives no reason to stop."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if (why := stop()) is not None:
                    raise Transient(f"stopped while it waited for its environment: {why}") from None
                time.sleep(0.02)
        yield handle
    finally:
        os.close(handle)
