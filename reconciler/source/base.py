"""The root source as it was at another revision: what a plan is held against to tell what a change brings about."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.errors import UsageError
from reconciler.model import Ref, Resource
from reconciler.overlay import overlay
from reconciler.registry import Kinds
from reconciler.source.git.command import Git
from reconciler.source.load import load, overlay_folders
from reconciler.validate import Validated, validate

SECONDS = 60.0
"""For all that git is asked here."""


@dataclass(frozen=True)
class Base:
    """What was declared at another revision, and what has changed since."""

    name: str
    """As it was asked for."""
    commit: str
    """Full id of where the histories part: what was done there since is not taken for undone here."""
    commits: int
    """Made since, on the way to what is checked out."""
    resources: Mapping[Ref, Resource[Any]]
    refused: frozenset[Ref]
    """Declared there, but wrong."""
    changed: frozenset[str]
    """Files that are not as they were, relative to the installation's root; what is not committed yet included."""


def read_base(name: str, paths: Sequence[Path], kinds: Kinds, root: Path, env: str = "") -> Base:
    """Read the manifests below `paths`, in the environment `env`, as they were at the revision `name`. Nothing is written but a folder
    that is gone when this returns.

    `root` is the installation's, `paths` are relative to it. Raises UsageError outside git and for a revision that is not there, and
    Transient when git takes too long."""
    root = root.absolute().resolve()
    if (found := repository(root)) is None:
        raise UsageError(f"--base needs git, and {root} is not in a repository", hint="leave it out: the plan is against the tools alone")
    git, top = found
    if not (asked := git.commit(name)):
        hint = f"`git -C {top} fetch` brings what the remote has; a shallow clone needs more depth (fetch-depth: 0)"
        raise UsageError(f"--base {name}: there is no such revision in {top}", hint=hint)
    parted = git.run("merge-base", asked, "HEAD")
    commit = parted.text if parted.ok and parted.text else asked
    counted = git.run("rev-list", "--count", f"{commit}..HEAD")
    declared = declared_at(git, commit, paths, kinds, root, top, env)
    resources = {each.ref: each for each in declared.resources}
    changed = _changed(git, commit, root, top)
    return Base(name, commit, int(counted.text) if counted.ok else 0, resources, declared.refused, changed)


def repository(root: Path) -> tuple[Git, Path] | None:
    """git in the repository that `root` lies in, in which no filter runs, and its top; None outside of one."""
    top = next((each for each in (root, *root.parents) if (each / ".git").exists()), None)
    if top is None:
        return None
    git = Git(top, "root", ours=False, until=time.monotonic() + SECONDS)
    git.without_filters()
    return git, top


def declared_at(git: Git, commit: str, paths: Sequence[Path], kinds: Kinds, root: Path, top: Path, env: str = "") -> Validated:
    """What the manifests below `paths`, which are relative to `root`, declared at a commit; references are not resolved.

    Raises UsageError for paths outside of the repository `top`."""
    with tempfile.TemporaryDirectory(prefix="mlops-base-") as folder:
        overlays = dict.fromkeys(place for each in paths for place in overlay_folders(root / each, root)) if env else ()
        there = _checked_out(git, commit, [root / each for each in paths], list(overlays), top, Path(folder))
        placed = there / os.path.relpath(root, top)
        loaded = load([placed / each for each in paths if (placed / each).exists()], root=placed, env=env)
        return validate(overlay(loaded, kinds, root=placed), kinds, root=placed)


def _checked_out(git: Git, commit: str, paths: Sequence[Path], overlays: Sequence[Path], top: Path, folder: Path) -> Path:
    """A folder that holds all of these as they were, each at its place below the repository's top."""
    names = [os.path.relpath(each, top) for each in (*paths, *overlays)]
    if outside := next((each for each in names if each.startswith("..")), None):
        raise UsageError(f"{outside} is not in the repository {top}", hint="name manifests of that repository with -f")
    there = folder / "tree"
    there.mkdir()
    known = [each for each in names if each == "." or git.run("cat-file", "-e", f"{commit}:{each}").ok]
    if known:
        beside = {"GIT_INDEX_FILE": str(folder / "index"), "GIT_WORK_TREE": str(there)}
        git.must("checkout", "--quiet", commit, "--", *known, environment=beside)
    return there


def _changed(git: Git, commit: str, root: Path, top: Path) -> frozenset[str]:
    """Committed since, changed and not committed, and not known to git yet; what git is told to ignore stays unknown."""
    committed = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-commit-id", commit, "HEAD").names
    edited = git.run("diff-index", "-z", "--name-only", "--no-renames", "HEAD").names
    new = git.run("ls-files", "-z", "--others", "--exclude-standard").names
    found = (os.path.relpath(top / each, root) for each in {*committed, *edited, *new})
    return frozenset(each for each in found if not each.startswith(".."))
