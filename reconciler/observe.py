"""Look at every desired and every owned resource in the tools: one batch per kind, all kinds at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from reconciler.controller import Context, Controller
from reconciler.errors import ReconcilerError
from reconciler.model import Absent, Observation, Ref, Resource, Unknown
from reconciler.registry import Kinds


@dataclass(frozen=True)
class Observed:
    """What was seen. `extra` are objects with our mark that no resource of this pass asked for."""

    seen: Mapping[Ref, Observation]
    extra: Mapping[Ref, Observation]
    tools: Mapping[str, str]
    """Tool -> `ok`, or why it could not be read."""

    def onto(self, before: Observed) -> Observed:
        """This together with what was seen before; `extra` stays that of before."""
        tools = {**before.tools, **{tool: said for tool, said in self.tools.items() if said != "ok" or tool not in before.tools}}
        return Observed({**before.seen, **self.seen}, before.extra, tools)


def observe(resources: Sequence[Resource[Any]], ctx: Context, kinds: Kinds, parallelism: int = 8, also: Collection[str] = ()) -> Observed:
    """Observations for all `resources`. A tool that cannot be read gives `Unknown` for its kinds and never raises.

    `also` names kinds that are looked at although no resource is of them: something of ours may have been left there."""
    by_kind: dict[str, list[Resource[Any]]] = defaultdict(list)
    by_kind.update({kind: [] for kind in sorted(also) if kind in kinds.controllers})
    for each in resources:
        by_kind[each.ref.kind].append(each)
    return _observed(by_kind, {kind: kinds.controller(kind) for kind in by_kind}, ctx, parallelism)


def observe_children(children: Mapping[str, Sequence[Resource[Any]]], ctx: Context, kinds: Kinds, parallelism: int = 8) -> Observed:
    """The same for children, by kind. `extra` are children that are marked and not wanted any more."""
    return _observed(children, {kind: kinds.child_of(kind) for kind in children}, ctx, parallelism)


def _observed(
    by_kind: Mapping[str, Sequence[Resource[Any]]], controllers: Mapping[str, Controller[Any]], ctx: Context, parallelism: int
) -> Observed:
    with ThreadPoolExecutor(max_workers=min(parallelism, len(controllers) or 1), thread_name_prefix="observe") as pool:
        told = pool.map(lambda kind: _observe_kind(kind, by_kind[kind], ctx, controllers[kind]), controllers)
        answers = dict(zip(controllers, told, strict=True))
    seen: dict[Ref, Observation] = {}
    extra: dict[Ref, Observation] = {}
    tools: dict[str, str] = {}
    for kind, (found, trouble) in answers.items():
        asked = {each.ref for each in by_kind[kind]}
        for ref in asked:
            seen[ref] = found.get(ref) or Unknown(trouble or f"the {kind} controller said nothing about it")
        extra |= {ref: each for ref, each in found.items() if ref not in asked}
        tool = controllers[kind].tool
        if tool and tools.get(tool, "ok") == "ok":
            tools[tool] = trouble or "ok"
    return Observed(seen, extra, tools)


def _observe_kind(
    kind: str, resources: Sequence[Resource[Any]], ctx: Context, controller: Controller[Any]
) -> tuple[Mapping[Ref, Observation], str]:
    if controller.services and ctx.services.pristine(controller.services):
        return {each.ref: Absent() for each in resources}, ""  # never started, so it holds nothing: as good as a complete listing
    try:
        return controller.observe(resources, ctx), ""
    except ReconcilerError as error:
        return {}, error.message
    except Exception as error:  # a defect in a controller narrows the pass for its kind only
        ctx.log.warning("observe_failed", kind=kind, error=repr(error))
        return {}, f"the {kind} controller failed: {type(error).__name__}: {error}"
