"""Parsed files kept with the digest of their bytes, so that an unchanged file is parsed once. The last version of each file is kept.

One file for each source: a line with the digest of the rest, then JSON. Whatever is wrong with it, it is the same as no cache."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconciler.source.yamltext import Document

_FORMAT = 2
"""Counts up when the same text is read differently."""
_SPARE = 1000
"""Files that were not asked for this time and stay all the same: a pass over a part must not empty the cache."""


def digest_of_file(raw: bytes) -> str:
    """Of a file's bytes; SHA-256, so that no file can be made to pass for another."""
    return hashlib.sha256(raw).hexdigest()


class Parsed:
    """The cache of one source. `folder` None = remembers nothing."""

    def __init__(self, folder: Path | None, source: str) -> None:
        self._file = folder / f"manifests-{source}.json" if folder is not None else None
        self._old: dict[str, Any] = self._read()
        self._new: dict[str, Any] = {}
        self._changed = False

    def get(self, file: str, digest: str) -> tuple[Document, ...] | None:
        """The documents of `file` when it has these bytes; None = it must be parsed."""
        found = self._old.get(file)
        if found is None or found[0] != digest:
            return None
        self._new[file] = found
        return tuple(Document(index, line, data) for index, line, data in found[1])

    def put(self, file: str, digest: str, documents: Sequence[Document]) -> None:
        """Keep a file without faults whose values JSON gives back as they were."""
        if self._file is None or any(each.faults or not _plain(each.data) for each in documents):
            return
        self._new[file] = [digest, [[each.index, each.line, each.data] for each in documents]]
        self._changed = True

    def save(self) -> None:
        """Write what is worth keeping, all at once; a disk that does not take it is no error."""
        if self._file is None or not self._changed:
            return
        spare = [each for each in self._old if each not in self._new][-_SPARE:]
        kept = {**{each: self._old[each] for each in spare}, **self._new}
        body = json.dumps({"format": _FORMAT, "files": kept}, separators=(",", ":")).encode()
        temporary = ""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=self._file.parent, prefix=".parsed-")
            with os.fdopen(handle, "wb") as file:
                file.write(digest_of_file(body).encode() + b"\n" + body)
            Path(temporary).replace(self._file)
        except OSError:
            if temporary:
                Path(temporary).unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        if self._file is None:
            return {}
        try:
            head, _, body = self._file.read_bytes().partition(b"\n")
            if head != digest_of_file(body).encode():
                return {}
            stored = json.loads(body)
        except (OSError, ValueError):
            return {}
        return stored["files"] if stored.get("format") == _FORMAT else {}


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float)
