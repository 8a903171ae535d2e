"""An apply seen from the revision before it: which files go back, what their manifests lead to, and what of the apply that takes back.
Reads only, until `write`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.applied import DIRTY, Applied
from reconciler.controller import Expands
from reconciler.errors import UsageError
from reconciler.house import House
from reconciler.loop import propose
from reconciler.proposal import Proposal
from reconciler.selection import Selection
from reconciler.source.earlier import Restored, Tree, tree_of
from reconciler.state.records import AuditEntry
from reconciler.undo import Scene, Turned, Verdict, turned, verdicts


@dataclass(frozen=True)
class Undoing:
    """What it takes to undo an apply, and what comes of it."""

    apply: Applied
    tree: Tree
    commit: str
    """Full id of the one before the apply."""
    files: tuple[Restored, ...]
    turned: Turned
    proposal: Proposal
    """Over the manifests as they would be."""
    verdicts: tuple[Verdict, ...]
    watched: bool
    """A loop runs over this Store."""

    @property
    def writes(self) -> bool:
        """Whether a file is not as before already."""
        return any(each.does != "already" for each in self.files)


def undoing(apply: Applied, selection: Selection, house: House) -> Undoing:
    """Raises UsageError where git does not know what the manifests said before, and where somebody's later work is in the way."""
    tree = tree_of(house.settings.root, selection.paths, house.kinds, selection.env)
    if tree is None:
        hint = (
            f"change them by hand: `reconcile history --apply {apply.number}` tells what was done; under git the next apply can be undone"
        )
        raise UsageError("the manifests are not in git, and nothing else keeps what they said before", hint=hint)
    old, new = _sides(apply, tree)
    before, inventory = tree.declared(old), house.store.inventory()
    turn = turned(apply, before, tree.declared(new), inventory, tree.differing(old, new))
    files = tree.restorable(turn.files, old, new)
    with tree.mirrored(files, old) as mirror:
        proposal = propose(replace(selection, mirror=mirror), house)
    scene = Scene(
        turned=turn,
        actions={each.ref: each for each in proposal.plan.actions},
        infos=house.kinds.kinds,
        released={kind: each.released for kind, each in house.kinds.controllers.items() if isinstance(each, Expands)},
        revision=old[:7],
        back=frozenset(each.ref for each in before.resources if each.ref in inventory and inventory[each.ref].digest == each.digest),
    )
    watched = house.store.current_leader() is not None
    return Undoing(apply, tree, old, files, turn, proposal, verdicts(apply, scene), watched)


def write(found: Undoing, house: House) -> None:
    """Put the files where they belong, and note that. Where all are as before already, nothing is done."""
    if not found.writes:
        return
    found.tree.restore(found.files, found.commit)
    names = [each.name for each in found.files if each.does != "already"]
    detail = {"of": found.apply.number, "to": found.commit, "files": names}
    house.store.audit([AuditEntry(house.now(), house.actor, None, "undo", detail=detail, revision=found.apply.revision)])


def _sides(apply: Applied, tree: Tree) -> tuple[str, str]:
    """Full ids of the commits before the apply and of it. Raises UsageError where one of them is none."""
    named = f"apply {apply.number}"
    more = f"`reconcile history --apply {apply.number}` tells what was done; `reconcile undo ID` takes back another one"
    if not apply.revision:
        raise UsageError(f"{named} was not of manifests that are in git", hint=more)
    if apply.revision.endswith(DIRTY):
        hint = f"`git restore` takes back what is not committed yet; {more}"
        raise UsageError(f"{named} was of manifests that were not committed ({apply.revision}): git does not know them", hint=hint)
    if not apply.before:
        raise UsageError(f"{named} is the first that is known: there is nothing before it to go back to", hint=more)
    if apply.before.endswith(DIRTY):
        raise UsageError(f"what was applied before {named} was not committed ({apply.before}): git does not know it", hint=more)
    return tree.commit(apply.before, f"what was applied before {named}"), tree.commit(apply.revision, named)
