"""How right the answers were, by Evidently's metrics, on the rows whose label has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.model.monitoring import Found, Verdict
from reconciler.model.values import JSON
from reconciler.monitoring.chance import finite
from reconciler.monitoring.kinds import Kind
from reconciler.monitoring.report import Shown
from reconciler.monitoring.side import ABSENT, Side, spelled
from schemas.checks import Performance

if TYPE_CHECKING:
    from evidently.core.metric_types import Metric

NUMBERS = ("mae", "rmse", "r2")
SMALL = ("mae", "rmse")
"""The smaller the better."""


@dataclass(frozen=True, slots=True)
class Measured:
    found: Found
    measured: Mapping[str, float]


def judge(seen: Side, asked: Performance, baseline: Mapping[str, float], shown: Shown) -> Measured:
    """The check `performance`. What is measured is told as it is measured, with the number of labels that it is known from."""
    pairs = [
        (truth, answer) for truth, answer in zip(seen.truths, seen.answers, strict=True) if truth is not ABSENT and answer is not ABSENT
    ]
    if len(pairs) < asked.min_labels:
        return Measured(Found("performance", "hold", f"{len(pairs)} of {asked.min_labels} labels"), {})
    if asked.metric in NUMBERS and not all(_is_number(each) for pair in pairs for each in pair):
        return Measured(Found("performance", "hold", f"{asked.metric} needs numbers: labels or answers are none"), {})
    value, why = _numbers(pairs, asked.metric, shown) if asked.metric in NUMBERS else _classes(pairs, asked.metric, shown)
    if value is None:
        return Measured(Found("performance", "hold", f"{asked.metric} could not be computed{f': {why}' if why else ''}"), {})
    verdict, limits = _held(value, asked, baseline)
    said = f"{asked.metric} {value:.3g} of {len(pairs):,} labels ({', '.join(limits)})"
    return Measured(Found("performance", verdict, said), {asked.metric: value})


def _held(value: float, asked: Performance, baseline: Mapping[str, float]) -> tuple[Verdict, list[str]]:
    limits, verdicts = [], list[Verdict]()
    if asked.minimum is not None:
        limits.append(f"at least {asked.minimum:g}")
        verdicts.append("pass" if value >= asked.minimum else "fail")
    if asked.maximum is not None:
        limits.append(f"at most {asked.maximum:g}")
        verdicts.append("pass" if value <= asked.maximum else "fail")
    if asked.max_loss is not None:
        before = baseline.get(asked.metric)
        if before is None:
            limits.append("no earlier window to compare with yet")
            verdicts.append("hold")
        else:
            loss = value - before if asked.metric in SMALL else before - value
            limits.append(f"{before:.3g} at first, may be worse by {asked.max_loss:g}")
            verdicts.append("pass" if loss <= asked.max_loss else "fail")
    return next((each for each in ("fail", "pass") if each in verdicts), "hold"), limits


def _classes(pairs: Sequence[tuple[JSON, JSON]], metric: str, shown: Shown) -> tuple[float | None, str]:
    """The mean over all classes, in truth or answered, in which rare ones count as much: what a trial calls by the same name. Of two
    the report has Evidently's own as well, for the chart: it is that of the class that comes last by name."""
    import pandas as pd
    from evidently import BinaryClassification, MulticlassClassification
    from evidently.metrics import Accuracy, F1ByLabel, F1Score, Precision, PrecisionByLabel, Recall, RecallByLabel

    frame = pd.DataFrame([(spelled(truth), spelled(answer)) for truth, answer in pairs], columns=["label", "prediction"])
    classes = sorted({*frame["label"], *frame["prediction"]})
    if len(classes) == 1:
        return 1.0, ""  # Evidently wants two
    kinds: dict[str, Kind] = dict.fromkeys(frame, "category")
    if len(classes) > 2:
        single: Metric = {"accuracy": Accuracy, "f1": F1Score, "precision": Precision, "recall": Recall}[metric](tests=[])
        task: object = MulticlassClassification(target="label", prediction_labels="prediction")
    elif metric == "accuracy":
        single = Accuracy(tests=[])
        task = BinaryClassification(target="label", prediction_labels="prediction", pos_label=classes[-1])
    else:  # of two classes Evidently tells the others for one of them alone
        single = {"f1": F1ByLabel, "precision": PrecisionByLabel, "recall": RecallByLabel}[metric](tests={})
        task = BinaryClassification(target="label", prediction_labels="prediction", pos_label=classes[-1])
    chart = {"f1": F1Score, "precision": Precision, "recall": Recall}.get(metric) if len(classes) == 2 else None
    answers = shown.ask([single, *([chart(tests=[])] if chart else [])], kinds, frame, None, classification=[task])
    each = answers.by_label(single) if len(classes) == 2 and metric != "accuracy" else [answers.value(single)]
    return (finite(sum(known) / len(known)) if (known := [value for value in each or () if value is not None]) else None), answers.why(
        single
    )


def _numbers(pairs: Sequence[tuple[JSON, JSON]], metric: str, shown: Shown) -> tuple[float | None, str]:
    import pandas as pd
    from evidently import Regression
    from evidently.metrics import MAE, RMSE, R2Score

    frame = pd.DataFrame([(float(truth), float(answer)) for truth, answer in pairs], columns=["label", "prediction"])
    asked: Metric = R2Score(tests=[]) if metric == "r2" else RMSE(tests=[]) if metric == "rmse" else MAE(mean_tests=[], std_tests=[])
    task = [Regression(target="label", prediction="prediction")]
    kinds: dict[str, Kind] = dict.fromkeys(frame, "number")
    answers = shown.ask([asked], kinds, frame, None, regression=task)
    return finite(answers.mean(asked) if metric == "mae" else answers.value(asked)), answers.why(asked)


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and finite(value) is not None
