"""From statuses to real receivers on loopback: webhooks and apprise, groups, repeats, ends, receivers that are down, what is held back."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.alerting.courier import Courier, tell_once, telling, try_out
from reconciler.alerting.verify import Refused, verify
from reconciler.house import House
from reconciler.model import Health, Ref
from reconciler.state import AuditEntry
from tests.contract.alert_lab import (
    SEARCH,
    SECRET,
    SWEEP,
    WORDS,
    Clock,
    Inbox,
    declare,
    deliver,
    held,
    hook,
    house_in,
    ill,
    listening,
    moving,
    policy,
    until,
    well,
)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def house(tmp_path: Path, clock: Clock) -> Iterator[House]:
    made = house_in(tmp_path, clock)
    yield made
    made.store.close()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with listening() as found:
        yield found


# --- what arrives --------------------------------------------------------------------------------------------------


def test_what_fires_and_its_end_are_told_once_each(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox)))
    house.store.put_statuses([ill(message="replica 1 died"), well(SWEEP)])
    for _ in range(3):
        deliver(house)
        clock.pass_(minutes=2)
    house.store.put_statuses([well()])
    for _ in range(3):
        deliver(house)
        clock.pass_(minutes=2)
    assert inbox.told() == [[("deployment/vision/search", "firing")], [("deployment/vision/search", "resolved")]]
    first, second = inbox.bodies()
    (alert,) = first["alerts"]
    assert (first["formatVersion"], first["policy"], first["receiver"], first["status"]) == (1, "ops", "ops", "firing")
    assert (alert["severity"], alert["reason"], alert["message"]) == ("critical", "ReplicaFailed", "replica 1 died")
    assert (alert["kind"], alert["project"], alert["name"], alert["location"]) == ("Deployment", "vision", "search", "a.yaml:3")
    assert second["status"] == "resolved"
    assert second["alerts"][0]["id"] == alert["id"]
    assert second["alerts"][0]["ended"] is not None


def test_signatures_hold_and_replays_do_not(house: House, inbox: Inbox) -> None:
    declare(house, policy(hook(inbox)))
    house.store.put_statuses([ill()])
    deliver(house)
    ((_, headers, body),) = inbox.requests
    seen: set[str] = set()
    stamp = int(headers["X-MLOps-Timestamp"])
    assert verify(SECRET, headers, body, seen)
    assert not verify(SECRET, headers, body, seen)
    for changed in (
        {"X-MLOps-Timestamp": str(stamp + 1)},
        {"X-MLOps-Delivery": "0" * 32},
        {"X-MLOps-Signature": "v1=" + "0" * 64},
        {"X-MLOps-Signature": ""},
        {"X-MLOps-Timestamp": "now"},
    ):
        with pytest.raises(Refused):
            verify(SECRET, {**headers, **changed}, body, set())
    with pytest.raises(Refused):
        verify("another secret", headers, body, set())
    with pytest.raises(Refused):
        verify(SECRET, headers, body + b" ", set())
    for moment in (stamp + 301, stamp - 301):
        with pytest.raises(Refused, match="too old"):
            verify(SECRET, headers, body, set(), now=moment)
    assert verify(SECRET, {name.lower(): value for name, value in headers.items()}, body, set(), now=stamp + 299)


def test_a_group_waits_for_more_and_comes_in_one_message(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), groupWait="30s", groupInterval="5m"))
    house.store.put_statuses([ill()])
    assert deliver(house) == clock() + timedelta(seconds=30)
    clock.pass_(seconds=20)
    house.store.put_statuses([ill(SWEEP), ill(WORDS)])
    deliver(house)
    assert inbox.told() == []
    clock.pass_(seconds=10)
    deliver(house)
    assert inbox.told() == [[("deployment/vision/search", "firing"), ("experiment/vision/sweep", "firing")]]
    clock.pass_(seconds=20)  # the other project's group began later
    deliver(house)
    assert inbox.told()[1:] == [[("dataset/speech/words", "firing")]]
    house.store.put_statuses([well(), ill(WORDS, "OtherReason")])
    clock.pass_(minutes=4, seconds=39)
    deliver(house)
    assert len(inbox.told()) == 2
    clock.pass_(seconds=1)  # five minutes after the group's first message
    deliver(house)
    assert inbox.told()[2:] == [[("deployment/vision/search", "resolved")]]
    clock.pass_(seconds=20)
    deliver(house)
    assert inbox.told()[3:] == [[("dataset/speech/words", "firing"), ("dataset/speech/words", "resolved")]]


def test_what_still_fires_is_told_again_and_says_so(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), repeatEvery="4h"))
    house.store.put_statuses([ill(), ill(SWEEP)])
    assert deliver(house) == clock() + timedelta(hours=4)
    for _ in range(2):
        clock.pass_(hours=4)
        deliver(house)
        deliver(house)
    fires = [("deployment/vision/search", "firing"), ("experiment/vision/sweep", "firing")]
    assert inbox.told() == [fires, *[[(ref, "repeat") for ref, _ in fires]] * 2]
    assert len({each["id"] for each in inbox.bodies()}) == 3
    declare(house, policy(hook(inbox), repeatEvery="0s"))
    clock.pass_(days=9)
    deliver(house)
    assert len(inbox.told()) == 3


def test_apprise_gets_words_for_people(house: House, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT", f"{inbox.url.replace('http', 'json')}/chat/")
    declare(house, policy({"name": "chat", "apprise": {"fromEnv": "CHAT"}}))
    house.store.put_statuses([ill(message="replica 1 died"), ill(SWEEP, "RunFailed")])
    deliver(house)
    clock.pass_(minutes=12)
    house.store.put_statuses([well(), well(SWEEP)])
    deliver(house)
    fires, over = inbox.bodies("/chat/")
    assert fires["title"] == "critical: deployment/vision/search and 1 more"
    lines = fires["message"].splitlines()
    assert lines[0].startswith("deployment/vision/search  critical since 20")
    assert lines[0].endswith("UTC: ReplicaFailed: replica 1 died  (a.yaml:3)")
    assert lines[-1] == "Next: reconcile why deployment/vision/search"
    assert (fires["type"], over["type"]) == ("warning", "success")
    assert over["title"] == "resolved: deployment/vision/search and 1 more after 12 min"
    assert over["message"].splitlines()[0] == "deployment/vision/search  over after 12 min: ReplicaFailed: replica 1 died"


def test_own_words(house: House, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT", f"{inbox.url.replace('http', 'json')}/chat/")
    words = {"title": "[$severity] $project: $count of $kind, 5$$", "text": "* $ref $reason ($location)"}
    declare(house, policy({"name": "chat", "apprise": {"fromEnv": "CHAT"}}, templates=words))
    house.store.put_statuses([ill(), ill(replace(SEARCH, name="other"))])
    deliver(house)
    (told,) = inbox.bodies("/chat/")
    assert told["title"] == "[critical] vision: 2 of Deployment, 5$"
    assert told["message"].splitlines()[:2] == [
        "* deployment/vision/other ReplicaFailed (a.yaml:3)",
        "* deployment/vision/search ReplicaFailed (a.yaml:3)",
    ]


def test_what_was_done_is_told_where_a_route_asks_for_it(house: House, inbox: Inbox, clock: Clock) -> None:
    history = [AuditEntry(clock(), "ann", SEARCH, "create")]
    house.store.audit(history)
    some = {"receivers": ["some"], "severity": "none", "changes": ["delete", "rollback", "admit"]}
    everything = {"receivers": ["all"], "severity": "none", "changes": True, "projects": ["vision"]}
    declare(house, policy(hook(inbox, "some", "/some"), hook(inbox, "all", "/all"), routes=[some, everything]))
    deliver(house)
    clock.pass_(seconds=1)
    lines = [
        AuditEntry(clock(), "ann", SEARCH, "update", detail={"changes": ["spec.replicas"]}),
        AuditEntry(clock(), "ann", SEARCH, "rollback", detail={"why": "bad answers"}),
        AuditEntry(clock(), "ann", SWEEP, "delete", result="failed"),
        AuditEntry(clock(), "ann", SWEEP, "delete-confirmed"),
        AuditEntry(clock(), "ann", WORDS, "create"),
        AuditEntry(clock(), "reconcile", SWEEP, "admit"),
    ]
    house.store.audit(lines)
    house.store.put_statuses([ill()])
    for _ in range(3):
        deliver(house)
        clock.pass_(minutes=5)
    told = {
        path: [[(each["ref"], each["action"]) for each in body["changes"]] for body in inbox.bodies(path)] for path in ("/some", "/all")
    }
    search, sweep = "deployment/vision/search", "experiment/vision/sweep"
    assert told["/some"] == [[(search, "rollback"), (sweep, "delete"), (sweep, "admit")]]
    assert told["/all"] == [[(search, "update"), (search, "rollback"), (sweep, "delete")]]
    first = inbox.bodies("/all")[0]
    assert (first["status"], first["changes"][0]["why"], first["changes"][1]["why"]) == ("changes", "replicas", "bad answers")


# --- receivers that are down ---------------------------------------------------------------------------------------


def test_a_receiver_that_was_down_gets_all_in_order_and_another_one_waits_for_nothing(house: House, inbox: Inbox, clock: Clock) -> None:
    with listening() as other:
        declare(house, policy(hook(inbox), hook(other, "other")))
        inbox.status = 503
        house.store.put_statuses([ill()])
        deliver(house)
        for seconds in (5, 10, 20):
            clock.pass_(seconds=seconds)
            deliver(house)
        house.store.put_statuses([well()])
        deliver(house)
        assert other.told() == [[("deployment/vision/search", "firing")], [("deployment/vision/search", "resolved")]]
        assert inbox.requests == []
        (head,) = house.store.deliveries.heads()
        assert (head.receiver, head.attempts, head.error) == ("ops", 4, "it answered 503")
        assert head.at == clock() + timedelta(seconds=40)
        inbox.status = 200
        clock.pass_(seconds=40)
        deliver(house)
        assert inbox.told() == other.told()
        assert [each["status"] for each in inbox.bodies()] == ["firing", "resolved"]
        states = {(each.receiver, each.state) for each in house.store.deliveries.listed(clock() - timedelta(days=1))}
        assert states == {("ops", "sent"), ("other", "sent")}


def test_what_does_not_arrive_within_a_day_is_given_up_and_the_policy_says_so(house: House, clock: Clock) -> None:
    with listening() as gone:
        pass
    declare(house, policy(hook(gone)))
    house.store.put_statuses([ill()])
    deliver(house)
    assert house.store.deliveries.troubles("ops") == {}
    courier = Courier(house)
    while heads := house.store.deliveries.heads():
        clock.time = max(heads[0].at or clock.time, clock.time)
        courier.look()
        assert courier.wait(15.0)
    (failed,) = [each for each in house.store.deliveries.listed(clock() - timedelta(days=2)) if each.parts[0].phase == "firing"]
    assert (failed.state, failed.error) == ("failed", "nothing listens there")
    assert timedelta(hours=24) <= clock() - failed.created < timedelta(hours=24, minutes=11)
    assert failed.attempts > 100
    assert house.store.deliveries.troubles("ops") == {"ops": "nothing listens there"}


def test_a_receiver_that_hangs_is_left_after_ten_seconds_and_others_go_on(house: House, inbox: Inbox, clock: Clock) -> None:
    released = threading.Event()
    with listening() as slow:
        slow.before = lambda: released.wait(30)
        declare(house, policy(hook(slow, "slow"), hook(inbox)))
        house.store.put_statuses([ill()])
        courier, began = Courier(house), time.monotonic()
        courier.look()
        until(lambda: bool(inbox.requests), 5.0)
        assert courier.wait(15.0)
        took = time.monotonic() - began
        released.set()
    assert 9.0 < took < 13.0
    (head,) = house.store.deliveries.heads()
    assert (head.receiver, head.error) == ("slow", "no answer within 10 s")


def test_the_trouble_of_a_receiver_is_told_to_the_others(house: House, inbox: Inbox, clock: Clock) -> None:
    with listening() as gone:
        pass
    declare(house, policy(hook(gone, "gone"), hook(inbox)))
    house.store.put_statuses([ill()])
    deliver(house)
    clock.pass_(seconds=5)
    deliver(house)
    assert house.store.deliveries.troubles("ops") == {"gone": "nothing listens there"}
    house.store.put_statuses([ill(Ref("AlertPolicy", None, "ops"), "ReceiverFailing", "gone: nothing listens there")])
    deliver(house)
    assert inbox.told() == [[("deployment/vision/search", "firing")], [("alertpolicy/ops", "firing")]]
    assert len([each for each in house.store.deliveries.listed(clock()) if each.receiver == "gone"]) == 1


def test_a_receiver_that_no_policy_names_any_more_is_waited_for_no_longer(house: House, inbox: Inbox, clock: Clock) -> None:
    inbox.status = 500
    declare(house, policy(hook(inbox)))
    house.store.put_statuses([ill()])
    deliver(house)
    inbox.status = 200
    house.store.put_memos({Ref("AlertPolicy", None, "ops"): None})
    deliver(house)
    assert house.store.deliveries.heads() == []
    declare(house, policy(hook(inbox, "new")))
    clock.pass_(minutes=1)
    deliver(house)
    assert inbox.told() == [[("deployment/vision/search", "firing")]]
    assert house.store.deliveries.troubles("ops") == {}


def test_without_its_secret_nothing_is_tried_and_with_it_all_arrives(
    house: House, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(house, policy(hook(inbox)))
    house.store.put_statuses([ill()])
    monkeypatch.delenv("HOOK_SECRET")
    assert deliver(house) == clock() + timedelta(seconds=60)
    assert [each.attempts for each in house.store.deliveries.heads()] == [0]
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    deliver(house)
    assert inbox.told() == [[("deployment/vision/search", "firing")]]


# --- what is held back ---------------------------------------------------------------------------------------------


def test_quiet_hours_hold_all_but_the_worst_and_sum_up_what_came_and_went(house: House, inbox: Inbox, clock: Clock) -> None:
    clock.time = clock.time.replace(hour=21, minute=0, second=0, microsecond=0)
    night = {"from": "22:00", "to": "07:00"}
    declare(house, policy(hook(inbox), quietHours=[night], groupBy=[]))
    deliver(house)
    clock.pass_(hours=3)
    house.store.put_statuses([ill(SWEEP), ill(WORDS)])
    assert deliver(house) == clock() + timedelta(hours=7)
    clock.pass_(hours=1)
    house.store.put_statuses([ill(), well(WORDS)])  # a deployment is critical
    deliver(house)
    assert inbox.told() == [[("deployment/vision/search", "firing")]]
    house.store.put_statuses([well()])
    deliver(house)
    clock.pass_(hours=5, minutes=59)
    deliver(house)
    assert inbox.told()[1:] == [[("deployment/vision/search", "resolved")]]
    clock.pass_(minutes=1)
    deliver(house)
    deliver(house)
    assert inbox.told()[2:] == [[("experiment/vision/sweep", "firing"), ("dataset/speech/words", "passed")]]


def test_a_silence_is_recorded_and_what_still_fires_at_its_end_is_sent_then(house: House, inbox: Inbox, clock: Clock) -> None:
    from reconciler.alerting.values import Silence

    declare(house, policy(hook(inbox)))
    house.store.put_statuses([ill()])
    deliver(house)
    made = Silence("abc", clock(), clock() + timedelta(hours=2), "a new disk", "ann", projects=("vision", "speech"))
    house.store.alerts.silence(made, audit=AuditEntry(clock(), "ann", None, "silence"))
    clock.pass_(minutes=1)
    house.store.put_statuses([ill(SWEEP), ill(WORDS)])
    assert deliver(house) == made.until
    deliver(house)
    recorded = [each for each in house.store.deliveries.listed(clock() - timedelta(days=1)) if each.state == "silenced"]
    assert len(recorded) == 2
    house.store.put_statuses([well(WORDS), well()])
    deliver(house)
    clock.pass_(hours=2)
    deliver(house)
    search, sweep = "deployment/vision/search", "experiment/vision/sweep"
    assert inbox.told() == [[(search, "firing")], [(search, "resolved")], [(sweep, "firing")]]
    house.store.alerts.unsilence(["abc"], audit=[])


def test_a_silence_of_the_manifest_and_one_that_is_ended_early(house: House, inbox: Inbox, clock: Clock) -> None:
    until_ = (clock() + timedelta(hours=2)).isoformat()
    declare(house, policy(hook(inbox), silences=[{"until": until_, "refs": ["deployment/vision/*"], "why": "a new disk"}]))
    house.store.put_statuses([ill(), ill(replace(SEARCH, key="r0"), "ReplicaFailed"), ill(SWEEP)])
    deliver(house)
    assert inbox.told() == [[("experiment/vision/sweep", "firing")]]
    declare(house, policy(hook(inbox)))
    clock.pass_(seconds=1)
    deliver(house)
    assert inbox.told()[1:] == [[("deployment/vision/search", "firing")]]


def test_only_what_lasts_long_enough(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), routes=[{"receivers": ["ops"], "after": "10m", "severity": "info"}]))
    run = replace(SWEEP, key="r0")
    house.store.put_statuses([ill(), held(run)])
    began = clock()
    clock.pass_(minutes=1)
    house.store.put_statuses([well()])
    assert deliver(house) == began + timedelta(minutes=10)
    clock.time = began + timedelta(minutes=10)
    deliver(house)
    assert inbox.told() == [[("experiment/vision/sweep#r0", "firing")]]


def test_what_flaps_while_it_is_tried_again_is_told_once(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), groupWait="30s"))
    for _ in range(4):
        house.store.put_statuses([ill()])
        clock.pass_(seconds=31)
        deliver(house)
        house.store.put_statuses([moving()])
        clock.pass_(seconds=31)
        deliver(house)
    assert inbox.told() == [[("deployment/vision/search", "firing")]]
    house.store.put_statuses([well()])
    clock.pass_(seconds=31)
    deliver(house)
    for _ in range(3):  # what comes and goes sooner than a group waits is nobody's business
        house.store.put_statuses([ill(SWEEP)])
        clock.pass_(seconds=20)
        deliver(house)
        house.store.put_statuses([well(SWEEP)])
        clock.pass_(seconds=20)
        deliver(house)
    assert inbox.told()[1:] == [[("deployment/vision/search", "resolved")]]


def test_a_policy_that_comes_later_is_told_what_fires_and_no_history(house: House, inbox: Inbox, clock: Clock) -> None:
    house.store.put_statuses([ill(), ill(SWEEP)])
    house.store.audit([AuditEntry(clock(), "ann", SEARCH, "update")])
    clock.pass_(hours=1)
    house.store.put_statuses([well(SWEEP)])
    clock.pass_(hours=1)
    declare(house, policy(hook(inbox), routes=[{"receivers": ["ops"], "changes": True}]))
    for _ in range(2):
        deliver(house)
        clock.pass_(minutes=1)
    assert inbox.told() == [[("deployment/vision/search", "firing")]]
    assert inbox.bodies()[0]["changes"] == []


# --- once, whoever sends -------------------------------------------------------------------------------------------


def test_a_pass_that_nobody_follows_waits_for_nothing_that_it_found_itself(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), groupWait="30s", groupInterval="5m"))
    house.store.put_statuses([ill(WORDS)])
    clock.pass_(seconds=5)
    since = clock()
    house.store.put_statuses([ill()])
    tell_once(house, since)
    assert inbox.told() == [[("deployment/vision/search", "firing")]]
    clock.pass_(seconds=5)
    since = clock()
    house.store.put_statuses([well()])
    tell_once(house, since)
    assert inbox.told()[1:] == [[("deployment/vision/search", "resolved")]]


def test_two_that_send_at_once_send_nothing_twice(tmp_path: Path, inbox: Inbox) -> None:
    clock = Clock()
    houses = [house_in(tmp_path, clock) for _ in range(2)]
    inbox.before = lambda: time.sleep(0.05)
    declare(houses[0], policy(hook(inbox), groupBy=["name"]))
    houses[0].store.put_statuses([ill(replace(SEARCH, name=f"n{number}")) for number in range(12)])
    houses[0].store.alerts.scene()
    couriers = [Courier(each) for each in houses]
    for _ in range(6):
        threads = [threading.Thread(target=each.look) for each in couriers]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    until(lambda: not houses[0].store.deliveries.heads())
    told = [ref for message in inbox.told() for ref, _ in message]
    assert sorted(told) == sorted(f"deployment/vision/n{number}" for number in range(12))
    for each in houses:
        each.store.close()


def test_nothing_to_tell_writes_nothing(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), routes=[{"receivers": ["ops"], "changes": True}]))
    house.store.put_statuses([ill(), well(SWEEP)])
    deliver(house)
    clock.pass_(hours=2)
    before = _bytes(house)
    house.store.put_statuses([ill(), well(SWEEP)])
    for _ in range(3):
        deliver(house)
    assert _bytes(house) == before
    assert len(inbox.requests) == 1


def _bytes(house: House) -> list[bytes]:
    folder = house.settings.state
    return [(folder / name).read_bytes() for name in ("store.db", "store.db-wal")]


def test_a_loop_tells_within_seconds_rests_otherwise_and_ends_at_once(tmp_path: Path, inbox: Inbox) -> None:
    from datetime import UTC, datetime

    house = house_in(tmp_path, lambda: datetime.now(UTC))
    declare(house, policy(hook(inbox)))
    with telling(house):
        house.store.put_statuses([ill()])
        until(lambda: bool(inbox.requests), 5.0)
        time.sleep(1.5)
        used, began = time.process_time(), time.monotonic()
        time.sleep(5.0)
        share = (time.process_time() - used) / (time.monotonic() - began)
        house.store.put_statuses([well()])
        until(lambda: len(inbox.requests) == 2, 5.0)
        ending = time.monotonic()
    assert time.monotonic() - ending < 2.0
    assert share < 0.05, f"{share:.1%} of a core while nothing happens"
    house.store.close()


# --- secrets -------------------------------------------------------------------------------------------------------


def test_secrets_show_nowhere(
    house: House, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = {name: f"canary-{name}-{os.urandom(8).hex()}" for name in ("SIGN", "TOKEN", "CHAT", "PATH_")}
    monkeypatch.setenv("HOOK_SECRET", words["SIGN"])
    monkeypatch.setenv("TOKEN", f"Bearer {words['TOKEN']}")
    monkeypatch.setenv("URL", f"{inbox.url}/{words['PATH_']}")
    monkeypatch.setenv("CHAT", f"jsons://user:{words['CHAT']}@127.0.0.1:9/{words['CHAT']}/?token={words['CHAT']}")
    secret = {"name": "ops", "webhook": {"url": {"fromEnv": "URL"}, "secret": {"fromEnv": "HOOK_SECRET"}}}
    secret["webhook"]["headers"] = {"Authorization": {"fromEnv": "TOKEN"}}  # type: ignore[index]
    spec = policy(secret, {"name": "chat", "apprise": {"fromEnv": "CHAT"}})
    declare(house, spec)
    inbox.status = 500
    house.store.put_statuses([ill()])
    for _ in range(3):
        deliver(house)
        clock.pass_(minutes=1)
    monkeypatch.setenv("URL", f"http://example.org/{words['PATH_']}")  # not loopback
    deliver(house)
    clock.pass_(minutes=5)
    monkeypatch.setenv("CHAT", words["CHAT"])  # not an address
    deliver(house)
    errors = {each.receiver: each.error for each in house.store.deliveries.heads()}
    assert "https" in errors["ops"]
    assert "does not understand" in errors["chat"]
    for receiver in spec.receivers:
        said = try_out("ops", spec, receiver, house)
        assert said
        assert not [word for word in words.values() if word in said]
    inbox.status = 204
    monkeypatch.setenv("URL", f"{inbox.url}/{words['PATH_']}")
    clock.pass_(minutes=20)
    deliver(house)
    (request,) = inbox.requests
    assert request[1]["Authorization"] == f"Bearer {words['TOKEN']}"
    shown = capfd.readouterr()
    kept = [each.read_bytes().decode(errors="replace") for each in house.settings.state.rglob("*") if each.is_file()]
    for word in words.values():
        assert not [1 for each in (*kept, shown.out, shown.err, json.dumps(house.store.deliveries.troubles("ops"))) if word in each]


def test_a_test_is_marked_and_recorded(house: House, inbox: Inbox, clock: Clock) -> None:
    spec = policy(hook(inbox))
    assert try_out("ops", spec, spec.receivers[0], house) == ""
    (body,) = inbox.bodies()
    assert body["alerts"][0]["reason"] == "Test"
    assert "this is a test" in body["alerts"][0]["message"]
    inbox.status = 401
    assert try_out("ops", spec, spec.receivers[0], house) == "it answered 401"
    clock.pass_(seconds=1)
    assert [each.state for each in house.store.deliveries.listed(clock() - timedelta(hours=1))] == ["failed", "sent"]
    assert house.store.deliveries.troubles("ops") == {}


def test_health_words_are_those_of_the_worst(house: House) -> None:
    """What opens an alert by its health alone."""
    statuses = [ill(SEARCH, health=health) for health in (Health.MISSING, Health.UNKNOWN)]
    for each in statuses:
        house.store.put_statuses([each])
        assert house.store.alerts.firing()[SEARCH].severity == "warning"
