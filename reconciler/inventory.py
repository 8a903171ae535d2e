"""What a pass leaves in the Store beside the journal: where everything stands, the inventory's news, orphans, the revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.apply import owned
from reconciler.approval import spent
from reconciler.good import note_good
from reconciler.guard.reactions import asker_of
from reconciler.house import House, told_since
from reconciler.journal import StoreJournal
from reconciler.looks import kinds_read, note_looks
from reconciler.model import Blocked, Glyph, Keep, Owned, Present, Ref, Result, Status, Unknown

if TYPE_CHECKING:
    from reconciler.loop import Proposal


def note(
    proposal: Proposal, results: Sequence[Result], found: Sequence[Status], house: House, journal: StoreJournal, *, whole: bool
) -> None:
    """Write it down. `whole` is False for a pass that was stopped before its end."""
    for ref in house.store.open_intents().keys() & {each.action.ref for each in results if isinstance(each.action, Keep)}:
        journal.abandon(ref)  # it is as desired: what was begun has happened
    untold = house.store.without_manifest()
    kept = [_refreshed(each.action.ref, proposal, house, each.action.ref in untold) for each in results if isinstance(each.action, Keep)]
    house.store.record_many([each for each in kept if each is not None])
    for entry in _found_orphans(proposal, house):
        journal.record(
            entry, action="adopt", glyph=str(Glyph.ADOPT), detail={"why": "carries this installation's mark and is in no manifest"}
        )
    gone = _gone(proposal, found, house) if proposal.selection.prunes else ()
    untried = frozenset(each.action.ref for each in results if is_untried(each))
    known = house.store.statuses().keys() if untried else ()
    house.store.put_statuses([each for each in found if each.ref not in untried or each.ref not in known], gone)
    if (read_now := kinds_read(proposal.selection, proposal.observations)) and proposal.looked is not None:
        note_looks(house.store, read_now, proposal.looked, house.shard)
    _note_spent(proposal, house)
    if whole and not proposal.selection.partial:
        note_good(found, proposal.sources, house.store)
    if whole and proposal.selection.prunes and all(each.complete for each in proposal.sources):
        for key, value in (("applied_revision", proposal.sources[0].revision), ("root_paths", proposal.selection.root_paths)):
            if house.store.meta(key) != value:
                house.store.set_meta(key, value)
    if whole and proposal.selection.prunes and proposal.looked is not None and _is_awaited(proposal):
        house.store.set_meta(told_since(house), proposal.looked.isoformat())


def _note_spent(proposal: Proposal, house: House) -> None:
    """Approvals that were carried out, or that nothing asks for any more."""
    policy = proposal.policy
    if policy is None or not proposal.selection.prunes:
        return
    said = {ref: each for ref, each in policy.asked.said.items() if proposal.selection.covers(asker_of(ref) or ref)}
    if said:
        dark = {ref for ref in said if isinstance(proposal.observations.get(ref), Unknown)}
        unread = proposal.refused | policy.blocked.keys() | dark
        house.store.rulings.spent(spent(proposal.resources, house.store.inventory(), said, unread, policy.asked.wants))


def is_untried(result: Result) -> bool:
    """The pass ended before its turn came: what was said of it stands until then."""
    return result.outcome is None and not isinstance(result.action, Keep | Blocked)


def _is_awaited(proposal: Proposal) -> bool:
    """Whether a child wants to be looked at again: it may wait for what this pass says of others."""
    seen = proposal.observations.items()
    return any(ref.key and isinstance(each, Present) and each.recheck_at is not None for ref, each in seen)


def _gone(proposal: Proposal, found: Sequence[Status], house: House) -> tuple[Ref, ...]:
    told = {each.ref for each in found}
    left = house.store.statuses().keys() - told
    return tuple(ref for ref in left if proposal.selection.covers(ref) and (not ref.key or replace(ref, key="") not in proposal.unread))


def _refreshed(ref: Ref, proposal: Proposal, house: House, untold: bool) -> Owned | None:
    """The inventory entry of a resource that needed no write, when its manifest says something new (its protection, its place), or was
    recorded before the Store kept what manifests say (`untold`)."""
    resource, before, seen = proposal.resources.get(ref), proposal.inventory.get(ref), proposal.observations.get(ref)
    if resource is None or before is None or not isinstance(seen, Present):
        return None
    references = (*resource.requires, *resource.references)
    told = (resource.digest, resource.source, resource.prune, resource.location, references, seen.outputs)
    if not untold and told == (before.digest, before.source, before.prune, before.location, before.references, before.outputs):
        return None
    return owned(resource, before.external_id, seen.outputs, house.kinds)


def _found_orphans(proposal: Proposal, house: House) -> list[Owned]:
    """Inventory entries for marked objects that nobody declares: the next complete pass may propose to delete them, as for any other."""
    entries: list[Owned] = []
    for ref in proposal.orphans if proposal.selection.prunes else ():
        seen = proposal.observations[ref]
        if isinstance(seen, Present):
            prune = house.kinds.controller(ref.kind).info.prune
            mark = seen.mark.digest if seen.mark else ""
            entries.append(Owned(ref, seen.external_id, "root", mark, seen.fields, prune, seen.outputs))
    return entries
