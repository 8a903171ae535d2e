"""Renaming: what goes by another name in its tool until this pass has moved it, and how everything else sees it meanwhile. Pure.

From here on a pass sees what it is to move under its new name: with what was recorded under the old one, and with what is there by the old
name. So nothing of it is taken for new, and nothing for gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.model import Mark, Observation, Owned, Present, Ref, Resource, Unknown
from reconciler.observe import Observed
from reconciler.registry import Kinds


@dataclass(frozen=True)
class Moves:
    """What a pass is to rename."""

    of: Mapping[Ref, Owned] = field(default_factory=dict)
    """New name -> the inventory entry under the old one."""
    taken: Mapping[Ref, str] = field(default_factory=dict)
    """New name -> what has it already, as a sentence."""


def renamed(resources: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned]) -> dict[Ref, Ref]:
    """New name -> old name, of all that says what it was called before and is not known by its new name yet."""
    said = {ref: replace(ref, name=each.lifecycle.moved_from) for ref, each in resources.items() if each.lifecycle.moved_from}
    return {ref: old for ref, old in said.items() if ref not in inventory}


def under_old_names(resources: Iterable[Resource[Any]], moving: Mapping[Ref, Ref], kinds: Kinds) -> list[Resource[Any]]:
    """The same once more under their old names, to be looked at. What is kept in our own notes is found there under either name."""
    return [replace(each, ref=moving[each.ref]) for each in resources if each.ref in moving and kinds.of(each.ref).tool]


def to_move(
    observed: Observed,
    moving: Mapping[Ref, Ref],
    resources: Mapping[Ref, Resource[Any]],
    inventory: Mapping[Ref, Owned],
    installation: str,
) -> tuple[Observed, Moves]:
    """What is really to be moved, with what was seen of it under its new name.

    An old name that neither the inventory nor a mark of ours knows was moved long ago, or was never here: nothing is said of it."""
    seen, of, taken = dict(observed.seen), dict[Ref, Owned](), dict[Ref, str]()
    for new, old in moving.items():
        there, here = seen.pop(old, None), seen.get(new)
        owned = inventory.get(old) or _recorded(resources[new], old, there, here, installation)
        if owned is None or _is_other(there, here, owned, new, installation):
            continue
        of[new] = owned
        if isinstance(there, Present) and isinstance(here, Present):
            taken[new] = f"something of this name exists beside {old}, from which it is to be moved"
        elif isinstance(there, Unknown | Present):
            seen[new] = there
    both = {ref: _old(each) for ref, each in resources.items() if ref in inventory and _old(each) in inventory}
    taken |= {new: f"it is there already, and so is {old}, from which it is to be moved" for new, old in both.items()}
    return replace(observed, seen=seen), Moves(of, taken)


def _old(resource: Resource[Any]) -> Ref:
    return replace(resource.ref, name=resource.lifecycle.moved_from or "")


def _recorded(resource: Resource[Any], old: Ref, there: Observation | None, here: Observation | None, installation: str) -> Owned | None:
    """An entry for what is in no inventory and carries our mark with the old name: the Store was lost."""
    for each in (there, here):
        if isinstance(each, Present) and each.mark is not None and (each.mark.installation, each.mark.ref) == (installation, str(old)):
            return Owned(old, each.external_id, resource.source, each.mark.digest, {}, resource.prune, each.outputs)
    return None


def _is_other(there: Observation | None, here: Observation | None, owned: Owned, new: Ref, installation: str) -> bool:
    """Whether nothing is left under the old name, and what has the new one (if anything) is not what was recorded."""
    if isinstance(there, Present | Unknown) or here is None or isinstance(here, Unknown):
        return False
    if not isinstance(here, Present):
        return True
    marks = [(installation, str(ref)) for ref in (owned.ref, new)]
    ours = isinstance(here.mark, Mark) and (here.mark.installation, here.mark.ref) in marks
    return not ours and here.external_id != owned.external_id


def as_moved(inventory: Mapping[Ref, Owned], moves: Moves) -> dict[Ref, Owned]:
    """The inventory as it will be once everything has moved."""
    if not moves.of:
        return dict(inventory)
    names = {each.ref: new for new, each in moves.of.items()}
    entries = {**inventory, **{each.ref: each for each in moves.of.values()}}
    return {names.get(ref, ref): _entry(each, names) for ref, each in entries.items()}


def _entry(owned: Owned, names: Mapping[Ref, Ref]) -> Owned:
    if owned.ref not in names and names.keys().isdisjoint(owned.references):
        return owned
    return replace(owned, ref=names.get(owned.ref, owned.ref), references=tuple(names.get(ref, ref) for ref in owned.references))
