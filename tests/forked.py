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
from collections.abc import Mapping
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
    with tempfile.TemporaryDirectory(prefix="ran-") as folder:
        out, err = Path(folder, "out"), Path(folder, "out" if together else "err")
        child = _server().Process(target=_reconcile, args=(argv, str(cwd), dict(env), str(out), str(err)))
        child.start()
        child.join(timeout)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired(argv, timeout, out.read_bytes(), err.read_bytes())
        code = child.exitcode
        child.close()
        return subprocess.CompletedProcess(argv, code, out.read_text(), "" if together else err.read_text())


@cache
def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    return context


def _reconcile(argv: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """In the forked process: become the program."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    encoding = env.get("PYTHONIOENCODING", "utf-8")
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, closefd=False, buffering=1, errors="backslashreplace")
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    random.seed()
    sys.argv = argv
    from reconciler.cli import main

    main()
