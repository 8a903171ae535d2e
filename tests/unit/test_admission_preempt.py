"""Who is stopped for whom, and that nobody is stopped for nothing: Kueue's loops as regressions.

The loop tests take the immunity and the cap on pre-emptions away, so that only the rules themselves end a loop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.admission.decide import decide
from reconciler.admission.values import Earmark, Heat, Item, Level, Past, Quota, Rules
from reconciler.model.demand import UNLIMITED
from tests.unit.admission_world import NOW, World, amounts, granted, item, lease, limits, mac, quota, ref, snapshot, stopped

BARE = Rules(immunity=timedelta(0), most_preemptions=10_000, earmark=timedelta(seconds=10))
TWO = (quota("a", 8), quota("b", 8))


# --- taking back what was lent -------------------------------------------------------------------------------------


def test_a_project_takes_back_what_it_lent() -> None:
    """The borrower gives back just as much as is needed: the work of the lowest priority, of equals the youngest."""
    running = (
        lease("own", "b", 8, priority=1, ran=7200),
        lease("old", "b", 4, ran=7200),
        lease("young", "b", 4, ran=3600),
    )
    decision = decide(snapshot(item("w", memory=4), quotas=TWO, leases=running))
    assert stopped(decision) == ["own"]
    assert decision.preemptions[0].why == "a takes back for experiment/a/e#w what b had borrowed"
    assert decision.past.earmarks == (Earmark(ref("w"), "mac", amounts(4), NOW + Rules().earmark),)
    alike = tuple(replace(each, priority=5) for each in running)
    assert stopped(decide(snapshot(item("w", memory=4), quotas=TWO, leases=alike))) == ["young"]


def test_no_more_than_needed_is_stopped() -> None:
    """Small victims come first in the order, but one large makes them needless (Kueue's fill-back)."""
    running = (lease("small", "b", 1, ran=1000), lease("large", "b", 5, ran=1100), lease("rest", "b", 10, ran=1200))
    assert stopped(decide(snapshot(item("w", memory=5), quotas=TWO, leases=running))) == ["large"]


def test_only_what_was_borrowed_is_taken_back() -> None:
    """b uses its own 8 GiB and no more: a, which would have to borrow, waits."""
    running = (lease("b1", "b", 4), lease("b2", "b", 4), lease("a1", "a", 8))
    assert not decide(snapshot(item("w", memory=4), quotas=TWO, leases=running)).preemptions


@pytest.mark.parametrize(
    "guarded",
    [
        lease("v", "b", 12, work="serving"),
        lease("v", "b", 12, preemptible=False),
        lease("v", "b", 12, ran=899),
        lease("v", "b", 12, ran=3599, seconds=36_000),
        lease("v", "b", 12, preempted=3),
    ],
    ids=["serving", "not preemptible", "young", "a tenth of its length", "stopped three times"],
)
def test_who_may_not_be_stopped(guarded: object) -> None:
    assert isinstance(guarded, type(lease("v")))
    assert not decide(snapshot(item("w", memory=6), quotas=TWO, leases=(guarded,))).preemptions
    plain = lease("v", "b", 12, seconds=36_000)
    assert stopped(decide(snapshot(item("w", memory=6), quotas=TWO, leases=(plain,)))) == ["v"]


def test_preemption_can_be_switched_off() -> None:
    running = (lease("v", "b", 12),)
    assert not decide(snapshot(item("w", memory=6), quotas=TWO, leases=running, rules=Rules(preemption=False))).preemptions


def test_a_cut_stops_nothing_by_itself() -> None:
    """b is far above its quota after a cut: nothing is stopped until somebody entitled asks; b itself starts nothing more."""
    cut = (quota("a", 8), quota("b", 0), quota("c", 8))
    running = (lease("b1", "b", 6, ran=7200), lease("b2", "b", 6))
    quiet = decide(snapshot(item("more", "b", 4, seconds=10), quotas=(cut[0], cut[1], quota("c", 6)), leases=running))
    assert (granted(quiet), stopped(quiet)) == ([], [])
    assert stopped(decide(snapshot(item("w", memory=6), quotas=cut, leases=running))) == ["b2"]


def test_the_room_of_a_machine_is_taken_back_too() -> None:
    """b has no cohort with a, but holds more than its quota gives it since a cut: a's own amount is physically missing."""
    quotas = (quota("a", 8, cohort=""), quota("b", 2, cohort=""))
    running = (lease("b1", "b", 6, ran=7200), lease("b2", "b", 6))
    assert stopped(decide(snapshot(item("w", memory=8), quotas=quotas, leases=running))) == ["b2"]


def test_what_no_quota_speaks_of_is_nobodys_to_take_back() -> None:
    """Both are within their memory; cores are governed by nobody, so that neither may stop the other for them."""
    taken = snapshot(item("w", memory=1, cpu=4), quotas=TWO, nodes=(mac(16, 4),), leases=(lease("b1", "b", 1, cpu=4),))
    assert not decide(taken).preemptions


def test_higher_priority_stops_lower_of_its_own_project_only() -> None:
    alone = (quota("a", 8, cohort=""), quota("b", 8, cohort=""))
    running = (lease("low", "a", 8, priority=4), lease("other", "b", 8, priority=1))
    decision = decide(snapshot(item("w", memory=2, priority=6), quotas=alone, leases=running))
    assert stopped(decision) == ["low"]
    assert decision.preemptions[0].why == "experiment/a/e#w of the same project has priority 6, this one 4"
    equal = snapshot(item("w", memory=2, priority=4, waited=7200), quotas=alone, leases=running)
    assert not decide(equal).preemptions, "waiting raises the place in the queue, not the right to stop others"


def test_undeclared_projects_do_not_stop_each_other() -> None:
    assert not decide(snapshot(item("w", memory=6), leases=(lease("b1", "b", 8), lease("b2", "b", 8)))).preemptions


def test_preemption_needs_a_cool_machine() -> None:
    """Nobody is stopped for work that could not start then."""
    hot = mac(heat=Heat(Level.SERIOUS, 1.0, NOW))
    assert not decide(snapshot(item("w", memory=6), quotas=TWO, leases=(lease("v", "b", 12),), nodes=(hot,))).preemptions
    exempt = item("w", memory=6, priority=7)
    assert stopped(decide(snapshot(exempt, quotas=TWO, leases=(lease("v", "b", 12),), nodes=(hot,)))) == ["v"]


def test_all_that_is_needed_goes_in_one_round() -> None:
    """A project whose whole share is lent gets it back in one decision."""
    running = tuple(lease(f"b{n}", "b", 2, ran=3600 + n) for n in range(8))
    decision = decide(snapshot(*(item(f"w{n}", memory=2) for n in range(6)), quotas=TWO, leases=running))
    assert stopped(decision) == ["b0", "b1", "b2", "b3"]
    assert {each.preemptor.key for each in decision.preemptions} == {"w0", "w1", "w2", "w3"}


# --- fair sharing of what is borrowed ------------------------------------------------------------------------------


def test_the_larger_borrower_gives_way() -> None:
    """Both borrow from c; b has so much that after giving way it still has no less than a (S2-a)."""
    quotas = (quota("a", 0), quota("b", 0), quota("c", 16))
    running = tuple(lease(f"b{n}", "b", 4, ran=3600 + n) for n in range(4))
    decision = decide(snapshot(item("w", memory=4), quotas=quotas, leases=running))
    assert stopped(decision) == ["b0"]
    assert decision.preemptions[0].why == "b borrows more than its fair share; a gets a part of it for experiment/a/e#w"


def test_weights_count() -> None:
    """b may have three times as much: with 12 of 16 GiB it has no more than its part."""
    quotas = (quota("a", 0), quota("b", 0, weight=3.0), quota("c", 16))
    running = (lease("a1", "a", 4), *(lease(f"b{n}", "b", 4, ran=3600 + n) for n in range(3)))
    assert not decide(snapshot(item("w", memory=4), quotas=quotas, leases=running)).preemptions
    light = (quota("a", 0), quota("b", 0, weight=1.0), quota("c", 16))
    assert stopped(decide(snapshot(item("w", memory=4), quotas=light, leases=running))) == ["b0"]


def test_what_is_not_in_the_way_of_a_share_is_left_alone() -> None:
    """b's large share is memory; its piece that holds only cores would not lower it, so that a has no claim to those cores."""
    quotas = (Quota("a", limits(0, 0), cohort="t"), Quota("b", limits(0, 0), cohort="t"), Quota("c", limits(16, 8), cohort="t"))
    running = (lease("memory", "b", 12, priority=9), lease("cores", "b", 0, cpu=5))
    taken = snapshot(item("w", memory=0, cpu=4), quotas=quotas, leases=running, nodes=(mac(16, 8),))
    assert not decide(taken).preemptions
    mixed = (lease("memory", "b", 6, priority=9), lease("both", "b", 6, cpu=8))
    assert stopped(decide(snapshot(item("w", memory=0, cpu=1), quotas=quotas, leases=mixed, nodes=(mac(16, 8),)))) == ["both"]


def test_who_holds_no_more_than_his_own_is_safe() -> None:
    """b has borrowed, but most of its work is still young; c is within its own and keeps it."""
    quotas = (quota("a", 6), quota("b", 4), quota("c", 6))
    running = (lease("b1", "b", 8, ran=10), lease("b2", "b", 2), lease("c1", "c", 6, priority=1))
    assert not decide(snapshot(item("w", memory=6, priority=10), quotas=quotas, leases=running)).preemptions


def test_without_a_quota_priority_counts_within_the_own_project_only() -> None:
    """Its own lower priority does not suffice, and the work of b is none of its business."""
    running = (lease("own", "a", 2, priority=1), lease("b1", "b", 6, priority=1), lease("b2", "b", 6, priority=1))
    for quotas in ((), (quota("z", 2),)):
        assert not decide(snapshot(item("w", memory=6, priority=9), leases=running, quotas=quotas)).preemptions
    assert stopped(decide(snapshot(item("w", memory=2, priority=9), leases=running, quotas=(quota("z", 2),)))) == ["own"]


def test_nobody_is_stopped_for_room_that_comes_by_itself() -> None:
    """Within the time of the immunity something ends that makes the room: later than that is too late."""
    running = (lease("b1", "b", 10, ran=4000), lease("b2", "b", 6, ran=3400, seconds=4300))
    assert not decide(snapshot(item("w", memory=6), quotas=TWO, leases=running)).preemptions
    later = (running[0], replace(running[1], seconds=4301))
    assert stopped(decide(snapshot(item("w", memory=6), quotas=TWO, leases=later))) == ["b2"]
    overdue = (running[0], replace(running[1], seconds=3000))
    assert stopped(decide(snapshot(item("w", memory=6), quotas=TWO, leases=overdue))) == ["b2"], "what should be over may last"


# --- loops ---------------------------------------------------------------------------------------------------------


def world(*quotas: Quota, memory: float = 16, rules: Rules = BARE) -> World:
    return World(nodes=(mac(memory, 16),), quotas={each.project: each for each in quotas}, rules=rules)


def long(name: str, project: str, memory: float, *, cpu: float = 0, waited: float = 0) -> Item:
    """Work that ends by nothing but a stop."""
    return item(name, project, memory, cpu=cpu, waited=waited)


def test_kueue_3779_two_borrowers_do_not_stop_each_other_in_turn() -> None:
    """Two borrowers whose pieces of work cannot both run: whoever runs, runs on."""
    here = world(quota("a", 0), quota("b", 0), quota("c", 10), memory=10)
    here.submit(long("a1", "a", 6), long("b1", "b", 6))
    assert here.settle() == 0
    assert len(here.running()) == 1
    uneven = world(quota("a", 0), quota("b", 0), quota("c", 10), memory=10)
    uneven.submit(long("b1", "b", 5), long("b2", "b", 4))
    uneven.settle()
    uneven.submit(long("a1", "a", 5))
    assert uneven.settle() == 1
    assert uneven.running() in (["a1", "b1"], ["a1", "b2"])


def test_kueue_7101_one_victim_is_not_stopped_again_and_again() -> None:
    """A stream of entitled work meets one long borrower (33 pre-emptions there): once stopped, it waits until there is room to stay."""
    here = world(quota("a", 8), quota("b", 8))
    here.submit(long("victim", "b", 12))
    here.settle()
    for n in range(30):
        here.submit(item(f"a{n}", "a", 6, seconds=60, now=here.now))
        here.settle()
        for each in [each for each in here.leases if each.project == "a"]:
            if n % 3 == 2:
                del here.leases[each]
                here.settle()
    assert here.stops["victim"] <= 11, "at most once for each time that a came back from nothing"
    usual = world(quota("a", 8), quota("b", 8), rules=Rules())
    usual.submit(long("victim", "b", 12))
    usual.settle()
    for n in range(30):
        usual.now += timedelta(hours=3)
        usual.submit(item(f"a{n}", "a", 6, seconds=60, now=usual.now))
        usual.settle(200)
        for each in [each for each in usual.leases if each.project == "a"]:
            del usual.leases[each]
        usual.settle(200)
    assert usual.stops["victim"] == 3, "and never more often than the rules say"
    assert "victim" in usual.running()


def test_kueue_13662_what_was_freed_is_kept_for_whom_it_was_freed() -> None:
    """Between the stop and the start others ask for the room, small ones that would fit at once."""
    here = world(quota("a", 8), quota("b", 8))
    here.submit(long("b1", "b", 8), long("b2", "b", 8))
    here.settle()
    here.submit(long("w", "a", 8))
    assert stopped(here.step()) == ["b1"]
    here.submit(*(item(f"small{n}", "b", 1, waited=9000, priority=10) for n in range(20)))
    here.stop(ref("b1", "b"))
    assert granted(here.step()) == ["w"]
    assert here.settle() == 0


def test_an_earmark_ends_when_nothing_comes_of_it() -> None:
    """The pre-emptor cannot start for another reason: others get the room when the earmark is over, nobody is stopped again."""
    here = world(quota("a", 8), quota("b", 8))
    here.submit(long("b1", "b", 8), long("b2", "b", 8))
    here.settle()
    here.submit(long("w", "a", 8))
    here.step()
    here.stop(ref("b1", "b"))
    here.nodes = (replace(here.nodes[0], heat=Heat(Level.SERIOUS, 1.0, NOW)),)
    here.submit(item("exempt", "b", 8, priority=9))
    assert granted(here.step()) == []
    here.now += BARE.earmark
    assert granted(here.step()) == ["exempt"]


def test_an_earmark_lasts_while_the_victim_does() -> None:
    """A victim that takes long to stop: the room is still the pre-emptor's when it is gone at last."""
    here = world(quota("a", 8), quota("b", 8))
    here.submit(long("b1", "b", 16))
    here.settle()
    here.submit(long("w", "a", 8))
    here.step()
    here.now += timedelta(minutes=10)
    here.submit(item("small", "b", 8, waited=9000))
    assert (granted(again := here.step()), stopped(again)) == ([], [])
    here.stop(ref("b1", "b"))
    assert granted(here.step()) == ["small", "w"]


def test_a_slow_stop_does_not_hand_the_room_to_somebody_else() -> None:
    """The earmark is over before the victim has stopped: what has waited longest would be next, but nothing was stopped for it."""
    here = world(quota("a", 8, cohort=""))
    here.submit(long("low", "a", 8))
    here.settle()
    here.submit(item("w", "a", 4, priority=6, now=here.now))
    assert stopped(here.step()) == ["low"]
    here.now += 3 * BARE.earmark
    here.submit(long("x", "a", 8, waited=9000))
    assert granted(here.step()) == []
    here.stop(ref("low"))
    assert granted(here.step()) == ["w"]


def test_kueue_6929_a_head_that_fits_nowhere_makes_nobody_churn() -> None:
    """One head needs more than can ever be freed for it: nothing is stopped in vain, the others go on."""
    here = world(quota("a", 10), quota("b", 6))
    here.leases = {each.ref: each for each in (lease("served", "b", 8, work="serving"),)}
    here.submit(long("head", "a", 10), *(long(f"b{n}", "b", 2) for n in range(6)))
    assert here.settle() == 0
    assert here.running() == ["b0", "b1", "b2", "b3", "served"]


def test_kueue_2821_reclaim_and_borrowing_do_not_chase_each_other() -> None:
    """Three projects, everybody wants more than his own, work arrives unevenly: it settles with everybody at his own at least."""
    here = world(quota("a", 5), quota("b", 5), quota("c", 6))
    for project, size in (("a", 3), ("b", 2), ("c", 4)):
        here.submit(*(long(f"{project}{n}", project, size, waited=n) for n in range(8)))
        here.settle()
    stops = here.settle()
    assert stops == 0
    used = {project: sum(each.amounts.memory for each in here.leases.values() if each.project == project) >> 30 for project in "abc"}
    assert used["a"] >= 3
    assert used["b"] >= 4
    assert used["c"] >= 4
    assert sum(here.stops.values()) <= 6


def test_work_beside_the_dominant_resource_does_not_loop() -> None:
    """Kueue's proof breaks where work does not use the dominant resource: shares that do not move must not move work."""
    here = World(
        nodes=(mac(16, 8),),
        quotas={
            "a": Quota("a", limits(0, 0), cohort="t"),
            "b": Quota("b", limits(0, 0), cohort="t"),
            "c": Quota("c", limits(16, 8), UNLIMITED, UNLIMITED, "t"),
        },
        rules=BARE,
    )
    here.submit(long("a-memory", "a", 8), long("b-memory", "b", 8))
    here.settle()
    here.submit(*(long(f"a{n}", "a", 0, cpu=2) for n in range(4)), *(long(f"b{n}", "b", 0, cpu=2) for n in range(4)))
    assert here.settle() <= 2


def test_rights_to_different_resources_do_not_loop() -> None:
    """d has a right to memory and none to cores, b the other way round: each could take back from the other what is its own."""
    quotas = (Quota("d", limits(4), cohort="x"), Quota("b", limits(None, 4), cohort="y"))
    here = World(nodes=(mac(10, 4),), quotas={each.project: each for each in quotas}, rules=BARE)
    here.submit(long("b1", "b", 8, cpu=2))
    here.settle()
    here.submit(long("d1", "d", 4, cpu=3))
    assert here.settle() == 0
    here.submit(long("d2", "d", 4))
    assert here.settle() == 1, "what asks for memory only takes nothing that is b's by right"
    assert "d2" in here.running()


def test_a_borrower_does_not_grow_by_priority() -> None:
    """It may put its more important work in the place of the less important, but not take more of what is lent with it."""
    quotas = (quota("a", 0), quota("b", 0), quota("c", 10))
    running = (lease("low", "b", 3, priority=1), lease("a1", "a", 5))
    assert not decide(snapshot(item("w", "b", 5, priority=9), quotas=quotas, leases=running, nodes=(mac(10),))).preemptions
    full = (*running, lease("c1", "c", 2))
    assert stopped(decide(snapshot(item("w", "b", 3, priority=9), quotas=quotas, leases=full, nodes=(mac(10),)))) == ["low"]


def test_priority_and_fairness_are_not_mixed() -> None:
    """Giving up its own first, b would look poor enough to take from a as well: then a from b, and so on."""
    quotas = (quota("a", 0), quota("b", 0), quota("c", 10))
    running = (lease("low", "b", 2, priority=1), lease("a1", "a", 5), lease("a2", "a", 3))
    assert not decide(snapshot(item("w", "b", 5, priority=9), quotas=quotas, leases=running, nodes=(mac(10),))).preemptions


def test_a_borrower_that_was_stopped_itself_stops_nobody() -> None:
    """Only what its project takes back as its own: that is how each chain of stops ends."""
    quotas = (quota("a", 0), quota("b", 0), quota("c", 16))
    running = tuple(lease(f"b{n}", "b", 4, ran=3600 + n) for n in range(4))
    assert stopped(decide(snapshot(item("w", memory=4), quotas=quotas, leases=running))) == ["b0"]
    assert not decide(snapshot(item("w", memory=4, preempted=1), quotas=quotas, leases=running)).preemptions
    assert stopped(decide(snapshot(item("w", memory=4, preempted=2), quotas=TWO, leases=running))) == ["b0"]


def test_a_chain_of_shares_settles() -> None:
    """Five borrowers of different weights and sizes, from a full start (the chain of Kueue's proof)."""
    names = "abcde"
    here = world(*(quota(name, 0, weight=1.0 + n) for n, name in enumerate(names)), quota("z", 16))
    here.submit(*(long(f"a{n}", "a", 2) for n in range(8)))
    here.settle()
    for n, name in enumerate(names[1:], 1):
        here.submit(*(long(f"{name}{k}", name, 1 + k % 3) for k in range(8)))
        here.settle(300)
        assert here.settle(300) == 0, f"after {n + 1} projects"


def test_forgotten_earmarks_are_dropped() -> None:
    """Its work was withdrawn, or its node is gone: the room is everybody's."""
    marks = (
        Earmark(ref("gone"), "mac", amounts(16), NOW + timedelta(minutes=1)),
        Earmark(ref("w"), "other", amounts(16), NOW + timedelta(minutes=1)),
    )
    decision = decide(snapshot(item("w", memory=16), past=Past(earmarks=marks)))
    assert granted(decision) == ["w"]
    assert decision.past.earmarks == ()
