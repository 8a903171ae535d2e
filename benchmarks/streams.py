"""Streams of real data for `monitors`: clean windows, and windows in which one known thing has changed.

The data sets are those that scikit-learn ships. One half of the rows is what is normal and what a model is fitted to; windows are
drawn, with replacement, from the other half, so that no row of a window is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ROWS = 200
"""Of a window."""
BINNED = ("low", "middle", "high")


@dataclass(frozen=True)
class Data:
    """One data set, split, with a model."""

    name: str
    normal: pd.DataFrame
    held: pd.DataFrame
    target: str
    answer: Callable[[pd.DataFrame], Sequence[Any]]
    shifted: str
    """A column that hangs together with few others."""
    binned: str
    """A column of categories, made of numbers."""


@dataclass(frozen=True)
class Window:
    """Rows to be asked, and what the monitor has to say of them: nothing, or which check with which column first."""

    what: str
    rows: pd.DataFrame
    check: str = ""
    column: str = ""
    change: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda row: row)


def load() -> list[Data]:
    """The data sets; the split of each is always the same."""
    from sklearn import datasets

    shipped = {
        "wine": datasets.load_wine,
        "breast cancer": datasets.load_breast_cancer,
        "iris": datasets.load_iris,
        "diabetes": datasets.load_diabetes,
    }
    return [_data(name, loader(as_frame=True).frame) for name, loader in shipped.items()]


def clean(data: Data, number: int) -> Window:
    """The window with this number."""
    return Window("clean", data.held.sample(ROWS, replace=True, random_state=number))


def shifts(data: Data) -> list[Window]:
    """One for each thing that can change, and what it must show."""
    rows = data.held.sample(ROWS, replace=True, random_state=1000)
    column, spread = data.shifted, float(data.normal[data.shifted].std())

    def with_(change: Callable[[Any], Any], name: str = column) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda row: {**row, name: change(row[name])}

    names = iter(range(ROWS))
    weights = (1.5 * (data.held[column] - data.held[column].mean()) / spread).clip(-6, 6).map(lambda z: 2.718281828**z)
    return [
        Window("shifted values", rows, "drift", column, with_(lambda value: value + 0.75 * spread)),
        Window("rows weighted", data.held.sample(ROWS, replace=True, weights=weights, random_state=1001), "drift", column),
        Window("other unit", rows, "drift", column, with_(lambda value: value * 100)),
        Window("missing column", rows, "drift", column, lambda row: {name: each for name, each in row.items() if name != column}),
        Window(
            "unseen category", rows, "quality", data.binned, with_(lambda value: "other" if next(names) % 5 == 0 else value, data.binned)
        ),
        Window("label shift: answers", _skewed(data), "predictions", "prediction"),
        Window("label shift: truth", _skewed(data), "labels", "label"),
    ]


def _skewed(data: Data) -> pd.DataFrame:
    """Three quarters of the rows of the rarest class, or of the upper quarter of numbers."""
    truth = data.held[data.target]
    wanted = truth > truth.quantile(0.75) if truth.dtype.kind == "f" else truth == truth.value_counts().index[-1]
    weights = wanted.map({True: 0.75 / wanted.sum(), False: 0.25 / (~wanted).sum()})
    return data.held.sample(ROWS, replace=True, weights=weights, random_state=1002)


def _data(name: str, frame: pd.DataFrame) -> Data:
    import pandas as pd
    from sklearn.model_selection import train_test_split

    columns = [each for each in frame.columns if each != "target"]
    correlated = frame[columns].corr().abs()
    numbers = [each for each in columns[1:] if frame[each].nunique() > 20]
    shifted = min(numbers, key=lambda each: float(correlated[each].drop(each).max()))
    binned = f"{columns[0]}, binned"
    frame = frame.assign(**{binned: pd.qcut(frame[columns[0]], 3, labels=list(BINNED)).astype(str)})
    number = frame["target"].dtype.kind == "f"
    frame["target"] = frame["target"] if number else frame["target"].map(lambda value: f"class {value}")
    kept = [each for each in frame.columns if each != columns[0]]
    groups = pd.qcut(frame["target"], 4, labels=False) if number else frame["target"]
    normal, held = train_test_split(frame[kept], test_size=0.5, random_state=0, stratify=groups)
    fitted = columns[1:]
    answer = _fitted(normal[fitted], normal["target"], number)
    return Data(name, normal, held, "target", lambda rows: answer(rows[fitted]), shifted, binned)


def _fitted(inputs: pd.DataFrame, truth: pd.Series, number: bool) -> Callable[[pd.DataFrame], Sequence[Any]]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), Ridge() if number else LogisticRegression(max_iter=500)).fit(inputs, truth)
    return lambda rows: model.predict(rows).tolist()


def digits() -> tuple[Mapping[str, Any], ...]:
    """Pictures of digits, each an array of 64 numbers: an embedding."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return tuple({"pixels": [float(each) for each in picture]} for picture in found.data)


def draw(pictures: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Mapping[str, Any]]:
    """With replacement."""
    import random

    return random.Random(seed).choices(pictures, k=count)


def numbers(count: int, seed: int) -> dict[str, np.ndarray]:
    """A table of 15 columns of numbers and 5 of categories."""
    import numpy as np

    drawn = np.random.default_rng(seed)
    found = {f"number{place}": drawn.normal(place, 1 + place, count) for place in range(15)}
    names = np.array(["red", "green", "blue", "white", "black"])
    return {**found, **{f"category{place}": names[drawn.integers(0, 2 + place % 4, count)] for place in range(5)}}
