"""Alerts, messages and silences in the Store, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.alerting.decide import decide, notification
from reconciler.alerting.values import Decision, Mark, Notification, Part, Silence
from reconciler.errors import StoreError
from reconciler.model import Condition, Health, Location, Ref, Status
from reconciler.state import Store, open_store
from schemas.alertpolicy import AlertPolicySpec
from tests.contract.store_values import DATASET, EXPERIMENT, Clock, admin, entry

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")
EVERY_TEXT = "Größe \x00 \udc80 \u202e ✗"
SPEC = AlertPolicySpec.model_validate(
    {
        "receivers": [{"name": name, "apprise": {"fromEnv": "X"}} for name in ("a", "b")],
        "routes": [{"receivers": ["a", "b"], "changes": True}],
        "groupWait": "0s",
        "groupInterval": "0s",
    }
)


def ill(ref: Ref = EXPERIMENT, reason: str = "RunFailed", message: str = EVERY_TEXT) -> Status:
    return Status(ref, Health.DEGRADED, (Condition("Ready", False, reason, message),), "", Location(EVERY_TEXT, 3), "it is ill")


def well(ref: Ref = EXPERIMENT) -> Status:
    return Status(ref, Health.HEALTHY, (Condition("Ready", True, "Healthy"),))


def follow(store: Store, spec: AlertPolicySpec | None = SPEC) -> None:
    store.put_memos({Ref("AlertPolicy", None, "p"): {"policy": spec.model_dump(mode="json")} if spec else None})


def some(*subjects: str, receiver: str = "a", phase: str = "firing") -> Notification:
    return notification("p", receiver, ("alerts", "project=x"), tuple(Part(each, phase) for each in subjects))  # type: ignore[arg-type]


def test_an_alert_comes_back_as_it_was_and_ends_with_its_status(store: Store, place: str | Path, clock: Clock) -> None:
    store.put_statuses([ill(), ill(DATASET)])
    clock.pass_(60)
    store.put_statuses([ill(message="other words"), well(DATASET)])
    store.close()
    with open_store(place, now=clock) as again:
        alert = again.alerts.firing()[EXPERIMENT]
        assert (alert.reason, alert.severity, alert.message, alert.since) == (
            "RunFailed",
            "warning",
            "other words",
            clock() - timedelta(seconds=60),
        )
        assert alert.location == Location(EVERY_TEXT, 3)
        over, *_ = [each for each in again.alerts.listed(clock() - timedelta(days=1)) if each.ended]
        assert (over.ref, over.ended, over.message) == (DATASET, clock(), EVERY_TEXT)
        assert [each.ref for each in again.alerts.listed()] == [EXPERIMENT]
        again.put_statuses((), gone=[EXPERIMENT])
        assert again.alerts.firing() == {}


def test_alerts_turn_with_their_statuses_or_not_at_all(store: Store, clock: Clock) -> None:
    broken = ill(DATASET, message=object())  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.put_statuses([ill(), broken])
    assert (store.statuses(), store.alerts.firing()) == ({}, {})


def test_alerts_of_statuses_that_were_there_before_are_opened(store: Store, place: str | Path) -> None:
    """As after an update of this program: the statuses do not differ, and nobody has looked at them for alerts."""
    store.put_statuses([ill()])
    with admin(place) as connection:
        connection.exec_driver_sql("DELETE FROM alerts")
    assert store.put_statuses([ill()]) == []
    assert list(store.alerts.firing()) == [EXPERIMENT]


def test_what_was_told_is_known_by_the_next_decision(store: Store, clock: Clock) -> None:
    follow(store)
    decide(store.alerts.scene())
    clock.pass_(1)
    store.put_statuses([ill()])
    store.audit([entry(DATASET, "update", clock())])
    first = decide(store.alerts.scene())
    assert sorted((each.receiver, each.parts[0].phase) for each in first.notifications) == [
        ("a", "changed"),
        ("a", "firing"),
        ("b", "changed"),
        ("b", "firing"),
    ]
    assert (store.deliveries.queue(first), store.deliveries.queue(first)) == (4, 0)
    assert decide(store.alerts.scene()).notifications == ()
    clock.pass_(10)
    store.put_statuses([well()])
    second = decide(store.alerts.scene())
    assert [(each.receiver, each.parts[0].phase) for each in second.notifications] == [("a", "resolved"), ("b", "resolved")]
    store.deliveries.queue(second)
    clock.pass_(4 * 3600)
    scene = store.alerts.scene()
    assert decide(scene).notifications == ()
    assert scene.policies[0].mark.audit == 0


def test_messages_of_a_receiver_are_claimed_in_order_and_one_at_a_time(store: Store, clock: Clock) -> None:
    store.deliveries.queue(Decision((some("1"), some("2"), some("3", receiver="b"))))
    until = clock() + timedelta(seconds=30)
    first = store.deliveries.claim("p", "a", until)
    assert first is not None
    assert (first.parts, first.state, first.attempts) == ((Part("1", "firing"),), "sending", 1)
    assert store.deliveries.claim("p", "a", until) is None
    assert store.deliveries.claim("p", "b", until) is not None
    store.deliveries.put_off(first.number, clock() + timedelta(seconds=5), EVERY_TEXT)
    assert store.deliveries.claim("p", "a", until) is None
    assert [(each.receiver, each.error) for each in store.deliveries.heads()] == [("a", EVERY_TEXT), ("b", "")]
    clock.pass_(5)
    again = store.deliveries.claim("p", "a", clock() + timedelta(seconds=30))
    assert again is not None
    assert (again.id, again.attempts) == (first.id, 2)
    store.deliveries.arrived(again.number)
    store.deliveries.arrived(again.number)
    store.deliveries.give_up(again.number, "too late: it is not ours any more")
    second = store.deliveries.claim("p", "a", clock() + timedelta(seconds=30))
    assert second is not None
    assert second.parts == (Part("2", "firing"),)
    clock.pass_(31)  # whoever claimed it is not heard of
    third = store.deliveries.claim("p", "a", clock() + timedelta(seconds=30))
    assert third is not None
    assert (third.id, third.attempts) == (second.id, 2)
    states = [(each.receiver, each.state) for each in store.deliveries.listed(clock() - timedelta(days=1))]
    assert states == [("b", "sending"), ("a", "sending"), ("a", "sent")]


def test_many_claim_at_once_and_one_gets_it(store: Store, clock: Clock) -> None:
    store.deliveries.queue(Decision(tuple(some(str(number)) for number in range(5))))
    until = clock() + timedelta(seconds=30)
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            claimed = [each for each in pool.map(lambda _: store.deliveries.claim("p", "a", until), range(8)) if each is not None]
        assert len(claimed) == 1
        store.deliveries.arrived(claimed[0].number)
    assert store.deliveries.heads() == []


def test_nobody_is_told_the_same_thing_in_two_messages(store: Store) -> None:
    """Two that decide at once may put things together differently."""
    assert store.deliveries.queue(Decision((some("1", "2"),))) == 1
    assert store.deliveries.queue(Decision((some("2", "3"), some("3"), some("2", phase="resolved"), some("2", receiver="b")))) == 3


def test_silences_and_marks_come_back(store: Store, clock: Clock) -> None:
    one = Silence("abc", clock(), clock() + timedelta(hours=1), EVERY_TEXT, "ann", ("Dataset",), ("p",), ("R*",), ("dataset/*",))
    store.alerts.silence(one, audit=entry(None, "silence"))
    assert store.alerts.silences() == [one]
    follow(store)
    assert store.alerts.scene().silences == (one,)
    store.deliveries.queue(Decision(marks={"p": Mark(clock() + timedelta(minutes=1), 7)}, silenced=(("p", "a", "1"), ("p", "a", "1"))))
    assert store.alerts.scene().policies[0].mark == Mark(clock() + timedelta(minutes=1), 7)
    assert [each.state for each in store.deliveries.listed(clock() - timedelta(hours=1))] == ["silenced"]
    clock.pass_(60)
    store.alerts.unsilence(["abc", "other"], audit=[entry(None, "unsilence")])
    assert (store.alerts.silences(), store.alerts.scene().silences) == ([], ())
    assert [each.action for each in store.history()] == ["unsilence", "silence"]


def test_a_policy_begins_when_it_comes_and_again_when_it_begins_to_follow_what_is_done(store: Store, clock: Clock) -> None:
    store.audit([entry()])
    quiet = SPEC.model_copy(update={"routes": (SPEC.routes[0].model_copy(update={"changes": False}),)})
    follow(store, quiet)
    began = store.alerts.scene().policies[0]
    assert (began.since, began.mark) == (clock(), Mark(clock(), 1))
    clock.pass_(60)
    store.audit([entry(), entry()])
    assert store.alerts.scene().changes == ()
    follow(store)
    scene = store.alerts.scene()
    assert (scene.policies[0].since, scene.policies[0].mark.audit, scene.changes) == (clock(), 3, ())
    store.audit([entry(DATASET, "update"), entry(DATASET, "admit"), entry(DATASET, "delete", result="failed")])
    assert [(each.id, each.action) for each in store.alerts.scene().changes] == [(4, "update")]
    follow(store, None)
    assert store.alerts.scene().policies == ()
    follow(store)
    assert store.alerts.scene().policies[0].mark.audit == 6


def test_a_stamp_tells_whatever_could_be_told(store: Store, clock: Clock) -> None:
    stamps = [store.alerts.stamp()]

    def changed() -> bool:
        stamps.append(store.alerts.stamp())
        return stamps[-1] != stamps[-2]

    assert not changed()
    store.put_statuses([ill()])
    assert changed()
    clock.pass_(1)
    store.put_statuses([ill(reason="Other")])
    assert changed()
    worse = Status(EXPERIMENT, Health.DEGRADED, (Condition("Ready", False, "Other", EVERY_TEXT, severity="critical"),), "", Location(""))
    store.put_statuses([worse])
    assert changed()
    clock.pass_(1)
    store.put_statuses([well()])
    assert changed()
    store.audit([entry()])
    assert changed()
    store.deliveries.queue(Decision((some("1"),)))
    assert changed()
    delivery = store.deliveries.claim("p", "a", clock() + timedelta(seconds=30))
    assert delivery is not None
    assert changed()
    store.deliveries.put_off(delivery.number, clock() + timedelta(seconds=5), "down")
    assert changed()
    follow(store, SPEC.model_copy(update={"group_wait": "1s"}))
    assert changed()
    assert not changed()


def test_what_is_over_for_a_month_is_forgotten_and_what_fires_is_not(store: Store, clock: Clock) -> None:
    store.put_statuses([ill(), ill(DATASET)])
    names = {each.ref: each.id for each in store.alerts.firing().values()}
    store.deliveries.queue(Decision((some(names[EXPERIMENT]), some(names[DATASET]))))
    while (each := store.deliveries.claim("p", "a", clock() + timedelta(seconds=30))) is not None:
        store.deliveries.arrived(each.number)
    store.put_statuses([well(DATASET)])
    clock.pass_(31 * 86400)
    store.put_statuses([ill(Ref("Model", "p", "m"))])
    store.deliveries.queue(Decision((some("new"),)))
    assert {each.ref for each in store.alerts.listed(clock() - timedelta(days=90))} == {EXPERIMENT, Ref("Model", "p", "m")}
    kept = {part.subject for each in store.deliveries.listed(clock() - timedelta(days=90)) for part in each.parts}
    assert kept == {names[EXPERIMENT], "new"}
    assert store.deliveries.queue(Decision((some(names[EXPERIMENT]),))) == 0


def test_a_store_that_is_not_there_or_is_read_only(tmp_path: Path) -> None:
    with open_store(tmp_path / "none.db", read_only=True) as nothing:
        assert (nothing.alerts.firing(), nothing.alerts.listed(), nothing.alerts.policies(), nothing.alerts.silences()) == ({}, [], {}, [])
        assert (nothing.deliveries.heads(), nothing.deliveries.troubles("p"), nothing.reports.marks()) == ([], {}, {})
        with pytest.raises(StoreError, match="reading only"):
            nothing.deliveries.queue(Decision((some("1"),)))


def test_how_bad_a_condition_is_comes_back_and_older_rows_say_nothing_of_it(store: Store, place: str | Path) -> None:
    graver = Status(EXPERIMENT, Health.DEGRADED, (Condition("Ready", False, "Drift", severity="critical"),))
    store.put_statuses([graver, ill(DATASET)])
    kept = store.statuses()
    assert [each.severity for each in kept[EXPERIMENT].conditions + kept[DATASET].conditions] == ["critical", ""]
    with admin(place) as connection:
        rows = connection.exec_driver_sql("SELECT conditions FROM statuses WHERE name = 'iris'").scalars().all()
    assert len(json.loads(rows[0])[0]) == 5
