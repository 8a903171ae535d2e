"""Look again at what was written: the engine does not take a controller's word for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.controller import Context
from reconciler.diff import without_ignored
from reconciler.events import Event, Listener
from reconciler.model import (
    KNOWN_AFTER_APPLY,
    Adopt,
    Change,
    Create,
    Diff,
    Done,
    Keep,
    Move,
    Present,
    Ref,
    Replace,
    Resource,
    Result,
    Unknown,
    Update,
)
from reconciler.registry import Kinds


def verify(
    results: Iterable[Result], ctx: Context, kinds: Kinds, tell: Listener, noted: Sequence[Resource[Any]] = ()
) -> tuple[Result, ...]:
    """Look again at everything that was written, one batch per kind, and note what still differs.

    `noted` are resources that somebody's write said something new about: looked at again too, though nothing was written to them."""
    results = tuple(results)
    again = {each.ref: each for each in noted}
    for each in results:
        if isinstance(each.outcome, Done) and isinstance(each.action, Create | Update | Replace | Adopt | Move):
            again[each.action.ref] = each.action.resource
    by_kind: dict[tuple[str, bool], list[Resource[Any]]] = {}
    for resource in again.values():
        by_kind.setdefault((resource.ref.kind, bool(resource.ref.key)), []).append(resource)
    seen: dict[Ref, Any] = {}
    for (kind, _), resources in by_kind.items():
        tell(Event("phase", f"looking again at {len(resources)} {kind.lower()}{'s' if len(resources) > 1 else ''}"))
        try:
            found = kinds.of(resources[0].ref).observe(resources, replace(ctx, focused=True))
            seen |= {each.ref: found[each.ref] for each in resources if each.ref in found}  # what else it tells was not asked for
        except Exception as error:  # what was written stands, and is recorded; the next pass looks again
            ctx.log.warning("verify_failed", kind=kind, error=repr(error))
            unseen = Unknown(f"it was written, and could not be looked at again: {error}")
            seen |= {each.ref: unseen for each in resources}
    return tuple(_verified(each, seen, kinds, ctx) for each in results)


def _verified(result: Result, seen: Mapping[Ref, Any], kinds: Kinds, ctx: Context) -> Result:
    action = result.action
    observation = seen.get(action.ref)
    if observation is None or (result.outcome is None and not isinstance(action, Keep)):
        return result
    if not isinstance(action, Create | Update | Replace | Adopt | Move) or not isinstance(result.outcome, Done):
        return replace(result, observation=observation)  # nothing was written, or what was started is still on its way
    left: Diff = ()
    if isinstance(observation, Present):
        try:
            changes = kinds.of(action.ref).diff(action.resource, observation)
        except Exception as error:
            ctx.log.warning("verify_failed", ref=str(action.ref), error=repr(error))
            return replace(result, observation=observation)
        left = without_ignored(changes, action.resource.lifecycle.ignore, ctx.now())
        action = replace(action, changes=tuple(_known(each, observation) for each in action.changes))
    return replace(result, action=action, observation=observation, left_over=left)


def _known(change: Change, observation: Present) -> Change:
    """The change with the value that was only known after the apply."""
    if change.want != KNOWN_AFTER_APPLY:
        return change
    found: Any = observation.fields
    for key in change.path.split(".")[1:]:
        found = found.get(key) if isinstance(found, Mapping) else None
    return change if found is None else replace(change, want=found)
