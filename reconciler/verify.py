"""Look again at what was written: the engine does not take a controller's word for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.controller import Context
from reconciler.diff import without_ignored
from reconciler.events import Event, Listener
from reconciler.model import Adopt, Create, Diff, Done, Present, Ref, Replace, Resource, Result, Unknown, Update
from reconciler.registry import Kinds


def verify(results: Iterable[Result], ctx: Context, kinds: Kinds, tell: Listener) -> tuple[Result, ...]:
    """Look again at everything that was written, one batch per kind, and note what still differs."""
    results = tuple(results)
    by_kind: dict[str, list[Resource[Any]]] = {}
    for each in results:
        if isinstance(each.outcome, Done) and isinstance(each.action, Create | Update | Replace | Adopt):
            by_kind.setdefault(each.action.ref.kind, []).append(each.action.resource)
    seen: dict[Ref, Any] = {}
    for kind, resources in by_kind.items():
        tell(Event("phase", f"looking again at {len(resources)} {kind.lower()}s"))
        try:
            seen |= kinds.controller(kind).observe(resources, replace(ctx, focused=True))
        except Exception as error:  # what was written stands, and is recorded; the next pass looks again
            ctx.log.warning("verify_failed", kind=kind, error=repr(error))
            unseen = Unknown(f"it was written, and could not be looked at again: {error}")
            seen |= {each.ref: unseen for each in resources}
    return tuple(_verified(each, seen, kinds, ctx) for each in results)


def _verified(result: Result, seen: Mapping[Ref, Any], kinds: Kinds, ctx: Context) -> Result:
    action = result.action
    observation = seen.get(action.ref)
    if observation is None or not isinstance(action, Create | Update | Replace | Adopt):
        return result
    left: Diff = ()
    if isinstance(observation, Present):
        try:
            changes = kinds.controller(action.ref.kind).diff(action.resource, observation)
        except Exception as error:
            ctx.log.warning("verify_failed", ref=str(action.ref), error=repr(error))
            return replace(result, observation=observation)
        left = without_ignored(changes, action.resource.lifecycle.ignore, ctx.now())
    return replace(result, observation=observation, left_over=left)
