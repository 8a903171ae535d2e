"""What of DVC is plain files: `.dvc` files, content addresses, and the stat of the data. DVC itself is not imported.

A pass in which nothing changed needs only this module: it stats the data and reads the small `.dvc` files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from reconciler.errors import Terminal
from reconciler.model.lfs import HEAD, WAY_OUT, is_lfs_pointer
from reconciler.model.lfs import LONGEST as LFS_LONGEST

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TEMPORARY = ".mlops-"
"""How names of half-made files and folders start; they are never part of a dataset."""
_SKIPPED = frozenset({".git", ".hg", ".dvc"})
"""DVC's own default ignore patterns (dvc/ignore.py, DvcIgnoreFilter)."""
_DIGEST = re.compile(r"^[0-9a-f]{32}(\.dir)?$")


@dataclass(frozen=True, slots=True)
class Version:
    """The content of a file or folder, as DVC addresses it."""

    md5: str
    """MD5 of the bytes; for a folder of its listing, with `.dir` at the end."""
    size: int
    """Bytes, all files together."""
    nfiles: int | None = None
    """Files in the folder; None for a file."""

    @property
    def is_dir(self) -> bool:
        return self.md5.endswith(".dir")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What stat says of a path: equal digests mean that nothing was written to it."""

    digest: str
    """Over name, mtime, ctime, inode and size of each file; ctime shows edits that put the mtime back."""
    size: int
    nfiles: int | None
    newest: float
    """ctime of the last change, in seconds since 1970: unlike mtime it cannot lie in the future."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One `.dvc` file: a version under a name, with what we noted about it."""

    basename: str
    """Name of the file or folder that it describes."""
    version: Version
    notes: Mapping[str, str] = field(default_factory=dict)
    """Ours, kept in the file's `meta.mlops`: the mark, the path in the project, the stat, the time, the shape."""


def checked(md5: str) -> str:
    """`md5` if it is one. Raises Terminal otherwise: it becomes part of a path."""
    if not _DIGEST.match(md5):
        raise Terminal(f"'{md5}' is not a DVC digest", hint="expected 32 hex digits, with .dir for a folder")
    return md5


# --- .dvc files ----------------------------------------------------------------------------------------------------


def read_entry(path: Path) -> Entry:
    """The entry in a `.dvc` file. Raises FileNotFoundError, or Terminal when it is not a `.dvc` file with one output."""
    now = path.stat()
    return _read_entry(path, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


@lru_cache(maxsize=16_384)
def _read_entry(path: Path, *_stat: int) -> Entry:
    """Once for each stat: thousands are looked at in every pass of a loop."""
    try:
        data = yaml.load(path.read_bytes(), Loader=Loader)  # noqa: S506 - the C twin of SafeLoader
        (out,) = data["outs"]
        version = Version(checked(out["md5"]), int(out.get("size", 0)), out.get("nfiles"))
        notes = json.loads((data.get("meta") or {}).get("mlops") or "{}")
        return Entry(str(out["path"]), version, {str(key): str(value) for key, value in notes.items()})
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Terminal(
            f"{path} is not a readable .dvc file: {type(error).__name__}", hint="remove it; the data stays in the cache"
        ) from error


def render_entry(entry: Entry) -> str:
    """The text of a `.dvc` file as DVC 3 writes it; in `meta` our notes, as one JSON text: thousands are read in every pass, and JSON is
    read twenty times faster than YAML."""
    out: dict[str, Any] = {"md5": entry.version.md5, "size": entry.version.size, "hash": "md5", "path": entry.basename}
    if entry.version.nfiles is not None:
        out["nfiles"] = entry.version.nfiles
    data: dict[str, Any] = {"outs": [out]}
    if entry.notes:
        data["meta"] = {"mlops": json.dumps(dict(entry.notes), sort_keys=True, ensure_ascii=False)}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1 << 20)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


# --- paths ---------------------------------------------------------------------------------------------------------


def confine(root: Path, relative: str, *, private: tuple[str, ...], cache: Path) -> Path:
    """The absolute path of `relative` below `root`. Raises Terminal when a link, or the name, leads out of `root`,
    or into (or around) one of `private`, the resolved folders of the installation. A link into DVC's `cache` is how a version is
    checked out. Strings instead of Paths inside: this runs once for each dataset in every pass."""
    base = os.path.realpath(root)
    lexical = os.path.normpath(os.path.join(base, relative))  # noqa: PTH118
    found = os.path.join(os.path.realpath(os.path.dirname(lexical)), os.path.basename(lexical))  # noqa: PTH118, PTH119, PTH120
    if found == base or not _below(found, base):
        raise Terminal(f"'{relative}' is outside the project ({found})", hint="name a path below the project's folder")
    if any(_below(found, own) or _below(own, found) for own in private) or ".git" in found[len(base) :].split("/"):
        raise Terminal(f"'{relative}' names the installation's own files", hint="choose a path that holds only the data")
    place = Path(found)
    if place.is_symlink():
        _check_link(place, Path(base), cache)
    return place


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _check_link(link: Path, root: Path, cache: Path) -> None:
    target = link.resolve()
    if not (target.is_relative_to(cache.resolve()) or target.is_relative_to(root)):
        raise Terminal(
            f"'{link}' is a link to '{target}', outside the project", hint="put the data itself there, or import it with `source`"
        )


# --- stat ----------------------------------------------------------------------------------------------------------


def kept(name: str) -> bool:
    """False for names that are never part of a dataset: version control's folders and our half-made files."""
    return name not in _SKIPPED and not name.startswith(TEMPORARY)


def look(path: Path, *, root: Path, cache: Path) -> Snapshot | None:
    """Stat of a file, or of every file below a folder; None when it is not there.

    Raises Terminal for what cannot be data: links out of the project, links to folders, pipes, sockets and devices."""
    try:
        own = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(own.st_mode):
        return Snapshot(f"f:{_facts(own)}", own.st_size, None, _newest(own))
    if not stat.S_ISDIR(own.st_mode):
        raise Terminal(f"'{path}' is neither a file nor a folder")
    base, digest, size, count, newest = root.resolve(), hashlib.blake2b(digest_size=16), 0, 0, _newest(own)
    for name, each in sorted(_files(path, "", base, cache)):
        digest.update(f"{name}\0{_facts(each)}\n".encode(errors="surrogateescape"))
        size, count, newest = size + each.st_size, count + 1, max(newest, _newest(each))
    return Snapshot(f"d:{count}:{size}:{digest.hexdigest()}", size, count, newest)


def pointer(path: Path, most: int | None = None) -> str | None:
    """The first file, of `path` or below it, that is a pointer of Git LFS in place of the data: its name below `path`, empty for `path`
    itself; None when there is none, or none among the `most` first ones that are short enough. Reads the heads of small files only."""
    if path.is_file():
        return "" if _is_pointer(path) else None
    small = (Path(folder, name) for folder, _, names in os.walk(path) for name in sorted(names) if kept(name))
    return next((str(each.relative_to(path)) for each in islice(small, most) if _is_pointer(each)), None)


def refuse_pointer(path: Path, what: str, most: int | None = None) -> None:
    """Raises Terminal for data that is not there: hashed, its pointer would pass for it."""
    if (found := pointer(path, most)) is not None:
        name = f"{what}/{found}" if found else what
        raise Terminal(f"'{name}' is a pointer of Git LFS, not the data: {WAY_OUT}", hint="repositories that are followed stay without LFS")


def _is_pointer(path: Path) -> bool:
    try:
        if not stat.S_ISREG((found := path.stat()).st_mode) or found.st_size > LFS_LONGEST:
            return False
        with path.open("rb") as file:
            return is_lfs_pointer(file.read(HEAD))
    except OSError:
        return False


def _facts(of: os.stat_result) -> str:
    return f"{of.st_mtime_ns}:{of.st_ctime_ns}:{of.st_ino}:{of.st_size}"


def _newest(of: os.stat_result) -> float:
    return of.st_ctime


def _files(folder: Path, prefix: str, root: Path, cache: Path) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as found:
        for each in found:
            if not kept(each.name):
                continue
            name = f"{prefix}{each.name}"
            if each.is_symlink():
                _check_link(Path(each.path), root, cache)
                if each.is_dir():
                    raise Terminal(f"'{each.path}' is a link to a folder", hint="DVC does not follow it: put the folder itself there")
            if each.is_dir(follow_symlinks=False):
                yield from _files(Path(each.path), f"{name}/", root, cache)
            elif each.is_file():
                yield name, each.stat()
            elif not each.is_symlink():
                raise Terminal(f"'{each.path}' is neither a file nor a folder")
