"""Carry out a plan: along the dependencies, several at once, journalled, retried, stoppable between writes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_any,
    stop_when_event_set,
)

from reconciler.backoff import Backoff
from reconciler.bind import recorded
from reconciler.controller import Context, Controller, Moves
from reconciler.diff import without_ignored
from reconciler.drift import CHANGED_BY, PUT_BACK, by_hand
from reconciler.errors import Terminal, Transient
from reconciler.events import Event, Listener
from reconciler.model import (
    Adopt,
    Attribution,
    Blocked,
    Create,
    Delete,
    Done,
    Failed,
    Keep,
    Move,
    Outcome,
    Outputs,
    Owned,
    Plan,
    Present,
    Ref,
    Replace,
    Resource,
    Result,
    Started,
    Update,
    Write,
)
from reconciler.registry import Kinds

ATTEMPTS = 4
"""Tries of one action within a pass; the next pass tries again anyway."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
"""Seconds; doubled each time, with full jitter up to a quarter."""
LONGEST_ASKED = 30.0
"""Seconds that a tool may ask us to wait within a pass (Retry-After); who asks for more is asked again by the next pass."""


class Journal(Protocol):
    """The part of the Store that apply writes: before a tool is called, after it answered, and when it is known for good."""

    def intend(self, ref: Ref, action: str, digest: str) -> None: ...
    def created(self, ref: Ref, external_id: str) -> None: ...
    def abandon(self, ref: Ref) -> None: ...
    def record(self, owned: Owned, *, action: str, glyph: str, detail: Mapping[str, Any], result: Literal["done", "started"]) -> None: ...
    def move(self, old: Ref, owned: Owned, *, glyph: str, detail: Mapping[str, Any], result: Literal["done", "started"]) -> None:
        """What was noted under `old` is noted under the Ref of `owned` from now on: all of it, or nothing."""

    def forget(self, ref: Ref, *, action: str, glyph: str, detail: Mapping[str, Any]) -> None: ...
    def failed(self, ref: Ref, *, action: str, glyph: str, detail: Mapping[str, Any]) -> None: ...
    def check_writer(self) -> None:
        """Raises StoreError when this process is no longer the one writer."""


@dataclass
class _Pass:
    """What the threads of one apply share."""

    plan: Plan
    ctx: Context
    kinds: Kinds
    journal: Journal
    inventory: Mapping[Ref, Owned]
    attributed: Mapping[Ref, Attribution]
    tell: Listener
    total: int
    stop: threading.Event
    backoff: Backoff | None
    gives_way: Callable[[], bool]
    results: dict[Ref, Result] = field(default_factory=dict)
    fresh: dict[Ref, Outputs] = field(default_factory=dict)


def apply(
    plan: Plan,
    ctx: Context,
    kinds: Kinds,
    journal: Journal,
    inventory: Mapping[Ref, Owned],
    attributed: Mapping[Ref, Attribution] = MappingProxyType({}),
    *,
    tell: Listener,
    stop: threading.Event | None = None,
    parallelism: int = 8,
    backoff: Backoff | None = None,
    gives_way: Callable[[], bool] = lambda: False,
) -> tuple[Result, ...]:
    """Carry out every write of `plan`; results come in the plan's order.

    `attributed` says who changed what is put back.

    A failure blocks what depends on it and nothing else. When `stop` is set or `gives_way` says so, writes under way finish and no further
    one starts. What `backoff` holds ends as it ended the last time, after no attempt."""
    stop = stop or threading.Event()
    here = _Pass(plan, ctx, kinds, journal, inventory, attributed, tell, len(plan.writes), stop, backoff, gives_way)
    builds = [each for each in plan.writes if not isinstance(each, Delete)]
    deletes = [each for each in plan.writes if isinstance(each, Delete)]
    with ThreadPoolExecutor(max_workers=parallelism, thread_name_prefix="apply") as pool:
        for writes in (builds, deletes):  # everything that is wanted stands before anything goes
            _drain(_Queue(writes, plan.after), here, pool, parallelism)
    return tuple(here.results.get(each.ref) or Result(each, None) for each in plan.actions)


class _Queue:
    """Writes in an order in which they can be done: each becomes ready when the last one before it has been tried."""

    def __init__(self, writes: Sequence[Write], after: Mapping[Ref, tuple[Ref, ...]]) -> None:
        self._writes = {each.ref: each for each in writes}
        self._before = {ref: len({other for other in after.get(ref, ()) if other in self._writes}) for ref in self._writes}
        self._followers: dict[Ref, list[Ref]] = {}
        for ref in self._writes:
            for other in {other for other in after.get(ref, ()) if other in self._writes}:
                self._followers.setdefault(other, []).append(ref)
        self._ready = deque(ref for ref, count in self._before.items() if not count)

    def next(self) -> Write | None:
        """A write that may start now; None when none may yet."""
        return self._writes[self._ready.popleft()] if self._ready else None

    def tried(self, ref: Ref) -> None:
        """Let go what waited for `ref`."""
        for follower in self._followers.get(ref, ()):
            self._before[follower] -= 1
            if not self._before[follower]:
                self._ready.append(follower)


def _drain(queue: _Queue, here: _Pass, pool: ThreadPoolExecutor, parallelism: int) -> None:
    """Run the queue to its end, or, once `stop` is set, until what is under way has finished."""
    running: dict[Future[Result], Ref] = {}
    while True:
        # No more than can run at once is handed over, so that a stop finds the rest still in the queue.
        while len(running) < parallelism and not _is_over(here) and (write := queue.next()) is not None:
            running[pool.submit(_one, write, here)] = write.ref
        if not running:
            return
        for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
            ref, result = running.pop(future), future.result()
            here.results[ref] = result
            queue.tried(ref)
            kind: Literal["done", "failed"] = "failed" if isinstance(result.outcome, Failed) else "done"
            if result.outcome is not None and not result.attempts:
                continue  # it was not tried
            here.tell(Event(kind, _word(result), ref, len(here.results), here.total))


def _is_over(here: _Pass) -> bool:
    return here.stop.is_set() or here.gives_way()


def _one(action: Write, here: _Pass) -> Result:
    """One action from start to journal; never raises."""
    began = time.monotonic()
    if (blocked := _held_back(action, here)) is not None:
        return Result(blocked, None)
    planned, tool = action, here.kinds.of(action.ref).tool
    if here.backoff is not None and (known := here.backoff.holds(action, tool)) is not None:
        return Result(action, Failed(known))
    here.tell(Event("start", _doing(action), action.ref, len(here.results), here.total))
    attempts = 0
    try:
        for attempt in _retrying(action.ref, here):
            with attempt:
                attempts += 1
                here.journal.check_writer()
                action, outcome = _act(action, here)
                if isinstance(outcome, Failed):
                    raise outcome.error
    except Exception as error:  # whatever it is, it narrows the pass for this Ref only
        if not isinstance(error, Transient | Terminal):
            here.ctx.log.warning("apply_failed", ref=str(action.ref), error=repr(error))
        outcome = Failed(error)
    result = _journalled(Result(action, outcome, attempts=attempts, seconds=time.monotonic() - began), here)
    if here.backoff is not None:
        here.backoff.tried(planned, tool, result.outcome)
    return result


def _held_back(action: Write, here: _Pass) -> Blocked | None:
    """Why this action cannot go on after what became of those before it."""
    for other in here.plan.after.get(action.ref, ()):
        before = here.results.get(other)
        if before is None:
            continue
        if isinstance(before.outcome, Failed):
            return Blocked(action.ref, "DependencyFailed", f"{other} failed", "it is tried again in the next pass", action)
        if isinstance(before.action, Blocked):
            return Blocked(action.ref, before.action.reason, f"{other} is blocked: {before.action.why}", before.action.next, action)
        if isinstance(before.outcome, Started) and not isinstance(action, Delete) and other in action.resource.references:
            return Blocked(
                action.ref, "DependencyProgressing", f"{other} has started and is not ready yet", "the next pass goes on from here", action
            )
    return None


def _retrying(ref: Ref, here: _Pass) -> Retrying:
    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, Transient) else None
        backoff = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (state.attempt_number - 1)) * (1 + (hash((ref, state.attempt_number)) % 1000) / 4000)
        return float(min(asked, LONGEST_ASKED) if asked is not None else backoff)

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        here.tell(Event("retry", f"trying again: {error}", ref))

    return Retrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_any(stop_after_attempt(ATTEMPTS), stop_when_event_set(here.stop)),
        wait=pause,
        sleep=sleep_using_event(here.stop),
        before_sleep=before_sleep,
        reraise=True,
    )


def _act(action: Write, here: _Pass) -> tuple[Write, Outcome]:
    """Call the controller once; returns the action as it was really carried out, with its inputs filled in."""
    controller, journal, ctx = here.kinds.of(action.ref), here.journal, here.ctx
    match action:
        case Delete(owned):
            journal.intend(action.ref, "delete", owned.digest)
            return action, controller.delete(owned, ctx)
        case Create() | Replace():
            action = replace(action, resource=_filled(action.resource, here))
            journal.intend(action.ref, type(action).__name__.lower(), action.resource.digest)
            return action, controller.apply(action, ctx)
        case Update() | Adopt():
            resource = _filled(action.resource, here)
            changes = action.changes
            if resource.inputs != action.resource.inputs:
                changes = without_ignored(controller.diff(resource, action.seen), resource.lifecycle.ignore, ctx.now())
            action = replace(action, resource=resource, changes=changes)
            adopts = isinstance(action, Adopt)
            mark = action.seen.mark
            marked = mark is not None and (mark.installation, mark.ref) == (ctx.installation, str(action.ref))
            if marked and not changes:
                return action, Done(action.seen.external_id, action.seen.outputs)  # ours and as desired: only the inventory has to learn it
            journal.intend(action.ref, "adopt" if adopts else "update", resource.digest)
            return action, controller.apply(Update(resource, action.seen, changes, adopt=adopts or getattr(action, "adopt", False)), ctx)
        case Move():
            action = replace(action, resource=_filled(action.resource, here))
            journal.intend(action.ref, "move", action.resource.digest)
            return _move(action, controller, ctx)


def _move(action: Move, controller: Controller[Any], ctx: Context) -> tuple[Move, Outcome]:
    """Rename, look at it under its new name, and write what was planned beside that."""
    if not isinstance(controller, Moves):
        raise Terminal(f"the kind {action.ref.kind} cannot be renamed", hint="remove lifecycle.movedFrom")
    resource, outcome = action.resource, controller.move(action.owned, action.resource, ctx)
    if not isinstance(outcome, Done):
        return action, outcome
    seen = controller.observe([resource], replace(ctx, focused=True)).get(resource.ref)
    if not isinstance(seen, Present):
        raise Transient(f"{resource.ref} was renamed, and cannot be seen by its new name yet")
    planned = {each.path for each in action.changes}
    changes = tuple(each for each in controller.diff(resource, seen) if each.path in planned)
    action = replace(action, seen=seen, changes=changes)
    return action, controller.apply(Update(resource, seen, changes), ctx) if changes else Done(outcome.external_id, seen.outputs)


def _filled(resource: Resource[Any], here: _Pass) -> Resource[Any]:
    """The resource with inputs that were unknown at plan time and are known now."""
    if not any("*" in outputs for outputs in resource.inputs.values()):
        return resource
    inputs = {ref: here.fresh.get(ref) or (recorded(ref, here.inventory) if "*" in old else old) for ref, old in resource.inputs.items()}
    missing = [ref for ref, outputs in inputs.items() if "*" in outputs]
    if missing:
        raise Transient(f"needs an output of {missing[0]}, which does not exist yet")
    return replace(resource, inputs=inputs)


def _journalled(result: Result, here: _Pass) -> Result:
    """Write what happened; a Store that fails here turns the result into a failure, and the marks find the object again."""
    action, outcome = result.action, result.outcome
    assert not isinstance(action, Keep | Blocked)
    verb, glyph = type(action).__name__.lower(), str(action.glyph)
    detail = {"changes": [each.path for each in getattr(action, "changes", ())], "why": action.why, "seconds": round(result.seconds, 3)}
    if isinstance(action, Update) and (back := by_hand(action.changes, here.inventory.get(action.ref))):
        detail[PUT_BACK] = [each.path for each in back]
        if by := str(here.attributed.get(action.ref, "")).strip():
            detail[CHANGED_BY] = by
    try:
        match action, outcome:
            case _, Failed(error):
                if isinstance(error, Terminal):  # the tool said no: nothing was begun
                    here.journal.abandon(action.ref)
                here.journal.failed(action.ref, action=verb, glyph=glyph, detail={**detail, "error": f"{type(error).__name__}: {error}"})
            case Delete(confirmed=confirmed), _:
                here.journal.forget(action.ref, action="delete-confirmed" if confirmed else "delete", glyph=glyph, detail=detail)
            case Move(), Done() | Started():
                _moved(action, outcome, detail, here)
            case ((Create() | Update() | Replace() | Adopt()), Done(external_id, outputs)):
                here.journal.created(action.ref, external_id)
                here.fresh[action.ref] = outputs
                detail = {**detail, "outputs": dict(outputs)}
                here.journal.record(
                    owned(action.resource, external_id, outputs, here.kinds), action=verb, glyph=glyph, detail=detail, result="done"
                )
            case ((Create() | Update() | Replace() | Adopt()), Started(token)):
                external_id, outputs = _standing(action, token)
                entry = owned(action.resource, external_id, outputs, here.kinds)
                here.journal.record(entry, action=verb, glyph=glyph, detail=detail, result="started")
    except Exception as error:
        return replace(result, outcome=Failed(error))
    return result


def _moved(action: Move, outcome: Done | Started, detail: Mapping[str, Any], here: _Pass) -> None:
    """Everything is known under the new name, in the Store and in what is left of this pass."""
    old, new = action.owned.ref, action.ref
    outputs = outcome.outputs if isinstance(outcome, Done) else action.seen.outputs
    if isinstance(outcome, Done):
        here.fresh[new] = outputs
    entry = owned(action.resource, action.seen.external_id, outputs, here.kinds)
    detail = {"from": str(old), **detail, "outputs": dict(outputs)}
    here.journal.move(old, entry, glyph=str(action.glyph), detail=detail, result="done" if isinstance(outcome, Done) else "started")
    here.ctx.moving.pop(new, None)


def _standing(action: Create | Update | Replace | Adopt, token: str) -> tuple[str, Outputs]:
    """(external id, outputs) of what was started: what was there before is there still, and the token names the work on it."""
    if isinstance(action, Update | Adopt) and not action.ref.key:
        return action.seen.external_id, action.seen.outputs
    return token, {}


def owned(resource: Resource[Any], external_id: str, outputs: Outputs, kinds: Kinds) -> Owned:
    """The inventory entry of a resource that has just been written or adopted."""
    show: Callable[[Resource[Any]], Mapping[str, Any]] | None = getattr(kinds.of(resource.ref), "desired", None)
    return Owned(
        ref=resource.ref,
        external_id=external_id,
        source=resource.source,
        digest=resource.digest,
        applied=show(resource) if show else resource.spec.model_dump(mode="json"),
        prune=resource.prune,
        outputs=outputs,
        references=(*resource.requires, *resource.references),
        location=resource.location,
        declared=resource.declared,
    )


_WORDS: Mapping[type, tuple[str, str]] = {
    Create: ("creating", "created"),
    Update: ("updating", "updated"),
    Replace: ("replacing", "replaced"),
    Delete: ("deleting", "deleted"),
    Adopt: ("adopting", "adopted"),
    Move: ("renaming", "moved"),
}


def _doing(action: Write) -> str:
    return _WORDS[type(action)][0]


def _word(result: Result) -> str:
    if isinstance(result.outcome, Failed):
        return f"failed: {result.outcome.error}"
    if isinstance(result.action, Blocked):
        return f"blocked: {result.action.why}"
    done = _WORDS.get(type(result.action), ("", "kept"))[1]
    return f"{done}, becoming ready" if isinstance(result.outcome, Started) else done
