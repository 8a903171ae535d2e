"""Asks the tools who changed what has drifted: each kind once for all its resources, and for each drift once, while this process lives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from reconciler.controller import Attributes, Context
from reconciler.model import Attribution, Diff, Drift, Observation, Present, Ref, Resource, canonical
from reconciler.registry import Kinds

if TYPE_CHECKING:
    from reconciler.state import Store

MOST_TRIES = 20
"""Of the audit log's lines that are read for when one resource was applied last."""


class Attributions:
    """What is known of who changed what. Kept from pass to pass."""

    def __init__(self) -> None:
        self._known: dict[Ref, tuple[str, Attribution]] = {}
        self._calm: dict[Ref, datetime] = {}
        """When each was last seen without drift."""

    def find(
        self,
        drifted: Mapping[Ref, Diff],
        resources: Mapping[Ref, Resource[Any]],
        seen: Mapping[Ref, Observation],
        ctx: Context,
        kinds: Kinds,
        since: Callable[[Ref], datetime | None],
    ) -> Mapping[Ref, Attribution]:
        """By Ref, of those about which something is known. A tool that does not answer costs its answer only, and is asked again.

        `since` tells when a resource was as applied, where this process has not seen that itself."""
        now = ctx.now()
        prints = {ref: canonical([[each.path, None if each.secret else each.have] for each in changes]) for ref, changes in drifted.items()}
        self._known = {ref: each for ref, each in self._known.items() if prints.get(ref, each[0] if ref not in seen else "") == each[0]}
        fresh: dict[str, list[Drift]] = defaultdict(list)
        for ref in drifted.keys() - self._known.keys():
            present = seen.get(ref)
            if isinstance(present, Present) and isinstance(kinds.controllers.get(ref.kind), Attributes):
                fresh[ref.kind].append(Drift(resources[ref], present, drifted[ref], self._calm.get(ref) or since(ref)))
        for kind, drifts in fresh.items():
            for ref, told in _asked(kind, drifts, ctx, kinds).items():
                after = next((each.since for each in drifts if each.resource.ref == ref), None)
                self._known[ref] = (prints[ref], replace(told, after=after, until=now))
        # Of children, which come and go for months, the Store is asked.
        self._calm.update({ref: now for ref, each in seen.items() if isinstance(each, Present) and not ref.key and ref not in drifted})
        return {ref: self._known[ref][1] for ref in drifted.keys() & self._known.keys()}


def applied(store: Store) -> Callable[[Ref], datetime | None]:
    """When a resource was as applied the last time that the Store knows of; it is read at the first question."""
    statuses = cache(store.statuses)

    def since(ref: Ref) -> datetime | None:
        status = statuses().get(ref)
        synced = (each.since for each in (status.conditions if status is not None else ()) if each.type == "Synced" and each.status)
        written = (each.at for each in store.history(ref, limit=MOST_TRIES) if each.result == "done")
        return next(synced, None) or next(written, None)

    return since


def _asked(kind: str, drifts: list[Drift], ctx: Context, kinds: Kinds) -> Mapping[Ref, Attribution]:
    controller = kinds.controller(kind)
    assert isinstance(controller, Attributes)
    try:
        found = controller.attribution(drifts, ctx)
    except Exception as error:  # it costs the attribution only
        ctx.log.warning("attribution_failed", kind=kind, error=repr(error))
        return {}
    asked = {each.resource.ref for each in drifts}
    return {ref: each for ref, each in found.items() if ref in asked}
