"""The files of a commit into the work tree, and nobody's work lost: no edit, no commit, no file that is not tracked.

PLACING is written before the first file and removed after the last reference. Where it is found, a move was cut short: every file is then
as before, as after, missing, or the beginning of what it was to become; whatever is anything else is a person's."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.source.git.clone import PLACED, PLACING
from reconciler.source.git.command import Answer, Damaged, Git
from reconciler.source.git.values import Moved, listed, short

_LISTING = 1 << 26
"""Bytes of names of changed files."""
_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG", "rebase-merge", "rebase-apply")
_NOT_BEGUN = re.compile(r"not uptodate|would be overwritten|would lose untracked|need to resolve", re.I)
_WHY = "mlops-reconciler: placed"


def place(git: Git, commit: str) -> Moved:
    """Make the tracked files those of `commit`, which is here. Raises Terminal, with all as it was, when a person's work is in the way."""
    git.without_filters()
    at_rest(git)
    begun = git.ref(PLACING)
    if begun:
        _finish(git, begun)
    before = git.ref("HEAD")
    _refuse_edits(git, edits(git, before))
    _refuse_commits(git, before, commit)
    if before != commit:
        moves = _moves(git, commit)
        _refuse_untracked(git, _in_the_way(git, moves))
        _move(git, before, commit, moves)
    elif git.ref(PLACED) != commit:
        git.must("update-ref", PLACED, commit)
    rewritten = before not in ("", commit) and not git.run("merge-base", "--is-ancestor", before, commit).ok
    return Moved(before, commit, rewritten)


def _move(git: Git, before: str, commit: str, moves: Mapping[str, str]) -> None:
    git.must("update-ref", PLACING, commit)
    answer = git.run("read-tree", "-m", "-u", commit)
    if answer.ok:
        return _arrive(git, before, commit)
    if _NOT_BEGUN.search(answer.said):
        git.must("update-ref", "-d", PLACING)
        raise git.trouble(answer, "read-tree")
    raise _undone(git, answer, before, moves)


def _undone(git: Git, answer: Answer, before: str, moves: Mapping[str, str]) -> ReconcilerError:
    """Why files of a commit could not be written. What will not pass, such as a name that this file system does not take, is put back:
    the next commit may be a better one."""
    trouble = git.trouble(answer, "read-tree")
    if isinstance(trouble, Transient | Damaged):
        return trouble
    for name in (each for each, how in moves.items() if how == "D"):
        if _obstacle(git.folder, name, set()) == name:  # not through a link
            with contextlib.suppress(OSError):
                (git.folder / name).unlink()
                (git.folder / name).parent.rmdir()
    if before:
        git.must("read-tree", "--reset", "-u", before)
    if before or set(moves.values()) <= {"D"}:
        git.must("update-ref", "-d", PLACING)
    return trouble


def _arrive(git: Git, before: str, commit: str) -> None:
    """A branch that is checked out moves in a person's clone; in ours there is none."""
    where = ("--no-deref", "-m", _WHY, "HEAD") if git.ours else ("-m", _WHY, "HEAD")
    git.must("update-ref", *where, commit, before or "0" * len(commit))
    git.must("update-ref", PLACED, commit)
    git.must("update-ref", "-d", PLACING)


def _finish(git: Git, commit: str) -> None:
    """End a move that was cut short. Raises Terminal when files hold what neither it nor git wrote."""
    before = git.ref("HEAD")
    moves = _moves(git, commit)
    had, lying = _differences(git), _in_the_way(git, moves)
    if had or lying:
        wanted = _differences_from(git, commit)
        strange = [each for each in had if not _by_us(git, commit, each, had, moves, wanted)]
        strange += [each for each in lying if each not in moves or not _as_written(git, commit, each, wanted)]
        _refuse_edits(git, strange)
        _refuse_commits(git, before, commit)
        _go_on(git, before, commit, moves)
    elif not moves:  # all is there but the references
        _refuse_commits(git, before, commit)
        _arrive(git, before, commit)
    else:  # it had not begun, or somebody put everything back
        git.must("update-ref", "-d", PLACING)


def _go_on(git: Git, before: str, commit: str, moves: Mapping[str, str]) -> None:
    answer = git.run("read-tree", "--reset", "-u", commit)
    if answer.ok:
        _arrive(git, before, commit)
        return
    trouble = _undone(git, answer, before, moves)
    if git.ref(PLACING):
        raise trouble


def _by_us(git: Git, commit: str, name: str, had: Mapping[str, str], moves: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a tracked file that is not what it was is so because of the move."""
    if name not in moves:
        return False
    return had[name] == "D" or (moves[name] != "A" and _as_written(git, commit, name, wanted))


def _as_written(git: Git, commit: str, name: str, wanted: Mapping[str, str]) -> bool:
    """Whether a file is what the commit has, or the beginning of it."""
    file = git.folder / name
    if name not in wanted:
        return True
    if not stat.S_ISREG(file.lstat().st_mode):
        return False
    held = file.read_bytes()
    return git.must("cat-file", "--filters", f"{commit}:{name}", most=len(held)).out == held


# --- a person's work ---


def at_rest(git: Git) -> None:
    """Raises Terminal in the middle of a merge, rebase or bisect."""
    store = git.folder / git.must("rev-parse", "--git-dir").text
    under_way = next((each for each in _UNDER_WAY if (store / each).exists()), None)
    if under_way:
        said = f"source {git.source}: a merge, rebase or bisect is under way in {git.folder} ({under_way})"
        raise Terminal(said, hint=f"end it; `git -C {_quoted(git)} status` says how")


def edits(git: Git, before: str) -> list[str]:
    """Tracked files that are not what `before`, which is checked out, has, in the index or in the work tree."""
    staged = git.must("diff-index", "--cached", "-z", "--name-only", "--ignore-submodules=all", before, "--").names if before else []
    return list(dict.fromkeys([*_differences(git), *staged]))


def _refuse_edits(git: Git, names: Iterable[str]) -> None:
    found = list(names)
    if found:
        said = f"source {git.source}: files in {git.folder} were changed by hand: {listed(found)}"
        raise Terminal(said, hint=f"`git -C {_quoted(git)} status` shows them; commit and push them from elsewhere, or undo them")


def _refuse_commits(git: Git, before: str, commit: str) -> None:
    """Commits that neither the new commit contains nor we have placed."""
    placed = git.ref(PLACED)
    own = git.must("rev-list", "--max-count=100", before, "--not", commit, *filter(None, [placed]), "--").text.split() if before else []
    if own:
        many = "a commit" if len(own) == 1 else f"{len(own)} commits"
        said = f"source {git.source}: {git.folder} has {many} of its own, the newest {short(own[0])}: {short(commit)} does not contain it"
        raise Terminal(said, hint=f"push them, or go back: `git -C {_quoted(git)} log {short(commit)}..` shows them")


def _refuse_untracked(git: Git, names: Iterable[str]) -> None:
    found = list(names)
    if found:
        said = f"source {git.source}: files of the new commit would replace what lies in {git.folder} and is not tracked: {listed(found)}"
        raise Terminal(said, hint="move it away, or take it out of the commit")


def _quoted(git: Git) -> str:
    return shlex.quote(str(git.folder))


# --- what differs ---


def _moves(git: Git, commit: str) -> dict[str, str]:
    """What a move has to do to the index, by name: `D` create, `A` remove, `M` and `T` change."""
    return _statuses(git, "diff-index", "--cached", commit)


def _differences(git: Git, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the work tree has otherwise than the index, by name: `D` there is none, `M`, `T` another content."""
    git.must("update-index", "--refresh", environment=environment, codes=(0, 1))
    return _statuses(git, "diff-files", environment=environment)


def _differences_from(git: Git, commit: str) -> dict[str, str]:
    """As `_differences`, against a commit."""
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        index = Path(folder) / "index"
        own = git.folder / git.must("rev-parse", "--git-path", "index").text
        if own.exists():
            shutil.copy2(own, index)  # with what it knows of files that stay the same: they are not read
        aside = {"GIT_INDEX_FILE": str(index)}
        git.must("read-tree", "-m", "-i", commit, config=("core.splitIndex=false",), environment=aside)
        return _differences(git, aside)


def _statuses(git: Git, *words: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    verb, *rest = words
    options = ("-z", "--name-status", "--no-renames", "--ignore-submodules=all")
    answer = git.must(verb, *options, *rest, "--", environment=environment, most=_LISTING)
    if len(answer.out) == _LISTING:
        raise Terminal(f"source {git.source}: more files differ in {git.folder} than can be listed")
    names = answer.names
    return dict(zip(names[1::2], names[::2], strict=True))


def _in_the_way(git: Git, moves: Mapping[str, str]) -> list[str]:
    """What is not tracked and lies where the commit has a file of its own. git would spare it only where nothing ignores it."""
    removed = {each.casefold(): each for each, how in moves.items() if how == "A"}
    plain: set[str] = set()
    found: dict[str, None] = {}
    for name in (each for each, how in moves.items() if how == "D"):
        obstacle = _obstacle(git.folder, name, plain)
        old = removed.get(obstacle.casefold())
        if not obstacle or (old is not None and _same(git.folder, obstacle, old)):
            continue
        if stat.S_ISDIR((git.folder / obstacle).lstat().st_mode):
            found |= dict.fromkeys(git.must("ls-files", "--others", "-z", "--", obstacle, most=_LISTING).names)
        else:
            found[obstacle] = None
    return list(found)


def _obstacle(folder: Path, name: str, plain: set[str]) -> str:
    """The first part of a path that is there, and is not a folder that leads on; empty = none. `plain` remembers folders that do."""
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        part = "/".join(parts[:count])
        if part in plain:
            continue
        try:
            mode = (folder / part).lstat().st_mode
        except PermissionError:
            raise
        except OSError:  # not there, or no name that could be there
            return ""
        if count == len(parts) or not stat.S_ISDIR(mode):
            return part
        plain.add(part)
    return ""


def _same(folder: Path, one: str, other: str) -> bool:
    """Whether two names are one file: by spelling, or where the file system takes no notice of case."""
    return one == other or (os.path.lexists(folder / other) and (folder / one).lstat().st_ino == (folder / other).lstat().st_ino)
