"""From counters and powers to joules that only grow."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from reconciler.hardware.energy import Used, add, from_json, to_json
from reconciler.hardware.probe import Energy


def test_a_counter_of_another_epoch_is_not_compared() -> None:
    state = add(Used(), [Energy("x", 1000.0, epoch="a")], 0.0)
    state = add(state, [Energy("x", 5.0, epoch="b")], 1.0)
    assert (state.joules, state.watts) == (0.0, None)
    state = add(state, [Energy("x", 9.0, epoch="b")], 2.0)
    assert (state.joules, state.watts) == (4.0, 4.0)


def test_power_alone_is_summed_but_not_over_a_gap() -> None:
    state = add(Used(), [Energy("gpu", watts=100.0)], 0.0)
    state = add(state, [Energy("gpu", watts=50.0)], 10.0)
    assert (state.joules, state.watts) == (1000.0, 50.0)
    assert add(state, [Energy("gpu", watts=50.0)], 3600.0).joules == 1000.0 + 50.0 * 30


def test_two_looks_in_one_instant_change_nothing() -> None:
    state = add(add(Used(), [Energy("x", 0.0)], 0.0), [Energy("x", 10.0)], 1.0)
    same = add(state, [Energy("x", 10.5)], 1.01)
    assert (same.joules, same.watts) == (10.0, 10.0)
    assert add(same, [Energy("x", 20.0)], 2.0).joules == 20.0, "nothing is lost"


def test_no_source_is_no_power() -> None:
    assert add(Used(), [], 0.0) == Used()
    assert add(Used(5.0, 3.0), [], 0.0).watts is None


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 100)), min_size=1, max_size=30))
def test_joules_never_shrink_whatever_a_counter_says(said: list[tuple[float, float]]) -> None:
    state, at, last = Used(), 0.0, 0.0
    for joules, passed in said:
        at += passed
        state = add(state, [Energy("x", joules)], at)
        assert state.joules is not None
        assert state.joules >= last
        last = state.joules
    again = from_json(json.loads(json.dumps(to_json(state))))
    assert (again.joules, again.counters) == (state.joules, state.counters)
