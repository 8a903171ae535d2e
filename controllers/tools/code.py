"""The code of a project, as files: what a run's program is made of. Read only; nothing of it is imported or executed."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from reconciler.controller import Context

LOCK = "requirements.lock"
GIT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Code:
    """What the files say. `trouble` is a sentence; empty = a program can start."""

    digest: str = ""
    """Over names and contents of the files that match."""
    lock: str = ""
    """Over the contents of the project's lock file, where it counts."""
    trouble: str = ""


_Key: TypeAlias = tuple[Path, str, tuple[str, ...], bool]


@dataclass
class Reader:
    """Reads each project's files once in a pass, however many experiments share them."""

    known: dict[_Key, Code] = field(default_factory=dict)
    commits: dict[Path, str] = field(default_factory=dict)

    def read(self, root: Path, entrypoint: str, globs: Sequence[str], *, pinned: bool) -> Code:
        """The code of one experiment; `root` is its project's folder, and nothing outside of it counts."""
        key = (root, entrypoint, tuple(globs), pinned)
        if key not in self.known:
            self.known[key] = read(root, entrypoint, globs, pinned=pinned)
        return self.known[key]

    def commit(self, root: Path) -> str:
        """The git commit that is checked out where the project is; empty outside git."""
        if root not in self.commits:
            self.commits[root] = _commit(root)
        return self.commits[root]


def reader(ctx: Context) -> Reader:
    """The pass's one reader."""
    return ctx.client(Reader, lambda _: Reader())


def read(root: Path, entrypoint: str, globs: Sequence[str], *, pinned: bool) -> Code:
    """The same, from the files as they are at this moment."""
    inside = root.resolve()
    script = _script(root, entrypoint)
    if script is None and _must_be_a_file(entrypoint):
        return Code(trouble=f"there is no {entrypoint} in {root.name}/; correct spec.runs.entrypoint, or add the file")
    found = {path for glob in globs for path in root.glob(glob) if path.is_file()} | ({script} if script else set())
    read_too = {root / LOCK} if pinned else set()
    outside = sorted(str(path.relative_to(root)) for path in found | read_too if not path.resolve().is_relative_to(inside))
    if outside:
        return Code(trouble=f"{outside[0]} leads out of the project's folder: code is read there only")
    try:
        digest = _digest(root, found)
        lock = hashlib.sha256((root / LOCK).read_bytes()).hexdigest() if pinned else ""
    except FileNotFoundError as error:
        name = Path(error.filename).name
        return Code(
            trouble=f"there is no {name} in {root.name}/, and spec.runs.environment is `pinned`" if name == LOCK else f"{name} is gone"
        )
    except OSError as error:
        return Code(trouble=f"{error.filename} cannot be read: {error.strerror}")
    return Code(digest, lock)


def _must_be_a_file(entrypoint: str) -> bool:
    """False for a module that an environment may hold instead."""
    return "/" in entrypoint or entrypoint.endswith(".py") or not all(part.isidentifier() for part in entrypoint.split("."))


def _script(root: Path, entrypoint: str) -> Path | None:
    """The file of the project that the entrypoint names: a script, or a module."""
    module = root.joinpath(*entrypoint.split("."))
    for path in (root / entrypoint, module.with_name(f"{module.name}.py"), module / "__main__.py"):
        if path.is_file():
            return path
    return None


def _digest(root: Path, files: set[Path]) -> str:
    whole = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _commit(root: Path) -> str:
    try:
        asked = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=GIT_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
