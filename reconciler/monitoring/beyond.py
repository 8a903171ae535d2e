"""The `auto` test: a column has drifted when the change is both more than chance and large enough. Registered with Evidently, so that a
report names it, by column and by how far it moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reconciler.monitoring.chance import categories, guessed, means, numbers

if TYPE_CHECKING:
    import pandas as pd

TEXTS = 5000
"""Texts of each side that the classifier sees; more take long and tell no more."""
Sample = Callable[["pd.Series", "pd.Series"], tuple[float, float]]


def number_test(alpha: float) -> str:
    """Name of the test of a column of numbers. `alpha` is the chance of a false alarm, of one column."""
    return _register("wasserstein", "Wasserstein distance", alpha, numbers, "num")


def mean_test(alpha: float) -> str:
    """Of their means alone."""
    return _register("mean", "Distance of means", alpha, means, "num")


def category_test(alpha: float) -> str:
    """Of a column of categories."""
    return _register("jensen_shannon", "Jensen-Shannon distance", alpha, categories, "cat")


def text_test(alpha: float) -> str:
    """Of a column of free text: the area under the ROC curve of Evidently's domain classifier, which is to tell the two sides apart."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.legacy.utils.data_drift_utils import calculate_text_drift_score

    def judge(normal: pd.Series, seen: pd.Series, feature_type: Any, threshold: float) -> tuple[float, bool]:
        sides = [each.sort_values(ignore_index=True) for each in (normal, seen)]  # the order of the rows must not matter
        sides = [each if len(each) <= TEXTS else each.sample(TEXTS, random_state=0) for each in sides]
        score, _ = calculate_text_drift_score(sides[0], sides[1], bootstrap=False, threshold=threshold)
        chance = guessed(len(sides[0]) // 2, len(sides[1]) // 2, alpha)  # half of the rows are what it learns from
        return float(score), bool(score >= max(threshold, chance))

    name = f"auto_text_{alpha:.3g}"
    register_stattest(StatTest(name, f"Domain classifier, beyond chance at {alpha:.2g}", [ColumnType.Text], 0.55), judge)
    return name


def wordless(normal: pd.Series, seen: pd.Series) -> bool:
    """Whether there is no word that the domain classifier would look at: one that is neither in most texts nor an everyday one."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [text for each in (normal, seen) for text in each.dropna().head(TEXTS)]
    try:
        TfidfVectorizer(max_df=0.5, stop_words="english").fit(texts)  # as Evidently has it
    except ValueError:
        return True
    return False


def _register(name: str, display: str, alpha: float, sample: Sample, kind: str) -> str:
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    known: dict[object, tuple[float, float]] = {}

    def judge(normal: pd.Series, seen: pd.Series, feature_type: Any, threshold: float) -> tuple[float, bool]:
        if normal.name not in known:  # asked twice: for the column, and for the count of columns
            known[normal.name] = sample(normal, seen)
        p, apart = known[normal.name]
        return apart, bool(p <= alpha and apart >= threshold)

    full = f"auto_{name}_{alpha:.3g}"
    register_stattest(StatTest(full, f"{display}, beyond chance at {alpha:.2g}", [ColumnType(kind)], 0.1), judge)
    return full
