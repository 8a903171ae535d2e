"""Look at every desired and every owned resource in the tools: one batch per kind, all kinds at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from reconciler.breaker import Breaker
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


def observe(
    resources: Sequence[Resource[Any]],
    ctx: Context,
    kinds: Kinds,
    parallelism: int = 8,
    also: Collection[str] = (),
    breaker: Breaker | None = None,
) -> Observed:
    """Observations for all `resources`. A tool that cannot be read gives `Unknown` for its kinds and never raises.

    `also` names kinds that are looked at although no resource is of them: something of ours may have been left there. A tool that
    `breaker` lets nobody ask is not asked: it is as unknown as it was."""
    by_kind: dict[str, list[Resource[Any]]] = defaultdict(list)
    by_kind.update({kind: [] for kind in sorted(also) if kind in kinds.controllers})
    for each in resources:
        by_kind[each.ref.kind].append(each)
    return _observed(by_kind, {kind: kinds.controller(kind) for kind in by_kind}, ctx, parallelism, breaker)


def observe_children(
    children: Mapping[str, Sequence[Resource[Any]]], ctx: Context, kinds: Kinds, parallelism: int = 8, breaker: Breaker | None = None
) -> Observed:
    """The same for children, by kind. `extra` are children that are marked and not wanted any more."""
    return _observed(children, {kind: kinds.child_of(kind) for kind in children}, ctx, parallelism, breaker)


def _observed(
    by_kind: Mapping[str, Sequence[Resource[Any]]],
    controllers: Mapping[str, Controller[Any]],
    ctx: Context,
    parallelism: int,
    breaker: Breaker | None,
) -> Observed:
    tools = {each.tool for each in controllers.values()}
    left_alone = {tool for tool in tools if breaker is not None and not breaker.may_ask(tool)}
    away = {kind: _still(kind, each, breaker) for kind, each in controllers.items() if breaker and each.tool in left_alone}

    def look(kind: str) -> tuple[Mapping[Ref, Observation], str]:
        return ({}, away[kind]) if kind in away else _observe_kind(kind, by_kind[kind], ctx, controllers[kind])

    with ThreadPoolExecutor(max_workers=min(parallelism, len(controllers) or 1), thread_name_prefix="observe") as pool:
        answers = dict(zip(controllers, pool.map(look, controllers), strict=True))
    if breaker is not None:
        breaker.said |= {kind: why for kind, (found, trouble) in answers.items() if (why := trouble or _first_unknown(found))}
    seen: dict[Ref, Observation] = {}
    extra: dict[Ref, Observation] = {}
    told: dict[str, str] = {}
    for kind, (found, trouble) in answers.items():
        asked = {each.ref for each in by_kind[kind]}
        for ref in asked:
            seen[ref] = found.get(ref) or Unknown(trouble or f"the {kind} controller said nothing about it")
        extra |= {ref: each for ref, each in found.items() if ref not in asked}
        tool = controllers[kind].tool
        if tool and told.get(tool, "ok") == "ok":
            told[tool] = trouble or "ok"
    return Observed(seen, extra, told)


def _still(kind: str, controller: Controller[Any], breaker: Breaker) -> str:
    """Why a kind cannot be read although it was not tried: in the words of the last try, so that its status stays as it is."""
    return breaker.said.get(kind) or f"{controller.tool} does not answer"


def _first_unknown(found: Mapping[Ref, Observation]) -> str:
    return next((each.reason for each in found.values() if isinstance(each, Unknown)), "")


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
