"""What a ledger should hold after each of its operations, without a database; and a process that plays them on a real Store.

`python -m tests.property.ledger_world STORE SEED` plays the operations that SEED draws, for ever, and prints a line after each."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.admission.values import Item, Lease, Past, Preemption
from reconciler.model import Amounts, Learned, Ref
from reconciler.state import Held, Queued, Store, open_store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REFS = tuple(Ref("Experiment", f"p{number % 3}", "sweep", f"run-{number}") for number in range(8))
PREEMPTOR = Ref("Experiment", "p0", "urgent", "run-0")
TEMPLATE = "train.py"


@dataclass(frozen=True)
class World:
    """What waits, what runs, what was remembered, and how often each piece of work was granted, released and pre-empted."""

    queue: Mapping[Ref, Queued] = field(default_factory=dict)
    leases: Mapping[Ref, Held] = field(default_factory=dict)
    lines: Counter[tuple[Ref, str]] = field(default_factory=Counter)
    learned: int = 0
    past: Past = field(default_factory=Past)

    def but(self, ref: Ref, *, queue: Queued | None = None, lease: Held | None = None, line: str = "", **more: object) -> World:
        """With this in place of what was known about `ref`."""
        waiting = {each: value for each, value in self.queue.items() if each != ref} | ({ref: queue} if queue else {})
        running = {each: value for each, value in self.leases.items() if each != ref} | ({ref: lease} if lease else {})
        lines = self.lines + Counter({(ref, line): 1} if line else {})
        return replace(self, queue=waiting, leases=running, lines=lines, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Op:
    """One operation on the ledger, with a number that tells it from others of its sort."""

    verb: str
    ref: Ref
    number: int = 0

    def after(self, world: World) -> World:
        """The world once it is done."""
        return _AFTER[self.verb](self, world)

    def play(self, store: Store, world: World) -> None:
        """Do it for real. `world` is the one before it: what the caller of the ledger would have read."""
        _PLAY[self.verb](self, store, world)


def read(store: Store) -> World:
    """The world that the Store tells."""
    work = store.work
    leases, queue = work.books()
    assert len({each.ref for each in queue}) == len(queue)
    assert len({each.ref for each in leases}) == len(leases)
    lines = Counter((each.ref, each.action) for each in store.history(limit=1_000_000) if each.ref)
    learned = work.learned().get(TEMPLATE, Learned()).runs
    return World({each.ref: each for each in queue}, {each.ref: each for each in leases}, lines, learned, work.past())


# --- what each operation does --------------------------------------------------------------------------------------


def _waiting(op: Op) -> Queued:
    since = NOON + timedelta(seconds=op.number)
    return Queued(
        Item(op.ref, str(op.ref.project), Amounts(op.number, 1000), 5, since), op.number % 2 == 0, TEMPLATE, {"number": op.number}
    )


def _submitted(op: Op, world: World) -> World:
    return world if op.ref in world.leases else world.but(op.ref, queue=_waiting(op))


def _withdrawn(op: Op, world: World) -> World:
    return world if op.ref in world.leases else world.but(op.ref)


def _granted(op: Op, world: World) -> World:
    queued = world.queue.get(op.ref)
    if queued is None:
        return world
    held = Held(_lease(op, queued), template=TEMPLATE, detail=queued.detail)
    return world.but(op.ref, lease=held, line="admit", past=_past(op))


def _lease(op: Op, queued: Queued) -> Lease:
    item = queued.item
    since = NOON + timedelta(days=1, seconds=op.number)
    return Lease(item.ref, item.project, "local", item.amounts, item.priority, since, item.since, preempted=item.preempted)


def _past(op: Op) -> Past:
    return Past({str(op.ref.project): NOON + timedelta(seconds=op.number)})


def _launched(op: Op, world: World) -> World:
    held = world.leases.get(op.ref)
    return world if held is None else world.but(op.ref, lease=replace(held, job=str(op.number)))


def _preempted(op: Op, world: World) -> World:
    held = world.leases.get(op.ref)
    if held is None or held.lease.ending:
        return world
    struck = replace(held, lease=replace(held.lease, ending=True), preemptor=PREEMPTOR, why=str(op.number))
    return world.but(op.ref, lease=struck, line="preempt")


def _ended(op: Op, world: World) -> World:
    if op.ref not in world.leases:
        return world
    return world.but(op.ref, line="release", learned=world.learned + 1)


def _put_back(op: Op, world: World) -> World:
    held = world.leases.get(op.ref)
    return world if held is None else world.but(op.ref, queue=held.waiting(), line="release")


def _play_grant(op: Op, store: Store, world: World) -> None:
    if op.ref in world.queue:
        store.work.grant([_lease(op, world.queue[op.ref])], past=_past(op))


def _play_launch(op: Op, store: Store, world: World) -> None:
    if op.ref in world.leases:
        store.work.set_job(op.ref, str(op.number))


def _play_put_back(op: Op, store: Store, world: World) -> None:
    held = world.leases.get(op.ref)
    store.work.release([op.ref], requeue=[held.waiting()] if held else [])


_AFTER: Mapping[str, Callable[[Op, World], World]] = {
    "submit": _submitted,
    "withdraw": _withdrawn,
    "grant": _granted,
    "launch": _launched,
    "preempt": _preempted,
    "end": _ended,
    "put back": _put_back,
}
_PLAY: Mapping[str, Callable[[Op, Store, World], None]] = {
    "submit": lambda op, store, world: store.work.put_queue([_waiting(op)]),
    "withdraw": lambda op, store, world: store.work.put_queue([], gone=[op.ref]),
    "grant": _play_grant,
    "launch": _play_launch,
    "preempt": lambda op, store, world: store.work.preempt([Preemption(op.ref, PREEMPTOR, str(op.number))]),
    "end": lambda op, store, world: store.work.release([op.ref], learned={TEMPLATE: Learned(world.learned + 1)}),
    "put back": _play_put_back,
}
VERBS = tuple(_AFTER)


# --- a process that plays ------------------------------------------------------------------------------------------


def drawn(seed: int, number: int) -> Op:
    """The operation that the seed draws as the `number`th."""
    draw = random.Random(f"{seed}/{number}")
    verb = draw.choices(VERBS, weights=(5, 1, 5, 3, 2, 2, 2))[0]
    return Op(verb, draw.choice(REFS), seed * 100_000 + number)


def main(path: Path, seed: int) -> None:
    with open_store(path) as store, store.writer("child"):
        world, number = read(store), 0
        print("ready", flush=True)
        while True:
            op = drawn(seed, number)
            op.play(store, world)
            world, number = op.after(world), number + 1
            print(number, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
