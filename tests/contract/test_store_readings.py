"""What `/metrics` reads of the Store, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.admission.values import Item, Lease
from reconciler.model import Amounts, Health, Learned, Ref
from reconciler.state import Queued, Store
from reconciler.state.readings import Waiting
from tests.contract.store_values import DATASET, EXPERIMENT, NOON, PROJECT, RUN, Clock, status

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")

OTHER = Ref("Experiment", "ünï", "名前", "run-2")


def queued(ref: Ref, reason: str) -> Queued:
    return Queued(Item(ref, "ünï", Amounts(2**30, 1000), 5, NOON), detail={"reason": reason} if reason else {})


def admit(store: Store, ref: Ref, waited: int) -> None:
    at = store.work._now()
    store.work.grant([Lease(ref, "ünï", "local", Amounts(2**30, 1000), 5, at, at - timedelta(seconds=waited))])


def test_an_empty_store_holds_nothing(store: Store) -> None:
    found = store.readings.reading()
    assert not any((found.resources, found.queue, found.leases, found.alerts, found.deliveries, found.suspensions))
    assert store.readings.learned() == {}
    assert store.readings.waits(NOON) == []


def test_resources_are_counted_with_their_project_and_apart_from_their_children(store: Store) -> None:
    given = [status(ref=each) for each in (EXPERIMENT, PROJECT, RUN)] + [status(Health.DEGRADED, ready=False, ref=DATASET)]
    store.put_statuses(given)
    assert dict(store.readings.reading().resources) == {
        ("Experiment", "ünï", Health.HEALTHY, False): 1,
        ("Experiment", "ünï", Health.HEALTHY, True): 1,
        ("Dataset", "ünï", Health.DEGRADED, False): 1,
        ("Project", "ünï", Health.HEALTHY, False): 1,
    }
    assert dict(store.readings.reading().alerts) == {"warning": 1}
    store.suspend(DATASET, "broken", "ann")
    assert store.readings.reading().suspensions == 1


def test_the_queue_tells_how_much_waits_why_and_since_when(store: Store) -> None:
    later = queued(Ref("Experiment", "ünï", "名前", "run-3"), "WaitingForMemory")
    later = replace(later, item=replace(later.item, since=NOON + timedelta(seconds=9)))
    store.work.put_queue([queued(RUN, "WaitingForMemory"), queued(OTHER, ""), later])
    found = sorted(store.readings.reading().queue, key=lambda each: each.reason)
    assert found == [Waiting("ünï", "Undecided", 1, NOON), Waiting("ünï", "WaitingForMemory", 2, NOON)]
    store.work.put_queue([queued(RUN, "WaitingForQuota")], gone=[OTHER, later.ref])
    assert list(store.readings.reading().queue) == [Waiting("ünï", "WaitingForQuota", 1, NOON)]


def test_what_admitted_work_had_waited_is_told_once(store: Store, clock: Clock) -> None:
    clock.pass_(-60)
    admit(store, Ref("Experiment", "ünï", "名前", "earlier"), 7)
    clock.pass_(60 + 20)
    admit(store, RUN, 90)
    assert store.readings.waits(NOON) == [("Experiment", 90.0)], "what was admitted before this process began is not its own"
    assert store.readings.waits(NOON) == []
    clock.pass_(-3)  # by the clock of another machine
    admit(store, OTHER, 5)
    assert store.readings.waits(NOON) == [("Experiment", 5.0)]
    assert store.readings.waits(NOON) == []


def test_what_was_learned_is_decoded_once(store: Store) -> None:
    admit(store, RUN, 1)
    taught = {"train.py ü": Learned(runs=3, peaks=(1, 2, 3), lengths=(4.0, 5.0, 6.0))}
    store.work.release([RUN], learned=taught)
    first = store.readings.learned()
    assert first == taught
    assert store.readings.learned()["train.py ü"] is first["train.py ü"]
