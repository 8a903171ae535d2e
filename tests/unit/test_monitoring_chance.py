"""What is more than chance, what looks like another unit, and how it is said."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from reconciler.monitoring.chance import above, categories, contingency, finite, guessed, means, numbers, pooled, risen, wilson
from reconciler.monitoring.units import looks_like
from reconciler.monitoring.words import change, figure, percent

SETTINGS = settings(max_examples=60, deadline=None)


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.05, 0.001, 1e-5]))
@SETTINGS
def test_the_interval_of_a_share_is_wilsons(rows: int, share: float, level: float) -> None:
    count = round(share * rows)
    low, high = wilson(count, rows, level)
    known = binomtest(count, rows).proportion_ci(1 - 2 * level, method="wilson")
    assert low == pytest.approx(known.low, abs=1e-9)
    assert high == pytest.approx(known.high, abs=1e-9)


@given(st.integers(1, 300), st.integers(1, 300), st.data())
@SETTINGS
def test_no_share_has_risen_that_is_not_larger(rows: int, rows_then: int, data: st.DataObject) -> None:
    count, then = data.draw(st.integers(0, rows)), data.draw(st.integers(0, rows_then))
    if count / rows <= then / rows_then:
        assert not risen(count, rows, then, rows_then, 0.0, 0.4)
    if risen(count, rows, then, rows_then, 0.1, 0.001):
        assert count / rows - then / rows_then > 0.1


def test_small_numbers_raise_nothing_and_large_ones_do() -> None:
    assert not risen(3, 20, 0, 20, 0.05, 0.001)  # 15 %, but of 20 rows
    assert risen(300, 2000, 0, 2000, 0.05, 0.001)
    assert not risen(160, 2000, 2, 40, 0.05, 0.001)  # what 40 rows tell of a share is little
    assert not risen(0, 0, 0, 10, 0.0, 0.001)
    assert above(60, 200, 0.1, 0.001)
    assert not above(3, 20, 0.1, 0.001)


def test_a_share_that_has_not_changed_is_called_risen_as_rarely_as_was_asked() -> None:
    drawn = np.random.default_rng(3)
    called = sum(risen(int(drawn.binomial(400, 0.1)), 400, int(drawn.binomial(300, 0.1)), 300, 0.0, 0.01) for _ in range(4000))
    assert called <= 4000 * 0.02


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12))
@SETTINGS
def test_rare_categories_are_counted_together_and_none_is_lost(pairs: list[tuple[int, int]]) -> None:
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    found = pooled(before, after)
    if sum(before) and sum(after):
        assert (sum(a for a, _ in found), sum(b for _, b in found)) == (sum(before), sum(after))
    p = contingency(before, after)
    assert 0 <= p <= 1
    assert p == pytest.approx(contingency(before[::-1], after[::-1]))
    assert contingency(before, before) == pytest.approx(1.0)


def test_two_samples_of_categories() -> None:
    then = pd.Series(["a"] * 500 + ["b"] * 500)
    p, apart = categories(then, pd.Series(["a"] * 100 + ["b"] * 900))
    assert p < 1e-9
    assert 0.3 < apart < 0.5
    p, apart = categories(then, pd.Series(["c"] * 100))
    assert apart == pytest.approx(1.0)  # nothing in common
    assert categories(then, then) == (pytest.approx(1.0), pytest.approx(0.0))
    assert categories(then, pd.Series([], dtype=object)) == (1.0, 0.0)


def test_our_chi_square_keeps_its_level_where_the_reference_is_as_small_as_the_window() -> None:
    drawn = np.random.default_rng(5)
    names = np.array(list("abcdefgh"))
    called = sum(categories(pd.Series(drawn.choice(names, 300)), pd.Series(drawn.choice(names, 300)))[0] < 0.01 for _ in range(400))
    assert called <= 400 * 0.03


def test_two_samples_of_numbers() -> None:
    drawn = np.random.default_rng(2)
    then = pd.Series(drawn.normal(10, 2, 800))
    p, apart = numbers(then, then + 2)
    assert p < 1e-9
    assert apart == pytest.approx(1.0, rel=0.02)  # one standard deviation
    p, apart = means(then, pd.Series(drawn.normal(10, 0.5, 400)))
    assert p > 0.001
    assert apart < 0.1  # narrower, but around the same mean
    assert means(pd.Series([1.0, 1.0]), pd.Series([1.0, 1.0])) == (1.0, 0.0)
    assert means(pd.Series([1.0, 1.0]), pd.Series([2.0, 2.0]))[0] == 0.0


@pytest.mark.parametrize(("was", "now"), [(0.0, 1.0), (5.0, 5.5), (1e-9, 2e-9), (1e12, 1.2e12)])
def test_of_a_column_without_spread_the_change_is_finite(was: float, now: float) -> None:
    p, apart = numbers(pd.Series([was] * 100), pd.Series([now] * 100))
    assert p < 1e-9
    assert 0 < apart < 1e6


def test_who_only_guesses_is_rarely_right_by_more() -> None:
    drawn = np.random.default_rng(1)
    limit = guessed(200, 150, 0.01)
    above_it = 0
    for _ in range(2000):
        ranks = drawn.permutation(350)
        area = (ranks[:200].sum() - 200 * 199 / 2) / (200 * 150)
        above_it += area > limit
    assert 0.002 <= above_it / 2000 <= 0.02
    assert guessed(0, 10, 0.01) == 1.0


HEIGHT = pd.Series(np.random.default_rng(4).normal(170, 10, 500))
AREA = pd.Series(np.random.default_rng(6).lognormal(6.3, 0.45, 400))
"""Spread over hundreds: what is moved within that is no other scale."""
CELSIUS = pd.Series(np.random.default_rng(5).normal(15, 8, 400))


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        (HEIGHT, HEIGHT / 100, "1/100 of what it was"),
        (HEIGHT, HEIGHT * 1000, "1,000 times what it was"),
        (HEIGHT, HEIGHT / 2.54, "0.394 times what it was (centimetres to inches)"),
        (HEIGHT, HEIGHT * 2.20462, "2.2 times what it was (kilograms to pounds)"),
        (HEIGHT, HEIGHT * 1.609344, "1.61 times what it was (miles to kilometres)"),
        (CELSIUS, CELSIUS * 1.8 + 32, "Fahrenheit instead of Celsius"),
        (CELSIUS * 1.8 + 32, CELSIUS, "Celsius instead of Fahrenheit"),
        (CELSIUS, CELSIUS + 273.15, "kelvins instead of degrees Celsius"),
        (HEIGHT - 170, (HEIGHT - 170) * 10, "10 times what it was"),
        (HEIGHT, HEIGHT, ""),
        (HEIGHT, HEIGHT * 1.3, ""),
        (HEIGHT, HEIGHT + 100, ""),
        (AREA, AREA - 273.15, ""),
        (AREA, pd.concat([AREA[:300], AREA[300:] / 100]), ""),
        (HEIGHT, pd.Series([1.0]), ""),
        (pd.Series([5.0] * 9), pd.Series([500.0] * 9), ""),
    ],
)
def test_another_unit_is_recognised(then: pd.Series, now: pd.Series, words: str) -> None:
    assert looks_like(then.sample(frac=0.8, random_state=1), now) == words


def test_a_change_in_words() -> None:
    assert change("number", pd.Series([12.0, 12.2]), pd.Series([1200.0, 1220.0])) == ("mean 12.1", "mean 1210")
    was, now = change("category", pd.Series(["red"] * 40 + ["blue"] * 60), pd.Series(["red"] * 4 + ["blue"] * 66 + ["violet"] * 30))
    assert was == "red 40 %, blue 60 %"
    assert now == "red 4 %, violet 30 % (new), blue 66 %"
    assert change("number", HEIGHT, 170 + (HEIGHT - 170) * 3)[1].startswith("spread ")
    assert change("text", pd.Series(["ab", "abcd"]), pd.Series(["a" * 30]))[1] == "characters mean 30"
    assert change("number", pd.Series([], dtype=float), HEIGHT) == ("", "")


@pytest.mark.parametrize(("value", "said"), [(0.05, "0.05"), (1234.5, "1234"), (2.5e7, "2.5e+07"), (math.inf, "unknown"), (0, "0")])
def test_figures(value: float, said: str) -> None:
    assert figure(value) == said


def test_shares() -> None:
    assert [percent(each) for each in (0.0, 0.004, 0.05, 0.4, 1.0)] == ["0 %", "0.4 %", "5 %", "40 %", "100 %"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "x", 10**400])
def test_what_json_cannot_hold(value: object) -> None:
    assert finite(value) is None
