"""How one revision takes over from another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.serving.rollout import START, State, Terms, advance, quarantine, slots, weights
from schemas.deployment import RolloutGates
from tests.unit.rollout_world import World

A, B, C = "a" * 64, "b" * 64, "c" * 64
GATES = RolloutGates.model_validate({"errorRate": 0.02, "latency": "50ms", "minRequests": 20})
CANARY, ROLLING = Terms(steps=((10, 60.0), (50, 60.0)), gates=GATES), Terms()


def settled(terms: Terms = ROLLING, digest: str = A) -> World:
    """A world in which one revision serves."""
    world = World(terms, wanted=digest).run(4)
    assert (world.state.stable, world.state.candidate, weights(world.state, terms)) == (digest, "", {digest: 100})
    return world


def test_the_first_one_serves_as_soon_as_one_replica_is_ready_and_is_in_the_routes_before() -> None:
    world = World(Terms(replicas=2), wanted=A)
    world.reconcile()
    assert (world.state.stable, world.state.candidate, world.written, world.declared) == ("", A, {A: 100}, {A: 2})
    world.tick()
    world.reconcile()
    assert world.state.stable == A


def test_rolling_the_old_one_serves_all_until_the_new_one_is_as_large_and_ends_when_it_is_drained() -> None:
    world = settled(Terms(replicas=2))
    world.wanted = B
    world.reconcile()
    assert world.written == {A: 100, B: 0}
    assert world.declared == {A: 2, B: 2}
    world.running[B] = 1
    world.reconcile()
    assert world.state.candidate == B  # one of two is not enough
    world.tick()
    world.reconcile()
    assert (world.state.stable, world.written) == (B, {B: 100})
    assert world.declared[A] == 2  # the gateway has not read it yet
    world.tick()
    world.reconcile()
    assert world.declared[A] == 2  # it has, and one request still runs there
    world.tick()
    world.reconcile()
    assert A not in world.declared
    assert world.state.retiring == {}
    assert world.state.good == (A,)


def test_a_canary_goes_step_by_step_for_as_long_as_each_holds() -> None:
    world = settled(CANARY)
    world.wanted = B
    seen = []
    for _ in range(40):
        world.run(1)
        seen.append((world.now, world.written.get(B, 0)))
    shares = [share for _, share in seen]
    assert sorted(set(shares)) == [0, 10, 50, 100]
    assert shares == sorted(shares)
    for share in (10, 50):
        times = [at for at, each in seen if each == share]
        assert times[-1] - times[0] >= 55.0
    assert world.state.stable == B


def test_a_canary_is_as_large_as_its_next_step_needs() -> None:
    world = settled(replace(CANARY, replicas=4))
    world.wanted = B
    world.run(1)
    assert world.declared[B] == 1
    world.run(1)
    assert (world.written[B], world.declared[B]) == (10, 2)
    world.run(13)
    assert (world.written[B], world.declared) == (50, {A: 4, B: 4})


def test_too_little_traffic_holds_a_canary() -> None:
    world = settled(CANARY)
    world.wanted, world.rate = B, 10
    world.run(100)
    assert world.written == {A: 90, B: 10} or world.state.stable == B
    world = settled(CANARY)
    world.wanted, world.rate = B, 0
    world.run(100)
    assert world.written == {A: 90, B: 10}


def test_without_gates_time_alone_decides() -> None:
    world = settled(replace(CANARY, gates=RolloutGates()))
    world.wanted, world.rate = B, 0
    assert world.run(40).state.stable == B


@pytest.mark.parametrize(("wrong", "said"), [("errors", "errors 50.0 % (limit 2 %)"), ("slow", "p95 2425 ms (limit 50)")])
def test_a_breach_takes_all_traffic_back_at_once_and_keeps_why(wrong: str, said: str) -> None:
    world = settled(CANARY)
    world.wanted = B
    if wrong == "errors":
        world.errors[B] = 0.5
    else:
        world.slow.add(B)
    world.run(20)
    assert (world.state.stable, world.state.candidate, world.written) == (A, "", {A: 100})
    assert world.state.quarantined == {B: said}
    assert B not in world.declared


def test_what_was_taken_back_is_not_tried_again_until_manifest_or_alias_lead_elsewhere() -> None:
    world = settled()
    world.wanted, world.broken[B] = B, "the weights do not fit"
    world.run(20)
    assert world.state.quarantined == {B: "the weights do not fit"}
    del world.broken[B]
    assert world.run(20).state.stable == A
    world.wanted = C
    assert world.run(5).state.stable == C
    world.wanted = B  # somebody has decided so
    assert world.run(5).state.stable == B


def test_hold_stops_there_until_somebody_decides() -> None:
    world = settled(replace(CANARY, rolls_back=False))
    world.wanted, world.errors[B] = B, 0.5
    world.run(30)
    assert world.written == {A: 90, B: 10}
    assert world.state.held == "errors 50.0 % (limit 2 %)"
    world.terms = CANARY
    world.run(6)
    assert world.written == {A: 100}
    assert world.state.quarantined == {B: "errors 50.0 % (limit 2 %)"}


def test_one_that_is_not_ready_in_time_has_failed_and_waiting_for_room_is_no_failure() -> None:
    world = settled(Terms(start_timeout=30.0))
    world.wanted = B
    world.stuck.add(B)
    world.run(12)
    assert world.state.quarantined == {B: "0 of 1 replicas ready after 30 s"}
    waiting = settled(Terms(start_timeout=30.0))
    waiting.wanted = B
    for _ in range(20):
        waiting.reconcile()
        waiting.declared.pop(B, None)  # admission has no room for it
        waiting.tick()
    assert waiting.state.candidate == B
    assert not waiting.state.quarantined


def test_a_newer_one_replaces_a_candidate_at_once() -> None:
    world = settled(CANARY)
    world.wanted = B
    world.run(3)
    assert world.written == {A: 90, B: 10}
    world.wanted = C
    world.reconcile()
    assert (world.state.candidate, world.state.step, world.written) == (C, START, {A: 100, C: 0})
    assert world.declared[B] == 1  # it may have requests in hand
    assert world.run(60).state.stable == C
    assert set(world.declared) == {C}


def test_back_to_the_old_one_while_it_still_drains() -> None:
    world = settled()
    world.wanted = B
    world.run(1)
    world.reconcile()
    assert world.state.retiring.keys() == {A}
    world.wanted = A
    world.run(6)
    assert (world.state.stable, set(world.declared)) == (A, {A})


def test_a_gateway_that_was_started_again_counts_from_nothing_and_nothing_moves_while_it_is_gone() -> None:
    world = settled(CANARY)
    world.wanted = B
    world.run(4)
    assert world.written[B] == 10
    world.reachable = False
    world.run(30)
    assert world.written[B] == 10
    world.reachable = True
    world.restart_gateway()
    world.rate = 1
    world.run(2)
    assert world.written[B] == 10  # what it showed before is not known any more
    world.rate = 400
    assert world.run(30).state.stable == B


def test_unloading_first_ends_the_old_one_only_when_the_new_one_is_packaged_and_brings_it_back_when_that_fails() -> None:
    terms = Terms(replicas=2, unloads=True, start_timeout=20.0)
    world = settled(terms)
    world.wanted = B
    world.stuck.add(B)
    facts = world.facts()
    following = advance(world.state, B, facts, terms)
    assert slots(following, facts, terms, {A}) == {A: 2, B: 2}
    assert slots(following, facts, terms, {A, B}) == {B: 2}
    world.packaged.add(B)
    world.run(1)
    assert world.declared == {B: 2}
    world.run(12)
    assert world.state.quarantined.keys() == {B}
    assert (world.state.stable, world.declared) == (A, {A: 2})


def test_by_hand_the_last_good_one_comes_back_while_the_bad_one_serves_on() -> None:
    world = settled(replace(CANARY, replicas=2))
    world.wanted = B
    world.run(60)
    assert world.state.stable == B
    world.state = quarantine(world.state, B, "wrong answers")
    world.reconcile()
    assert (world.state.stable, world.state.candidate, world.written) == (B, A, {B: 100, A: 0})
    world.run(5)
    assert (world.state.stable, world.state.candidate, set(world.declared)) == (A, "", {A})
    assert world.state.quarantined == {B: "wrong answers"}
    assert B not in world.state.good
    world.run(5)
    assert world.state.stable == A


def test_by_hand_a_canary_is_taken_back_at_once() -> None:
    world = settled(CANARY)
    world.wanted = B
    world.run(3)
    world.state = quarantine(world.state, B, "wrong answers")
    world.reconcile()
    assert world.written == {A: 100}


def test_with_nothing_to_go_back_to_the_bad_one_serves_on() -> None:
    world = settled()
    world.state = quarantine(world.state, A, "wrong answers")
    world.run(5)
    assert (world.state.stable, world.written, world.declared) == (A, {A: 100}, {A: 1})


def test_a_bad_one_that_serves_on_does_not_count_as_good_once_a_newer_one_comes() -> None:
    world = settled()
    world.state = quarantine(world.state, A, "wrong answers")
    world.wanted = B
    world.run(5)
    assert (world.state.stable, world.state.good, world.state.quarantined) == (B, (), {})


def test_an_unknown_wish_moves_nothing_new_and_lets_what_has_begun_go_on() -> None:
    world = settled(CANARY)
    world.wanted = B
    world.run(3)
    world.wanted = ""
    assert world.run(60).state.stable == B


def test_off_runs_nothing_and_keeps_what_was() -> None:
    world = settled()
    world.terms = Terms(off=True)
    world.run(3)
    assert (world.declared, world.written) == ({}, {A: 100})
    world.terms = Terms()
    world.run(2)
    assert world.declared == {A: 1}


def test_a_first_one_that_fails_leaves_nothing_running_and_says_why() -> None:
    world = World(wanted=A, broken={A: "no such file"})
    world.run(6)
    assert world.state == State(quarantined={A: "no such file"})
    assert world.declared == {}
