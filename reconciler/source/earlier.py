"""Files of the manifests as they were at an earlier revision: whether anybody's work is in the way, a copy of the tree with them for a
plan, and the files themselves. Nothing is committed, and git's index stays as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from reconciler.errors import UsageError
from reconciler.registry import Kinds
from reconciler.source.base import declared_at, repository
from reconciler.source.git.command import Git
from reconciler.source.git.place import at_rest
from reconciler.source.git.revert import contents
from reconciler.source.git.values import listed, printable
from reconciler.source.load import IGNORE, SUFFIXES, overlay_folders
from reconciler.source.yamltext import MAX_BYTES
from reconciler.validate import Validated

Does = Literal["write", "remove", "already"]
FEW = 3
"""Commits that are named for a file."""


@dataclass(frozen=True)
class Restored:
    """What becomes of one file; `name` is relative to the installation's root."""

    name: str
    does: Does


@dataclass(frozen=True)
class Tree:
    """The work tree that an installation's manifests lie in."""

    git: Git
    top: Path
    root: Path
    paths: tuple[Path, ...]
    """Of the manifests, relative to the root."""
    kinds: Kinds = field(repr=False)
    env: str = ""

    def commit(self, name: str, what: str) -> str:
        """The full id of a commit. Raises UsageError, which begins with `what` it is, where it is not here."""
        if found := self.git.commit(name):
            return found
        hint = f"`git -C {self.top} fetch` brings what the remote has; what was rewritten is gone when git has collected it"
        raise UsageError(f"{what} is of {printable(name, 60)}, and there is no such commit in {self.top}", hint=hint)

    def declared(self, commit: str) -> Validated:
        """What its manifests declared."""
        return declared_at(self.git, commit, self.paths, self.kinds, self.root, self.top, self.env)

    def differing(self, old: str, new: str) -> frozenset[str]:
        """Files that two commits have otherwise, relative to the root."""
        names = self.git.must("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-commit-id", old, new).names
        return frozenset(os.path.relpath(self.top / each, self.root) for each in names)

    def restorable(self, files: Iterable[str], old: str, new: str) -> tuple[Restored, ...]:
        """What has to become of each file for it to be as at `old`. Raises UsageError, with all that is in the way, where one is neither so
        nor as `new`, which is to be taken back, left it."""
        at_rest(self.git)
        named = {each: os.path.relpath(self.root / each, self.top) for each in sorted(files)}
        before, after, head = (contents(self.git, each, named.values()) for each in (old, new, "HEAD"))
        trouble: list[str] = []
        found: list[Restored] = []
        for name, path in named.items():
            now = self._now(path)
            if now == before[path]:
                found.append(Restored(name, "already"))
            elif now != head[path] or self._is_staged(path):
                trouble.append(f"{name} has changes that are not committed")
            elif now != after[path]:
                trouble.append(f"{name} was changed since{self._by(new, path)}")
            else:
                found.append(Restored(name, "write" if before[path] else "remove"))
        if trouble:
            raise UsageError("\n  ".join(["nothing was written: somebody's later work is in the way", *trouble]), hint=_IN_THE_WAY)
        return tuple(found)

    @contextmanager
    def mirrored(self, restored: Sequence[Restored], old: str) -> Iterator[Path]:
        """A copy of the manifests with the files as they would be, for as long as it is needed; where in it the root is."""
        with TemporaryDirectory(prefix="mlops-undo-") as folder:
            there = Path(folder) / os.path.relpath(self.root, self.top)
            for place in self._places():
                _copy(self.root / place, there / place)
            for each in restored:
                path = there / each.name
                path.unlink(missing_ok=True)
                if each.does != "remove":
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self._content(old, each.name))
            yield there

    def restore(self, restored: Sequence[Restored], old: str) -> None:
        """Make the files what they were. Raises Terminal and Transient as git fails."""
        names = [os.path.relpath(self.root / each.name, self.top) for each in restored if each.does != "already"]
        if names:
            self.git.must("restore", f"--source={old}", "--worktree", "--", *names)

    def _places(self) -> Mapping[str, None]:
        beside = (place for each in self.paths for place in overlay_folders(self.root / each, self.root) if self.env and place.is_dir())
        return dict.fromkeys(map(str, (*self.paths, *(os.path.relpath(each, self.root) for each in beside))))

    def _content(self, commit: str, name: str) -> bytes:
        path = os.path.relpath(self.root / name, self.top)
        exists = contents(self.git, commit, [path])[path]
        return self.git.must("cat-file", "--filters", f"{commit}:{path}", most=MAX_BYTES + 1).out if exists else b""

    def _now(self, path: str) -> str:
        """git's id of what lies in the work tree; empty where nothing does."""
        if not os.path.lexists(self.top / path):
            return ""
        if (self.top / path).is_symlink() or not (self.top / path).is_file():
            return "not a plain file"
        return self.git.must("hash-object", f"--path={path}", "--", path).text

    def _is_staged(self, path: str) -> bool:
        return bool(self.git.must("diff-index", "--cached", "--name-only", "-z", "HEAD", "--", path).names)

    def _by(self, since: str, path: str) -> str:
        log = ("log", f"--max-count={FEW + 1}", "--format=%h (%an: %s)", f"{since}..HEAD", "--", path)
        told = self.git.run(*log, config=("log.showSignature=false",)).text.splitlines()
        return f" by {listed(told)}" if told else "; another commit is checked out"


_IN_THE_WAY = "commit or `git restore` what is not committed; `git revert` later commits, or undo their applies first"


def tree_of(root: Path, paths: Sequence[Path], kinds: Kinds, env: str) -> Tree | None:
    """The tree of an installation; None outside git. `paths` are absolute, or relative to the current folder."""
    named = tuple(Path(os.path.relpath(each.absolute(), root.absolute())) for each in paths)
    root = root.absolute().resolve()
    if (found := repository(root)) is None:
        return None
    git, top = found
    return Tree(git, top, root, named, kinds, env)


def _copy(source: Path, target: Path) -> None:
    """What a pass would read below a path; hidden folders are left out, as it leaves them."""
    if not source.is_dir():
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
        return
    for folder, below, files in os.walk(source):
        below[:] = [each for each in below if not each.startswith(".")]
        there = target / os.path.relpath(folder, source)
        there.mkdir(parents=True, exist_ok=True)
        links = [each for each in below if (Path(folder) / each).is_symlink()]
        for name in (*links, *(each for each in files if each.endswith(SUFFIXES) or each == IGNORE)):
            shutil.copy2(Path(folder) / name, there / name, follow_symlinks=False)
