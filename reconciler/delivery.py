"""The git repository that workflows are delivered to: Airflow's bundle reads it.

::

    loader_<project>.py    turns the specs of a project into DAGs; its last line names them, so that it changes when one of them does
    loader.py              the same of no project: what a repository begins with
    specs/<dag id>.json    one compiled workflow each

One commit for each delivery; a run keeps the commit that it was started from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from reconciler.errors import Terminal, Transient
from reconciler.exchange import LOADER, SPECS

SOURCE = Path(__file__).parent / "workflows" / LOADER
GIT_SECONDS = 60.0
_WHO = ("-c", "user.name=mlops-reconciler", "-c", "user.email=mlops-reconciler@localhost", "-c", "commit.gpgsign=false")
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "core.autocrlf=false")


def make(folder: Path) -> None:
    """Make the repository, or bring its loader up to date. Safe to repeat."""
    if not (folder / ".git").exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch", "main")
    deliver(folder, {}, "The loader")


def specs(folder: Path) -> dict[str, str]:
    """What is delivered, by DAG id. Raises Terminal when there is no such repository."""
    if not (folder / ".git").exists():
        raise Terminal(
            f"{folder} is not a git repository", hint="spec.airflow.bundle of the Platform names the one that Airflow's bundle reads"
        )
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((folder / SPECS).glob("*.json"))}


def deliver(folder: Path, changes: Mapping[str, str | None], message: str, *, again: bool = False) -> str:
    """Write these specs (None: remove) in one commit; returns the commit. Nothing is committed when nothing differs. Safe to repeat.

    `again`: Airflow has lost what it had read; it is to read all of it once more although nothing differs."""
    with _alone(folder):
        (folder / SPECS).mkdir(exist_ok=True)
        for dag, text in changes.items():
            path = folder / SPECS / f"{dag}.json"
            if text is None:
                path.unlink(missing_ok=True)
            else:
                _write(path, text)
        _write(folder / LOADER, SOURCE.read_text(encoding="utf-8"))
        changed = {dag.partition(".")[0] for dag in changes}
        for project in changed | {path.name.partition(".")[0] for path in (folder / SPECS).glob("*.json")}:
            _loader(folder, project, again=again and project in changed)
        git(folder, "add", "--all", ".")
        if git(folder, "status", "--porcelain"):
            git(folder, "commit", "--quiet", "--message", message)
        return git(folder, "rev-parse", "HEAD").strip()


def git(folder: Path, *arguments: str) -> str:
    """What git prints. As nobody in particular, and without anybody's hooks and settings. Raises Transient with git's words."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env = {**kept, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *_WHO, *_QUIET, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=GIT_SECONDS, env=env
        )
    except FileNotFoundError:
        raise Terminal("git is not installed, or the repository is gone", hint="workflows are delivered through git") from None
    except subprocess.TimeoutExpired:
        raise Transient(f"git {arguments[0]} did not end in {GIT_SECONDS:.0f} s in {folder}") from None
    if done.returncode != 0:
        raise Transient(f"git {arguments[0]} failed in {folder}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _loader(folder: Path, project: str, *, again: bool) -> None:
    """Write a project's loader, or remove it with its last spec. Airflow reads a file again when it has changed, and does not know that
    this one reads others; one for each project, because all that a file makes is read again with it."""
    found, path = hashlib.sha256(), folder / LOADER.replace(".", f"_{project}.")
    paths = sorted((folder / SPECS).glob(f"{project}.*.json"))
    if not paths:
        path.unlink(missing_ok=True)
        return
    for each in paths:
        found.update(each.name.encode() + b"\0" + each.read_bytes() + b"\0")
    text = f"{SOURCE.read_text(encoding='utf-8')}\n# specs {found.hexdigest()[:16]}"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if again:
        _write(path, f"{text} again {time.time():.3f}\n")
    elif not before.startswith(text):
        _write(path, f"{text}\n")


def _write(path: Path, text: str) -> None:
    """All or nothing, and not at all when it is there already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time; a lock that a killed git has left is removed, for nobody else writes here."""
    with (folder / ".git" / "mlops.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        (folder / ".git" / "index.lock").unlink(missing_ok=True)
        yield
