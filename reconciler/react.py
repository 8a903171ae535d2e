"""What became of one resource calls for something to be done with another: a workflow is started, a deployment is taken back.

A controller says what (`Reacts`), and never calls another one; here it is carried out, at the end of a pass, under the writer's lease. What
was done is noted in the same transaction as everything else that the pass notes; where a tool was asked before a crash, the id of the
reaction makes asking again harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from reconciler.controller import Context, Reaction, Reacts, RollsBack, Starts
from reconciler.errors import ReconcilerError, Terminal
from reconciler.events import Event, Listener
from reconciler.model import Ref, Resource
from reconciler.registry import Kinds


@dataclass(frozen=True, slots=True)
class Reacted:
    """One reaction that was carried out, or will not be."""

    by: Ref
    reaction: Reaction
    said: str
    failed: bool = False


def react(
    resources: Mapping[Ref, Resource[Any]],
    refs: Iterable[Ref],
    ctx: Context,
    kinds: Kinds,
    tell: Listener,
    held: Callable[[Ref, Reaction], bool] = lambda by, reaction: False,
) -> tuple[Reacted, ...]:
    """Carry out what the resources `refs` ask for, but for what is `held`. That, and what cannot be done yet, is asked for again by the
    next pass."""
    found: list[Reacted] = []
    for ref, controller in _asking(resources, refs, kinds):
        for each in controller.reactions(resources[ref], ctx):
            if (not each.refused and held(ref, each)) or (done := _one(ref, each, ctx, kinds)) is None:
                continue
            controller.reacted(resources[ref], each, done.said, ctx, carried_out=not (done.failed or each.refused))
            tell(Event("done", f"{ref}: {done.said}", ref))
            found.append(done)
    return tuple(found)


def due(resources: Mapping[Ref, Resource[Any]], refs: Iterable[Ref], ctx: Context, kinds: Kinds) -> Iterator[tuple[Ref, Reaction]]:
    """What the resources `refs` ask for by now, and by whom; nothing is done about it."""
    for ref, controller in _asking(resources, refs, kinds):
        yield from ((ref, each) for each in controller.reactions(resources[ref], ctx) if not each.refused)


def _asking(resources: Mapping[Ref, Resource[Any]], refs: Iterable[Ref], kinds: Kinds) -> Iterator[tuple[Ref, Reacts]]:
    able = {kind: each for kind, each in kinds.controllers.items() if isinstance(each, Reacts)}
    return ((ref, able[ref.kind]) for ref in refs if not ref.key and ref in resources and ref.kind in able)


def _one(by: Ref, reaction: Reaction, ctx: Context, kinds: Kinds) -> Reacted | None:
    """None: not now."""
    if reaction.refused:
        return Reacted(by, reaction, reaction.refused)
    try:
        return Reacted(by, reaction, _carried_out(reaction, ctx, kinds, str(by)))
    except Terminal as error:
        return Reacted(by, reaction, f"{reaction.ref} could not be {_PAST[reaction.verb]}: {error.message}", failed=True)
    except ReconcilerError as error:  # the tool is down, or has not read it yet
        ctx.log.info("reaction_waits", by=str(by), ref=str(reaction.ref), why=error.message)
        return None
    except Exception as error:  # a defect of one controller costs this reaction its turn, not the pass
        ctx.log.warning("reaction_failed", by=str(by), ref=str(reaction.ref), error=repr(error))
        return None


_PAST = {"start": "started", "roll_back": "rolled back"}


def _carried_out(reaction: Reaction, ctx: Context, kinds: Kinds, by: str) -> str:
    controller = kinds.controllers.get(reaction.ref.kind)
    match reaction.verb:
        case "start":
            if not isinstance(controller, Starts):
                raise Terminal(f"nothing of kind {reaction.ref.kind} can be started")
            return f"started {reaction.ref}, run {controller.start(reaction.ref, ctx, reaction.conf, by, reaction.id)}"
        case "roll_back":
            if not isinstance(controller, RollsBack):
                raise Terminal(f"nothing of kind {reaction.ref.kind} can be rolled back")
            return f"rolled back {reaction.ref}: {controller.roll_back(reaction.ref, ctx, reaction.why, by)}"
        case _:
            assert_never(reaction.verb)
