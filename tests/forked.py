"""Runs `reconcile` in a process of its own that is forked from one which has done the imports: the same program, less the second of CPU
that they take. What is started otherwise (services, trainings, loops, the installed program) is started as ever."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

RECONCILE = str(Path(sys.executable).with_name("reconcile"))
"""The installed program, for what has to be a process from the start: one that is killed, or that runs beside others."""


def reconcile(
    *words: str, cwd: Path, env: Mapping[str, str], timeout: float = 120.0, together: bool = False
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` would give; with `together` as with `stderr=STDOUT`. Raises subprocess.TimeoutExpired."""
    argv = [RECONCILE, *words]
    return called(_reconcile, argv, str(cwd), env=env, timeout=timeout, together=together)


def called(
    what: Callable[..., object], *arguments: object, env: Mapping[str, str], timeout: float = 120.0, together: bool = False
) -> subprocess.CompletedProcess[str]:
    """As `reconcile`, of a program that is a function of a module; its return code is that of the process."""
    with tempfile.TemporaryDirectory(prefix="ran-") as folder:
        out, err = Path(folder, "out"), Path(folder, "out" if together else "err")
        child = _server().Process(target=_become, args=(str(out), str(err), dict(env), what, arguments))
        child.start()
        child.join(timeout)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired([what.__name__, *map(str, arguments)], timeout, out.read_bytes(), err.read_bytes())
        code = child.exitcode
        child.close()
        return subprocess.CompletedProcess(arguments, code, out.read_text(), "" if together else err.read_text())


@cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    return context


def _become(out: str, err: str, env: dict[str, str], what: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """In the forked process: everything that a new one would have, then the program."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    encoding = env.get("PYTHONIOENCODING", "utf-8")
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, closefd=False, buffering=1, errors="backslashreplace")
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    random.seed()
    what(*arguments)


def _reconcile(argv: list[str], cwd: str) -> None:
    os.chdir(cwd)
    sys.argv = argv
    from reconciler.cli import main

    main()
