"""What the Store keeps and gives back, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import StoreError
from reconciler.model import Health, Location, Owned, Ref
from reconciler.state import Store, open_store
from tests.contract.store_values import DATASET, EXPERIMENT, NOON, OWNED, PROJECT, RUN, Clock, admin, entry, status

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")


# --- inventory and journal -----------------------------------------------------------------------------------------


def test_inventory_comes_back_as_it_was(store: Store, place: str | Path) -> None:
    other = Owned(PROJECT, "", "root", "", {}, "never")
    store.record_many([OWNED, other], audit=[entry(), entry(PROJECT)])
    store.record(replace(OWNED, digest="e"), audit=entry(action="update"))
    store.close()
    with open_store(place) as again:
        assert again.inventory() == {EXPERIMENT: replace(OWNED, digest="e"), PROJECT: other}
        assert [each.action for each in again.history()] == ["update", "create", "create"]
        again.forget(EXPERIMENT, audit=entry(action="delete"))
        again.forget(EXPERIMENT)
        assert set(again.inventory()) == {PROJECT}


def test_what_manifests_said_is_kept_beside_the_inventory(store: Store, place: str | Path) -> None:
    said = {"spec": {"tags": {"größe": "✓"}}, "lifecycle": {"prune": "never"}, "labels": {}}
    store.record_many([replace(OWNED, declared=said), Owned(PROJECT, "", "root", "", {}, "never")])
    assert store.manifests() == {EXPERIMENT: said}
    assert store.without_manifest() == {PROJECT}
    assert store.inventory()[EXPERIMENT].declared == {}, "no pass needs it"
    store.record(store.inventory()[EXPERIMENT])
    assert store.manifests() == {EXPERIMENT: said}, "an entry that does not say takes nothing away"
    store.record(Owned(PROJECT, "", "root", "", {}, "never", declared={"spec": {}, "lifecycle": {}, "labels": {}}))
    assert store.without_manifest() == frozenset()
    store.close()
    with open_store(place) as again:
        again.forget(EXPERIMENT)
        assert again.manifests().keys() == {PROJECT}
        assert again.without_manifest() == frozenset()


def test_a_child_and_its_parent_are_two(store: Store) -> None:
    store.record_many([OWNED, replace(OWNED, ref=RUN)])
    store.forget(RUN)
    assert set(store.inventory()) == {EXPERIMENT}


def test_what_is_renamed_takes_everything_along_at_once(store: Store, clock: Clock) -> None:
    new, child = replace(EXPERIMENT, name="renamed"), replace(RUN, name="renamed")
    said = {"spec": {}, "lifecycle": {}, "labels": {}}
    store.record(replace(OWNED, declared=said))
    store.put_statuses([status(Health.DEGRADED, ready=False), status(ref=RUN)])
    store.put_memos({EXPERIMENT: {"settled": "x"}, RUN: {"n": 1}, new: {"left": "over"}, replace(child, key="other"): {"left": "over"}})
    store.suspend(RUN, "for a while", "ann")
    store.intend(new, "move", "d")
    firing = store.alerts.firing()
    assert EXPERIMENT in firing
    clock.pass_(300)
    store.move(EXPERIMENT, replace(OWNED, ref=new, declared=said), audit=entry(new, action="move"))
    assert store.inventory() == {new: replace(OWNED, ref=new)}
    assert store.manifests() == {new: said}
    assert store.memos() == {new: {"settled": "x"}, child: {"n": 1}}
    assert store.statuses().keys() == {new, child}
    assert store.suspensions().keys() == {child}
    assert store.open_intents() == {}
    assert {ref: (each.id, each.since) for ref, each in store.alerts.firing().items()} == {
        new: (firing[EXPERIMENT].id, firing[EXPERIMENT].since)
    }
    assert [each.action for each in store.history(new)] == ["move"]
    store.put_statuses([status(ref=new), status(ref=child)])
    assert store.alerts.firing() == {}, "what it stood for is over, and so is the alert"


def test_the_journal_walks_from_intended_to_recorded(store: Store, clock: Clock) -> None:
    store.intend(EXPERIMENT, "create", "digest")
    intent = store.open_intents()[EXPERIMENT]
    assert (intent.action, intent.state, intent.external_id, intent.digest, intent.at) == ("create", "intended", "", "digest", NOON)
    clock.pass_(1)
    store.created(EXPERIMENT, "42")
    intent = store.open_intents()[EXPERIMENT]
    assert (intent.state, intent.external_id, intent.at) == ("created", "42", clock())
    store.record(OWNED)
    assert store.open_intents() == {}


def test_an_intent_ends_with_forget_and_abandon_too(store: Store) -> None:
    for ref in (EXPERIMENT, DATASET, RUN):
        store.intend(ref, "create", "")
    store.forget(EXPERIMENT)
    store.abandon(DATASET)
    assert set(store.open_intents()) == {RUN}


def test_a_second_try_does_not_lose_what_the_first_one_made(store: Store) -> None:
    store.intend(EXPERIMENT, "create", "old")
    store.created(EXPERIMENT, "42")
    store.intend(EXPERIMENT, "create", "new")
    intent = store.open_intents()[EXPERIMENT]
    assert (intent.state, intent.external_id, intent.digest) == ("intended", "42", "new")


def test_a_record_that_fails_leaves_nothing(store: Store) -> None:
    store.intend(EXPERIMENT, "create", "")
    with pytest.raises(StoreError, match="time zone"):
        store.record(OWNED, audit=entry(at=NOON.replace(tzinfo=None)))
    with pytest.raises(StoreError, match="cannot keep a value of experiment"):
        store.record(replace(OWNED, applied={"x": object()}))
    assert store.inventory() == {}
    assert set(store.open_intents()) == {EXPERIMENT}


# --- statuses and memos --------------------------------------------------------------------------------------------


def test_since_moves_only_when_a_condition_turns(store: Store, clock: Clock) -> None:
    assert len(store.put_statuses([status()])) == 1
    clock.pass_(60)
    assert store.put_statuses([status(message="other words")]) == []
    assert [each.since for each in store.statuses()[EXPERIMENT].conditions] == [NOON, NOON]
    turned = store.put_statuses([status(Health.DEGRADED, ready=False)])
    assert [each.since for each in turned[0].conditions] == [clock(), NOON]
    assert store.statuses() == {EXPERIMENT: turned[0]}
    clock.pass_(60)
    assert [each.conditions[0].since for each in store.put_statuses([status(Health.UNKNOWN, ready=None)])] == [clock()]


def test_statuses_that_are_gone_and_those_of_many(store: Store) -> None:
    many = [status(ref=Ref("Dataset", "p", f"n{number}")) for number in range(150)]
    assert len(store.put_statuses(many)) == 150
    assert store.put_statuses(many, gone=[many[0].ref, RUN]) == []
    assert set(store.statuses()) == {each.ref for each in many[1:]}


def test_memos(store: Store) -> None:
    store.put_memos({EXPERIMENT: {"step": 1, "é": [None]}, DATASET: {"x": {}}})
    store.put_memos({DATASET: None, RUN: None, EXPERIMENT: {"step": 2}})
    assert store.memos() == {EXPERIMENT: {"step": 2}}
    store.forget(EXPERIMENT)
    assert store.memos() == {}


# --- audit ---------------------------------------------------------------------------------------------------------


def test_history(store: Store) -> None:
    lines = [
        entry(PROJECT, at=NOON, detail={"why": "näme"}, revision="abc", location=Location("p.yaml", 2), glyph="+"),
        entry(EXPERIMENT, at=NOON + timedelta(hours=1)),
        entry(RUN, at=NOON + timedelta(hours=2), result="failed"),
        entry(Ref("Dataset", "other", "iris"), at=(NOON + timedelta(hours=3)).astimezone(timezone(timedelta(hours=5)))),
        entry(None, "platform-up", at=NOON + timedelta(hours=4)),
    ]
    store.audit(lines)
    assert store.history() == lines[::-1]
    assert all(each.at.tzinfo is UTC for each in store.history())
    assert store.history(limit=2) == lines[:2:-1]
    assert store.history(EXPERIMENT) == [lines[2], lines[1]]
    assert store.history(RUN) == [lines[2]]
    assert store.history(project="ünï") == lines[2::-1]
    assert store.history(since=NOON + timedelta(hours=3)) == lines[:2:-1]


def test_deletions_since_counts_what_is_gone(store: Store) -> None:
    hours = itertools.count()
    store.audit(
        entry(ref, action, at=NOON + timedelta(hours=next(hours)), result=result)
        for ref, action, result in [
            (PROJECT, "delete", "done"),
            (EXPERIMENT, "delete", "done"),
            (RUN, "delete", "failed"),
            (DATASET, "replace", "done"),
            (DATASET, "create", "done"),
        ]
    )
    assert store.deletions_since(NOON + timedelta(hours=1)) == [
        (NOON + timedelta(hours=1), EXPERIMENT),
        (NOON + timedelta(hours=3), DATASET),
    ]


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit", "REPLACE", "TRUNCATE audit"])
def test_the_audit_log_cannot_be_changed(store: Store, place: str | Path, change: str) -> None:
    store.audit([entry()])
    if change == "REPLACE":
        change = "INSERT OR REPLACE INTO audit SELECT * FROM audit" if isinstance(place, Path) else "UPDATE audit SET id = id"
    if change.startswith("TRUNCATE") and isinstance(place, Path):
        change = "DELETE FROM audit"  # SQLite's form of it
    with admin(place) as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
        connection.exec_driver_sql(change)
    assert store.history() == [entry()]


# --- what people said ----------------------------------------------------------------------------------------------


def test_suspensions_and_meta(store: Store, clock: Clock) -> None:
    store.suspend(EXPERIMENT, "why", "ann")
    store.suspend(EXPERIMENT, "weil ✗", "bob")
    found = store.suspensions()[EXPERIMENT]
    assert (found.ref, found.reason, found.actor, found.at) == (EXPERIMENT, "weil ✗", "bob", clock())
    store.resume(EXPERIMENT)
    store.resume(EXPERIMENT)
    assert store.suspensions() == {}
    assert store.meta("id") is None
    store.set_meta("id", "a")
    store.set_meta("id", "b")
    assert store.meta("id") == "b"


# --- values --------------------------------------------------------------------------------------------------------

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSONS, moment=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.timezones()))
def test_json_and_moments_survive(store: Store, value: object, moment: datetime) -> None:
    store.record(replace(OWNED, applied={"x": value}), audit=entry(detail={"x": value}, at=moment))
    store.put_memos({EXPERIMENT: {"x": value}})
    line = store.history(limit=1)[0]
    assert repr([store.inventory()[EXPERIMENT].applied, line.detail, store.memos()[EXPERIMENT]]) == repr([{"x": value}] * 3)
    assert (line.at, line.at.tzinfo) == (moment.astimezone(UTC), UTC)


def test_text_that_no_database_takes_is_an_error_and_not_a_crash(store: Store) -> None:
    with pytest.raises(StoreError):
        store.suspend(EXPERIMENT, "\udc80", "ann")
    assert store.suspensions() == {}
