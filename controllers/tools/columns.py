"""What became of a table's columns between two states of it: types, values, drift. Reads at most a sample of the rows into memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from controllers.tools.tabular import Facts, table_rows

SAMPLE = 20_000
"""Rows of each side, evenly spaced, that drift is judged by: about 0.1 s for ten columns."""
CATEGORIES = 50
"""Different values up to which a column of text is one of categories; more are names or texts, of which nothing is told."""
SURE = 3.3
"""Standard errors that a difference must have: a two-sided 0.1 % under the normal distribution, so that chance is not told as drift."""
SMALL = 0.2
"""Standard deviations that a mean must have moved: Cohen's small effect (Statistical Power Analysis, 1988)."""
SHARE = 0.1
"""By how much the share of a category, or of empty cells, must have moved."""
FEW = 3
"""Columns that are told of one by one, those that moved most."""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a sample of one column."""

    rows: int
    empty: int
    number: bool
    mean: float = 0.0
    deviation: float = 0.0
    values: Mapping[str, int] | None = None
    """Of categories: how often each is there; None = a number, or too many different ones."""


def columns_change(before: Path, old: Facts, now: Path, new: Facts, name: str, *, grown: bool) -> str:
    """What became of the columns that both have, in words; empty where there is nothing to tell. `before` is the old file wherever it is
    kept, `name` says by its suffix how to read both. With `grown` the rows that were added are held against all before them.

    Raises what `tabular.table_rows` raises."""
    both = [each for each in new.columns if each in old.columns]
    if grown and new.rows <= old.rows:
        return ""
    first = old.rows if grown else 0
    one = summarized(table_rows(before, name), old, both, 0)
    two = summarized(table_rows(now, name), new, both, first)
    told = [*_retyped(one, two), *_moved(one, two, "the new rows" if grown else "")]
    if not grown and old.rows == new.rows and old.columns == new.columns:
        told = [*_edited(table_rows(before, name), table_rows(now, name), new), *told]
    return "; ".join(told)


def summarized(rows: Iterable[Sequence[str]], shape: Facts, names: Sequence[str], first: int) -> dict[str, Column]:
    """Each of `names`, by a sample of the rows from number `first` on."""
    at = [shape.columns.index(each) for each in names]
    step = max(1, math.ceil((shape.rows - first) / SAMPLE))
    cells: list[list[str]] = [[] for _ in at]
    for row in islice(rows, first, None, step):
        for column, number in zip(cells, at, strict=True):
            column.append(row[number] if number < len(row) else "")
    return {name: _column(each) for name, each in zip(names, cells, strict=True)}


def _column(cells: list[str]) -> Column:
    given = [each for each in cells if each.strip()]
    empty = len(cells) - len(given)
    try:
        numbers = [float(each) for each in given]
    except ValueError:
        counted = Counter(given)
        return Column(len(cells), empty, False, values=counted if len(counted) <= CATEGORIES else None)
    real = [each for each in numbers if math.isfinite(each)]
    if not real:
        return Column(len(cells), len(cells), True)
    mean = math.fsum(real) / len(real)
    spread = math.fsum((each - mean) ** 2 for each in real) / max(1, len(real) - 1)
    return Column(len(cells), len(cells) - len(real), True, mean, math.sqrt(spread))


def _retyped(before: Mapping[str, Column], after: Mapping[str, Column]) -> Iterator[str]:
    for name, old in before.items():
        new = after[name]
        if old.number != new.number and old.rows > old.empty and new.rows > new.empty:
            kinds = {True: "numbers", False: "text"}
            yield f"{name!r} was {kinds[old.number]} and is {kinds[new.number]}"


def _moved(before: Mapping[str, Column], after: Mapping[str, Column], whose: str) -> list[str]:
    """The columns that moved most, and how many more did."""
    found = sorted(((size, text) for name, old in before.items() for size, text in _drift(name, old, after[name])), reverse=True)
    told = [text for _, text in found[:FEW]]
    more = [f"{len(found) - FEW} more moved"] if len(found) > FEW else []
    return [f"{whose + ': ' if whose and told else ''}{', '.join([*told, *more])}"] if told else []


def _drift(name: str, old: Column, new: Column) -> Iterator[tuple[float, str]]:
    """(how far, in words): the mean of numbers in standard deviations, or the share of a category."""
    lacking = _share(old.empty, old.rows, new.empty, new.rows)
    if lacking:
        yield lacking, f"{name!r} empty {old.empty / old.rows:.0%} -> {new.empty / new.rows:.0%}"
    if old.number and new.number:
        one, two = old.rows - old.empty, new.rows - new.empty
        if min(one, two) < 2:
            return
        moved = new.mean - old.mean
        error = math.sqrt(old.deviation**2 / one + new.deviation**2 / two)
        scale = old.deviation or new.deviation
        if error and abs(moved) / error >= SURE and abs(moved) / scale >= SMALL:
            yield abs(moved) / scale, f"{name!r} mean {old.mean:.4g} -> {new.mean:.4g} ({moved / scale:+.1f} sd)"
    elif old.values is not None and new.values is not None:
        one, two = sum(old.values.values()), sum(new.values.values())
        parts = [(_share(old.values.get(each, 0), one, new.values.get(each, 0), two), each) for each in {*old.values, *new.values}]
        size, most = max(parts, default=(0.0, ""))
        if size:
            yield size, f"{name!r}: {most!r} {old.values.get(most, 0) / one:.0%} -> {new.values.get(most, 0) / two:.0%}"


def _share(old: int, one: int, new: int, two: int) -> float:
    """By how much a share moved; 0 when that is little, or may be chance (two-proportion z test, pooled)."""
    if not one or not two:
        return 0.0
    moved, pooled = abs(new / two - old / one), (old + new) / (one + two)
    error = math.sqrt(pooled * (1 - pooled) * (1 / one + 1 / two))
    return moved if moved >= SHARE and error and moved / error >= SURE else 0.0


def _edited(before: Iterable[Sequence[str]], after: Iterable[Sequence[str]], shape: Facts) -> Iterator[str]:
    """Where cells of the same rows differ: a label that was corrected shows as one column."""
    changed, rows = Counter[str](), 0
    for one, two in zip(before, after, strict=False):
        if one != two:
            rows += 1
            changed.update(name for name, have, want in zip(shape.columns, one, two, strict=False) if have != want)
    if changed and rows < shape.rows:
        names = ", ".join(repr(name) for name, _ in changed.most_common(FEW))
        more = f" and {len(changed) - FEW} more columns" if len(changed) > FEW else ""
        yield f"values of {names}{more} changed in {rows:,} of {shape.rows:,} rows"
