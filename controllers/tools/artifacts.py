"""Files of runs, fetched through MLflow's artifact proxy into a cache of the installation.

::

    serving/models/DIGEST/        the files of one model, whole and verified
    serving/models/DIGEST.json    name -> [SHA-256, size, time] of each; its own time says when the files were last wanted

Source: MLflow documentation, Artifact Stores, "mlflow-artifacts" proxy; behaviour checked against a 3.17 server."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from controllers.tools.mlflow import Mlflow, connect
from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model.content import digest_of_files, first_difference, is_inside
from reconciler.model.descriptor import described
from reconciler.model.serving import Descriptor, folder

FILES = 10_000
"""Most files of one model."""
BYTES = 64 << 30
"""Most bytes of one model."""
SMALL = 4 << 20
"""Most bytes of what is read into memory: a signature, a descriptor."""
SPARE = 1 << 30
"""Bytes of the disk that a download leaves free."""
UNUSED_SECONDS = 24 * 3600.0
_STAGED = ".fetching-"


class _Entry(NamedTuple):
    """One file, as it was when it was fetched."""

    content: str
    """SHA-256."""
    size: int
    time: int
    """Of its last change, in nanoseconds."""


def location(artifact_uri: str, name: str) -> str:
    """Path in the proxy of a run's artifact, as `fetch` takes it. Raises Terminal when the run keeps its artifacts elsewhere."""
    uri = urlsplit(artifact_uri)
    path = "/".join([uri.path.strip("/"), name.strip("/")])
    if uri.scheme != "mlflow-artifacts" or not is_inside(path):
        raise Terminal(
            f"the artifacts of this run are not kept by the MLflow server: {artifact_uri}", hint="start it with --artifacts-destination"
        )
    return path


def fetch(ctx: Context, path: str, digest: str = "") -> Path:
    """The folder with the files below `path`, a `location`; its name is their digest. What is in the cache and unchanged is not fetched.

    With `digest` they are verified: Terminal says which file was tampered with, where the cache tells how it was. Raises Terminal too
    when there is nothing, or too much, Transient while it cannot be had."""
    home = folder(ctx.state_dir.resolve()) / "models"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if digest and _cached(home, digest):
        return home / digest
    staged = Path(tempfile.mkdtemp(prefix=_STAGED, dir=home))
    try:
        found = _download(connect(ctx), path, staged)
        have = digest_of_files(found)
        if digest and have != digest:
            known = manifest(home / digest)
            differs = first_difference(known, found) if known else ""
            raise Terminal(
                f"the files of {path} were tampered with: {differs or f'they come to {have[:12]}, not to {digest[:12]}'}",
                hint="register the model anew, or restore its files in MLflow",
            )
        _keep(home, staged, have)
    except OSError as error:
        raise Transient(f"the files of {path} cannot be kept: {error.strerror}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return home / have


def manifest(fetched: Path) -> Mapping[str, str]:
    """Name -> SHA-256 of each file of a folder that `fetch` gave; empty when it is not known."""
    return {name: entry.content for name, entry in _noted(fetched.parent, fetched.name).items()}


def size(fetched: Path) -> int:
    """Bytes of the files of a folder that `fetch` gave."""
    return sum(entry.size for entry in _noted(fetched.parent, fetched.name).values())


def descriptor(fetched: Path) -> Descriptor:
    """What the model's folder says of itself. Raises Terminal that names the field that is wrong."""
    return described(tuple(manifest(fetched)), lambda name: _text(fetched / name))


def read(ctx: Context, path: str) -> bytes:
    """One small artifact. Raises Rejected when it is not there, Terminal when it is too large."""
    with connect(ctx).artifact("GET", _checked(path)) as response:
        content = b""
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > SMALL:
                raise Terminal(f"{path} is larger than {SMALL >> 20} MiB")
    return content


def upload(ctx: Context, path: str, content: bytes) -> None:
    """Store one artifact, replacing what is there."""
    with connect(ctx).artifact("PUT", _checked(path), content=content) as response:
        response.read()


def sweep(state_dir: Path, now: float | None = None) -> None:
    """Remove what nobody has fetched for a day. Safe to repeat, and while others fetch."""
    home = folder(state_dir.resolve()) / "models"
    for entry in home.iterdir() if home.is_dir() else ():
        note = entry if entry.suffix == ".json" else entry.with_name(f"{entry.name}.json")
        used = max((each.stat().st_mtime for each in {entry, note} if each.exists()), default=0.0)
        if (now or time.time()) - used < UNUSED_SECONDS:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


# --- download ----------------------------------------------------------------------------------------------------------


def _download(mlflow: Mlflow, path: str, into: Path) -> Mapping[str, str]:
    listed = dict(itertools.islice(_listed(mlflow, _checked(path)), FILES + 1))
    if not listed:
        raise Terminal(f"the run has no artifact at {path}", hint="does its program write it below --out?")
    if len(listed) > FILES:
        raise Terminal(f"there are more than {FILES} files at {path}")
    if sum(listed.values()) > BYTES:
        raise Terminal(f"the files of {path} are larger than {BYTES >> 30} GiB")
    if sum(listed.values()) + SPARE > shutil.disk_usage(into).free:
        raise Transient(f"the files of {path} do not fit on the disk", hint="free some room where the state folder is")
    return {name: _file(mlflow, f"{path}/{name}", into / name, length) for name, length in sorted(listed.items())}


def _listed(mlflow: Mlflow, path: str, below: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Name, relative to `path`, and size of each file. Raises Terminal for names that lead elsewhere."""
    with mlflow.artifact("GET", params={"path": f"{path}/{below}".rstrip("/")}) as response:
        response.read()
        try:
            entries = list(response.json().get("files", []))
        except (ValueError, AttributeError) as error:
            raise Transient(f"MLflow listed {path} with something that is not JSON") from error
    for count, each in enumerate(entries):
        name = "/".join(filter(None, [below, str(each.get("path", "")).rpartition("/")[2]]))
        if not is_inside(name) or depth > 32 or count >= FILES:
            raise Terminal(f"what MLflow lists at {path} is no model: {name!r}"[:200])
        if each.get("is_dir"):
            yield from _listed(mlflow, path, name, depth + 1)
        else:
            yield name, int(each.get("file_size") or 0)


def _file(mlflow: Mlflow, path: str, target: Path, length: int) -> str:
    """Write one file; returns its SHA-256. Raises Transient when it is not as long as it was listed: somebody writes it just now."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashed, written = hashlib.sha256(), 0
    with mlflow.artifact("GET", path) as response, target.open("xb") as file:
        for chunk in response.iter_bytes(1 << 20):
            written += len(chunk)
            if written > length:
                break
            hashed.update(chunk)
            file.write(chunk)
    if written != length:
        raise Transient(f"{path} changed while it was read")
    return hashed.hexdigest()


def _checked(path: str) -> str:
    if not is_inside(path):
        raise Terminal(f"not the path of an artifact: {path!r}")
    return path


# --- the cache ---------------------------------------------------------------------------------------------------------


def _cached(home: Path, digest: str) -> bool:
    """True when the files are there and unchanged; files whose size or time is another one are read again."""
    try:
        there = _stats(home / digest)
        noted = _noted(home, digest)
        if not noted or {name: (entry.size, entry.time) for name, entry in noted.items()} != there:
            if digest_of_files({name: _hashed(home / digest / name) for name in there}) != digest:
                raise OSError("changed")
            _note(home, digest)
        os.utime(home / f"{digest}.json")
    except OSError:
        shutil.rmtree(home / digest, ignore_errors=True)
        return False
    return True


def _keep(home: Path, staged: Path, digest: str) -> None:
    if _cached(home, digest):  # somebody else was faster
        return
    with contextlib.suppress(OSError):
        staged.rename(home / digest)
    if not (home / digest).is_dir():
        raise OSError(None, "the cache cannot be written")
    _note(home, digest)


def _note(home: Path, digest: str) -> None:
    noted = {name: _Entry(_hashed(home / digest / name), *seen) for name, seen in _stats(home / digest).items()}
    handle, written = tempfile.mkstemp(prefix=_STAGED, dir=home)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(noted, file)
    Path(written).replace(home / f"{digest}.json")


def _noted(home: Path, digest: str) -> Mapping[str, _Entry]:
    """What is known of each file; empty when nothing is."""
    try:
        return {name: _Entry(*entry) for name, entry in json.loads((home / f"{digest}.json").read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _stats(model: Path) -> Mapping[str, tuple[int, int]]:
    """Size and time of every file below. Raises OSError when there is no such folder, or something in it that is no plain file."""
    found = {}
    for path in [*model.rglob("*"), model]:
        seen = path.lstat()
        if stat.S_ISREG(seen.st_mode):
            found[path.relative_to(model).as_posix()] = (seen.st_size, seen.st_mtime_ns)
        elif not stat.S_ISDIR(seen.st_mode):
            raise OSError(None, "no plain file", str(path))
    return found


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > SMALL:
            raise Terminal(f"{path.name} is larger than {SMALL >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Terminal(f"{path.name} cannot be read: {error}") from error
