"""What is more than chance, and how large it is. Pure; numbers only.

A limit is crossed only by what chance does not explain: 3 of 100 values are missing by accident where 1 of 1,000 is."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.001
"""Chance that a share that has not risen is called risen, over all columns together."""
EXPECTED = 5.0
"""Least count to expect of a category in either sample for the chi-square distribution to hold (Cochran 1954, Biometrics 10:417-451)."""
EXACT = 1_000_000
"""Product of two sample sizes up to which the distribution of Kolmogorov and Smirnov is counted out; beyond, its limit is as good."""


def risen(count: int, rows: int, count_then: int, rows_then: int, by: float, level: float) -> bool:
    """Whether a share is larger than it was by more than `by`, at this level of significance, one-sided.

    Lower limit of the difference of two proportions by Wilson's score intervals (Newcombe 1998, Statistics in Medicine 17:873-890,
    method 10). What was known of a share from few rows is not taken for exact."""
    if not rows or not rows_then or count / rows - count_then / rows_then <= by:
        return False
    now, then = count / rows, count_then / rows_then
    lower, _ = wilson(count, rows, level)
    _, upper = wilson(count_then, rows_then, level)
    return now - then - math.hypot(now - lower, upper - then) > by


def above(count: int, rows: int, limit: float, level: float) -> bool:
    """Whether a share is above a limit by more than chance: the lower end of Wilson's interval is."""
    return rows > 0 and wilson(count, rows, level)[0] > limit


def wilson(count: int, rows: int, level: float) -> tuple[float, float]:
    """Ends of the score interval of a proportion, each with this one-sided error (Wilson 1927, JASA 22:209-212)."""
    z = NormalDist().inv_cdf(1 - level)
    share, scale = count / rows, 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / scale
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


# --- two samples of numbers --------------------------------------------------------------------------------------------


def numbers(normal: pd.Series, seen: pd.Series) -> tuple[float, float]:
    """Probability that two samples of one distribution are so far apart (Kolmogorov and Smirnov, two-sided), and how far they are:
    Wasserstein distance in standard deviations of the reference. Ties make the probability too large, never too small."""
    from scipy.stats import ks_2samp, wasserstein_distance

    method = "exact" if len(normal) * len(seen) <= EXACT else "asymp"
    p = float(ks_2samp(normal, seen, method=method).pvalue)
    return p, float(wasserstein_distance(normal, seen)) / _scale(normal)


def means(normal: pd.Series, seen: pd.Series) -> tuple[float, float]:
    """The same for the means alone (Welch 1947, Biometrika 34:28-35); how far they are is in standard deviations of the reference."""
    from scipy.stats import ttest_ind

    apart = abs(float(seen.mean()) - float(normal.mean())) / _scale(normal)
    if float(normal.std(ddof=0)) == 0 and float(seen.std(ddof=0)) == 0:
        return (1.0 if apart == 0 else 0.0), apart
    return float(ttest_ind(normal, seen, equal_var=False).pvalue), apart


def _scale(normal: pd.Series) -> float:
    """Of a column without any spread, its size: else each change would be infinitely large."""
    spread = float(normal.std(ddof=0))
    if spread > 1e-12 * max(1.0, abs(float(normal.mean()))):
        return spread
    return abs(float(normal.median())) or 1.0


# --- two samples of categories -----------------------------------------------------------------------------------------


def categories(normal: pd.Series, seen: pd.Series) -> tuple[float, float]:
    """Probability that two samples of one distribution differ so much (chi-square of the two-row table, rare categories together), and how
    much they do: Jensen-Shannon distance with logarithms to the base 2, from 0 to 1.

    Evidently's own chi-square takes the reference for exact, which it never is: at the 0.001 level it called 11 % of pairs of samples of
    500 rows of the same 8 equally frequent categories different, and 70 % where the second had 2,000; this one 0.2 % and 0.07 %."""
    from scipy.spatial.distance import jensenshannon

    then, now = normal.value_counts(), seen.value_counts()
    names = then.index.union(now.index, sort=False)
    before = [int(each) for each in then.reindex(names, fill_value=0)]
    after = [int(each) for each in now.reindex(names, fill_value=0)]
    if not sum(before) or not sum(after):
        return 1.0, 0.0
    return contingency(before, after), float(jensenshannon(before, after, base=2))


def contingency(before: list[int], after: list[int]) -> float:
    """p of the chi-square test of homogeneity. Categories of which fewer than EXPECTED are to be expected in a sample are counted as one;
    where that leaves two by two that are small, Fisher's exact test."""
    from scipy.stats import chi2_contingency, fisher_exact

    pairs = pooled(before, after)
    if len(pairs) < 2:
        return 1.0
    rows = [[each[0] for each in pairs], [each[1] for each in pairs]]
    if len(pairs) == 2 and _least(pairs) < EXPECTED:
        return float(fisher_exact(rows)[1])
    return float(chi2_contingency(rows, correction=False)[1])


def pooled(before: list[int], after: list[int]) -> list[tuple[int, int]]:
    """The categories as (reference, window), the rare ones as one; the rest of them joins the next larger one while it is rare itself."""
    pairs = sorted(((a, b) for a, b in zip(before, after, strict=True) if a + b), key=lambda each: (each[0] + each[1], each))
    total = (sum(a for a, _ in pairs), sum(b for _, b in pairs))
    if not all(total):
        return []
    rest = (0, 0)
    kept = []
    for pair in pairs:
        if _expected(pair, total) < EXPECTED or (any(rest) and _expected(rest, total) < EXPECTED):
            rest = (rest[0] + pair[0], rest[1] + pair[1])
        else:
            kept.append(pair)
    return [*([rest] if any(rest) else []), *kept]


def _expected(pair: tuple[int, int], total: tuple[int, int]) -> float:
    return sum(pair) * min(total) / sum(total)


def _least(pairs: list[tuple[int, int]]) -> float:
    total = (sum(a for a, _ in pairs), sum(b for _, b in pairs))
    return min(_expected(each, total) for each in pairs)


# --- a classifier that is to tell the samples apart ---------------------------------------------------------------------


def guessed(normal: int, seen: int, level: float) -> float:
    """Area under the ROC curve that one that only guesses exceeds with this probability, on so many rows of each side: the rank sum of
    Mann and Whitney (1947, Annals of Mathematical Statistics 18:50-60) is normal with this variance."""
    if not normal or not seen:
        return 1.0
    return 0.5 + NormalDist().inv_cdf(1 - level) * math.sqrt((normal + seen + 1) / (12 * normal * seen))


def finite(value: Any) -> float | None:
    """As JSON can hold it."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
