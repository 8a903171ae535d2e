"""Metrics against scikit-learn's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.serving.metrics import accuracy, f1, mae, measure, quantile, r2, rmse

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_labels_as_scikit_learn_has_them(pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    truth, predicted = [list(each) for each in zip(*pairs, strict=True)]
    assert accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted))
    assert f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


@settings(max_examples=50)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=40))
def test_numbers_as_scikit_learn_has_them(pairs: list[tuple[float, float]]) -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    truth, predicted = [list(each) for each in zip(*pairs, strict=True)]
    assert mae(truth, predicted) == pytest.approx(mean_absolute_error(truth, predicted))
    assert rmse(truth, predicted) == pytest.approx(root_mean_squared_error(truth, predicted))
    if max(truth) - min(truth) > 1e-3:
        assert r2(truth, predicted) == pytest.approx(r2_score(truth, predicted), rel=1e-6)


def test_a_constant_truth() -> None:
    assert r2([3.0, 3.0], [3.0, 3.0]) == 1.0
    assert r2([3.0, 3.0], [3.0, 4.0]) == 0.0


@pytest.mark.parametrize(
    ("truth", "predicted", "names"),
    [
        ([], [], set()),
        ([0.5, 1.5], [0.5, 2.0], {"mae", "rmse", "r2"}),
        ([0.5], [0.5], {"mae", "rmse"}),
        ([0, 1], [1, 1], {"accuracy", "f1", "mae", "rmse", "r2"}),
        (["a", "b"], ["a", "a"], {"accuracy", "f1"}),
        ([True, False], [True, True], {"accuracy", "f1"}),
        ([0.5, 1.5], ["a", "b"], set()),
    ],
)
def test_what_the_values_allow(truth: list[Any], predicted: list[Any], names: set[str]) -> None:
    found = measure(truth, predicted)
    assert set(found) == names
    assert all(map(math.isfinite, found.values()))


@pytest.mark.parametrize(
    ("truth", "predicted"), [([0, 1], ["0", "1"]), (["0", "1"], [0.0, 1.0]), ([True, False], ["true", "false"]), ([1.0], [1])]
)
def test_the_same_label_in_another_form_is_right(truth: list[Any], predicted: list[Any]) -> None:
    assert measure(truth, predicted)["accuracy"] == 1.0


@given(st.lists(numbers, min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_one_of_the_values_and_bounds_its_share(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(each <= found for each in values) >= share * len(values) - 1e-9
    assert quantile(values, 1.0) == max(values)
