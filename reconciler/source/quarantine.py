"""Revisions that somebody took out: the same commit is not taken again, nor another one with the same content of its manifests' folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.state.records import Quarantined

Contents = Callable[[str, Iterable[str]], Mapping[str, str]]
"""Commit and folders -> git's ids of what they hold; empty where the commit has no such folder."""


def out_of(quarantined: Sequence[Quarantined], source: str, commit: str, contents: Contents) -> Quarantined | None:
    """Why a commit of a source is not taken; None = it may be."""
    for each in quarantined:
        if each.source == source and (each.revision == commit or _same(each, commit, contents)):
            return each
    return None


def _same(found: Quarantined, commit: str, contents: Contents) -> bool:
    return any(found.trees.values()) and dict(contents(commit, found.trees)) == dict(found.trees)


def told(found: Quarantined, commit: str) -> str:
    """What is said wherever it would have been taken."""
    same = "" if found.revision == commit else f" (its manifests are those of {found.revision[:7]})"
    lifts = f"`reconcile resume revision/{found.revision[:7]}` lifts that"
    return f"{commit[:7]}{same} is quarantined since {found.at:%Y-%m-%d %H:%M} UTC by {found.actor}: {found.reason}; {lifts}"
