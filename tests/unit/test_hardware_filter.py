"""From many sensors to one level that does not flap."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.admission.values import Level
from reconciler.hardware.filter import Filtered, Timing, from_json, step, to_json
from reconciler.hardware.scale import level_of_free, level_of_temperature, level_of_used, plausible, used
from reconciler.hardware.values import Reading

N, F, S, C, U = Level.NOMINAL, Level.FAIR, Level.SERIOUS, Level.CRITICAL, Level.UNKNOWN


def says(level: Level, source: str = "a", share: float | None = None) -> Reading:
    return Reading(source, "heat", level, share)


def run(levels: Sequence[Level], state: Filtered | None = None, start: float = 0.0) -> list[Filtered]:
    """One look a second."""
    state, seen = state or Filtered(), []
    for at, level in enumerate(levels):
        state = step(state, [says(level)], start + at)
        seen.append(state)
    return seen


def changes(states: Iterable[Filtered]) -> list[tuple[float, Level]]:
    found: list[tuple[float, Level]] = []
    for each in states:
        if not found or found[-1][1] is not each.level:
            found.append((each.since, each.level))
    return found


def test_the_first_look_is_believed() -> None:
    assert run([S])[-1].level is S


def test_a_higher_level_is_entered_after_five_seconds_without_a_break() -> None:
    assert changes(run([N] * 10 + [S] * 10)) == [(0.0, N), (15.0, S)]
    assert changes(run([N] * 10 + [S] * 4 + [N] + [S] * 4 + [N] * 10)) == [(0.0, N)]


def test_between_two_higher_levels_the_lower_one_is_entered() -> None:
    assert run([N] * 2 + [S, C] * 6)[-1].level is S


def test_a_level_is_left_one_step_at_a_time() -> None:
    assert changes(run([C] * 10 + [N] * 200)) == [(0.0, C), (70.0, S), (100.0, F), (130.0, N)], "60 s below, then 30 s on each step"


def test_one_hot_second_starts_the_wait_again() -> None:
    assert changes(run([S] * 10 + [N] * 59 + [S] + [N] * 61)) == [(0.0, S), (130.0, F)]


def test_the_worst_source_decides_and_is_named() -> None:
    state = step(Filtered(), [says(N, "chassis", 0.2), says(S, "gpu", 1.2), says(F, "cpu", 0.8)], 0.0)
    assert (state.level, state.source, state.used) == (S, "gpu", 1.2)


def test_among_equals_the_one_that_has_used_most_is_named() -> None:
    assert step(Filtered(), [says(N, "z", 0.1), says(N, "a", 0.4), says(N, "b")], 0.0).source == "a"


def test_an_unknown_source_does_not_hide_a_known_one() -> None:
    assert step(Filtered(), [says(U, "broken"), says(F, "cpu")], 0.0).level is F


def test_a_source_that_falls_silent_is_unknown_after_three_periods_and_never_nominal() -> None:
    state = step(Filtered(), [says(S)], 0.0)
    seen = []
    for at in range(1, 6):
        state = step(state, [says(U)], float(at))
        seen.append(state.level)
    assert seen == [S, S, S, U, U]
    assert (state.since, state.used, state.source) == (4.0, None, "")


def test_a_source_that_speaks_again_is_believed_at_once() -> None:
    state = step(step(Filtered(), [], 0.0), [], 1.0)
    assert (state.level, state.since) == (U, 0.0)
    assert step(state, [says(F)], 2.0).level is F


def looks(times: Iterable[float], speaks: Sequence[bool], level: Level = S) -> list[Level]:
    """Levels after looks at these moments, at some of which the one source says nothing."""
    state, seen = Filtered(), []
    for at, spoke in zip(times, speaks, strict=True):
        state = step(state, [says(level)] if spoke else [], float(at))
        seen.append(state.level)
    return seen


@pytest.mark.parametrize("period", [1, 2, 5, 10, 30])
def test_a_source_may_be_silent_for_three_periods_however_long_they_are(period: int) -> None:
    spoke = [True] * 6 + [False] * 4
    assert looks(range(0, 10 * period, period), spoke) == [S] * 9 + [U]


@pytest.mark.parametrize("period", [2, 10, 30])
def test_one_missed_reading_does_not_lose_what_is_known_of_the_level(period: int) -> None:
    """Lost, the next cool look would be the first, and believed: hot to nominal in one step."""
    state = Filtered()
    for at in range(0, 4 * period, period):
        state = step(state, [says(C)], float(at))
    missed = step(state, [], 4.0 * period)
    cool = step(missed, [says(N)], 5.0 * period)
    assert (missed.level, cool.level, cool.since) == (C, C, 0.0)


def test_a_change_of_pace_is_not_a_silence() -> None:
    """The loop looks every 2 s while something happens, and then every 30 s."""
    assert looks([0, 2, 4, 6, 8, 38, 68], [True] * 5 + [False, True]) == [S] * 7
    assert looks([0, 2, 4, 6, 8, 38, 68], [True] * 5 + [False, False])[-2:] == [S, U]


def test_the_period_is_that_of_most_of_the_last_looks() -> None:
    """One look that came late does not keep a silent source alive, and a faster pace counts once it is usual."""
    assert looks([0, 1, 2, 30, 31, 32, 33, 34, 35], [True] * 5 + [False] * 4)[-2:] == [S, U]
    slow = [30 * each for each in range(6)]
    assert looks([*slow, 151, 152, 153, 154, 155, 156, 157], [True] * 9 + [False] * 4)[-1] is U


def test_the_nominal_period_is_the_least() -> None:
    state = step(step(Filtered(), [says(F)], 0.0, period=10.0), [], 1.0, period=10.0)
    assert step(state, [], 25.0, period=10.0).level is F
    assert step(state, [], 46.0, period=10.0).level is U


def test_after_a_gap_a_single_hot_look_counts_and_a_single_cool_one_does_not() -> None:
    """One-shot commands: nobody saw what was between two looks."""
    cool, hot = run([N])[-1], run([S])[-1]
    assert step(cool, [says(S)], 40.0).level is S
    assert step(hot, [says(N)], 40.0).level is S
    assert step(step(hot, [says(N)], 40.0), [says(N)], 101.0).level is F


def test_after_a_long_gap_and_after_a_clock_that_went_back_everything_starts_anew() -> None:
    hot = run([C] * 10)[-1]
    assert step(hot, [says(N)], 9.0 + Timing().forget + 1).level is N
    assert step(hot, [says(N)], 3.0).level is N


def test_headroom_is_smoothed_so_that_noise_does_not_pass() -> None:
    state = Filtered()
    for at in range(60):
        state = step(state, [says(N, share=0.5 + (0.3 if at % 2 else -0.3))], float(at))
    assert state.used is not None
    assert abs(state.used - 0.5) < 0.06


def test_a_noisy_sensor_changes_the_gate_a_few_times_an_hour() -> None:
    import random

    source, states, state = random.Random(7), [], Filtered()
    raw = [source.choice([F, S]) for _ in range(4 * 3600)]
    for at, level in enumerate(raw):
        state = step(state, [says(level)], float(at))
        states.append(state)
    flips = sum(a is not b for a, b in pairwise(raw))
    assert flips > 5000
    assert len(changes(states)) - 1 <= 12 * 4


levels = st.lists(st.sampled_from([U, N, F, S, C]), min_size=1, max_size=250)


@given(levels)
def test_no_level_is_left_downwards_by_more_than_a_step_nor_before_it_has_stood(raw: list[Level]) -> None:
    before: Filtered | None = None
    for state in run(raw):
        if before is not None and before.level is not U and state.level is not U and state.level < before.level:
            assert state.level == before.level - 1
            assert state.since - before.since >= Timing().dwell
        if before is not None and state.level > before.level > U:
            assert all(each is U or each >= state.level for each in raw[int(state.since) - 2 : int(state.since) + 1])
        before = state


@given(levels)
def test_the_state_survives_the_file(raw: list[Level]) -> None:
    state = run(raw)[-1]
    assert from_json(json.loads(json.dumps(to_json(state)))) == state


@pytest.mark.parametrize(
    ("celsius", "level", "share"),
    [(40.0, N, 0.0), (69.9, N, 0.663), (70.0, F, 0.667), (79.9, F, 0.997), (80.0, S, 1.0), (99.9, S, 1.663), (100.0, C, 1.667)],
)
def test_degrees_on_the_scale(celsius: float, level: Level, share: float) -> None:
    """Passive trip at 80 C, critical at 105 C: fair from passive - 10, serious from passive, critical from critical - 5."""
    assert level_of_temperature(celsius, 80.0, 105.0) is level
    assert used(celsius, 80.0) == pytest.approx(share, abs=0.001)


def test_a_critical_limit_below_the_passive_one_still_counts() -> None:
    assert level_of_temperature(81.0, 90.0, 85.0) is C


@pytest.mark.parametrize(("share", "level"), [(0.0, N), (0.66, N), (0.67, F), (1.0, S), (1.49, S), (1.5, C)])
def test_headroom_alone_tells_a_level(share: float, level: Level) -> None:
    assert level_of_used(share) is level


@pytest.mark.parametrize(("share", "level"), [(0.9, N), (0.4, N), (0.39, F), (0.2, F), (0.19, S), (0.05, S), (0.04, C)])
def test_free_memory_alone_tells_a_level(share: float, level: Level) -> None:
    assert level_of_free(share) is level


@pytest.mark.parametrize(
    ("celsius", "fine"), [(-274.0, False), (0.0, False), (255.0, False), (65261.85, False), (-10.0, True), (99.0, True)]
)
def test_error_codes_are_no_temperatures(celsius: float, fine: bool) -> None:
    assert plausible(celsius) is fine
