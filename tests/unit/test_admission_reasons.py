"""Every reason that work can wait for, in their order, with the words that people read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.admission.decide import decide
from reconciler.admission.values import Earmark, Heat, Level, Past, Quota, Reason, Rules, Snapshot, Window
from tests.unit.admission_world import NOW, G, amounts, granted, item, lease, limits, mac, quota, ref, snapshot

W = ref("w")
"""What each case asks about."""
HOT = Heat(Level.SERIOUS, 1.0, NOW)
CRITICAL = Heat(Level.CRITICAL, 1.3, NOW - timedelta(seconds=10))
FAIR = Heat(Level.FAIR, 0.8, NOW)

CASES: dict[str, tuple[Snapshot, Reason, str, tuple[str, ...]]] = {
    "admitted": (snapshot(item("w")), Reason.ADMITTED, "starts on mac", ()),
    "larger than the machine": (
        snapshot(item("w", memory=17), nodes=(mac(16),)),
        Reason.EXCEEDS_MACHINE,
        "needs 17 GiB of memory; mac can give 16 GiB at most",
        (),
    ),
    "the reserve counts": (
        snapshot(item("w", memory=15), nodes=(mac(16, reserve=amounts(1.5), system=amounts(0.5)),)),
        Reason.EXCEEDS_MACHINE,
        "needs 15 GiB of memory; mac can give 14 GiB at most",
        (),
    ),
    "one allocation too large": (
        snapshot(item("w", memory=8, largest_buffer=7), nodes=(mac(16, largest_buffer=6 * G),)),
        Reason.EXCEEDS_MACHINE,
        "needs one allocation of 7 GiB; mac can make 6 GiB at most",
        (),
    ),
    "larger than nominal and borrowing": (
        snapshot(item("w", memory=6), quotas=(quota("a", 4, borrowing=1), quota("b", 8))),
        Reason.EXCEEDS_QUOTA,
        "needs 6 GiB of memory; a can have 5 GiB at most: 4 GiB nominal, 1 GiB borrowed",
        (),
    ),
    "larger than nominal without a cohort": (
        snapshot(item("w", memory=6), quotas=(quota("a", 4, cohort=""),)),
        Reason.EXCEEDS_QUOTA,
        "needs 6 GiB of memory; a can have 4 GiB at most: 4 GiB nominal, nothing to borrow",
        (),
    ),
    "larger than what the cohort lends": (
        snapshot(item("w", memory=6), quotas=(quota("a", 4), quota("b", 8, lending=1))),
        Reason.EXCEEDS_QUOTA,
        "needs 6 GiB of memory; a can have 5 GiB at most: 4 GiB nominal, 1 GiB borrowed",
        (),
    ),
    "the quotas give everything away": (
        snapshot(item("w"), quotas=(quota("b", 16),)),
        Reason.EXCEEDS_QUOTA,
        "needs 1 GiB of memory; a has no quota, and the quotas of others give the whole machine away:"
        " write a ResourceQuota for a and lower another's nominal.memory",
        (),
    ),
    "the quotas leave too little": (
        snapshot(item("w", memory=3), quotas=(quota("b", 14),)),
        Reason.EXCEEDS_QUOTA,
        "needs 3 GiB of memory; a has no quota, and all quotas leave 2 GiB: write a ResourceQuota for a",
        (),
    ),
    "project not active": (snapshot(item("w"), quotas=(quota("a", 4, active=False),)), Reason.INACTIVE, "project a is not active", ()),
    "after a failure": (
        snapshot(item("w", not_before=NOW + timedelta(seconds=1))),
        Reason.BACKING_OFF,
        "it failed before and is tried again after a pause",
        (),
    ),
    "outside its window": (
        snapshot(item("w"), quotas=(replace(quota("a", 4), windows=(Window(True, "0 20 * * *", 3600),)),)),
        Reason.OUTSIDE_WINDOW,
        "the windows of a's quota let nothing start now",
        (),
    ),
    "too many running": (
        snapshot(
            item("w"),
            quotas=(quota("a", 4, max_running=2),),
            leases=(lease("r1", seconds=7200), lease("r2", seconds=4000)),
        ),
        Reason.MAX_RUNNING,
        "a may run 2 at once and does",
        ("r2",),
    ),
    "quota used by itself": (
        snapshot(item("w", memory=2), quotas=(quota("a", 4, cohort=""),), leases=(lease("r1", memory=3),)),
        Reason.WAITING_FOR_QUOTA,
        "needs 2 GiB of memory; a has 4 GiB nominal, 3 GiB in use; 1 GiB free; it is in no cohort to borrow from",
        ("r1",),
    ),
    "quota lent to others, who are immune": (
        snapshot(
            item("w", memory=2),
            quotas=(quota("a", 4), quota("b", 2)),
            leases=(lease("b1", "b", 3, ran=10, seconds=100), lease("b2", "b", 3, ran=10, seconds=50)),
        ),
        Reason.WAITING_FOR_QUOTA,
        "needs 2 GiB of memory; a has 4 GiB nominal, 0 GiB in use; 0 GiB free; nothing to borrow: cohort team is fully used",
        ("b2",),
    ),
    "borrows all that it may": (
        snapshot(
            item("w", memory=2), quotas=(quota("a", 2, borrowing=1), quota("b", 8)), leases=(lease("r1", memory=2), lease("r2", memory=1))
        ),
        Reason.WAITING_FOR_QUOTA,
        "needs 2 GiB of memory; a has 2 GiB nominal, 3 GiB in use; 0 GiB free; it may borrow 1 GiB and does",
        ("r1",),
    ),
    "what no quota gives away is in use": (
        snapshot(item("w", memory=2), quotas=(quota("q", 12),), leases=(lease("r1", "b", 3),)),
        Reason.WAITING_FOR_QUOTA,
        "needs 2 GiB of memory; what no quota gives to anyone is shared by all projects without a quota, 1 GiB of it free",
        ("r1",),
    ),
    "memory": (
        snapshot(item("w", memory=6), leases=(lease("r1", "b", 6), lease("r2", "c", 6))),
        Reason.WAITING_FOR_MEMORY,
        "needs 6 GiB of memory; mac has 4 GiB free of 16 GiB",
        ("r1",),
    ),
    "what was asked to stop ends first": (
        snapshot(item("w", memory=14), leases=(lease("r1", "b", 4, ran=600, seconds=700), lease("r2", "b", 4, ending=True))),
        Reason.WAITING_FOR_MEMORY,
        "needs 14 GiB of memory; mac has 8 GiB free of 16 GiB",
        ("r2", "r1"),
    ),
    "memory that others outside use": (
        snapshot(item("w", memory=6), nodes=(mac(16, outside=amounts(12)),)),
        Reason.WAITING_FOR_MEMORY,
        "needs 6 GiB of memory; mac has 4 GiB free of 4 GiB",
        (),
    ),
    "memory of a machine whose quotas promise too much": (
        snapshot(item("w", memory=6), quotas=(quota("a", 12, cohort=""), quota("b", 12, cohort="")), leases=(lease("b1", "b", 12),)),
        Reason.WAITING_FOR_MEMORY,
        "needs 6 GiB of memory; mac has 4 GiB free of 16 GiB",
        ("b1",),
    ),
    "cores": (
        snapshot(item("w", cpu=4), quotas=(quota("a", 8),), nodes=(mac(16, 8),), leases=(lease("r1", "b", 1, cpu=5.5),)),
        Reason.WAITING_FOR_CPU,
        "needs 4 cores; mac has 2.5 cores free of 8 cores",
        ("r1",),
    ),
    "gpu": (
        snapshot(
            item("w", gpu=0.5),
            quotas=(quota("a", 8),),
            nodes=(mac(16, capacity=limits(16, None, 1)),),
            leases=(lease("r1", gpu=0.75),),
        ),
        Reason.WAITING_FOR_GPU,
        "needs 0.5 GPUs; mac has 0.25 GPUs free of 1 GPU",
        ("r1",),
    ),
    "watts": (
        snapshot(
            item("w", watts=20),
            quotas=(quota("a", 8),),
            nodes=(mac(16, capacity=limits(16, None, None, 30)),),
            leases=(lease("r1", watts=15),),
        ),
        Reason.WAITING_FOR_WATTS,
        "needs 20 W; mac has 15 W free of 30 W",
        ("r1",),
    ),
    "hot": (
        snapshot(item("w", priority=6), nodes=(mac(heat=HOT),)),
        Reason.WAITING_FOR_HEAT,
        "mac is hot (serious): only priority 7 and above starts",
        (),
    ),
    "hot, but exempt": (snapshot(item("w", priority=7), nodes=(mac(heat=HOT),)), Reason.ADMITTED, "starts on mac", ()),
    "hot, but serving": (snapshot(item("w", priority=1, work="serving"), nodes=(mac(heat=HOT),)), Reason.ADMITTED, "starts on mac", ()),
    "critically hot": (
        snapshot(item("w", priority=10), nodes=(mac(heat=CRITICAL),)),
        Reason.WAITING_FOR_HEAT,
        "mac is critically hot: nothing starts",
        (),
    ),
    "critically hot, serving": (
        snapshot(item("w", priority=10, work="serving"), nodes=(mac(heat=CRITICAL),)),
        Reason.WAITING_FOR_HEAT,
        "mac is critically hot: nothing starts",
        (),
    ),
    "something paused for heat goes on first": (
        snapshot(item("w"), leases=(lease("r1", paused=True),)),
        Reason.WAITING_FOR_HEAT,
        "work on mac is paused for heat and goes on first",
        (),
    ),
    "memory pressure": (
        snapshot(item("w", priority=6), nodes=(mac(memory_level=Level.SERIOUS),)),
        Reason.MEMORY_PRESSURE,
        "mac is short of memory: serious",
        (),
    ),
    "memory pressure, but exempt": (
        snapshot(item("w", priority=7), nodes=(mac(memory_level=Level.SERIOUS),)),
        Reason.ADMITTED,
        "starts on mac",
        (),
    ),
    "memory pressure, critical": (
        snapshot(item("w", priority=10), nodes=(mac(memory_level=Level.CRITICAL),)),
        Reason.MEMORY_PRESSURE,
        "mac is short of memory: critical",
        (),
    ),
    "settling": (
        snapshot(item("w"), nodes=(mac(heat=FAIR),), past=Past(node_started={"mac": NOW - timedelta(seconds=4)})),
        Reason.SETTLING,
        "something has just started on mac: its heat is measured first",
        (),
    ),
    "settled": (
        snapshot(item("w"), nodes=(mac(heat=FAIR),), past=Past(node_started={"mac": NOW - timedelta(seconds=5)})),
        Reason.ADMITTED,
        "starts on mac",
        (),
    ),
    "waits for those that it stops": (
        snapshot(item("w", memory=4), quotas=(quota("a", 8), quota("b", 8)), leases=(lease("b1", "b", 14),)),
        Reason.WAITING_FOR_PREEMPTED,
        "others were asked to stop for it on mac and have not ended yet",
        ("b1",),
    ),
    "waits for those that were stopped before": (
        snapshot(
            item("w", memory=4),
            quotas=(quota("a", 8), quota("b", 8)),
            leases=(lease("b1", "b", 14, ending=True),),
            past=Past(earmarks=(Earmark(W, "mac", amounts(4), NOW + timedelta(seconds=60)),)),
        ),
        Reason.WAITING_FOR_PREEMPTED,
        "others were asked to stop for it on mac and have not ended yet",
        ("b1",),
    ),
    "somebody has waited longer": (
        snapshot(
            item("w", memory=4, seconds=5000),
            item("big", "c", 14, waited=7200),
            leases=(lease("b1", "b", 10, ran=600, seconds=4000),),
            past=Past(project_started={"c": NOW - timedelta(hours=3), "b": NOW, "a": NOW}),
        ),
        Reason.BEHIND_RESERVATION,
        "the room is kept for experiment/c/e#big, which has waited too long",
        ("big",),
    ),
    "somebody has waited longer, but this is over before": (
        snapshot(
            item("w", memory=4, seconds=3000),
            item("big", "c", 14, waited=7200),
            leases=(lease("b1", "b", 10, ran=600, seconds=4000),),
            past=Past(project_started={"c": NOW - timedelta(hours=3), "b": NOW, "a": NOW}),
        ),
        Reason.ADMITTED,
        "starts on mac",
        (),
    ),
    "somebody has waited longer, but this fits beside it": (
        snapshot(
            item("w", memory=2, seconds=5000),
            item("big", "c", 14, waited=7200),
            leases=(lease("b1", "b", 10, ran=600, seconds=4000),),
            past=Past(project_started={"c": NOW - timedelta(hours=3), "b": NOW, "a": NOW}),
        ),
        Reason.ADMITTED,
        "starts on mac",
        (),
    ),
    "somebody else takes the room now": (
        snapshot(item("w", memory=10), item("first", "b", 10, priority=9)),
        Reason.BEHIND,
        "experiment/b/e#first goes first and takes the room",
        ("first",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reason(name: str) -> None:
    """The reason, its words and who is in the way; a verdict and the grants never contradict each other."""
    taken, reason, message, blockers = CASES[name]
    decision = decide(taken)
    verdict = decision.explain(W)
    assert (verdict.reason, verdict.message) == (reason, message)
    assert tuple(each.key for each in verdict.blockers) == blockers
    assert verdict.admitted == ("w" in granted(decision)) == (verdict.node == "mac") == (verdict.position == 0)


def test_every_reason_has_a_case() -> None:
    assert {reason for _, reason, _, _ in CASES.values()} == set(Reason)


def test_messages_stay_the_same_as_time_passes() -> None:
    """No timestamp and no counter: the same state a minute later reads the same (what ages is kept out)."""
    for name, (taken, reason, message, _) in CASES.items():
        if reason.never or reason in (Reason.WAITING_FOR_QUOTA, Reason.WAITING_FOR_MEMORY, Reason.INACTIVE, Reason.MEMORY_PRESSURE):
            later = decide(replace(taken, now=NOW + timedelta(seconds=60))).explain(W)
            assert later.message == message, name


def test_the_first_reason_counts() -> None:
    """Larger than the machine is told before the closed window, the window before the quota."""
    nothing = Window(False, "* * * * *", 3600)
    closed = replace(quota("a", 4, cohort=""), windows=(nothing,))
    full = (lease("r1", memory=4),)
    assert decide(snapshot(item("w", memory=99), quotas=(closed,), leases=full)).explain(W).reason is Reason.EXCEEDS_MACHINE
    assert decide(snapshot(item("w"), quotas=(closed,), leases=full)).explain(W).reason is Reason.OUTSIDE_WINDOW
    assert decide(snapshot(item("w"), quotas=(replace(closed, windows=()),), leases=full)).explain(W).reason is Reason.WAITING_FOR_QUOTA


def test_unknown_heat_blocks_nothing_and_is_told() -> None:
    decision = decide(snapshot(item("w"), nodes=(mac(heat=Heat()),)))
    assert granted(decision) == ["w"]
    assert decision.warnings == ("no sensor tells the heat of mac: admission looks at quotas and memory only",)
    assert decide(snapshot(item("w"))).warnings == ()


def test_what_is_not_queued_has_no_verdict() -> None:
    with pytest.raises(KeyError):
        decide(snapshot()).explain(W)


def test_a_project_without_quota_object_is_like_an_undeclared_one() -> None:
    missing = decide(snapshot(item("w", memory=3), quotas=(quota("b", 14),)))
    stated = decide(snapshot(item("w", memory=3), quotas=(quota("b", 14), Quota("a", declared=False))))
    assert missing.explain(W) == stated.explain(W)


def test_positions_count_all_that_wait() -> None:
    """In the order of the tournament: shares take turns, within a project priority and age."""
    full = (lease("r", "z", 16),)
    queue = (
        item("a1", waited=5),
        item("a2", waited=4),
        item("a3", priority=6),
        item("b1", "b", waited=3),
        item("b2", "b", waited=2),
        item("never", memory=99),
    )
    decision = decide(snapshot(*queue, leases=full, rules=Rules(preemption=False)))
    order = sorted(queue, key=lambda each: decision.explain(each.ref).position)
    assert [each.ref.key for each in order] == ["a3", "b1", "a1", "b2", "a2", "never"]
    assert [decision.explain(each.ref).position for each in order] == [1, 2, 3, 4, 5, 6]
