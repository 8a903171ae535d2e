"""What a column was and is, in a few words. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reconciler.monitoring.kinds import Kind

if TYPE_CHECKING:
    import pandas as pd

MOST = 3
"""Categories that are named."""
LONGEST = 40
"""Characters of a category."""


def change(kind: Kind, normal: pd.Series, seen: pd.Series) -> tuple[str, str]:
    """`mean 12.1` and `mean 1210`; `red 40 %` and `red 4 %, violet 30 % (new)`."""
    match kind:
        case "number":
            return _numbers(normal.dropna(), seen.dropna())
        case "category":
            return _categories(normal.dropna(), seen.dropna())
        case "text":
            return _numbers(normal.dropna().str.len(), seen.dropna().str.len(), "characters ")
        case _:
            return "", ""


def figure(value: float) -> str:
    """Three digits that count."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.3g}" if not 1000 <= abs(value) < 1e6 else f"{value:.0f}"


def percent(share: float) -> str:
    """`40 %`, `0.4 %`."""
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"


def short(value: str) -> str:
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"


def _numbers(normal: pd.Series, seen: pd.Series, unit: str = "") -> tuple[str, str]:
    """Of the mean; of the spread where the mean has hardly moved; else of the quarters."""
    if not len(normal) or not len(seen):
        return "", ""
    spread = float(normal.std(ddof=0))
    if abs(float(normal.mean()) - float(seen.mean())) > 0.1 * spread:
        return f"{unit}mean {figure(float(normal.mean()))}", f"{unit}mean {figure(float(seen.mean()))}"
    if abs(float(seen.std(ddof=0)) - spread) > 0.1 * spread:
        return f"{unit}spread {figure(spread)}", f"{unit}spread {figure(float(seen.std(ddof=0)))}"
    return _quarters(normal, unit), _quarters(seen, unit)


def _quarters(values: pd.Series, unit: str) -> str:
    low, middle, high = (figure(float(values.quantile(each))) for each in (0.25, 0.5, 0.75))
    return f"{unit}quartiles {low}, {middle}, {high}"


def _categories(normal: pd.Series, seen: pd.Series) -> tuple[str, str]:
    """Those whose share has moved most."""
    before, after = normal.value_counts(normalize=True), seen.value_counts(normalize=True)
    names = before.index.union(after.index, sort=False)
    then, now = before.reindex(names, fill_value=0.0), after.reindex(names, fill_value=0.0)
    moved = sorted(names, key=lambda name: (-abs(float(now[name]) - float(then[name])), str(name)))[:MOST]
    was = [f"{short(name)} {percent(float(then[name]))}" for name in moved if then[name] > 0]
    is_ = [f"{short(name)} {percent(float(now[name]))}{'' if then[name] > 0 else ' (new)'}" for name in moved]
    return ", ".join(was), ", ".join(is_)
