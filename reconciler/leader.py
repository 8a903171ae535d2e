"""One loop leads an installation; others stand by, ready to take over.

The lease to lead keeps two loops from working against each other. It is not what protects the tools: each pass takes the writer's lease
besides, whose token is checked before every write, so that a leader that slept through its time writes nothing when it wakes up."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.errors import StoreError, WriterBusy
from reconciler.house import House
from reconciler.pulse import Pulse

TTL = 9.0
"""Seconds after the last heartbeat of a leader until another one takes over; one that is known to be dead is followed at once."""
LOOK = 1.5
"""Seconds between two looks of a standby, give or take a third: several must not ask in step."""
CHECK = 0.25
"""Seconds between two looks of the leader at its own lease."""


def lead(
    house: House,
    pulse: Pulse,
    stop: threading.Event,
    body: Callable[[threading.Event], None],
    *,
    on_standby: Callable[[str], None],
    on_lead: Callable[[], None],
) -> None:
    """Run `body` whenever this process leads, until `stop` is set; it is given an event that is set when its time is over.

    `on_standby` is told who leads instead, or why nobody can, whenever that is news."""
    said = ""
    while not stop.is_set():
        try:
            part = (house.shard.number, house.shard.of) if house.shard is not None else (1, 1)
            with house.store.leader(house.actor, TTL, *part), _term(house, stop) as over:
                pulse.leader, said = "", ""
                on_lead()
                body(over)
        except StoreError as error:  # somebody leads, or the Store is away
            pulse.leader = str(error.message) if isinstance(error, WriterBusy) else ""
            pulse.turn()
            if not isinstance(error, WriterBusy):
                pulse.pass_fails(error.message)
            if error.message != said:
                said = error.message
                on_standby(said)
            stop.wait(LOOK * random.uniform(2 / 3, 4 / 3))


@contextmanager
def _term(house: House, stop: threading.Event) -> Iterator[threading.Event]:
    """An event that is set when the loop is to end, or when this process leads no more."""
    over = threading.Event()

    def watch() -> None:
        try:
            while not over.is_set() and not stop.wait(CHECK):
                house.store.check_leader()
        except StoreError as error:
            house.log.aside.warning("leads_no_more", why=error.message)
        finally:  # whatever happened here: nobody goes on leading unwatched
            over.set()

    thread = threading.Thread(target=watch, name="leader", daemon=True)
    thread.start()
    try:
        yield over
    finally:
        over.set()
        thread.join(timeout=5.0)
