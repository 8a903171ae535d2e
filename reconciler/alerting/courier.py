"""Brings messages to their receivers: decides, writes down, sends. The only part of alerting that waits for anybody.

Each receiver has a thread of its own while something is due for it, so that one that is down delays no other. A message is claimed in the
Store before it is tried and closed after, so that several processes never send the same one, and one that died leaves it to the next."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING

from reconciler.alerting.compose import make_due, seen_now
from reconciler.alerting.decide import decide, notification
from reconciler.alerting.message import sample
from reconciler.alerting.send import send
from reconciler.alerting.values import Delivery, Message, Notification, Part
from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.house import House
from reconciler.secret import secret
from schemas.alertpolicy import AlertPolicySpec
from schemas.receiver import Receiver, secrets
from schemas.statusreport import StatusReport

if TYPE_CHECKING:
    from reconciler.controller import Logger

SECONDS = 10.0
"""Deadline of one attempt."""
CLAIM = timedelta(seconds=30)
"""After so long somebody else may take over what this process is sending, if it cannot be seen that it lives."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds until a message is tried again, doubled each time."""
LIFE = timedelta(hours=24)
"""How long it is tried."""
LOOK = 3.0
"""Seconds between two looks whether anything has happened: one small query."""
RETRY = 60.0
"""Seconds until the next look where a secret is missing, or the Store did not answer."""


class Courier:
    """Sends for one process. Safe to use from one thread; it starts those that it needs."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._rounds: dict[tuple[str, str], threading.Thread] = {}
        self._ending = threading.Event()

    def look(self, flush: datetime | None = None) -> datetime | None:
        """Decide, write down what is due and begin to send it; when to look again although nothing happens.

        `flush`: what was found since then waits for nothing. Raises StoreError."""
        store = self._house.store
        scene = store.alerts.scene(flush)
        mute = {(each.name, receiver.name) for each in scene.policies for receiver in each.spec.receivers if not _has_secrets(receiver)}
        decision = decide(replace(scene, failing=scene.failing | mute))
        store.deliveries.queue(decision)
        reported = make_due(scene.policies, self._house)
        now = self._house.now()  # not before: what was queued just now is due
        receivers = {(each.name, receiver.name): (each.spec, receiver) for each in scene.policies for receiver in each.spec.receivers}
        heads = {(each.policy, each.receiver): each for each in store.deliveries.heads()}
        if gone := heads.keys() - receivers.keys():
            store.deliveries.drop(gone)
        later = [each for each in (decision.next, reported) if each is not None]
        for name, head in heads.items():
            if name not in receivers:
                continue
            if self._is_busy(name):
                later.append(now + timedelta(seconds=LOOK))
            elif head.at is not None and head.at > now:
                later.append(head.at)
            elif name in mute:  # another process may have what is missing here; the policy's status tells
                later.append(now + timedelta(seconds=RETRY))
            else:
                self._begin(name, *receivers[name])
        return min(later, default=None)

    def wait(self, seconds: float) -> bool:
        """Until all that was begun is sent or has failed, `seconds` at most; whether it is."""
        deadline = time.monotonic() + seconds
        for each in list(self._rounds.values()):
            each.join(max(0.0, deadline - time.monotonic()))
        return not any(each.is_alive() for each in self._rounds.values())

    def end(self, seconds: float) -> None:
        """Begin nothing more, and give what is under way so long."""
        self._ending.set()
        self.wait(seconds)

    def _is_busy(self, name: tuple[str, str]) -> bool:
        found = self._rounds.get(name)
        return found is not None and found.is_alive()

    def _begin(self, name: tuple[str, str], spec: AlertPolicySpec, receiver: Receiver) -> None:
        thread = threading.Thread(target=self._round, args=(*name, spec, receiver), name=f"alerts-{receiver.name}", daemon=True)
        self._rounds[name] = thread
        thread.start()

    def _round(self, policy: str, name: str, spec: AlertPolicySpec, receiver: Receiver) -> None:
        """Send what is due for one receiver, in order, until something fails."""
        try:
            while not self._ending.is_set():
                delivery = self._house.store.deliveries.claim(policy, name, self._house.now() + CLAIM)
                if delivery is None or not self._try(delivery, spec, receiver):
                    return
        except Exception as error:  # a defect, or a Store that is away, costs this round; the claim runs out by itself
            self._house.log.warning("alerts_not_sent", policy=policy, receiver=name, error=type(error).__name__)

    def _try(self, delivery: Delivery, spec: AlertPolicySpec, receiver: Receiver) -> bool:
        store = self._house.store
        message = message_of(delivery.notification, self._house)
        try:
            within(SECONDS, lambda: send(receiver, message, spec.templates, secret, SECONDS))
        except Exception as error:
            said = error.message if isinstance(error, ReconcilerError) else f"the attempt failed: {type(error).__name__}"
            now = self._house.now()
            if now - delivery.created >= LIFE:
                store.deliveries.give_up(delivery.number, said)
            else:
                store.deliveries.put_off(delivery.number, now + timedelta(seconds=pause(delivery.attempts, error)), said)
            return False
        store.deliveries.arrived(delivery.number)
        return True


def message_of(made: Notification, house: House) -> Message:
    """With the alerts and changes as they are now, or the report as it was made."""
    alerts, changes = house.store.deliveries.about(made.parts)
    firing = house.store.alerts.firing()
    over = {each.id: firing[each.ref].reason for each in alerts.values() if not each.firing and each.ref in firing}
    return Message(
        notification=made,
        alerts=tuple((part, alerts[part.subject]) for part in made.parts if part.subject in alerts),
        changes=tuple(changes[part.subject] for part in made.parts if part.subject in changes),
        now=house.now(),
        successors=over,
        bulletin=house.store.reports.bulletin(made.policy, made.parts),
    )


def _has_secrets(receiver: Receiver) -> bool:
    """Whether all that it needs can be had here."""
    try:
        for each in secrets(receiver):
            secret(each)
    except Terminal:
        return False
    return True


def pause(attempts: int, error: Exception) -> float:
    """Seconds until the next attempt; longer when the receiver asked for it."""
    usual = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts - 1, 10))
    asked = error.retry_after if isinstance(error, Transient) else None
    return max(usual, min(asked or 0.0, LONGEST_PAUSE))


def within(seconds: float, work: Callable[[], None]) -> None:
    """Do it, and do not wait longer than that: what hangs is left alone. Raises what it raises, or Transient."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="alerts-attempt", daemon=True)
    thread.start()
    thread.join(seconds + 1.0)  # the request's own deadline comes first: its words are better
    if thread.is_alive():
        raise Transient(f"no answer within {seconds:.0f} s")
    if failed:
        raise failed[0]


def try_out(policy: str, spec: AlertPolicySpec, receiver: Receiver, house: House, report: StatusReport | None = None) -> str:
    """Send a test, or a report as it would be now, to one receiver, and record it; what went wrong, empty = it arrived."""
    message = seen_now(policy, report, receiver.name, house) if report is not None else _test(policy, receiver.name, house.now())
    try:
        within(SECONDS, lambda: send(receiver, message, spec.templates, secret, SECONDS))
        said = ""
    except (Transient, Terminal) as error:
        said = str(error)
    house.store.deliveries.note(message.notification, said)
    return said


def _test(policy: str, receiver: str, now: datetime) -> Message:
    alert = sample(policy, now)
    made = notification(policy, receiver, ("test", token_hex(8)), (Part(alert.id, "firing"),))
    return Message(made, ((made.parts[0], alert),), (), now)


def tell_once(house: House, since: datetime, seconds: float = SECONDS) -> None:
    """After a pass that nobody follows: send what is due, and what was found `since` then; what does not arrive within `seconds` is left
    to the next pass, or the loop. Never raises: a pass is not worse for that nobody could be told."""
    with _logged(house.log):
        courier = Courier(house)
        courier.look(flush=since)
        courier.wait(seconds)
        courier.end(0.0)


@contextlib.contextmanager
def telling(house: House) -> Iterator[None]:
    """Send from a thread of its own for as long as the block runs."""
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(house, ended), name="alerts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=3.0)


def _follow(house: House, ended: threading.Event) -> None:
    courier, stamp, due, wait = Courier(house), None, None, 0.0
    while not ended.wait(wait):
        wait = RETRY
        with _logged(house.log):
            found = house.store.alerts.stamp()
            if found != stamp or (due is not None and due <= house.now()):
                due, stamp = courier.look(), found
            wait = LOOK
    courier.end(2.0)


@contextlib.contextmanager
def _logged(log: Logger) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        log.warning("alerts_failed", error=str(error) if isinstance(error, ReconcilerError) else type(error).__name__)
