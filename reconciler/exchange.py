"""What Airflow's tasks and the reconciler tell each other: files below the state folder, so that either may be down meanwhile.

::

    tasks/open/<id>.json   a task of a DAG run waits for this to be done
    tasks/done/<id>.json   how it ended; written before the one in `open` goes
    tasks/runs/<run>/<task>/   what the tasks of one DAG run leave for each other

One id for each try of each task of each run. Standard library only: it is imported by Airflow's processes too."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from reconciler.files import write_private

BUNDLE = "workflows"
"""Name of the DAG bundle that is ours."""
LOADER = "loader.py"
"""Its one file with code, which turns the specs beside it into DAGs."""
DAGS = "dags"
"""Folder of the git repository of that bundle, in the folder of the service `airflow`."""
SPECS = "specs"
"""Its folder of compiled workflows, one `<dag id>.json` each."""
PREFIX = "task-"
"""Every request's id, and so that of the job which answers it, begins so."""
KEPT_SECONDS = 7 * 24 * 3600.0
"""How long an answer is kept, for Airflow may be down while it is given; and what a run's tasks leave, after the last of them."""


@dataclass(frozen=True)
class Request:
    """What a task asks for. Times are Unix seconds."""

    id: str
    dag: str
    run: str
    task: str
    attempt: int
    created: float
    work: Mapping[str, Any]
    """The task as it was compiled, placeholders filled in."""
    index: int = -1
    """Of a mapped task; -1 = it is none."""
    interval: tuple[str, str] = ("", "")
    """The run's data interval, as ISO times; empty = it has none."""


@dataclass(frozen=True)
class Answer:
    """How it ended."""

    ok: bool
    why: str = ""
    """Empty when all went well."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """By name; pushed as XComs."""
    tail: str = ""
    """Last lines of the program's output."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The machine when it ended: `memoryPressure`, `heat`, `throttled`, `peakMemory`, `ranBeside` and the like, as far as known."""
    at: float = 0.0


def identity(dag: str, run: str, task: str, index: int, attempt: int, instance: str) -> str:
    """The id of a request: the same for a task that writes it twice. `instance` is Airflow's own id of the task: a workflow that was
    removed and is there again has runs of the same names."""
    text = json.dumps([dag, run, task, index, attempt, instance])
    return f"{PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def run_folder(place: Path, dag: str, run: str) -> Path:
    """Where the tasks of one run leave what later ones need; each in a folder with its name. Not made here."""
    return place / "runs" / hashlib.sha256(json.dumps([dag, run]).encode()).hexdigest()[:24]


def folder(state_dir: Path) -> Path:
    """Where both sides write. Not made here."""
    return state_dir / "tasks"


def ask(place: Path, request: Request) -> None:
    """Write a request down, unless it was answered already. `place` is what `folder` gives."""
    for name in ("open", "done"):
        (place / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _done(place, request.id).exists():
        write_private(_open(place, request.id), json.dumps(asdict(request)))


def answer(place: Path, request_id: str, found: Answer) -> None:
    """Answer a request, once: the first answer stands. Safe to repeat."""
    done = _done(place, request_id)
    if not done.exists():
        done.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(done, json.dumps(asdict(found if found.at else Answer(**{**asdict(found), "at": time.time()}))))
    _open(place, request_id).unlink(missing_ok=True)


def answered(place: Path, request_id: str) -> Answer | None:
    """The answer; None while there is none."""
    raw = _read(_done(place, request_id))
    return None if raw is None else Answer(**{each.name: raw[each.name] for each in fields(Answer) if each.name in raw})


def is_open(place: Path, request_id: str) -> bool:
    return _open(place, request_id).exists()


def requests(place: Path) -> Iterator[Request]:
    """Every request that waits for its answer, the oldest first. A file that is no request is left out."""
    try:
        names = [entry.name for entry in os.scandir(place / "open") if entry.name.endswith(".json") and entry.name[0] != "."]
    except FileNotFoundError:
        return
    known = {each.name for each in fields(Request)}
    found: list[Request] = []
    for name in names:
        raw = _read(place / "open" / name)
        with contextlib.suppress(TypeError, KeyError):
            if raw is not None:
                one = {key: value for key, value in raw.items() if key in known}
                found.append(Request(**{**one, "interval": tuple(one.get("interval") or ("", ""))}))
    yield from sorted(found, key=lambda each: (each.created, each.id))


def stamp(place: Path) -> int:
    """Changes whenever a request comes or goes."""
    try:
        return (place / "open").stat().st_mtime_ns
    except OSError:
        return 0


def sweep(place: Path, now: float) -> None:
    """Remove old answers and what old runs left. Safe to repeat."""
    for name in ("done", "runs"):
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(place / name):
                with contextlib.suppress(OSError):
                    if now - entry.stat().st_mtime > KEPT_SECONDS:
                        shutil.rmtree(entry.path) if entry.is_dir() else Path(entry.path).unlink()


def _open(place: Path, request_id: str) -> Path:
    return place / "open" / f"{request_id}.json"


def _done(place: Path, request_id: str) -> Path:
    return place / "done" / f"{request_id}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None
