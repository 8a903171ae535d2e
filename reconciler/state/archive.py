"""The file of a backup: a zip with one file of JSON lines for each table, and `format.json`, which says what they are. Knows no database.

Written beside its place and put there whole, mode 0600. Read row by row, so that its size does not matter. The digests find damage; whoever
can write the file can write digests too, so it belongs where only those may write who may write the Store."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from reconciler.errors import StoreError

FORMAT, FORMAT_VERSION = "mlops-reconciler store", 1
HEAD_FILE = "format.json"
LONGEST = 64 << 20
"""Bytes of a line at most: more is damage, and would only fill the memory."""
LEVEL = 3
"""Of zlib: half the time of its default for a file that is a tenth larger."""

Row = dict[str, Any]
"""Column to value, as JSON has them; a moment is RFC 3339 text in UTC."""


@dataclass(frozen=True, slots=True)
class Table:
    """One file of the backup."""

    rows: int
    sha256: str
    """Of its lines."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself. `at`: the moment that it shows."""

    installation: str
    """Id of the installation; empty = the Store did not know it yet."""
    revision: str
    """Of the schema that the rows have."""
    at: datetime
    program: str
    """Version of mlops-reconciler that wrote it."""
    token: int
    """Of the last lease for writing."""
    numbers: Mapping[str, int]
    """Table that numbers its rows -> the last number that was given."""
    tables: Mapping[str, Table] = field(default_factory=dict)


def write(path: Path, head: Contents, tables: Iterable[tuple[str, Iterable[Row]]], *, over: bool) -> Contents:
    """Write a backup of these rows; `head` without its `tables`. Without `over` nothing that is at `path` is overwritten.

    Raises StoreError when it cannot be written; nothing is left then."""
    if not over and path.exists():
        raise _there(path)
    with _named(path, "cannot be written"):
        handle, staged = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with _named(path, "cannot be written"), os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as zipped:
                contents = replace(head, tables={name: _add(zipped, name, rows) for name, rows in tables})
                zipped.writestr(HEAD_FILE, json.dumps(_value(contents), indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _place(Path(staged), path, over)
    finally:
        Path(staged).unlink(missing_ok=True)
    return contents


class Archive:
    """A backup that was opened. Raises StoreError for everything that is not as it was written."""

    def __init__(self, path: Path, zipped: zipfile.ZipFile) -> None:
        self.path = path
        self._zipped = zipped
        with self._sound():
            self.contents = _contents(json.loads(zipped.read(HEAD_FILE)))
            found, told = sorted(zipped.namelist()), sorted([HEAD_FILE, *map(_file, self.contents.tables)])
            if found != told:
                raise ValueError(f"it holds {', '.join(found)} and should hold {', '.join(told)}")

    def check(self) -> None:
        """Read it to its end."""
        for name in self.contents.tables:
            for _ in self.rows(name):
                pass

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of a table, one after the other; that they were all there, and as written, is known once the last one was taken."""
        told, digest, count = self.contents.tables[name], hashlib.sha256(), 0
        with self._sound(), self._zipped.open(_file(name)) as member:
            lines = io.BufferedReader(cast("io.RawIOBase", member), 1 << 18)
            while line := lines.readline(LONGEST):
                digest.update(line)
                count += 1
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {count} of {_file(name)} is no row")
                yield row
            if (count, digest.hexdigest()) != (told.rows, told.sha256):
                raise ValueError(f"{_file(name)} is not what was written")

    @contextmanager
    def _sound(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError) as error:
            raise _damaged(self.path, error) from error


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The backup at `path`. Raises StoreError when there is none, or a newer program wrote it."""
    with _named(path, "cannot be read"):
        file = path.open("rb")
    with file:
        try:
            zipped = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise _damaged(path, error) from error
        with zipped:
            yield Archive(path, zipped)


def _add(zipped: zipfile.ZipFile, name: str, rows: Iterable[Row]) -> Table:
    digest, count = hashlib.sha256(), 0
    with zipped.open(_file(name), "w", force_zip64=True) as member, io.BufferedWriter(member, 1 << 18) as lines:
        for row in rows:
            line = json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"
            digest.update(line)
            lines.write(line)
            count += 1
    return Table(count, digest.hexdigest())


def _file(name: str) -> str:
    return f"{name}.jsonl"


def _place(staged: Path, path: Path, over: bool) -> None:
    with _named(path, "cannot be written"):
        if over:
            staged.replace(path)
        else:
            try:
                os.link(staged, path)  # unlike a rename it never overwrites
            except FileExistsError:
                raise _there(path) from None
            except OSError:  # a file system without links
                staged.replace(path)
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)


def _value(contents: Contents) -> dict[str, Any]:
    tables = {name: {"rows": each.rows, "sha256": each.sha256} for name, each in contents.tables.items()}
    return {
        "format": FORMAT,
        "formatVersion": FORMAT_VERSION,
        "installation": contents.installation,
        "revision": contents.revision,
        "at": contents.at.astimezone(UTC).isoformat(),
        "program": contents.program,
        "token": contents.token,
        "numbers": dict(contents.numbers),
        "tables": tables,
    }


def _contents(value: Any) -> Contents:
    """Raises ValueError for what is no description, StoreError for that of a newer program."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"{HEAD_FILE} does not say `{FORMAT}`")
    if value.get("formatVersion") != FORMAT_VERSION:
        found = value.get("formatVersion")
        raise StoreError(
            f"the backup was written by a newer version: its format is {found}, this program knows {FORMAT_VERSION}",
            hint="update mlops-reconciler",
        )
    try:
        return Contents(
            installation=str(value["installation"]),
            revision=str(value["revision"]),
            at=datetime.fromisoformat(value["at"]).astimezone(UTC),
            program=str(value["program"]),
            token=int(value["token"]),
            numbers={str(name): int(last) for name, last in value["numbers"].items()},
            tables={str(name): Table(int(each["rows"]), str(each["sha256"])) for name, each in value["tables"].items()},
        )
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{HEAD_FILE} lacks something: {error}") from error


def _damaged(path: Path, error: Exception) -> StoreError:
    what = " ".join(str(error).split()) or type(error).__name__
    return StoreError(f"{path} is not a whole backup: {what}", hint="nothing was changed; take another copy of it, or another backup")


def _there(path: Path) -> StoreError:
    return StoreError(f"{path} is there already; nothing was written", hint="name another file, or say --force")


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"the backup {path} {what}: {error.strerror or error}") from error
