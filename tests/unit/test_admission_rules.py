"""The single rules: windows, order, nodes, heat and what is paused for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.admission.decide import decide
from reconciler.admission.order import Backlog, effective
from reconciler.admission.values import Heat, Level, Past, Quota, Reason, Rules, ThermalModel, Window
from reconciler.admission.window import closed, is_on
from tests.unit.admission_world import NOW, World, granted, item, lease, limits, mac, quota, ref, snapshot


def heat(level: Level, *, seconds: float = 0, used: float | None = None, **more: object) -> Heat:
    return replace(Heat(level, used, NOW - timedelta(seconds=seconds)), **more)  # type: ignore[arg-type]


# --- windows -------------------------------------------------------------------------------------------------------

OFFICE = Window(False, "0 9 * * 1-5", 8 * 3600, "Europe/Berlin")
NIGHT = Window(True, "0 22 * * *", 8 * 3600, "Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "on"),
    [
        ("2026-01-12T07:59:59", False),
        ("2026-01-12T08:00:00", True),
        ("2026-01-12T15:59:59.5", True),
        ("2026-01-12T16:00:00", False),
        ("2026-07-13T06:59:59", False),
        ("2026-07-13T07:00:00", True),
        ("2026-07-11T10:00:00", False),
    ],
    ids=["before nine in winter", "nine", "before five", "five", "before nine in summer", "nine in summer", "Saturday"],
)
def test_windows_follow_the_clock_on_the_wall(moment: str, on: bool) -> None:
    assert is_on(OFFICE, datetime.fromisoformat(moment).replace(tzinfo=UTC)) is on


def test_a_window_may_pass_midnight_and_outlast_its_period() -> None:
    assert is_on(NIGHT, datetime(2026, 1, 13, 2, 0, tzinfo=UTC))
    assert not is_on(NIGHT, datetime(2026, 1, 13, 6, 0, tzinfo=UTC))
    assert is_on(Window(True, "0 0 * * *", 90_000), datetime(2026, 1, 13, 23, 59, tzinfo=UTC))


def test_a_denial_outweighs_permissions_and_one_permission_is_enough() -> None:
    now = datetime(2026, 1, 12, 10, 0, tzinfo=UTC)
    always = Window(True, "* * * * *", 60)
    assert closed((), now) is None
    assert closed((always, NIGHT), now) is None
    assert closed((NIGHT,), now) is NIGHT
    assert closed((always, OFFICE), now) is OFFICE


# --- order ---------------------------------------------------------------------------------------------------------


def test_waiting_raises_the_priority_up_to_ten() -> None:
    rules = Rules()
    assert [effective(5, NOW - timedelta(minutes=m), NOW, rules) for m in (0, 9.9, 10, 49, 50, 600)] == [5, 5, 6, 9, 10, 10]
    assert effective(3, NOW + timedelta(minutes=5), NOW, rules) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (item("w", "a", 8), item("v", "b", 9, priority=10)),
        (item("w", "a", 9), item("v", "b", 11)),
        (item("w", "a", 8, priority=6), item("v", "b", 8, waited=500)),
        (item("w", "a", 8, waited=700), item("v", "b", 8)),
        (item("w", "a", 8, waited=60), item("v", "b", 8)),
        (item("w", "a", 8), item("w", "b", 8)),
    ],
    ids=["who does not borrow", "the lower share", "priority", "priority by waiting", "who waited longer", "names"],
)
def test_who_goes_first(first: object, second: object) -> None:
    """In a machine that has room for one of them."""
    assert isinstance(first, type(item("w")))
    assert isinstance(second, type(item("w")))
    quotas = (quota("a", 8), quota("b", 8), quota("c", 4))
    for queue in ((first, second), (second, first)):
        decision = decide(snapshot(*queue, quotas=quotas, nodes=(mac(12),)))
        assert [each.ref for each in decision.grants] == [first.ref]


def test_who_goes_first_within_a_project() -> None:
    queue = (item("w1", memory=9), item("w2", memory=9, priority=6), item("w3", memory=9, waited=590))
    for left, first in ((3, "w2"), (2, "w3")):
        chosen = tuple(each for each in queue if left == 3 or each.priority == 5)
        assert granted(decide(snapshot(*chosen))) == [first]


def test_one_that_backs_off_does_not_keep_those_like_it_back() -> None:
    queue = (
        item("w1", waited=60, not_before=NOW + timedelta(seconds=1)),
        item("w2", waited=50, not_before=NOW),
        item("w3", waited=40, not_before=NOW + timedelta(seconds=1)),
        item("w4", waited=30, not_before=NOW - timedelta(seconds=1)),
    )
    assert granted(decide(snapshot(*queue))) == ["w2", "w4"]


def test_shares_take_turns() -> None:
    """Six pieces of two projects without quotas, room for four: two each, whoever sent more or first."""
    queue = (*(item(f"a{n}", "a", 4, waited=60) for n in range(5)), item("b1", "b", 4), item("b2", "b", 4))
    assert granted(decide(snapshot(*queue))) == ["a0", "a1", "b1", "b2"]
    heavy = (Quota("a", declared=False, weight=3.0), Quota("b", declared=False))
    assert granted(decide(snapshot(*queue, quotas=heavy))) == ["a0", "a1", "a2", "b1"]


def test_what_does_not_fit_keeps_nobody_back() -> None:
    """Best effort: a project's smaller shape starts beside its larger one, and others' too."""
    queue = (item("large", "a", 12, waited=100), item("small", "a", 2), item("other", "b", 2))
    assert granted(decide(snapshot(*queue, leases=(lease("r", "c", 8),)))) == ["other", "small"]


def test_twice_in_the_queue_is_an_error() -> None:
    with pytest.raises(ValueError, match="experiment/a/e#w is in the queue twice"):
        decide(snapshot(item("w"), item("w")))
    with pytest.raises(ValueError, match="twice"):
        Backlog.of((item("w"),)).changed((item("w"), item("w")))


# --- nodes ---------------------------------------------------------------------------------------------------------


def test_the_coolest_node_with_room_is_taken() -> None:
    """Cool before empty; among equally cool ones the one with most room left; unknown heat is not cool."""
    hot, cool = mac(16, name="hot", heat=heat(Level.NOMINAL, used=0.7)), mac(16, name="cool", heat=heat(Level.NOMINAL, used=0.2))
    full = (lease("r", "z", 10, node="cool"),)
    assert [each.node for each in decide(snapshot(item("w", memory=4), nodes=(hot, cool), leases=full)).grants] == ["cool"]
    assert [each.node for each in decide(snapshot(item("w", memory=8), nodes=(hot, cool), leases=full)).grants] == ["hot"]
    alike = (mac(16, name="one"), mac(24, name="two"))
    assert [each.node for each in decide(snapshot(item("w", memory=4), nodes=alike)).grants] == ["two"]
    silent = mac(64, name="silent", heat=Heat())
    assert [each.node for each in decide(snapshot(item("w", memory=4), nodes=(silent, cool))).grants] == ["cool"]
    fair = mac(64, name="fair", heat=heat(Level.FAIR, used=0.2))
    assert [each.node for each in decide(snapshot(item("w", memory=4), nodes=(fair, hot))).grants] == ["hot"]


def test_quotas_span_the_nodes_and_work_does_not() -> None:
    nodes = (mac(8, name="one"), mac(8, name="two"))
    decision = decide(snapshot(*(item(f"w{n}", memory=5) for n in range(3)), nodes=nodes, quotas=(quota("a", 16, cohort=""),)))
    assert granted(decision) == ["w0", "w1"]
    assert {each.node for each in decision.grants} == {"one", "two"}
    assert decision.explain(ref("w2")).reason is Reason.BEHIND
    assert (
        decide(snapshot(item("w", memory=9), nodes=nodes, quotas=(quota("a", 16, cohort=""),))).explain(ref("w")).reason
        is Reason.EXCEEDS_MACHINE
    )


def test_a_stop_on_one_node_is_weighed_although_another_is_hot() -> None:
    nodes = (mac(8, name="one"), mac(8, name="two", heat=heat(Level.SERIOUS, used=1.1)))
    running = (lease("b1", "b", 8, node="one"),)
    decision = decide(snapshot(item("w", memory=8), nodes=nodes, quotas=(quota("a", 8), quota("b", 0), quota("c", 8)), leases=running))
    assert [each.ref.key for each in decision.preemptions] == ["b1"]


def test_the_smallest_set_of_victims_decides_between_nodes() -> None:
    nodes = (mac(8, name="one"), mac(8, name="two"))
    running = (*(lease(f"s{n}", "b", 2, node="one") for n in range(4)), lease("l", "b", 8, node="two"))
    decision = decide(snapshot(item("w", memory=8), nodes=nodes, quotas=(quota("a", 8), quota("b", 8)), leases=running))
    assert [each.ref.key for each in decision.preemptions] == ["l"]
    assert decision.past.earmarks[0].node == "two"


# --- heat ----------------------------------------------------------------------------------------------------------


def test_one_start_at_a_time_on_a_node_that_is_warm() -> None:
    decision = decide(snapshot(item("w1"), item("w2"), nodes=(mac(heat=heat(Level.FAIR, used=0.8)),)))
    assert granted(decision) == ["w1"]
    assert decision.explain(ref("w2")).reason is Reason.BEHIND
    assert decision.past.node_started == {"mac": NOW}
    assert granted(decide(snapshot(item("w1"), item("w2")))) == ["w1", "w2"]


def test_starts_of_one_decision_add_up_in_the_forecast() -> None:
    """Each alone would stay below the ceiling; together they would not."""
    model = ThermalModel(resistance=0.03, tau=300.0)
    node = mac(heat=heat(Level.NOMINAL, used=0.3, watts=5.0, model=model))
    queue = tuple(item(f"w{n}", watts=10, seconds=3600.0) for n in range(3))
    decision = decide(snapshot(*queue, nodes=(node,)))
    assert granted(decision) == ["w0", "w1"]
    waiting = decide(snapshot(queue[2], nodes=(node,), leases=tuple(replace(each, since=NOW) for each in decision.grants)))
    assert waiting.explain(ref("w2")).reason is Reason.WAITING_FOR_HEAT


def test_critically_hot_for_long_pauses_the_lowest_priority_one_at_a_time() -> None:
    running = (
        lease("serving", work="serving", priority=1),
        lease("report", work="monitor", priority=1),
        lease("high", priority=8),
        lease("old", priority=3, ran=7200),
        lease("young", priority=3),
    )
    hot = mac(heat=heat(Level.CRITICAL, seconds=60, used=1.4))
    first = decide(snapshot(leases=running, nodes=(hot,)))
    assert [each.key for each in first.pauses] == ["young"]
    paused = tuple(replace(each, paused=each.ref.key == "young") for each in running)
    soon = snapshot(leases=paused, nodes=(hot,), past=first.past, now=NOW + timedelta(seconds=59))
    assert decide(soon).pauses == ()
    assert [each.key for each in decide(replace(soon, now=NOW + timedelta(seconds=60))).pauses] == ["old"]
    assert decide(snapshot(leases=running, nodes=(mac(heat=heat(Level.CRITICAL, seconds=59, used=1.4)),))).pauses == ()
    assert decide(snapshot(leases=running, nodes=(mac(heat=heat(Level.SERIOUS, seconds=600, used=1.1)),))).pauses == ()


def test_what_was_paused_goes_on_when_it_is_cool_the_highest_priority_first() -> None:
    paused = (lease("low", priority=3, paused=True), lease("high", priority=6, paused=True))
    warm = decide(snapshot(leases=paused, nodes=(mac(heat=heat(Level.SERIOUS, used=1.1)),)))
    assert warm.resumes == ()
    cool = decide(snapshot(leases=paused, nodes=(mac(heat=heat(Level.FAIR, used=0.8)),)))
    assert [each.key for each in cool.resumes] == ["high"]
    again = snapshot(leases=(paused[0],), past=cool.past, now=NOW + timedelta(seconds=30))
    assert decide(again).resumes == (), "each step is measured before the next"
    assert [each.key for each in decide(replace(again, now=NOW + timedelta(seconds=60))).resumes] == ["low"]
    silent = decide(snapshot(leases=paused, nodes=(mac(heat=Heat()),)))
    assert [each.key for each in silent.resumes] == ["high"], "a sensor that falls silent does not leave work paused for ever"


def test_paused_work_keeps_its_room_and_passes_new_work() -> None:
    paused = (lease("r", memory=10, priority=5, paused=True),)
    assert decide(snapshot(item("w", memory=8), leases=paused)).explain(ref("w")).reason is Reason.WAITING_FOR_MEMORY
    assert decide(snapshot(item("w", memory=2), leases=paused)).explain(ref("w")).reason is Reason.WAITING_FOR_HEAT
    assert granted(decide(snapshot(item("w", memory=2, priority=6), leases=paused))) == ["w"]
    assert granted(decide(snapshot(item("w", memory=2, work="serving"), leases=paused))) == ["w"]


# --- limits --------------------------------------------------------------------------------------------------------


def test_max_running_holds_within_one_decision_and_counts_no_serving() -> None:
    quotas = (quota("a", 16, max_running=2),)
    queue = tuple(item(f"w{n}") for n in range(4))
    decision = decide(snapshot(*queue, item("s", work="serving"), quotas=quotas, leases=(lease("svc", work="serving"),)))
    assert granted(decision) == ["s", "w0", "w1"]
    assert decision.explain(ref("w2")).reason is Reason.MAX_RUNNING


def test_room_that_is_about_to_be_free_is_not_free_yet() -> None:
    """What was asked to stop, and what is paused, stays charged."""
    assert granted(decide(snapshot(item("w", memory=10), leases=(lease("r", memory=8, ending=True),)))) == []
    assert granted(decide(snapshot(item("w", memory=8), leases=(lease("r", memory=8, ending=True),)))) == ["w"]


def test_an_unknown_capacity_bounds_nothing() -> None:
    """A machine of which nobody knows the power: watts are granted as asked."""
    decision = decide(snapshot(item("w", watts=500), quotas=(quota("a", 4),), nodes=(mac(16, capacity=limits(16)),)))
    assert granted(decision) == ["w"]


def test_history_is_kept() -> None:
    """Starts are remembered by project and node; the rest of the past stays."""
    before = Past(project_started={"z": NOW - timedelta(days=1)}, node_started={"old": NOW - timedelta(days=1)})
    past = decide(snapshot(item("w"), past=before)).past
    assert past.project_started == {"z": NOW - timedelta(days=1), "a": NOW}
    assert past.node_started == {"old": NOW - timedelta(days=1), "mac": NOW}


# --- starvation ----------------------------------------------------------------------------------------------------


def busy(world: World, project: str, memory: float, seconds: float, n: int, waiting: int = 4) -> None:
    """Keeps the project's queue full of alike pieces."""
    for k in range(waiting - sum(each.project == project for each in world.queue)):
        world.submit(item(f"{project}{n}-{k}", project, memory, seconds=seconds, now=world.now))


def pass_time(world: World, seconds: float) -> None:
    world.now += timedelta(seconds=seconds)
    over = [each for each in world.leases.values() if (world.now - each.since).total_seconds() >= (each.seconds or 1e9)]
    for each in over:
        del world.leases[each.ref]


def started_after(world: World, *, feeds: dict[str, tuple[float, float]], most: float) -> float:
    """Seconds until `big` runs, with others sending work all the time."""
    since = world.now
    n = 0
    while ref("big", "big") not in world.leases and ref("big", "a") not in world.leases:
        for project, (memory, seconds) in feeds.items():
            busy(world, project, memory, seconds, n)
        world.step()
        n += 1
        pass_time(world, 30)
        assert (world.now - since).total_seconds() < most, "it starves"
    return (world.now - since).total_seconds()


def test_large_work_does_not_starve_behind_small_work_of_others() -> None:
    """Half an hour of patience, then at most as long as the longest piece runs, and the time between two decisions."""
    world = World()
    world.submit(item("big", "big", 14, seconds=600.0))
    took = started_after(world, feeds={"a": (3, 900.0), "b": (2, 700.0)}, most=20_000)
    assert 1800 <= took <= 1800 + 900 + 60


def test_without_the_reservation_it_would() -> None:
    world = World(rules=Rules(reserve_after=timedelta(days=30)))
    world.submit(item("big", "big", 14, seconds=600.0))
    with pytest.raises(AssertionError, match="it starves"):
        started_after(world, feeds={"a": (3, 900.0), "b": (2, 700.0)}, most=20_000)


def test_large_work_does_not_starve_behind_small_work_of_its_own_project() -> None:
    """The project itself starts something all the time; its own head is passed only by what came soon after it."""
    world = World()
    world.submit(item("big", "a", 14, seconds=600.0))
    started_after(world, feeds={"a": (3, 900.0)}, most=5 * 1800 + 1800)
    patient = World(rules=Rules(reserve_after=timedelta(days=30)))
    patient.submit(item("big", "a", 14, seconds=600.0))
    with pytest.raises(AssertionError, match="it starves"):
        started_after(patient, feeds={"a": (3, 900.0)}, most=40_000)


def test_what_nobody_can_free_is_not_reserved() -> None:
    """The room is held by a service for good: keeping others out would help nobody."""
    past = Past(project_started={"c": NOW - timedelta(hours=3)})
    taken = snapshot(item("big", "c", 14, waited=7200), item("w", "a", 4), leases=(lease("svc", "s", 4, work="serving"),), past=past)
    assert granted(decide(taken)) == ["w"]


def test_a_borrower_that_starves_does_not_keep_out_what_is_within_its_own() -> None:
    """c waits for 14 GiB that it would have to borrow; a is within its own 8 GiB."""
    past = Past(project_started={"c": NOW - timedelta(hours=3)})
    quotas = (quota("a", 8), quota("b", 8), quota("c", 0))
    running = (lease("b1", "b", 8, ran=10, seconds=4000),)
    taken = snapshot(item("big", "c", 14, waited=7200), item("w", "a", 4, seconds=50_000), quotas=quotas, leases=running, past=past)
    assert granted(decide(taken)) == ["w"]


def test_who_had_more_than_others_of_late_reserves_nothing() -> None:
    """One large piece at a time may fill the machine for an hour: that its project started nothing meanwhile is no starving."""
    past = Past(project_started={"c": NOW - timedelta(hours=3)}, usage={"c": 0.5, "a": 0.1}, at=NOW)
    running = (lease("b1", "b", 10, ran=600, seconds=4000),)
    taken = snapshot(item("big", "c", 14, waited=7200), item("w", "a", 4, seconds=5000), leases=running, past=past)
    assert granted(decide(taken)) == ["w"]
    fair = replace(taken, past=replace(past, usage={"c": 0.1, "a": 0.1}))
    assert granted(decide(fair)) == []


def test_reservations_are_one_after_the_other() -> None:
    """The second large one comes when the first is over: until then there is time for what ends before, beside the first."""
    past = Past(project_started={"c": NOW - timedelta(hours=4), "d": NOW - timedelta(hours=3)})
    running = (lease("b1", "b", 10, ran=600, seconds=1600),)
    first, second = item("big1", "c", 10, waited=9000, seconds=600.0), item("big2", "d", 14, waited=8000, seconds=600.0)
    between = snapshot(first, second, item("w", "a", 4, seconds=1500.0), leases=running, past=past)
    assert granted(decide(between)) == ["w"]
    beyond = snapshot(first, second, item("w", "a", 4, seconds=1700.0), leases=running, past=past)
    decision = decide(beyond)
    assert granted(decision) == []
    assert [each.key for each in decision.explain(ref("w")).blockers] == ["big2"]
    assert [decision.explain(each.ref).position for each in beyond.queue] == [1, 2, 3]


def test_an_overdue_piece_holds_a_reservation_up_but_nobody_passes() -> None:
    """Expected to be over long ago: the room may come at any moment, so that nothing is expected to end before it."""
    past = Past(project_started={"c": NOW - timedelta(hours=3)})
    running = (lease("b1", "b", 10, ran=6000, seconds=4000),)
    taken = snapshot(item("big", "c", 14, waited=7200), item("w", "a", 4, seconds=5.0), leases=running, past=past)
    decision = decide(taken)
    assert granted(decision) == []
    assert decision.explain(ref("w")).reason is Reason.BEHIND_RESERVATION


def test_the_room_of_an_unlimited_machine() -> None:
    """No memory known at all: quotas alone bound it."""
    taken = snapshot(item("w", memory=400, waited=1), item("v", memory=200), nodes=(mac(None),), quotas=(quota("a", 500, cohort=""),))
    assert granted(decide(taken)) == ["w"]
    assert decide(taken).explain(ref("v")).reason is Reason.BEHIND
