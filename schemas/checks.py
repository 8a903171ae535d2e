"""What a Monitor asks of a window: each check is on when it is named, and tells pass, fail or hold (too little was seen)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import AtLeast, AtMost, Duration, Quantity, Strict

Column = Annotated[str, StringConstraints(min_length=1, max_length=500)]
"""A field of the instances; of an object within them `outer.inner`."""
Test = Literal[
    "auto",
    "ks",
    "psi",
    "wasserstein",
    "jensenshannon",
    "chisquare",
    "z",
    "anderson",
    "cramer_von_mises",
    "hellinger",
    "kl_div",
    "mannw",
    "t_test",
    "ed",
    "es",
    "TVD",
    "perc_text_content_drift",
    "abs_text_content_drift",
]
"""Evidently's tests by their names there, but `g_test` and `fisher_exact`: they want two samples of one size, which a window never is.
`auto`: a change counts when it is both larger than chance and large enough to matter."""


class Compared(Strict):
    """How one distribution is held against another."""

    test: Test = "auto"
    threshold: float | None = None
    """Of a test other than `auto`; unset = Evidently's own for that test."""
    false_alarms: Annotated[float, Field(gt=0, le=0.5)] = 0.001
    """With `auto`: the chance that a window without any change is called changed, over all columns together."""
    min_effect: Annotated[float, Field(ge=0)] = 0.1
    """With `auto`: how far a column must have moved as well. Numbers: Wasserstein distance in standard deviations of the reference;
    categories: Jensen-Shannon distance (0 to 1)."""


class Drift(Compared):
    """The inputs."""

    columns: tuple[Column, ...] = ()
    """Unset = all that the reference has."""
    ignore: tuple[Column, ...] = ()
    tests: dict[Column, Test] = Field(default_factory=dict)
    """A test of its own for a column."""
    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the columns that may drift; 0 = none. Columns that are missing count as drifted."""


class Quality(Strict):
    """The inputs, value by value, against what the reference holds."""

    missing: Annotated[float, Field(ge=0, le=1)] | None = 0.05
    """By how much the share of missing values may rise, in any column."""
    unseen: Annotated[float, Field(ge=0, le=1)] | None = 0.01
    """Share of values of a category that the reference does not have."""
    out_of_range: Annotated[float, Field(ge=0, le=1)] | None = 0.05
    """Share of numbers outside of what the reference spans."""
    duplicates: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of rows that are there twice."""
    columns: bool = True
    """Every column of the reference must be there, and numbers must be numbers."""


class Performance(Strict):
    """What labels that came at `POST /feedback` say of the predictions."""

    metric: Literal["accuracy", "f1", "precision", "recall", "mae", "rmse", "r2"] = "accuracy"
    minimum: Annotated[float | None, AtLeast] = None
    maximum: Annotated[float | None, AtMost] = None
    max_loss: Annotated[Annotated[float, Field(ge=0)] | None, AtMost] = None
    """By how much it may be worse than in the first window after the served version was promoted."""
    min_labels: Annotated[int, Field(ge=1)] = 50
    wait: Duration = "24h"
    """How long labels are waited for; a window is judged again when its labels have come."""


class Operations(Strict):
    """How it serves. `...Rise` compares with the first full window after the served version was promoted: 1.5 = half as much again."""

    latency: Annotated[Duration | None, AtMost] = None
    """95th percentile."""
    latency_rise: Annotated[Annotated[float, Field(ge=1)] | None, AtMost] = None
    error_rate: Annotated[Annotated[float, Field(ge=0, le=1)] | None, AtMost] = None
    """Share of the requests that failed (5xx, time-outs, no replica)."""
    min_requests: Annotated[int, Field(ge=0)] | None = None
    """In a window; fewer are a breach."""
    max_requests: Annotated[int, Field(ge=1)] | None = None
    volume_change: Annotated[float, Field(ge=1)] | None = None
    """Requests for each second, against the baseline: 3 = neither more than three times nor less than a third."""
    memory: Annotated[Quantity | None, AtMost] = None
    """Most that one replica used."""
    memory_rise: Annotated[Annotated[float, Field(ge=1)] | None, AtMost] = None
    heat: Literal["fair", "serious", "critical"] | None = None
    """A breach when the machine was at least so hot while it served."""


class Checks(Strict):
    """Unset = `drift`, `quality` and, of a deployment, `predictions`."""

    drift: Drift | None = None
    quality: Quality | None = None
    predictions: Compared | None = None
    """Drift of what the model answers."""
    labels: Compared | None = None
    """Drift of the truth (target drift), where the reference has it."""
    performance: Performance | None = None
    operations: Operations | None = None


DEFAULT = Checks.model_validate({"drift": {}, "quality": {}, "predictions": {}})
