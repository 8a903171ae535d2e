"""Who changed what nobody declared: as the tools' own records and the audit log tell. Reads only, and only where something has drifted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.bind import Bound
from reconciler.controller import Attributes, Context
from reconciler.drift import PUT_BACK, WITHIN, by_hand
from reconciler.house import House
from reconciler.model import Diff, Observation, Owned, Present, Ref

MOST_LINES = 10_000
"""Of the audit log that are read: an hour of a very busy installation."""


@dataclass(frozen=True)
class Drift:
    """See the fields of the same names in `reconciler.policy.Policy`."""

    put_back: Mapping[Ref, Sequence[tuple[datetime, Sequence[str]]]] = field(default_factory=dict)
    writers: Mapping[Ref, str] = field(default_factory=dict)


def attribute(bound: Bound, seen: Mapping[Ref, Observation], inventory: Mapping[Ref, Owned], ctx: Context | None, house: House) -> Drift:
    """What is known of everything that was changed by hand. A tool that does not tell costs the words, not the pass."""
    drifted: dict[Ref, tuple[Present, Diff]] = {}
    for ref, changes in bound.diffs.items():
        observation = seen.get(ref)
        if changes and isinstance(observation, Present) and (drift := by_hand(changes, inventory.get(ref))):
            drifted[ref] = observation, drift
    if not drifted or ctx is None:
        return Drift()
    return Drift(_put_back(drifted, house), _writers(drifted, ctx, house))


def _put_back(drifted: Mapping[Ref, Any], house: House) -> Mapping[Ref, Sequence[tuple[datetime, Sequence[str]]]]:
    found: dict[Ref, list[tuple[datetime, Sequence[str]]]] = defaultdict(list)
    for each in house.store.history(since=house.now() - WITHIN, limit=MOST_LINES):
        paths = each.detail.get(PUT_BACK)
        if each.ref is not None and each.ref in drifted and each.result != "failed" and isinstance(paths, list):
            found[each.ref].append((each.at, [str(path) for path in paths]))
    return found


def _writers(drifted: Mapping[Ref, tuple[Present, Diff]], ctx: Context, house: House) -> Mapping[Ref, str]:
    found: dict[Ref, str] = {}
    for kind, controller in house.kinds.controllers.items():
        of_kind = {ref: each for ref, each in drifted.items() if ref.kind == kind and not ref.key}
        if of_kind and isinstance(controller, Attributes):
            try:
                found |= controller.changed_by(of_kind, ctx)
            except Exception as error:
                house.log.warning("attribution_failed", kind=kind, error=repr(error))
    return found
