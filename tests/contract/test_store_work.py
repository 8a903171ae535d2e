"""Queue, leases and what was learned, on SQLite and on a real PostgreSQL; and a Store that an older program made."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from reconciler.admission.values import Earmark, Item, Lease, Past, Preemption
from reconciler.errors import StoreError
from reconciler.model import Amounts, Learned, Ref
from reconciler.state import Held, Queued, Store, encode, open_store, tables
from reconciler.state.schema import FOLDER
from tests.contract.store_values import DATASET, EXPERIMENT, NOON, OWNED, Clock, admin, entry, status

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")

FIRST, SECOND, THIRD = (Ref("Experiment", "ünï", "名前", f"run-{number}") for number in range(3))
EVERY_TEXT = "Größe \x00 \udc80 \u202e ✗"


def item(ref: Ref = FIRST, **more: Any) -> Item:
    return replace(Item(ref, "ünï", Amounts(7 * 2**40, 1500, 250, 12_500), 5, NOON), **more)


def queued(ref: Ref = FIRST, **more: Any) -> Queued:
    facts = {"declared": {"memory": "2Gi"}, "learned": None, "location": "a b.yaml:3"}
    return replace(Queued(item(ref), template="train.py", detail=facts), **more)


def lease(ref: Ref = FIRST, **more: Any) -> Lease:
    return replace(Lease(ref, "ünï", "local", Amounts(2**30, 1000), 5, NOON + timedelta(seconds=90), NOON), **more)


# --- leases --------------------------------------------------------------------------------------------------------


def test_a_lease_comes_back_as_it_was(store: Store, place: str | Path) -> None:
    every = lease(work="monitor", seconds=1e-9, preemptible=False, preempted=2, paused=True, ending=True, priority=10)
    other = lease(Ref("Deployment", None, "d"), amounts=Amounts(), since=NOON, work="serving")
    store.work.grant([every, other], {FIRST: EVERY_TEXT})
    store.work.set_job(FIRST, "9f")
    store.work.mark(FIRST, why=EVERY_TEXT)
    store.close()
    with open_store(place) as again:
        assert again.work.leases() == (Held(other), Held(every, "9f", EVERY_TEXT, why=EVERY_TEXT))


def test_a_grant_takes_the_work_from_the_queue_with_all_that_is_known_of_it(store: Store, clock: Clock) -> None:
    clock.pass_(90)
    store.work.put_queue([queued(item=item(largest_buffer=77)), queued(SECOND)])
    store.work.grant([lease()], actor="ann", why={FIRST: "WaitingForMemory"})
    assert [each.ref for each in store.work.queue()] == [SECOND]
    assert store.work.leases() == (Held(lease(), template="train.py", largest_buffer=77, detail=queued().detail),)
    (line,) = store.history(FIRST)
    assert (line.at, line.actor, line.action, line.result, line.glyph) == (clock(), "ann", "admit", "done", "")
    granted = {"memory": "1024Mi", "cpu": "1"}
    assert line.detail == {"node": "local", "waited_seconds": 90, "waited_for": "WaitingForMemory", "granted": granted}


def test_nobody_gets_a_second_lease_and_then_nothing_is_granted_at_all(store: Store) -> None:
    store.work.put_queue([queued(SECOND)])
    store.work.grant([lease()])
    with pytest.raises(StoreError, match=r"experiment/ünï/名前#run-0 has a lease on local already.*release it first"):
        store.work.grant([lease(SECOND), lease(node="other")], past=Past({"ünï": NOON}))
    assert [each.lease for each in store.work.leases()] == [lease()]
    assert [each.ref for each in store.work.queue()] == [SECOND]
    assert (len(store.history()), store.work.past()) == (1, Past())


def test_only_work_with_a_lease_gets_a_job(store: Store) -> None:
    with pytest.raises(StoreError, match="has no lease"):
        store.work.set_job(FIRST, "9f")
    store.work.grant([lease(), lease(SECOND)])
    store.work.set_job(SECOND, "9f")
    assert [each.job for each in store.work.leases()] == ["", "9f"]


def test_marks_change_only_what_they_name(store: Store) -> None:
    store.work.mark(FIRST, ending=True)
    store.work.grant([lease(), lease(SECOND)])
    store.work.mark(FIRST, paused=True, why="hot")
    store.work.mark(FIRST, ending=True)
    store.work.mark(FIRST)
    assert store.work.leases() == (Held(lease(paused=True, ending=True), why="hot"), Held(lease(SECOND)))
    store.work.mark(FIRST, paused=False, ending=False, why="")
    assert store.work.leases() == (Held(lease()), Held(lease(SECOND)))


def test_a_preemption_is_kept_until_the_work_is_gone_and_waits_again_as_long_as_before(store: Store, clock: Clock) -> None:
    store.work.put_queue([queued(item=item(largest_buffer=77)), queued(SECOND)])
    store.work.grant([lease(preempted=1), lease(SECOND)])
    store.work.mark(SECOND, ending=True, why="superseded")
    past = Past(earmarks=(Earmark(EXPERIMENT, "local", Amounts(1), NOON),))
    asked = [Preemption(each, EXPERIMENT, "reclaims its quota") for each in (FIRST, SECOND, THIRD)]
    for _ in range(2):
        store.work.preempt(asked, past=past)
    first, second = store.work.leases()
    assert (first.lease.ending, first.preemptor, first.why, first.lease.preempted) == (True, EXPERIMENT, "reclaims its quota", 1)
    assert (second.preemptor, second.why) == (None, "superseded")
    assert store.work.past() == past
    lines = [(each.ref, each.detail) for each in store.history() if each.action == "preempt"]
    assert lines == [(FIRST, {"for": "experiment/ünï/名前", "why": "reclaims its quota"})]
    later = NOON + timedelta(hours=1)
    clock.pass_(100)
    assert store.work.release([FIRST], requeue=[first.waiting(not_before=later)]) == (first,)
    waits = item(amounts=Amounts(2**30, 1000), preempted=2, largest_buffer=77, not_before=later)
    assert store.work.queue() == (queued(item=waits),)
    line = store.history(FIRST, limit=1)[0]
    assert line.action == "release"
    assert line.detail == {"held_seconds": 10, "why": "reclaims its quota", "job": "", "queued": "again"}


def test_a_release_happens_once(store: Store) -> None:
    store.work.grant([lease(), lease(SECOND)])
    store.work.set_job(FIRST, "9f")
    learned, more = {"train.py": Learned(1, memory=5)}, {"train.py": Learned(2, memory=5)}
    gone = store.work.release([FIRST, THIRD], actor="ann", why={FIRST: "exit 0"}, requeue=[queued(THIRD)], learned=learned)
    assert gone == (Held(lease(), "9f"),)
    assert store.work.release([FIRST], requeue=[queued()], learned=more) == ()
    assert [each.ref for each in store.work.leases()] == [SECOND]
    assert (store.work.queue(), store.work.learned()) == ((), learned)
    lines = [(each.actor, each.ref, each.detail) for each in store.history() if each.action == "release"]
    assert lines == [("ann", FIRST, {"held_seconds": 0, "why": "exit 0", "job": "9f"})]


# --- the queue -----------------------------------------------------------------------------------------------------


def test_what_waits_comes_back_as_it_was_the_longest_waiting_first(store: Store, place: str | Path) -> None:
    facts = {"preempted": 3, "preemptible": False, "not_before": NOON, "largest_buffer": 2**40, "seconds": 0.1, "work": "monitor"}
    every = queued(item=item(**facts), accepted=False, template=EVERY_TEXT, detail={"x": [EVERY_TEXT, None, {"y": 1.5}]})
    younger = queued(Ref("Deployment", None, "d"), item=replace(item(Ref("Deployment", None, "d")), since=NOON + timedelta(hours=1)))
    store.work.put_queue([younger, queued(SECOND), every])
    store.close()
    with open_store(place) as again:
        assert again.work.queue() == (every, queued(SECOND), younger)


def test_the_queue_is_changed_where_it_is_told(store: Store) -> None:
    many = [queued(Ref("Experiment", "p", "e", str(number))) for number in range(300)]
    store.work.put_queue(many)
    changed = replace(many[1], accepted=False)
    store.work.put_queue([changed], gone=[many[0].ref, many[1].ref, THIRD])
    assert {each.ref: each for each in store.work.queue()} == {each.ref: each for each in [changed, *many[2:]]}
    store.work.put_queue([], gone=[each.ref for each in many])
    assert store.work.queue() == ()


def test_what_has_a_lease_does_not_wait(store: Store, place: str | Path) -> None:
    store.work.grant([lease()])
    store.work.put_queue([queued(), queued(SECOND)])
    assert [each.ref for each in store.work.queue()] == [SECOND]
    with admin(place) as connection:  # as if a program without this rule had written it
        connection.execute(sa.text("UPDATE queue SET key = 'run-0'"))
    store.work.put_queue([])
    assert store.work.queue() == ()


def test_an_amount_that_no_machine_has_does_not_stop_the_others(store: Store) -> None:
    store.work.put_queue([queued(item=item(amounts=Amounts(10**30, 10**20), largest_buffer=10**30)), queued(SECOND)])
    assert [each.item.amounts[:2] for each in store.work.queue()] == [(2**63 - 1, 2**63 - 1), item().amounts[:2]]


def test_an_error_writes_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="time zone"):
        store.work.put_queue([queued(), queued(SECOND, item=item(SECOND, since=NOON.replace(tzinfo=None)))])
    with pytest.raises(StoreError, match="cannot keep a value of experiment"):
        store.work.put_queue([queued(), queued(SECOND, detail={"x": object()})])
    with pytest.raises(StoreError, match="time zone"):
        store.work.grant([lease(), lease(SECOND, queued=NOON.replace(tzinfo=None), since=NOON.replace(tzinfo=None))])
    assert (store.work.queue(), store.work.leases(), store.history()) == ((), (), [])


# --- what was learned, and what a decision remembers ---------------------------------------------------------------


def learn(store: Store, learned: Mapping[str, Learned]) -> None:
    """From the end of some work."""
    store.work.grant([lease(THIRD)])
    store.work.release([THIRD], learned=learned)


def test_what_was_learned(store: Store, place: str | Path) -> None:
    every = Learned(3, 2**40, 12.5, 0.25, 17.5, (1, 2**41), (0.5, 3.0))
    assert all(getattr(every, each.name) != each.default for each in fields(Learned))
    learn(store, {"train.py": Learned(1), EVERY_TEXT: every})
    learn(store, {"train.py": Learned(2)})
    assert store.work.learned() == {"train.py": Learned(2), EVERY_TEXT: every}
    with admin(place) as connection:  # another version keeps more, and less
        connection.execute(sa.text('UPDATE learned SET value = \'{"runs": 4, "better": [1]}\''))
    assert set(store.work.learned().values()) == {Learned(4)}


def test_what_a_decision_remembers(store: Store, place: str | Path) -> None:
    assert store.work.past() == Past()
    hour = NOON + timedelta(hours=1, microseconds=1)
    earmark = Earmark(FIRST, "local", Amounts(1, 2, 3, 4), hour)
    past = Past({"ünï": NOON}, {"local": hour}, {"other": NOON}, (earmark,), {"ünï": 0.1}, {"ünï": math.inf}, hour)
    assert all(getattr(past, each.name) for each in fields(Past))
    store.work.grant([], past=past)
    assert store.work.past() == past
    store.work.grant([lease()], past=replace(past, earmarks=()))
    assert store.work.past() == replace(past, earmarks=())
    with admin(place) as connection:  # another version keeps more, and less
        connection.execute(sa.text('UPDATE meta SET value = \'{"earmarks": [], "better": [1]}\''))
    assert store.work.past() == Past()


def test_damaged_values_say_so(store: Store, place: str | Path) -> None:
    store.work.put_queue([queued()])
    store.work.grant([lease(SECOND)])
    learn(store, {"x": Learned()})
    store.work.preempt([], past=Past())
    reads: list[Callable[[], object]] = [store.work.books, store.work.queue, store.work.leases, store.work.learned, store.work.past]
    with admin(place) as connection:
        for change in ("queue SET detail", "leases SET why", "learned SET value", "meta SET value"):
            connection.execute(sa.text(f"UPDATE {change} = '{{'"))
    for read in reads:
        with pytest.raises(StoreError, match="is damaged"):
            read()


# --- who may write, and when nothing is written --------------------------------------------------------------------


def writes(store: Store) -> list[Callable[[], object]]:
    work = store.work
    return [
        lambda: work.put_queue([queued()]),
        lambda: work.grant([lease(THIRD)]),
        lambda: work.set_job(SECOND, "other"),
        lambda: work.mark(SECOND, paused=True),
        lambda: work.preempt([Preemption(SECOND, EXPERIMENT, "")]),
        lambda: work.release([SECOND]),
        lambda: work.grant([], past=Past({"ünï": NOON})),
    ]


def test_who_was_taken_over_and_who_only_reads_writes_nothing(store: Store, place: str | Path, clock: Clock) -> None:
    store.work.grant([lease(SECOND)])
    with open_store(place, now=clock) as other, store.writer("ann"):
        clock.pass_(1000)
        with other.writer("bob"):
            for write in writes(store):
                with pytest.raises(StoreError, match=r"`bob`.* has taken over"):
                    write()
    with open_store(place, read_only=True) as reader:
        for write in writes(reader):
            with pytest.raises(StoreError, match="reading only"):
                write()
        assert (reader.work.leases(), reader.work.queue(), reader.work.learned()) == ((Held(lease(SECOND)),), (), {})
    assert (store.work.past(), len(store.history())) == (Past(), 1)


def test_the_same_again_writes_nothing(tmp_path: Path) -> None:
    many = [
        queued(Ref("Experiment", "p", "e", str(number)), item=item(Ref("Experiment", "p", "e", str(number)), seconds=60))
        for number in range(300)
    ]
    many[0] = replace(many[0], item=replace(many[0].item, amounts=Amounts(10**30)), detail={"tuple": (1, 2)})  # type: ignore[dict-item]
    with open_store(tmp_path / "s.db") as store, admin(tmp_path / "s.db") as beside:
        same: list[Callable[[], object]] = [lambda: store.work.put_queue([*many, queued()], gone=[SECOND])]
        store.work.grant([lease()])
        for write in same:
            write()
        # Somebody else writes: an attempt to write would wait for them, and then fail.
        beside.exec_driver_sql("BEGIN IMMEDIATE")
        nothing: list[Callable[[], object]] = [
            lambda: store.work.grant([]),
            lambda: store.work.preempt([]),
            lambda: store.work.release([]),
            lambda: store.work.mark(FIRST),
        ]
        for write in same + nothing:
            write()
        beside.exec_driver_sql("ROLLBACK")


def test_what_is_granted_while_the_queue_is_compared_does_not_wait(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store, open_store(tmp_path / "s.db") as other:
        granted: list[Ref] = []

        def grant(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("BEGIN IMMEDIATE") and not granted:
                granted.append(FIRST)
                other.work.grant([lease()])

        sa.event.listen(sa.Engine, "before_cursor_execute", grant)
        try:
            store.work.put_queue([queued(), queued(SECOND)])
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", grant)
        assert granted == [FIRST]
        assert ([each.ref for each in store.work.queue()], [each.ref for each in store.work.leases()]) == ([SECOND], [FIRST])


def test_readers_find_each_piece_of_work_in_one_place_while_it_moves(store: Store, place: str | Path) -> None:
    refs = {FIRST, SECOND, THIRD}
    store.work.put_queue([queued(ref) for ref in refs])
    moved = threading.Event()

    def move() -> None:
        try:
            for number in range(60):
                ref = sorted(refs)[number % 3]
                store.work.grant([lease(ref)])
                store.work.release([ref], requeue=[queued(ref)])
        finally:
            moved.set()

    looks = 0
    with ThreadPoolExecutor(1) as pool, open_store(place, read_only=True) as reader:
        mover = pool.submit(move)
        while not moved.is_set():
            leases, queue = reader.work.books()
            assert sorted([each.ref for each in leases] + [each.ref for each in queue]) == sorted(refs)
            looks += 1
        mover.result()
    assert looks > 5


def test_lines_of_admission_do_not_hide_what_was_last_done_in_a_tool(store: Store) -> None:
    assert store.last_change() is None
    store.record(OWNED, audit=entry(glyph="+", detail={"x": 1}))
    for _ in range(60):
        store.work.grant([lease()])
        store.work.release([FIRST])
    assert store.last_change() == entry(glyph="+", detail={"x": 1})
    assert [each.action for each in store.history(EXPERIMENT, limit=2)] == ["release", "admit"]
    assert store.deletions_since(NOON) == []


# --- a Store that an older program made ----------------------------------------------------------------------------


@pytest.fixture
def older(place: str | Path) -> str | Path:
    """A Store at revision 0001 that is in use."""
    if isinstance(place, Path):
        place.parent.mkdir()
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    with admin(place) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        rows: list[tuple[sa.Table, encode.Row]] = [
            (tables.inventory, encode.owned_row(OWNED)),
            (
                tables.journal,
                {**encode.ref_row(DATASET), "action": "create", "state": "created", "external_id": "7", "digest": "d", "at": NOON},
            ),
            (tables.statuses, encode.status_row(status())),
            (tables.memos, {**encode.ref_row(EXPERIMENT), "memo": '{"step":1}'}),
            (tables.suspensions, {**encode.ref_row(DATASET), "reason": "why", "actor": "ann", "at": NOON}),
            (tables.meta, {"key": "id", "value": "x"}),
            (tables.audit, encode.audit_row(entry(glyph="+"))),
            (tables.audit, encode.audit_row(entry(DATASET, "delete"))),
        ]
        for table, row in rows:
            connection.execute(sa.insert(table), [row])
    return place


def assert_all_is_there(store: Store) -> None:
    assert store.inventory() == {EXPERIMENT: OWNED}
    assert [(each.ref, each.external_id) for each in store.open_intents().values()] == [(DATASET, "7")]
    assert store.statuses() == {EXPERIMENT: status()}
    assert store.memos() == {EXPERIMENT: {"step": 1}}
    assert [(each.ref, each.reason) for each in store.suspensions().values()] == [(DATASET, "why")]
    assert store.meta("id") == "x"
    assert store.history() == [entry(DATASET, "delete"), entry(glyph="+")]
    assert store.deletions_since(NOON) == [(NOON, DATASET)]


def revision(place: str | Path) -> object:
    with admin(place) as connection:
        return connection.execute(sa.text(f"SELECT version_num FROM {tables.VERSION_TABLE}")).scalar()


def test_an_older_store_is_brought_up_to_date_with_all_that_it_holds(older: str | Path) -> None:
    for _ in range(2):
        with open_store(older) as store:
            assert_all_is_there(store)
            assert store.work.queue() == ()
    assert revision(older) == tables.HEAD
    with open_store(older) as store:
        store.work.put_queue([queued()])
        store.work.grant([lease()])
        assert [each.action for each in store.history()] == ["admit", "delete", "create"]
        with admin(older) as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.exec_driver_sql("DELETE FROM audit")


def test_an_older_store_can_be_read_as_it_is(older: str | Path) -> None:
    with open_store(older, read_only=True) as reader:
        assert_all_is_there(reader)
        assert (reader.work.queue(), reader.work.leases(), reader.work.learned()) == ((), (), {})
        assert reader.work.past() == Past()
        assert (reader.alerts.firing(), reader.alerts.listed(), reader.alerts.silences()) == ({}, [], [])
        assert (reader.deliveries.heads(), reader.deliveries.troubles("p"), reader.reports.marks()) == ([], {}, {})
        assert revision(older) == "0001"
        with pytest.raises(StoreError, match="reading only"):
            reader.work.put_queue([queued()])
        with open_store(older) as writer:
            writer.work.put_queue([queued()])
        assert reader.work.queue() == (queued(),)


def test_a_store_whose_tables_have_grown_since_cannot_be_read_as_it_is(older: str | Path) -> None:
    with admin(older) as connection:
        connection.exec_driver_sql("ALTER TABLE statuses DROP COLUMN message")
    with pytest.raises(StoreError, match=r"made by an older version.*`reconcile` brings it up to date"):
        open_store(older, read_only=True)
