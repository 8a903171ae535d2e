"""How good predictions are. The definitions are those of scikit-learn's user guide, Metrics and scoring; they need no scikit-learn, so that
a model of another runtime is judged by the same ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str

LABELS = ("accuracy", "f1")
NUMBERS = ("r2", "mae", "rmse")


def measure(truth: Sequence[Value], predicted: Sequence[Value]) -> Mapping[str, float]:
    """All metrics that these values allow, by name: LABELS where the truth consists of labels (texts, truth values, whole numbers), NUMBERS
    where both are numbers. One that is not finite is left out."""
    if not truth:
        return {}
    found: dict[str, float] = {}
    if all(_is_label(each) for each in truth):
        wanted, had = _alike(truth, predicted)
        found = {"accuracy": accuracy(wanted, had), "f1": f1(wanted, had)}
    if all(_is_number(each) for each in (*truth, *predicted)):
        wants, has = [float(each) for each in truth], [float(each) for each in predicted]
        found |= {"mae": mae(wants, has), "rmse": rmse(wants, has)}
        if len(wants) > 1:
            found["r2"] = r2(wants, has)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def accuracy(truth: Sequence[Value], predicted: Sequence[Value]) -> float:
    """Share of predictions that are right."""
    return sum(a == b for a, b in zip(truth, predicted, strict=True)) / len(truth)


def f1(truth: Sequence[Value], predicted: Sequence[Value]) -> float:
    """Mean over all labels, in truth or predicted, of 2 TP / (2 TP + FP + FN): the macro average, in which rare labels count as much."""
    labels = sorted({*truth, *predicted}, key=repr)
    pairs = list(zip(truth, predicted, strict=True))
    scores = []
    for label in labels:
        right = sum(a == b == label for a, b in pairs)
        wrong = sum((a == label) != (b == label) for a, b in pairs)
        scores.append(2 * right / (2 * right + wrong))
    return sum(scores) / len(scores)


def mae(truth: Sequence[float], predicted: Sequence[float]) -> float:
    """Mean of |truth - prediction|."""
    return math.fsum(abs(a - b) for a, b in zip(truth, predicted, strict=True)) / len(truth)


def rmse(truth: Sequence[float], predicted: Sequence[float]) -> float:
    """Root of the mean of (truth - prediction) squared."""
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(truth, predicted, strict=True)) / len(truth))


def r2(truth: Sequence[float], predicted: Sequence[float]) -> float:
    """1 - (sum of squared errors) / (sum of squared distances from the mean). Where the truth is constant, 1 when all is right, else 0."""
    mean = math.fsum(truth) / len(truth)
    errors = math.fsum((a - b) ** 2 for a, b in zip(truth, predicted, strict=True))
    spread = math.fsum((a - mean) ** 2 for a in truth)
    if spread == 0:
        return 1.0 if errors == 0 else 0.0
    return 1.0 - errors / spread


def quantile(seconds: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed (nearest rank)."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]


def _is_label(value: Value) -> bool:
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and value.is_integer())


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _alike(truth: Sequence[Value], predicted: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    """The same label may be a text here and a number there, because a table without quotes does not tell: then both are texts."""
    texts = [any(isinstance(each, str) for each in values) for values in (truth, predicted)]
    return ([*truth], [*predicted]) if texts[0] == texts[1] else ([*map(_text, truth)], [*map(_text, predicted)])


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
