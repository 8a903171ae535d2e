"""Choose the action for every resource: the one place where a difference becomes a decision. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.bind import Bound
from reconciler.diff import without_ignored
from reconciler.drift import FIGHT, by_hand, fought
from reconciler.model import (
    KNOWN_AFTER_APPLY,
    Absent,
    Action,
    Adopt,
    Attribution,
    Blocked,
    Change,
    Create,
    Delete,
    Diff,
    Keep,
    Mark,
    Move,
    Observation,
    Owned,
    Plan,
    Present,
    Ref,
    Replace,
    Resource,
    Unknown,
    Update,
    Write,
)
from reconciler.policy import Policy
from reconciler.prune import prune

BY_HAND = "changed in the tool since it was applied"
NAME = "metadata.name"
"""Path of the change that a controller tells where an object goes by another name."""
UNMANAGED = "unmanaged:"
"""Marks objects that code inside a project made through the client library; a manifest of that name adopts them."""


def plan(
    bound: Bound,
    seen: Mapping[Ref, Observation],
    inventory: Mapping[Ref, Owned],
    policy: Policy,
    unwanted: Mapping[Ref, Observation] | None = None,
) -> Plan:
    """Actions in an order in which they can be carried out: creates and updates along the dependencies, then deletes against them.

    `unwanted` are children that carry our mark and that their parent does not want any more."""
    diffs = {ref: without_ignored(each, bound.resources[ref].lifecycle.ignore, policy.now) for ref, each in bound.diffs.items()}
    fixed = [ref for ref, changes in diffs.items() if any(each.forces_replace for each in changes)]
    replacing = [ref for ref in fixed if ref not in policy.moves.of]
    pruned = prune(bound.resources, inventory, policy, replacing)
    actions: dict[Ref, Action] = {}
    for ref, resource in bound.resources.items():
        if ref in bound.broken:
            actions[ref] = Blocked(ref, "ControllerFailed", bound.broken[ref], "report it to the kind's author", location=resource.location)
            continue
        changes = _settled(resource, diffs.get(ref, ()), actions)
        action = _choose(resource, seen.get(ref), changes, inventory.get(ref), policy, pruned.may_replace)
        if isinstance(action, Keep) and (left := len(bound.diffs.get(ref, ())) - len(diffs.get(ref, ()))):
            action = replace(action, why=_ignored(resource, bound.diffs[ref], left))
        actions[ref] = _behind(action, resource, actions, seen, inventory, policy)
    after = {ref: _waits_for(resource, actions) for ref, resource in bound.resources.items() if _is_write(actions[ref])}
    doomed = {each.ref for each in pruned.actions if isinstance(each, Delete)}
    for ref in doomed:
        after[ref] = tuple(other for other in sorted(doomed) if ref in inventory[other].references)
    blocked = tuple(each for ref, each in policy.blocked.items() if ref not in actions)
    released = (_release(ref, each, bound, policy) for ref, each in (unwanted or {}).items() if isinstance(each, Present))
    let_go = [each for each in released if each is not None]
    return Plan((*actions.values(), *blocked, *let_go, *pruned.actions), after, pruned.confirmation, pruned.unmatched)


def _release(ref: Ref, seen: Present, bound: Bound, policy: Policy) -> Action | None:
    """Let go of a child that is not wanted any more. It is kept in the tool, so that this is no deletion that anybody must confirm."""
    parent = bound.resources.get(replace(ref, key=""))
    if parent is None or not _is_ours(seen.mark, ref, policy):
        return None
    owned = Owned(
        ref, seen.external_id, parent.source, seen.mark.digest if seen.mark else "", {}, "auto", seen.outputs, (), parent.location
    )
    why = f"not wanted any more: {policy.released.get(ref.kind, 'it ends')}"
    return _allowed(Delete(owned, why, confirmed=True), replace(parent, ref=ref), policy)


def _choose(
    resource: Resource[Any],
    observation: Observation | None,
    changes: Diff,
    owned: Owned | None,
    policy: Policy,
    may_replace: Collection[Ref],
) -> Action:
    ref, at = resource.ref, resource.location
    if ref in policy.blocked:
        return policy.blocked[ref]
    if ref in policy.moves.taken:
        hint = "give one of them another name, or remove what is not wanted; without lifecycle.movedFrom they are two"
        return Blocked(ref, "NameTaken", policy.moves.taken[ref], hint, location=at)
    match observation:
        case None:
            return Blocked(ref, "ToolUnreachable", "it was not looked at", location=at)
        case Unknown(reason):
            return Blocked(
                ref, "ToolUnreachable", reason, "fix the tool, then reconcile again; nothing is changed until it can be read", location=at
            )
        case Absent():
            why = "it was deleted outside the reconciler" if owned else ""
            return _allowed(Create(resource, policy.preview.get(ref, ()), why), resource, policy)
        case Present() if ref in policy.moves.of:
            return _moved(resource, observation, changes, policy)
        case Present():
            return _present(resource, observation, changes, owned, policy, may_replace)


def _present(
    resource: Resource[Any], seen: Present, changes: Diff, owned: Owned | None, policy: Policy, may_replace: Collection[Ref]
) -> Action:
    ref = resource.ref
    ours = _is_ours(seen.mark, ref, policy)
    # A child is owned through its parent: the mark is all that it needs.
    known = bool(ref.key) or (owned is not None and owned.external_id == seen.external_id)
    if not ours and known and seen.mark is None:
        lost = Change("metadata.mark", None, policy.installation, note="the mark of this installation was removed")
        return _allowed(
            Update(resource, seen, (lost, *(each for each in changes if not each.forces_replace)), adopt=True), resource, policy
        )
    if not ours and not resource.lifecycle.adopt:
        return Blocked(
            ref,
            "NotOurs",
            f"someone else's: {_whose(seen.mark, resource)}",
            "to take it over: lifecycle.adopt: true",
            Adopt(resource, seen, changes),
            resource.location,
        )
    if any(each.forces_replace for each in changes):
        fields = ", ".join(each.path for each in changes if each.forces_replace)
        why = f"{fields} cannot change in place"
        if ref in may_replace or ref in policy.asked.waiting or (owned is None and str(ref) in policy.confirmed):
            return _allowed(Replace(resource, seen, changes, why), resource, policy)
        return Blocked(
            ref,
            "ImmutableField",
            why,
            f"to delete it and create it again: reconcile --confirm {ref}",
            Replace(resource, seen, changes),
            resource.location,
        )
    if not ours or not known:
        begun = "made by an earlier pass that was cut short" if ref in policy.unfinished else "carries this installation's mark"
        return _allowed(Adopt(resource, seen, changes, begun if ours else "lifecycle.adopt is set"), resource, policy)
    if changes:
        return _allowed(_corrected(Update(resource, seen, changes), owned, policy), resource, policy)
    if ref in policy.settling:
        return Blocked(ref, "Settling", policy.settling[ref], "`reconcile --wait` goes on once it has settled", location=resource.location)
    if known and (ref in policy.asked.waiting or ref in policy.ruled.denied):
        # nothing of it shows in the tool yet, and all that it leads to would follow
        return _allowed(Update(resource, seen, ()), resource, policy)
    return Keep(ref)


def _moved(resource: Resource[Any], seen: Present, changes: Diff, policy: Policy) -> Action:
    """The move of what is there under its old name, or half moved."""
    ref, old = resource.ref, policy.moves.of[resource.ref]
    changes = tuple(each for each in changes if each.path != NAME)
    move = Move(resource, seen, changes, old, f"moved from {old.ref}")
    source = next((each for each in policy.sources if each.name == old.source), None)
    if policy.part or (source is not None and not source.complete):
        read = "only a part of the manifests was read" if source is None or source.complete else source.why_incomplete
        why = f"whether {old.ref} is still declared is not known: {read}"
        return Blocked(ref, "SourceIncomplete", why, "reconcile the whole tree, without errors", move, resource.location)
    if seen.mark is not None and not any(_is_ours(seen.mark, each, policy) for each in (ref, old.ref)):
        hint = f"give its mark back, or declare {ref} without lifecycle.movedFrom"
        return Blocked(ref, "NotOurs", f"someone else's: {_whose(seen.mark, resource)}", hint, move, resource.location)
    if fixed := [each.path for each in changes if each.forces_replace]:
        hint = "leave it as it was until that is done: a move keeps what is there"
        return Blocked(ref, "ImmutableField", f"{', '.join(fixed)} cannot change while it moves", hint, move, resource.location)
    corrected = _corrected(Update(resource, seen, changes), replace(old, ref=ref), policy)
    if isinstance(corrected, Blocked):  # what is somebody else's stays theirs; the name is ours
        return _allowed(replace(move, changes=(), why=f"{move.why}; left alone: {corrected.why}"), resource, policy)
    assert isinstance(corrected, Update)
    why = "; ".join(filter(None, [move.why, corrected.why]))
    return _allowed(replace(move, changes=corrected.changes, why=why), resource, policy)


def _corrected(update: Update, owned: Owned | None, policy: Policy) -> Write | Blocked:
    """The update, less what somebody else is to be left, or blocked where that is all of it."""
    resource, ref, drift = update.resource, update.ref, by_hand(update.changes, owned)
    if not drift:
        return update
    by = str(policy.attributed.get(ref, ""))
    told = f"changed in the tool{by}" if by else BY_HAND
    noted = tuple(replace(each, note=each.note or told) if each in drift else each for each in update.changes)
    update = replace(update, changes=noted)
    if str(ref) in policy.confirmed:
        return update
    if resource.lifecycle.drift == "report" and len(drift) == len(update.changes):
        why = f"{_paths(drift)} was changed in the tool{by}; lifecycle.drift is report"
        return Blocked(ref, "Drifted", why, f"to put it back: reconcile --confirm {ref}", update, resource.location)
    lost = fought(update.changes, owned, policy.put_back.get(ref, ()), policy.now)
    if not lost:
        return update
    rest = tuple(each for each in update.changes if each not in lost)
    writers = f"{resource.location} and {_other(policy.attributed.get(ref))}"
    why = f"{_paths(lost)} has two writers: {writers}; it was put back {FIGHT} times within an hour"
    if rest:
        return replace(update, changes=rest, why=f"left alone: {why}")
    hint = "say the same in both, or leave the field to the other one with lifecycle.ignore"
    return Blocked(ref, "Fight", why, hint, update, resource.location)


def _other(known: Attribution | None) -> str:
    """The second writer, with what is known of the last change of theirs."""
    if known is None or not str(known):
        return "somebody in the tool"
    return f"{known.who} in the tool, last{replace(known, who='')}" if known.who else f"somebody in the tool, last{known}"


def _paths(changes: Diff) -> str:
    return ", ".join(each.path for each in changes)


def _ignored(resource: Resource[Any], changes: Diff, left: int) -> str:
    """What a rule leaves to somebody else, with the rule's own reason."""
    rules = resource.lifecycle.ignore
    paths = [each.path for each in changes if any(f"{each.path}.".startswith(f"{rule.path}.") for rule in rules)][:left]
    reasons = [rule.reason for rule in rules if any(f"{path}.".startswith(f"{rule.path}.") for path in paths)]
    return f"ignored: {', '.join(paths)} ({'; '.join(reasons)})"


def _settled(resource: Resource[Any], changes: Diff, actions: Mapping[Ref, Action]) -> Diff:
    """`changes`, less those that only wait for inputs which nothing in this pass will bring: they would be planned again and again."""
    unknown = [ref for ref, outputs in resource.inputs.items() if "*" in outputs]
    if any(ref in actions and _is_write(actions[ref]) for ref in unknown):
        return changes
    return tuple(each for each in changes if not unknown or each.want != KNOWN_AFTER_APPLY)


def _is_ours(mark: Mark | None, ref: Ref, policy: Policy) -> bool:
    if mark is None:
        return False
    if mark.ref == f"{UNMANAGED}{ref.project}":
        return mark.installation in ("", policy.installation)
    return mark.installation == policy.installation and mark.ref == str(ref)


def _whose(mark: Mark | None, resource: Resource[Any]) -> str:
    kind = resource.ref.kind.lower()
    if mark is None:
        return f"an existing {kind} of this name does not carry this installation's mark"
    return f"this {kind} is marked as {mark.ref} of installation '{mark.installation}'"


def _allowed(action: Write | Blocked, resource: Resource[Any], policy: Policy) -> Action:
    """The action, unless somebody said that this resource is not to be written."""
    if isinstance(action, Blocked):
        return action
    ref = resource.ref
    if resource.lifecycle.mode == "observe":
        return Blocked(
            ref, "ObserveOnly", "lifecycle.mode is observe: differences are reported, never written", "", action, resource.location
        )
    if resource.lifecycle.suspend:
        return Blocked(ref, "Suspended", "lifecycle.suspend is true in its manifest", "set it to false", action, resource.location)
    everything = [each for each in policy.suspended if each.kind == "Platform"]
    before = [policy.moves.of[each].ref for each in (replace(ref, key=""),) if each in policy.moves.of]
    for holder in (ref, replace(ref, key=""), *before, Ref("Project", None, ref.owner), *everything):
        if holder in policy.suspended:
            return Blocked(
                ref, "Suspended", policy.suspended[holder] or "suspended by hand", f"reconcile resume {holder}", action, resource.location
            )
    if (denied := policy.ruled.hold(action, ref)) is not None:
        return denied
    ours = not isinstance(action, Create | Delete) and _is_ours(action.seen.mark, ref, policy)
    if (held := policy.asked.hold(action, ref, ours=ours)) is not None:
        return held
    if not ref.key and ref.owner in policy.closed and str(ref) not in policy.confirmed:
        hint = f"it is done when the window opens; to do it now: reconcile --confirm {ref}"
        return Blocked(ref, "OutsideWindow", policy.closed[ref.owner], hint, action, resource.location)
    return action


def _behind(
    action: Action,
    resource: Resource[Any],
    actions: Mapping[Ref, Action],
    seen: Mapping[Ref, Observation],
    inventory: Mapping[Ref, Owned],
    policy: Policy,
) -> Action:
    """`action`, unless something that it stands on cannot come to be in this pass."""
    if isinstance(action, Keep | Blocked):
        return action
    for other in (*resource.requires, *resource.references):
        before = actions.get(other)
        if resource.ref.key and isinstance(before, Blocked) and before.reason == "Settling":
            # Work reads its inputs as they are now, which is not what any version of them says.
            why = f"{other} is changing: {before.why}"
            return Blocked(resource.ref, "DependencyProgressing", why, before.next, action, resource.location)
        found = seen.get(other)
        if resource.ref.key and not isinstance(action, Delete) and isinstance(found, Present) and found.unfit:
            why, hint = (
                f"{other} is not fit to be read: {found.unfit}",
                f"`reconcile status {other}` tells more; it starts once that is well",
            )
            return Blocked(resource.ref, "DependencyUnhealthy", why, hint, action, resource.location)
        unmoved = other in policy.moves.of  # there, and not by the name that is asked for
        if isinstance(before, Blocked) and (unmoved or not isinstance(found, Present)):
            why = f"needs {other}, which is {_word(before)}"
            return Blocked(resource.ref, "DependencyBlocked", why, before.next, action, resource.location)
        if before is None and other not in inventory:
            why = f"needs {other}, which does not exist yet and is not part of this selection"
            return Blocked(resource.ref, "DependencyMissing", why, "reconcile without the filter", action, resource.location)
    return action


def _word(blocked: Blocked) -> str:
    return "not readable" if blocked.unknown else f"blocked ({blocked.reason})"


def _waits_for(resource: Resource[Any], actions: Mapping[Ref, Action]) -> tuple[Ref, ...]:
    return tuple(ref for ref in (*resource.requires, *resource.references) if ref in actions and _is_write(actions[ref]))


def _is_write(action: Action) -> bool:
    return not isinstance(action, Keep | Blocked)


def digest(actions: Sequence[Action]) -> str:
    """12 hex digits that name exactly these actions: same digest, same work. Printed under a plan."""
    text = "\n".join(f"{each.glyph} {each.ref} {getattr(each, 'changes', ())!r}" for each in actions)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
