"""DVC's cache on this machine: hash, add, check and check out, by DVC's own data layer (dvc-data), without a workspace.

The data lies in the users' project trees, whose git is theirs; `dvc add` would put files there and replace data by links.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, cast

from controllers.tools.dvc_calls import load
from controllers.tools.dvc_files import TEMPORARY, Snapshot, Version, checked, kept, look
from reconciler.errors import Terminal, Transient

_EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
"""MD5 of no bytes: the only object that may be empty. Another empty one is what a crash left of a clone."""


class Cache:
    """The objects of all projects, by content. One instance per pass; safe to use from several threads."""

    def __init__(self, directory: Path, links: Sequence[str]) -> None:
        self.directory = directory
        self.objects = directory / "files" / "md5"
        self.links = tuple(links) or ("reflink", "copy")
        self._writing = Lock()

    # --- reading, without DVC ---

    def path(self, md5: str) -> Path:
        """Where the object lies, or would lie."""
        checked(md5)
        return self.objects / md5[:2] / md5[2:]

    def has(self, md5: str) -> bool:
        """True when the object itself is there; says nothing of the files of a folder."""
        try:
            return self.path(md5).stat().st_size > 0 or md5 == _EMPTY
        except FileNotFoundError:
            return False

    def listing(self, md5: str) -> list[tuple[str, str]]:
        """(relative path, MD5) of each file of a folder's version. Raises FileNotFoundError, or Terminal when the listing is damaged
        or names a path outside the folder: listings also come from remotes and from other repositories."""
        try:
            found = [(str(each["relpath"]), checked(str(each["md5"]))) for each in json.loads(self.path(md5).read_bytes())]
        except (ValueError, KeyError, TypeError) as error:
            raise Terminal(f"the listing {md5} in the DVC cache is damaged") from error
        for name, _ in found:
            if name.startswith("/") or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise Terminal(f"the folder version {md5} names a file outside itself: '{name}'")
        return found

    def parts(self, md5: str) -> list[str]:
        """The objects that a version is made of, the folder's listing last. Raises FileNotFoundError when the listing is not there."""
        return [*sorted({each for _, each in self.listing(md5)}), md5] if md5.endswith(".dir") else [md5]

    def missing(self, md5: str) -> list[str]:
        """The objects of a version that are not in the cache."""
        if not self.has(md5):
            return [md5]
        return [each for each in self.parts(md5) if not self.has(each)]

    def describe(self, md5: str) -> Version:
        """Size and number of files of a version that is in the cache. Raises FileNotFoundError."""
        if not md5.endswith(".dir"):
            return Version(md5, self.path(md5).stat().st_size)
        files = self.listing(md5)
        return Version(md5, sum(self.path(each).stat().st_size for _, each in files), len(files))

    def seal(self, md5: str) -> str:
        """Stat of a version's objects, to notice that one was lost or written to without reading it; empty when one is missing."""
        try:
            found = [self.path(each).stat() for each in self.parts(md5)]
        except (FileNotFoundError, Terminal):
            return ""
        text = "\n".join(f"{each.st_mtime_ns}:{each.st_size}" for each in found)
        return text if len(found) == 1 else hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    # --- hashing and adding ---

    def hash(self, path: Path) -> Version:
        """The version that the bytes at `path` are; nothing is kept. Raises FileNotFoundError."""
        version, tree = self._build(path, dry=True)
        _forget(tree)
        return version

    def damaged(self, md5: str) -> list[str]:
        """Objects of a version that are missing or whose bytes are not what their name says: reads all of them."""
        load()
        from dvc_data.hashfile.hash import file_md5

        if not self.has(md5) or file_md5(str(self.path(md5))) != md5[:32]:
            return [md5]
        return [each for each in self.parts(md5) if not self.has(each) or file_md5(str(self.path(each))) != each[:32]]

    def add(self, path: Path, root: Path) -> tuple[Version, Snapshot]:
        """Copy (or clone) the bytes at `path` into the cache; with them the stat that they had.

        Raises Transient when they change meanwhile: then nothing of it stays in the cache."""
        load()
        from dvc_objects.fs.local import localfs

        with self._writing:
            before = look(path, root=root, cache=self.objects)
            if before is None:
                raise Transient(f"{path} went away")
            version, tree = self._build(path, dry=False)
            self._give_back_edited(path, version, tree)
            files = {oid: str(each) for each, oid in _members(path, version, tree)}
            fresh = [each for each in files if not self.has(each)]
            self._take([files[each] for each in fresh], localfs, fresh)
            if version.is_dir and not self.has(version.md5):
                self._take([tree.path], tree.fs, [version.md5])
                fresh.append(version.md5)
            _forget(tree)
            after = look(path, root=root, cache=self.objects)
            if after is None or (after.digest != before.digest and (self.hash(path) != version or self.damaged(version.md5))):
                self.drop(fresh)
                raise Transient(f"{path} changed while it was read", hint="it is read again once it has settled")
            return version, after

    def odb(self) -> Any:
        """DVC's own view of this cache. It keeps no hashes of its own: they would trust a stat without ctime."""
        load()
        from dvc_data.hashfile.db import local
        from dvc_objects.fs.local import localfs

        make: Any = local.LocalHashFileDB
        return make(localfs, str(self.objects), hash_name="md5")

    def _build(self, path: Path, dry: bool) -> tuple[Version, Any]:
        load()
        from dvc_data.hashfile.build import build
        from dvc_objects.fs.local import localfs

        _, meta, tree = build(self.odb(), str(path), localfs, "md5", dry_run=dry, ignore=cast("Any", _Walk()))
        return Version(tree.oid, int(meta.size or 0), meta.nfiles if tree.oid.endswith(".dir") else None), tree

    def _take(self, paths: list[str], fs: Any, oids: list[str]) -> None:
        failed: list[BaseException] = []
        if oids:
            self.odb().add(paths, fs, oids, check_exists=False, on_error=lambda _, error: failed.append(error))
        if failed:
            self.drop(oids)
            raise failed[0]

    def _give_back_edited(self, path: Path, version: Version, tree: Any) -> None:
        """Somebody wrote through a link into the cache: what was written becomes its own object, the old one is then missing."""
        for each, oid in _members(path, version, tree):
            if each.is_symlink() and (target := each.resolve()).is_relative_to(self.objects.resolve()):
                held = "".join(target.parts[-2:])
                if held != oid:
                    self.rehome(held)
                    link = beside(each)
                    link.symlink_to(self.path(oid))
                    link.replace(each)

    def rehome(self, oid: str) -> None:
        """Move a damaged object to the address of the bytes that it really holds: they may be all that is left of somebody's edit."""
        load()
        from dvc_data.hashfile.hash import file_md5

        place = self.path(oid)
        with suppress(FileNotFoundError):
            if oid.endswith(".dir"):
                place.unlink()
                return
            actual = self.path(file_md5(str(place)))
            if actual != place and not actual.exists() and place.stat().st_size:
                actual.parent.mkdir(parents=True, exist_ok=True)
                place.replace(actual)
                actual.chmod(0o444)
            elif actual != place:
                place.unlink()

    def drop(self, oids: Iterable[str]) -> int:
        """Remove these objects; how many were there."""
        count = 0
        for each in oids:
            with suppress(FileNotFoundError):
                self.path(each).unlink()
                count += 1
        return count

    # --- checking out ---

    def check_out(self, md5: str, path: Path, *, plain: bool, unchanged: Snapshot | None, root: Path) -> Snapshot:
        """Put a version at `path`, whole or not at all. `plain`: no links that share the cache's bytes.

        `unchanged` is the stat that what is there now must still have, None = nothing is there. Raises Transient when it changed."""
        if bad := self.damaged(md5):
            raise Transient(f"{len(bad)} objects of {md5} are missing from the DVC cache or damaged, first {bad[0]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        half = beside(path)
        try:
            if md5.endswith(".dir"):
                half.mkdir()
                for name, oid in self.listing(md5):
                    self._place(oid, half / name, plain)
            else:
                self._place(md5, half, plain)
            now = look(path, root=root, cache=self.objects)
            if (now and now.digest) != (unchanged and unchanged.digest):
                raise Transient(f"{path} changed while a version was being put there")
            _swap(half, path)
        finally:
            _remove(half)
        found = look(path, root=root, cache=self.objects)
        if found is None:
            raise Transient(f"{path} went away")
        return found

    def _place(self, oid: str, path: Path, plain: bool) -> None:
        load()
        from dvc_objects.fs.generic import transfer
        from dvc_objects.fs.local import localfs

        path.parent.mkdir(parents=True, exist_ok=True)
        links = [each for each in self.links if not plain or each in ("reflink", "copy")] or ["reflink", "copy"]
        transfer(localfs, str(self.path(oid)), localfs, str(path), links=[*links, *({"copy"} - set(links))])

    @property
    def shares(self) -> bool:
        """True when checked-out data is meant to be a link into the cache."""
        return self.links[0] in ("symlink", "hardlink")


class _Walk:
    """DVC's interface for what to leave out of a folder (dvc_data.hashfile._ignore.Ignore)."""

    def walk(self, _fs: Any, path: str) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, below, files in os.walk(path):
            below[:] = [each for each in below if kept(each)]
            yield folder, below, [each for each in files if kept(each)]


def _members(path: Path, version: Version, tree: Any) -> list[tuple[Path, str]]:
    if not version.is_dir:
        return [(path, version.md5)]
    return [(path.joinpath(*key), info.value) for key, _, info in tree]


def _forget(tree: Any) -> None:
    """A folder's listing is built in a process-wide memory file system, which would grow with every hash."""
    if getattr(getattr(tree, "fs", None), "protocol", "") == "memory":
        with suppress(FileNotFoundError):
            tree.fs.remove(tree.path)


def beside(path: Path) -> Path:
    """A name for something half-made, in the same folder, so that a rename makes it whole."""
    return path.with_name(f"{TEMPORARY}{path.name[:80]}-{os.urandom(6).hex()}")


def sweep(path: Path) -> None:
    """Remove what an interrupted check-out of `path` left beside it."""
    for each in path.parent.glob(f"{TEMPORARY}*"):
        if each.name.startswith(f"{TEMPORARY}{path.name[:80]}-"):
            _remove(each)


def _swap(new: Path, path: Path) -> None:
    """Put `new` in the place of `path`. Between two folders there is a moment without either; a crash there is repaired as missing data."""
    try:
        folder = stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        new.rename(path)
        return
    if not folder and not new.is_dir():
        new.replace(path)
        return
    old = beside(path)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
