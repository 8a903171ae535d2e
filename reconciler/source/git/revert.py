"""Some folders of a repository as they were at an earlier commit: one new commit on top, no history rewritten, nothing else touched."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reconciler.errors import Terminal
from reconciler.source.git.command import Git
from reconciler.source.git.place import at_rest, edits
from reconciler.source.git.values import listed, short

_WHY = "mlops-reconciler: rolled back"
_LISTING = 1 << 24
"""Bytes of names of files that are not tracked."""


def contents(git: Git, commit: str, folders: Iterable[str]) -> dict[str, str]:
    """Folder or file, relative to the repository (`.` = all of it) -> git's id of its content at a commit; empty where it has none."""
    found = {each: git.run("rev-parse", "--verify", "--quiet", _named(commit, each)) for each in folders}
    return {name: answer.text if answer.ok else "" for name, answer in found.items()}


def revert(git: Git, to: str, folders: Sequence[str], message: str, by: tuple[str, str]) -> str:
    """The id of the new commit, which is checked out. `by` is name and address of its author.

    Raises Terminal, with all as it was, when something below `folders` was changed by hand or they are as they were at `to` already."""
    git.without_filters()
    at_rest(git)
    before = git.ref("HEAD")
    if not before:
        raise Terminal(f"source {git.source}: {git.folder} has no commit yet")
    refuse_edits(git, before, folders)
    with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
        tree = _tree(git, before, to, folders, {"GIT_INDEX_FILE": str(Path(folder) / "index")})
    if tree == git.must("rev-parse", f"{before}^{{tree}}").text:
        raise Terminal(
            f"source {git.source}: {listed(folders)} is at {short(before)} as it was at {short(to)}", hint="name another revision"
        )
    name, mail = by
    people = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": mail, "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": mail}
    commit = git.must("commit-tree", tree, "-p", before, "-m", message, environment=people).text
    git.must("read-tree", "-m", "-u", before, commit)
    git.must("update-ref", "-m", _WHY, "HEAD", commit, before)
    return commit


def refuse_edits(git: Git, before: str, folders: Sequence[str]) -> None:
    """Raises Terminal when anything below `folders` is not as it was committed, or is not tracked."""
    others = git.must("ls-files", "--others", "--exclude-standard", "-z", "--", *folders, most=_LISTING).names
    found = [each for each in edits(git, before) if any(_below(each, folder) for folder in folders)] + others
    if found:
        said = f"source {git.source}: files in {git.folder} were changed by hand: {listed(found)}"
        raise Terminal(said, hint="commit them or undo them first; `git status` shows them")


def _tree(git: Git, before: str, to: str, folders: Sequence[str], aside: Mapping[str, str]) -> str:
    """The tree of `before` with `folders` as they were at `to`."""
    git.must("read-tree", before, environment=aside)
    for name, content in contents(git, to, folders).items():
        if name == ".":
            git.must("read-tree", to, environment=aside)
            continue
        git.must("rm", "--cached", "-r", "-q", "--ignore-unmatch", "--", name, environment=aside)
        if content and git.must("cat-file", "-t", content).text == "tree":
            git.must("read-tree", f"--prefix={name}/", content, environment=aside)
        elif content:
            mode = git.must("ls-tree", "--full-tree", to, "--", name).text.split(maxsplit=1)[0]
            git.must("update-index", "--add", "--cacheinfo", f"{mode},{content},{name}", environment=aside)
    return git.must("write-tree", environment=aside).text


def _named(commit: str, folder: str) -> str:
    return f"{commit}^{{tree}}" if folder == "." else f"{commit}:{folder}"


def _below(name: str, folder: str) -> bool:
    return folder == "." or name == folder or name.startswith(f"{folder}/")
