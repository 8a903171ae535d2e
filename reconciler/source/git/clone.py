"""A clone that is ours: made whole or not at all, cleared of what a dead git left, made again when it is damaged.

The store (`.git`) is built beside, inside the clone's own folder, and put in place by a rename. The work tree is never copied nor emptied:
data lies there that no repository has."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.errors import Terminal, Transient
from reconciler.source.git.command import Damaged, Git
from reconciler.source.git.remote import NoCommit, Remote
from reconciler.source.git.values import Followed, is_id

PLACED = "refs/mlops/placed"
"""The commit whose files we put into the work tree last."""
PLACING = "refs/mlops/placing"
"""The commit whose files are being put there: what is left of it after a kill is finished by the next."""
_MARK = "mlops-clone"
"""File in a store that is ours, and whole."""
_MAKING, _BROKEN = ".mlops-making-", ".mlops-broken-"
_SKEW = timedelta(days=1)
"""How far the clocks of those who commit may be apart before a push looks like a rewritten history."""


@contextlib.contextmanager
def held(folder: Path, source: str, until: float) -> Iterator[int]:
    """The folder for one process; yields the open folder. Each git inherits it, so that one that outlives its reconciler is waited for.

    Raises Transient when it is not free by `until`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Transient(f"source {source}: another process works in {folder}", hint="the next pass tries again") from None
                time.sleep(0.05)
        yield handle
    finally:
        os.close(handle)


def settle(folder: Path, source: str) -> bool:
    """Whether a clone of ours is there. What a dead process had begun is finished or removed.

    Raises Terminal when the folder holds anything else, which stays as it is."""
    store = folder / ".git"
    if not os.path.lexists(store):
        whole = next(folder.glob(f"{_MAKING}*/.git/{_MARK}"), None)
        if whole is not None:
            whole.parent.rename(store)
    own = is_ours(folder)
    if not own and any(not each.name.startswith((_MAKING, _BROKEN)) for each in folder.iterdir()):
        hint = "name an empty folder, or one that does not exist yet"
        raise Terminal(f"source {source}: {folder} is not empty, and is no clone of ours", hint=hint)
    for each in (*folder.glob(f"{_MAKING}*"), *folder.glob(f"{_BROKEN}*")):
        shutil.rmtree(each, ignore_errors=True)
    return own


def is_ours(folder: Path) -> bool:
    """Whether a whole clone of ours lies there."""
    return (folder / ".git" / _MARK).is_file()


def make(git: Git, followed: Followed) -> None:
    """An empty clone, of the repository's kind of ids. Raises what Remote raises."""
    with _beside(git, followed) as beside:
        (beside.folder / ".git" / _MARK).touch()
        (beside.folder / ".git").rename(git.folder / ".git")


def renew(git: Git, followed: Followed) -> None:
    """Make a damaged clone again from its remote. The work tree stays, with what is not tracked, and so does the index, which tells what
    was changed in it by hand. Raises Terminal when it has commits of its own, and what Remote raises."""
    head, placed, placing = (_bare(git.folder / ".git", each) for each in ("HEAD", PLACED, PLACING))
    head = head or placed
    if head and placed and head != placed and not placing:
        hint = f"save what is needed of it, and move {git.folder} away: it is made again"
        raise Terminal(f"source {git.source}: the clone in {git.folder} is damaged, and has commits that were made there", hint=hint)
    with _beside(git, followed) as beside:
        try:
            _fill(beside, followed, head, placing)
        except Damaged as error:
            raise Transient(error.message, hint="the clone is damaged, and could not be made again") from None
        _take_index(git, beside)
        _exchange(git.folder, beside.folder)


def _fill(beside: Git, followed: Followed, head: str, placing: str) -> None:
    remote = Remote(followed, beside)
    for commit in dict.fromkeys(each for each in (head, placing) if each):
        with contextlib.suppress(NoCommit):  # rewritten since, or a server that gives none by its id
            remote.fetch(commit, "--depth=1")
    for name, commit in (("HEAD", head), (PLACED, head), (PLACING, placing)):
        if commit and beside.commit(commit):
            beside.must("update-ref", "--no-deref", name, commit)
    newest = remote.bring("", *history(beside))
    if placing == newest:
        beside.must("update-ref", PLACING, placing)


def history(git: Git) -> tuple[str, ...]:
    """git's options for how much history to fetch: one commit; later as much as tells whether what is checked out was its ancestor."""
    answer = git.run("rev-list", "--max-count=1", "--format=%cI", "HEAD", "--")
    try:
        at = datetime.fromisoformat(answer.text.splitlines()[-1])
    except (IndexError, ValueError):
        return ("--depth=1",)
    try:
        since = min(at, datetime.now(UTC)) - _SKEW
    except OverflowError:
        return ("--depth=1",)
    return (f"--shallow-since={since.isoformat(timespec='seconds')}",)


@contextlib.contextmanager
def _beside(git: Git, followed: Followed) -> Iterator[Git]:
    """An empty store in a folder inside the clone's, which is removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=git.folder))
    try:
        beside = git.within(folder)
        known = followed.revision if is_id(followed.revision) else Remote(followed, beside).find().commit
        beside.must("init", "--quiet", "--template=", f"--object-format={'sha1' if len(known) == 40 else 'sha256'}")
        yield beside
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bare(store: Path, name: str) -> str:
    """What a reference says, whether or not that is there; empty when it does not say an id. Read without git, which may not want to."""
    found = ""
    with contextlib.suppress(OSError):
        found = (store / name).read_text(errors="replace").strip()
    with contextlib.suppress(OSError):
        lines = (each.split(" ") for each in (store / "packed-refs").read_text(errors="replace").splitlines())
        found = found or next((words[0] for words in lines if words[-1] == name), "")
    return found if is_id(found) else ""


def _take_index(git: Git, beside: Git) -> None:
    new = beside.folder / ".git" / "index"
    with contextlib.suppress(OSError):
        shutil.copy2(git.folder / ".git" / "index", new)
    if not beside.run("ls-files", "--stage", most=0).ok:
        new.unlink(missing_ok=True)
        head = beside.commit("HEAD")
        if head:
            beside.must("read-tree", head)


def _exchange(folder: Path, beside: Path) -> None:
    """Killed in the middle, `settle` goes on: a store with the mark is whole."""
    broken = Path(tempfile.mkdtemp(prefix=_BROKEN, dir=folder))
    (beside / ".git" / _MARK).touch()
    (folder / ".git").rename(broken / ".git")
    (beside / ".git").rename(folder / ".git")
    shutil.rmtree(broken, ignore_errors=True)
