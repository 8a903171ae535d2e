"""Walk in dependency order: give each resource its inputs and what was applied last, then take its difference. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from reconciler.model import KNOWN_AFTER_APPLY, Diff, Observation, Outputs, Owned, Present, Ref, Resource

Differ: TypeAlias = Callable[[Resource[Any], Present], Diff]
UNKNOWN_OUTPUTS: Outputs = {"*": KNOWN_AFTER_APPLY}


@dataclass(frozen=True)
class Bound:
    """Resources with `inputs` and `last` filled, and the difference of each that is there. Same order as given."""

    resources: Mapping[Ref, Resource[Any]]
    diffs: Mapping[Ref, Diff]
    broken: Mapping[Ref, str] = field(default_factory=dict)
    """Could not be compared: a defect of the controller, told as a sentence."""
    outputs: Mapping[Ref, Outputs] = field(default_factory=dict)
    """What each offers to those that reference it."""


def bind(
    resources: Iterable[Resource[Any]],
    seen: Mapping[Ref, Observation],
    inventory: Mapping[Ref, Owned],
    diff: Differ,
    onto: Bound | None = None,
) -> Bound:
    """Bind and compare every resource; `resources` come in dependency order, so that an input that is about to change is
    known to change: it reads KNOWN_AFTER_APPLY. `onto` holds what was bound before and is part of the result."""
    before = onto or Bound({}, {})
    bound, diffs, broken, outputs = dict(before.resources), dict(before.diffs), dict(before.broken), dict(before.outputs)
    for each in resources:
        owned = inventory.get(each.ref)
        inputs = {ref: outputs[ref] if ref in outputs else recorded(ref, inventory) for ref in each.references}
        resource = replace(each, inputs=inputs, last=owned.applied if owned else None)
        observation = seen.get(each.ref)
        bound[each.ref] = resource
        outputs[each.ref] = UNKNOWN_OUTPUTS
        if isinstance(observation, Present):
            try:
                diffs[each.ref] = diff(resource, observation)
            except Exception as error:  # narrows the pass for this Ref and what comes after it
                broken[each.ref] = f"the {each.ref.kind} controller could not compare it: {type(error).__name__}: {error}"
                continue
            if not moves_outputs(diffs[each.ref]):
                outputs[each.ref] = observation.outputs
    return Bound(bound, diffs, broken, outputs)


def moves_outputs(changes: Diff) -> bool:
    """True when carrying out `changes` gives the resource other outputs than it has now."""
    return any(each.forces_replace or each.want == KNOWN_AFTER_APPLY for each in changes)


def recorded(ref: Ref, inventory: Mapping[Ref, Owned]) -> Outputs:
    """Outputs of something outside this pass (a part of the tree was named): what was recorded stands."""
    return inventory[ref].outputs if ref in inventory else UNKNOWN_OUTPUTS
