"""Lock files of gits that died: which of them are nobody's any more, and can be removed.

In a clone that is ours all are, for whoever works there holds its folder. In a person's clone a lock may be that person's, who writes a
commit's message at this moment: there, only those of references that nobody else writes, and those that appeared while a git of ours ran
that was killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

_ALL = ("*.lock", "refs/**/*.lock", "objects/*.lock", "objects/info/**/*.lock")
_OUR_REFS = ("refs/mlops/**/*.lock",)
_PATIENCE = 1.0
"""Seconds for which a lock file may be that of somebody's quick `git status`, or of a git that outlives its reconciler for a moment."""
_STAMP = 0.05
"""Seconds by which a file system's clock may be behind ours."""


def unlock(folder: Path) -> None:
    """In a clone of ours: remove what a git that was killed left, lock files and halves of packs."""
    _remove(_found(folder, _ALL))
    for each in (folder / ".git").glob("objects/pack/tmp_*"):
        each.unlink(missing_ok=True)


def unlock_our_refs(folder: Path) -> None:
    """In a person's clone, while no other process of ours works there: the locks of references that only we write."""
    _remove(_found(folder, _OUR_REFS))


def unlock_since(folder: Path, began: float) -> None:
    """In a person's clone, when a git of ours was killed that ran since `began` (Unix seconds): the locks that are so new."""
    for each in _found(folder, _ALL):
        with contextlib.suppress(OSError):
            if each.stat().st_ctime >= began - _STAMP:
                each.unlink()


def _remove(locks: list[Path]) -> None:
    last = time.monotonic() + _PATIENCE
    while any(each.exists() for each in locks) and time.monotonic() < last:
        time.sleep(0.05)
    for each in locks:
        each.unlink(missing_ok=True)


def _found(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return [each for store in _stores(folder) for pattern in patterns for each in store.glob(pattern)]


def _stores(folder: Path) -> Iterator[Path]:
    """Where git keeps what belongs to a work tree: one folder, or two for a linked work tree (gitrepository-layout(5))."""
    store = folder / ".git"
    if store.is_dir():
        yield store
        return
    with contextlib.suppress(OSError, UnicodeDecodeError):
        own = folder / store.read_text(encoding="utf-8").partition("gitdir: ")[2].strip()
        yield own
        yield own / (own / "commondir").read_text(encoding="utf-8").strip()
