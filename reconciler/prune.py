"""What may be deleted: inventory minus manifests, held back by source checks, protection, a budget and confirmations. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.model import Action, Blocked, Delete, Keep, Owned, Ref, Resource, ref_names
from reconciler.policy import Policy
from reconciler.rules import ROOT_SOURCE

BUDGET_COUNT = 3
BUDGET_SHARE = 0.2
"""More than max(3, 20 %) of a project's or the installation's resources within 24 hours needs a yes. All-or-nothing guards
(Argo CD `allowEmpty`, Config Sync KNV2006) let 99 of 100 deletions through; a proportional one does not."""


@dataclass(frozen=True)
class Pruned:
    """The deletions that may go on, those that are held, and what to say yes to."""

    actions: tuple[Action, ...]
    may_replace: frozenset[Ref]
    confirmation: str
    unmatched: tuple[str, ...] = ()
    """What was confirmed and names nothing that waits: said already, or the set is another one by now."""


def prune(desired: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned], policy: Policy, replacing: Collection[Ref] = ()) -> Pruned:
    """Decide on everything that is in the inventory and in no manifest, in reverse dependency order.

    A replacement counts as a deletion: it needs a confirmation on kinds whose prune policy is not `auto`."""
    if policy.partial and policy.shard is None:
        candidates: list[Owned] = []
    else:
        gone = inventory.keys() - desired.keys() - policy.refused - policy.blocked.keys()
        candidates = _reverse_order([inventory[ref] for ref in gone if policy.shard is None or policy.shard.holds(ref)])
    held: dict[Ref, Blocked | Keep] = {}
    for each in candidates:
        if (reason := _kept(each, policy)) is not None:
            held[each.ref] = reason
    open_ = [each for each in candidates if each.ref not in held]
    replaced = [inventory[ref] for ref in sorted(replacing) if ref in inventory]
    over = _over_budget([*open_, *replaced], inventory, policy)
    named = {each.name for each in policy.sources}
    lost = {each.ref: f"its source {each.source} is not in the Platform any more" for each in open_ if each.source not in named}
    waiting = [each for each in (*open_, *replaced) if each.prune != "auto" or each.ref.owner in over or "" in over or each.ref in lost]
    agreed = {each.ref for each in waiting if confirmation_of(waiting) in policy.confirmed or str(each.ref) in policy.confirmed}
    agreed |= {each.ref for each in waiting if each.ref not in desired and each.ref in policy.asked.approved}
    left = [each for each in waiting if each.ref not in agreed]
    confirmation = confirmation_of(left) if left else ""
    for each in left:
        if each.ref not in desired:
            held[each.ref] = _asks(each, over.get(each.ref.owner) or over.get("") or lost.get(each.ref), confirmation)
    _hold_what_is_in_use(candidates, _users(desired, inventory, policy), held)
    actions = tuple(
        held[each.ref] if each.ref in held else Delete(each, "no manifest names it any more", each.ref in agreed) for each in candidates
    )
    matched = {confirmation_of(waiting), *(str(ref) for ref in agreed)}
    unmatched = tuple(sorted(policy.confirmed - matched)) if not policy.partial else ()
    return Pruned(actions, frozenset(each.ref for each in replaced if each not in left), confirmation, unmatched)


def confirmation_of(owned: Sequence[Owned]) -> str:
    """8 hex digits that name exactly this set of objects; another set needs another yes."""
    text = "\n".join(sorted(f"{each.ref} {each.external_id}" for each in owned))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _kept(owned: Owned, policy: Policy) -> Blocked | Keep | None:
    """Why this one stays whatever anybody confirms now; None = it may be deleted."""
    source = next((each for each in policy.sources if each.name == owned.source), None)
    if owned.prune == "never":
        return Keep(owned.ref, "its manifest is gone, and lifecycle.prune was `never`")
    wanted = Delete(owned, "no manifest names it any more")
    if policy.kinds is not None and owned.ref.kind not in policy.kinds:
        why = f"the kind {owned.ref.kind} is not loaded, so nothing can delete it"
        return Blocked(owned.ref, "KindNotLoaded", why, "install its package again; `reconcile doctor` tells more", wanted, owned.location)
    if source is None:  # the Platform does not name it any more: the root source says so, if it was read completely
        source = next((each for each in policy.sources if each.name == ROOT_SOURCE), None)
    if source is None or not source.complete or source.documents == 0:
        why = "its source was not read" if source is None else source.why_incomplete or "its source holds no manifests at all"
        return Blocked(
            owned.ref, "SourceIncomplete", f"nothing is deleted: {why}", "fix the source, then reconcile again", wanted, owned.location
        )
    for holder in (owned.ref, Ref("Project", None, owned.ref.owner)):
        if holder in policy.suspended:
            why = policy.suspended[holder] or "suspended by hand"
            return Blocked(owned.ref, "Suspended", why, f"reconcile resume {holder}", wanted, owned.location)
    return policy.ruled.hold(wanted, owned.ref) or policy.asked.hold(wanted, owned.ref, ours=True)


def _over_budget(candidates: Sequence[Owned], inventory: Mapping[Ref, Owned], policy: Policy) -> dict[str, str]:
    """Project (empty = the installation) -> sentence, for each whose deletions would go over the budget."""
    total: Counter[str] = Counter(ref.owner for ref in inventory)
    recent: Counter[str] = Counter(ref.owner for ref in policy.recent_deletions)
    wanted: Counter[str] = Counter(each.ref.owner for each in candidates)
    total[""], recent[""], wanted[""] = len(inventory), len(policy.recent_deletions), len(candidates)
    over: dict[str, str] = {}
    for project, count in wanted.items():
        size = total[project] + recent[project]
        allowed = max(BUDGET_COUNT, int(size * BUDGET_SHARE))
        if count and count + recent[project] > allowed:
            where = f"project {project}" if project else "the installation"
            before = f" and {recent[project]} in the last 24 hours" if recent[project] else ""
            over[project] = (
                f"{count} of {size} resources of {where} would be deleted{before}; more than {allowed} at once looks like a broken source"
            )
    return over


def _asks(owned: Owned, suspect: str | None, confirmation: str) -> Blocked:
    wanted = Delete(owned, "no manifest names it any more")
    how = f"if it is meant: reconcile --confirm {confirmation}"
    if suspect:
        return Blocked(owned.ref, "SourceSuspect", suspect, how, wanted, owned.location)
    return Blocked(owned.ref, "ConfirmDelete", "its manifest is gone; deleting it needs a yes", how, wanted, owned.location)


def _users(desired: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned], policy: Policy) -> dict[Ref, list[Ref]]:
    """Who uses what, among all that stays: manifests, what is kept as it was because its manifest is wrong, and other shards' resources."""
    users: dict[Ref, list[Ref]] = {}
    for resource in desired.values():
        for ref in (*resource.references, *resource.requires):
            users.setdefault(ref, []).append(resource.ref)
    others = {ref for ref in inventory if policy.shard is not None and not policy.shard.holds(ref)}
    for other in sorted(((policy.refused | policy.blocked.keys()) & inventory.keys() - desired.keys()) | others):
        for ref in inventory[other].references:
            users.setdefault(ref, []).append(other)
    return users


def _hold_what_is_in_use(candidates: Sequence[Owned], users: dict[Ref, list[Ref]], held: dict[Ref, Blocked | Keep]) -> None:
    """Something that is still referenced stays: by what stays anyway (`users`), or by an owned object that is held."""
    for each in candidates:  # users come before what they use
        if each.ref not in held and (by := users.get(each.ref)):
            wanted = Delete(each, "no manifest names it any more")
            held[each.ref] = Blocked(
                each.ref, "InUse", f"still used by {ref_names(by)}", "remove the reference first", wanted, each.location
            )
        if each.ref in held:
            for ref in each.references:
                users.setdefault(ref, []).append(each.ref)


def _reverse_order(owned: Sequence[Owned]) -> list[Owned]:
    """Users before what they use; ties by name."""
    by_ref = {each.ref: each for each in owned}
    users: Counter[Ref] = Counter(ref for each in owned for ref in each.references if ref in by_ref)
    ready = sorted((ref for ref in by_ref if not users[ref]), reverse=True)
    order: list[Owned] = []
    while ready:
        each = by_ref.pop(ready.pop())
        order.append(each)
        for ref in sorted(set(each.references), reverse=True):
            if ref in by_ref:
                users[ref] -= each.references.count(ref)
                if not users[ref]:
                    ready.append(ref)
    return [*order, *(by_ref[ref] for ref in sorted(by_ref))]
