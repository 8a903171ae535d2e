"""Revisions that are taken back and kept out: of the installation's own repository by a commit, of another one by standing still."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.options import Globals
    from reconciler.house import House
    from reconciler.source.git import Repository
    from reconciler.state import Quarantined
    from schemas.platform import PlatformSpec

PREFIX = "revision/"
"""How a quarantined revision is named where a resource could be."""
LEAST = 4
"""Hex digits of a commit that say which one is meant."""
SECONDS = 60.0
"""For each git."""


@dataclass(frozen=True)
class _Back:
    """From where to where, of which folders."""

    repository: Repository
    bad: str
    good: str
    folders: tuple[str, ...]


def roll_root(asked: Globals, house: House, to: str, reason: str) -> str:
    """Make the manifests what they were at `to` (empty = the last revision at which everything was Ready), as a commit; what was there is
    quarantined. What was done, and what is next, in words. Raises UsageError and Terminal, with everything as it was."""
    from reconciler.source.follow import ROOT
    from reconciler.wake import wake

    repository, folders = _root(asked, house)
    bad = repository.here()
    if not bad:
        raise UsageError(f"{repository.where} has no commit yet", hint="there is nothing to go back to")
    repository.is_clean(folders)
    good = _given(repository, to) if to else _last_good(repository, bad, folders, house)
    taken = _quarantine(_Back(repository, bad, good, folders), ROOT, reason, house)
    try:
        commit = repository.revert(good, folders, _message(repository, bad, good, folders, reason, house.actor), house.actor)
    except ReconcilerError:
        house.store.rulings.lift(taken)
        raise
    _audit(house, ROOT, bad, good, reason, commit)
    wake(house.settings.state)
    where = shlex.quote(str(repository.where))
    signs = " (sign it first: `git commit --amend --no-edit -S`)" if _wants_signatures(asked, house) else ""
    return (
        f"{', '.join(folders)} is as it was at {good[:7]} again: commit {commit[:7]} in {repository.where}.\n"
        f"{bad[:7]} is quarantined: it is not taken again until `reconcile resume {PREFIX}{bad[:7]}`.\n"
        f"Next: `git -C {where} push {repository.followed.url} HEAD:{repository.followed.revision}`{signs}; a running `reconcile watch`"
        " acts on the commit already, `reconcile` does where none runs."
    )


def roll_source(asked: Globals, house: House, name: str, to: str, reason: str) -> str:
    """Bring the clone of a further source back to `to`, and quarantine what it was at: it stays there until a commit comes that is not.
    As `roll_root`."""
    from reconciler.secret import secret
    from reconciler.source.follow import Following, back_at, place_of
    from reconciler.wake import wake

    platform = _platform(asked, house)
    named = {each.name: each for each in platform.sources if each.git is not None} if platform is not None else {}
    if name not in named:
        told = ", ".join(sorted(named)) or "none"
        raise UsageError(f"there is no repository '{name}' among the Platform's sources", hint=f"there are: {told}")
    source, root, state = named[name], house.settings.root.absolute(), house.settings.state
    assert source.git is not None
    repository = Following(name, place_of(source, root, state), source.git, state, root, secret).repository()
    bad, good = repository.here(), _given(repository, to)
    if not bad:
        raise UsageError(f"source {name} was not fetched yet", hint="`reconcile` fetches it")
    if bad == good:
        raise UsageError(f"source {name} is at {good[:7]}", hint="name the revision to go back to")
    taken = _quarantine(_Back(repository, bad, good, (str(source.path),)), name, reason, house)
    try:
        repository.check_out(good)
    except ReconcilerError:
        house.store.rulings.lift(taken)
        raise
    back_at(state, name, repository.commit(good), bad)
    _audit(house, name, bad, good, reason)
    wake(state)
    return (
        f"Source {name} is back at {good[:7]}; {bad[:7]} is quarantined.\nIt stays there until a commit comes that is not, or until "
        f"`reconcile resume {PREFIX}{bad[:7]}`.\nNext: revert {bad[:7]} in {source.git.url}: this installation does not write there."
    )


def lift(text: str, house: House) -> str:
    """Let a revision be taken again. Raises UsageError unless exactly one is named."""
    from reconciler.state import AuditEntry
    from reconciler.wake import wake

    asked, every = text.removeprefix(PREFIX).lower(), house.store.rulings.quarantined()
    found = [each for each in every if len(asked) >= LEAST and each.revision.startswith(asked)]
    if not found or len({each.revision for each in found}) > 1:
        known = ", ".join(f"{PREFIX}{each.revision[:12]}" for each in every[:5]) or "none"
        raise UsageError(f"'{text}' names {'more than one' if found else 'no'} quarantined revision", hint=f"there are: {known}")
    for each in found:
        house.store.rulings.lift(each)
        detail = {"source": each.source, "was": each.reason}
        house.store.audit([AuditEntry(house.now(), house.actor, None, "resume", detail=detail, revision=each.revision[:7])])
    wake(house.settings.state)
    told = f"{found[0].revision[:7]} of source {found[0].source} may be taken again."
    return f"{told}\nNext: `reconcile`; a running `reconcile watch` takes it by itself."


def _root(asked: Globals, house: House) -> tuple[Repository, tuple[str, ...]]:
    """The repository that the root lies in, and where the manifests are in it."""
    from reconciler.source.follow import ROOT
    from reconciler.source.git import Followed, Repository
    from reconciler.source.load import overlay_folders

    root, paths = house.settings.root.absolute(), asked.paths(house.settings)
    top = next((each for each in (root, *root.parents) if (each / ".git").exists()), None)
    if top is None:
        raise UsageError(f"{root} is not in a git repository", hint="a rollback is a commit; put the manifests under git")
    own = [each.absolute() for each in paths]
    beside = [each for path in own for each in overlay_folders(path, root) if each.is_dir() and not any(map(each.is_relative_to, own))]
    folders = tuple(dict.fromkeys(os.path.relpath(each, top) for each in (*own, *beside)))
    if outside := next((each for each in folders if each.startswith("..")), None):
        raise UsageError(f"{outside} is not in the repository {top}", hint="name manifests of that repository with -f")
    platform = _platform(asked, house)
    follow = platform.follow if platform is not None else None
    followed = Followed(ROOT, follow.remote if follow else "origin", follow.revision if follow else "main", ours=False)
    return Repository(top, followed, deadline=SECONDS), folders


def _platform(asked: Globals, house: House) -> PlatformSpec | None:
    from reconciler.house import platform_in
    from reconciler.source.read import read

    selection, inventory = asked.as_applied(house), house.store.inventory()
    resources = read(selection, house.kinds, house.settings, inventory).graph.resources if selection is not None else {}
    return platform_in(resources, inventory)


def _wants_signatures(asked: Globals, house: House) -> bool:
    platform = _platform(asked, house)
    follow = platform.follow if platform is not None else None
    return follow is not None and (follow.signers is not None or follow.keyring is not None)


def _given(repository: Repository, to: str) -> str:
    """The commit that `--to` means."""
    from reconciler.source.git.values import is_id

    found = repository.resolve(to) or (to if is_id(to) and repository.followed.ours else "")
    if not found:
        raise UsageError(f"there is no commit '{to}' in {repository.where}", hint=f"`git -C {repository.where} log --oneline` shows them")
    return found


def _last_good(repository: Repository, bad: str, folders: Sequence[str], house: House) -> str:
    """The last revision at which everything was Ready, and the manifests were others than now."""
    from reconciler.good import good_revisions

    now = repository.contents(bad, folders)
    for each in good_revisions(house.store):
        if (found := repository.resolve(each)) and repository.contents(found, folders) != now:
            return found
    why = "no other revision is known at which everything was Ready"
    raise UsageError(why, hint=f"say which with --to; `git -C {repository.where} log --oneline` shows them")


def _quarantine(back: _Back, source: str, reason: str, house: House) -> Quarantined:
    from reconciler.state import Quarantined

    trees = back.repository.contents(back.bad, back.folders)
    found = Quarantined(source, back.bad, trees, reason, house.actor, house.now())
    house.store.rulings.quarantine(found)
    return found


def _message(repository: Repository, bad: str, good: str, folders: Sequence[str], reason: str, actor: str) -> str:
    was, then = repository.commit(bad), repository.commit(good)
    return (
        f"Roll {', '.join(folders)} back to {good[:7]}\n\n{reason}\n\n"
        f"From {bad} ({was.subject}),\nby {was.author};\nto {good} ({then.subject}).\n\nRolled-back-by: {actor}\n"
    )


def _audit(house: House, source: str, bad: str, good: str, reason: str, commit: str = "") -> None:
    from reconciler.state import AuditEntry

    detail = {"source": source, "from": bad, "to": good, "why": reason, "commit": commit}
    house.store.audit([AuditEntry(house.now(), house.actor, None, "rollback", detail=detail, revision=bad[:7])])
