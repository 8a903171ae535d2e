"""Whether numbers look as if they came in other units. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.monitoring.words import figure

if TYPE_CHECKING:
    import pandas as pd

    from reconciler.monitoring.table import Table

FACTORS = {
    2.54: "inches to centimetres",
    0.3048: "feet to metres",
    1.609344: "miles to kilometres",
    2.20462: "kilograms to pounds",
    28.3495: "ounces to grams",
    3.78541: "gallons to litres",
    60.0: "minutes to seconds",
    3600.0: "hours to seconds",
    24.0: "days to hours",
    86400.0: "days to seconds",
    1024.0: "a binary prefix",
    math.pi / 180: "degrees to radians",
}
"""Multiples that are seen when a unit changes, or their inverse (exact by the International Yard and Pound Agreement of 1959)."""
CLOSE = 0.08
"""Relative distance within which a ratio of medians is taken for a factor: less than half the distance of the two closest ones."""
SPREAD = 0.3
"""That of two spreads, which are known less well: the medians have told the factor."""


def suggestion(table: Table, columns: Sequence[str]) -> str:
    """Of the first of these columns that looks so, in words; empty when none does."""
    for name in columns:
        if table.kinds.get(name) == "number":
            said = looks_like(table.normal[name].dropna(), table.seen[name].dropna())
            if said:
                return f"{name} looks as if it came in other units: {said}"
    return ""


def looks_like(normal: pd.Series, seen: pd.Series) -> str:
    """`100 times what it was`: when the middle and the spread both moved by one known factor, or as degrees of two scales do."""
    if len(normal) < 2 or len(seen) < 2:
        return ""
    then, now = float(normal.median()), float(seen.median())
    spread_then, spread_now = _spread(normal), _spread(seen)
    if not spread_then or not spread_now:
        return ""
    by = spread_now / spread_then
    for factor, words in _known():
        if abs(then) > 0.5 * spread_then:
            found = _close(now / then, factor) and _close(by, factor, SPREAD)
        else:  # the median of numbers around 0 tells nothing of a factor
            found = _close(by, factor, CLOSE) and abs(now - then * factor) < 0.25 * spread_now
        if found:
            return words
    for slope, offset, words in ((1.8, 32.0, "Fahrenheit instead of Celsius"), (1 / 1.8, -32 / 1.8, "Celsius instead of Fahrenheit")):
        if _close(by, slope, SPREAD) and abs(now - (slope * then + offset)) < 0.25 * spread_now:
            return words
    for offset, words in ((273.15, "kelvins instead of degrees Celsius"), (-273.15, "degrees Celsius instead of kelvins")):
        # numbers that are spread as wide as the scales lie apart can be moved so by anything
        if abs(offset) > 2 * spread_then and abs(by - 1) < 0.25 and abs(now - then - offset) < 0.5 * spread_now:
            return words
    return ""


def _known() -> list[tuple[float, str]]:
    tens = [(10.0**power, f"{_times(10.0**power)} what it was") for power in (*range(-9, 0), *range(1, 10))]
    others = [(factor, f"{_times(factor)} what it was ({words})") for factor, words in FACTORS.items()]
    back = [
        (1 / factor, f"{_times(1 / factor)} what it was ({' to '.join(reversed(words.split(' to ')))})")
        for factor, words in FACTORS.items()
    ]
    return [*tens, *others, *back]


def _times(factor: float) -> str:
    return f"{factor:,.0f} times" if factor >= 10 else f"{figure(factor)} times" if factor >= 0.1 else f"1/{1 / factor:,.0f} of"


def _close(value: float, factor: float, by: float = CLOSE) -> bool:
    return value > 0 and abs(math.log(value / factor)) < by


def _spread(values: pd.Series) -> float:
    """Between the quarters: a few values far out must not hide a factor."""
    return float(values.quantile(0.75) - values.quantile(0.25)) or float(values.std(ddof=0))
