"""What a plan is made under: what people said, what holds at this moment, what is known of drift. Read from Store, tools and clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.approval import Asked, asked
from reconciler.attribute import applied
from reconciler.bind import Bound
from reconciler.controller import Asks, Context, Expands
from reconciler.diff import compare
from reconciler.drift import WITHIN, PutBack, by_hand, put_back
from reconciler.house import House
from reconciler.model import Absent, Attribution, Diff, Observation, Owned, Present, Ref
from reconciler.observe import Observed
from reconciler.policy import Policy
from reconciler.record import told
from reconciler.selection import Selection
from reconciler.source.read import Desired
from reconciler.syncwindow import closed_projects

DELETION_WINDOW = timedelta(hours=24)
MOST_LINES = 10_000
"""Of the audit log that are read for what was put back lately: an hour of a very busy installation."""


def made_under(
    selection: Selection,
    house: House,
    desired: Desired,
    bound: Bound,
    observed: Observed,
    unfinished: frozenset[Ref],
    inventory: Mapping[Ref, Owned],
    ctx: Context | None,
) -> Policy:
    now = house.now()
    drifted = {ref: drift for ref, changes in bound.diffs.items() if (drift := by_hand(changes, inventory.get(ref)))}
    return Policy(
        installation=desired.installation,
        now=now,
        sources=desired.graph.sources,
        partial=selection.partial,
        part=selection.part,
        shard=selection.shard if selection.prunes else None,
        refused=desired.graph.refused,
        blocked={ref: each for ref, each in desired.graph.blocked.items() if ref in bound.resources or (selection.whole_of(ref))},
        suspended={ref: each.reason for ref, each in house.store.suspensions().items()},
        closed=closed_projects(desired.graph.resources, now),
        asked=_asked(selection, house, desired, inventory),
        confirmed=selection.confirmed,
        kinds=frozenset(house.kinds.kinds),
        recent_deletions=[ref for _, ref in house.store.deletions_since(now - DELETION_WINDOW)],
        put_back=_put_back(drifted, house, now),
        attributed=_attributed(drifted, bound, observed, house, ctx),
        preview=_previews(bound, observed.seen, house),
        unfinished=unfinished,
        released={kind: each.released for kind, each in house.kinds.controllers.items() if isinstance(each, Expands)},
        settling=_settling(bound, observed.seen, house),
    )


def _asked(selection: Selection, house: House, desired: Desired, inventory: Mapping[Ref, Owned]) -> Asked:
    """What waits for somebody's yes; leases are read only where something does."""
    graph, unread = desired.graph, desired.graph.refused | desired.graph.blocked.keys()
    found = asked(
        graph.resources, inventory, house.store.rulings.approvals(), graph.sources, house.kinds, unread=unread, part=selection.part
    )
    if not found.waiting:
        return found
    asking = frozenset(kind for kind, each in house.kinds.controllers.items() if isinstance(each, Asks))
    return replace(found, standing=frozenset(each.ref for each in house.store.work.leases()), asking=asking)


def _put_back(drifted: Collection[Ref], house: House, now: datetime) -> PutBack:
    """When which fields of what has drifted were put back lately; the audit log is read only where something has."""
    return put_back(drifted, house.store.history(since=now - WITHIN, limit=MOST_LINES)) if drifted else {}


def _attributed(
    drifted: Mapping[Ref, Diff], bound: Bound, observed: Observed, house: House, ctx: Context | None
) -> Mapping[Ref, Attribution]:
    """Who changed what has drifted; a tool is asked only where something has, for the first time."""
    return (
        house.attributions.find(drifted, bound.resources, observed.seen, ctx, house.kinds, applied(house.store)) if ctx is not None else {}
    )


def _previews(bound: Bound, seen: Mapping[Ref, Observation], house: House) -> dict[Ref, Diff]:
    """For everything that would be created, the fields that it would get."""
    shown: dict[Ref, Diff] = {}
    for ref, resource in bound.resources.items():
        desired = getattr(house.kinds.of(ref), "desired", None)
        if isinstance(seen.get(ref), Absent) and desired is not None:
            with suppress(Exception):  # a defect of the controller costs the preview, not the pass; apply names it
                shown[ref] = compare(desired(resource), {})
    return shown


def _settling(bound: Bound, seen: Mapping[Ref, Observation], house: House) -> dict[Ref, str]:
    """What the controllers want to look at again before they say more, with their words for it."""
    found: dict[Ref, str] = {}
    for ref, resource in bound.resources.items():
        observation = seen.get(ref)
        if isinstance(observation, Present) and observation.settling:
            found[ref] = told(resource, observation, house.kinds).message
    return found
