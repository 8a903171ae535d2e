"""Files that DVC knows: `.dvc` files, content addresses, and the objects of a cache. DVC itself is not imported."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.client.errors import Refused

DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class Cache:
    """The objects of all projects, by content."""

    directory: Path

    def _object(self, md5: str) -> Path:
        return self.directory / "files" / "md5" / md5[:2] / md5[2:]

    def _listing(self, md5: str) -> list[tuple[str, str]]:
        """(relative path, MD5) of each file of a folder's version. Raises Refused for one that names a file outside of it."""
        found = [(str(each["relpath"]), str(each["md5"])) for each in json.loads(self._object(md5).read_bytes())]
        for name, digest in found:
            if name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")) or not DIGEST.fullmatch(digest):
                raise Refused(f"the folder version {md5} names a file outside itself: '{name}'")
        return found

    def lacking(self, md5: str) -> list[str]:
        """Objects of a version that the cache lacks."""
        if not self._object(md5).exists():
            return [md5]
        parts = self._listing(md5) if md5.endswith(".dir") else []
        return [each for _, each in parts if not self._object(each).exists()]

    def copy(self, md5: str, to: Path) -> None:
        """Plain files from the cache, whole or not at all."""
        if to.exists() and digest(to) == md5:
            return
        to.parent.mkdir(parents=True, exist_ok=True)
        staged = to.with_name(f".mlops-{os.urandom(6).hex()}")
        try:
            for name, each in self._listing(md5) if md5.endswith(".dir") else [("", md5)]:
                target = staged / name if name else staged
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._object(each), target)
            if digest(staged) != md5:
                raise Refused(
                    f"version {md5} is damaged in the DVC cache", hint="reconcile: a pass repairs what a remote or the project holds"
                )
            if to.is_dir():
                shutil.rmtree(to)
            staged.replace(to)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            staged.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """DVC's content address of a file or folder (DVC 3: MD5 of the bytes; of a folder, of its listing)."""
    if path.is_file():
        return _md5(path)
    skipped = {".git", ".hg", ".dvc"}
    files = [each for each in path.rglob("*") if each.is_file() and skipped.isdisjoint(each.relative_to(path).parts)]
    listed = sorted(({"md5": _md5(each), "relpath": each.relative_to(path).as_posix()} for each in files), key=lambda each: each["relpath"])
    return f"{hashlib.md5(json.dumps(listed).encode()).hexdigest()}.dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def read(file: Path) -> Mapping[str, Any]:
    """A `.dvc` file. Raises Refused when it is not one."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(file.read_bytes(), Loader=loader)  # noqa: S506 - the C twin of SafeLoader
        (out,) = found["outs"]
        if DIGEST.fullmatch(str(out["md5"])) and "/" not in str(out["path"]):
            return {"outs": [out], "meta": found.get("meta") or {}}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        pass
    raise Refused(f"{file} is not a readable .dvc file")


def notes_of(entry: Mapping[str, Any] | None) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in json.loads((entry or {}).get("meta", {}).get("mlops") or "{}").items()}
    except ValueError:
        return {}


def text(value: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=1 << 20)
