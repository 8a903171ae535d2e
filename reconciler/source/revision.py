"""The git revision of a folder, asked of git itself. Reads only, and runs nothing that a repository configures for itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from reconciler.model import Attribution

_SECONDS = 10.0
"""For one `git status`; a tree that takes longer has no revision rather than a hanging pass."""
_QUIET = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--literal-pathspecs")
_STEERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CEILING_DIRECTORIES")
"""Set by git while it runs a hook; they would make it look at another repository."""


def revision_of(paths: Sequence[Path]) -> str:
    """Short commit of the repository that `paths` lie in, with `+dirty` when anything below them is changed or not yet added.

    Empty outside git, before the first commit, and when git is missing or does not answer."""
    there = [each.resolve() for each in paths if each.exists()]
    if not there:
        return ""
    folder = there[0] if there[0].is_dir() else there[0].parent
    done = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--", *map(str, there))
    if done is None:
        return ""
    lines = done.stdout.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if done.returncode != 0 or commit == "(initial)":
        return ""
    return commit[:7] + ("+dirty" if any(not line.startswith("#") for line in lines) else "")


def head_of(folder: Path) -> str:
    """Full id of the commit that is checked out where `folder` lies; empty where that cannot be told."""
    done = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    return done.stdout.strip() if done is not None and done.returncode == 0 else ""


def contents_of(folder: Path, commit: str, paths: Iterable[str]) -> Mapping[str, str]:
    """Path, relative to the repository (`.` = all of it) -> git's id of its content at a commit; empty where it has none."""
    found = {
        each: _git(folder, "rev-parse", "--verify", "--quiet", f"{commit}{f':{each}' if each != '.' else '^{tree}'}") for each in paths
    }
    return {name: done.stdout.strip() if done is not None and done.returncode == 0 else "" for name, done in found.items()}


def author_of(folder: Path, revision: str) -> str:
    """Who made a commit, as `Name <mail>: subject`; empty when git cannot tell. For what is written down, not for every pass."""
    commit = revision.removesuffix("+dirty")
    done = _git(folder, "log", "-1", "--format=%an <%ae>: %s", "--end-of-options", commit) if commit else None
    told = done.stdout.strip() if done is not None and done.returncode == 0 else ""
    return "".join(each if each.isprintable() else " " for each in told)[:300]


def last_change(path: Path) -> Attribution | None:
    """Who changed a file last: the commit, or that what is there is not committed; None outside git, and when git cannot tell."""
    place = path.parent
    done = (
        _git(place, "status", "--porcelain=v2", "--untracked-files=normal", "--ignored=matching", "--", path.name)
        if place.is_dir()
        else None
    )
    if done is None or done.returncode != 0:
        return None
    if done.stdout.strip():
        edited = datetime.fromtimestamp(path.lstat().st_mtime, UTC) if os.path.lexists(path) else None
        return Attribution(when=edited, channel="not committed to git")
    log = ("-c", "log.showSignature=false", "log", "-1", "--no-ext-diff", "--no-textconv", "--format=%h%x00%an <%ae>%x00%cI")
    done = _git(place, *log, "--", path.name)
    parts = done.stdout.strip().split("\0") if done is not None and done.returncode == 0 else []
    if len(parts) != 3:
        return None
    commit, author, at = parts
    return Attribution("".join(each if each.isprintable() else " " for each in author), datetime.fromisoformat(at), f"commit {commit}")


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str] | None:
    """None when git is missing or does not answer."""
    environment = {name: value for name, value in os.environ.items() if name not in _STEERS} | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", *_QUIET, "-C", str(folder), *words]
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
