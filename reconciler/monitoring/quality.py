"""Whether the values of the inputs are such as the reference holds: there, of the right sort, within its range, of its categories.

How much of the reference itself would stand out is known by leaving out one row at a time: a value that is there once is unseen for the
rest, and the smallest and the largest number lie outside of what the rest spans. A share that has not risen above that is no finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.model.monitoring import Found
from reconciler.model.values import JSON
from reconciler.monitoring.chance import LEVEL, above, risen
from reconciler.monitoring.kinds import Kind
from reconciler.monitoring.report import Answers, Shown
from reconciler.monitoring.table import Table
from reconciler.monitoring.units import suggestion
from reconciler.monitoring.words import figure, percent, short
from schemas.checks import Quality

if TYPE_CHECKING:
    import pandas as pd
    from evidently.core.metric_types import Metric

NAMED = 100
"""Categories of a column that a report lists."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A column that is not as it must be."""

    column: str
    what: str
    was: str
    is_: str
    share: float
    limit: float

    @property
    def over(self) -> float:
        return self.share / self.limit if self.limit else self.share * 1e3

    def told(self) -> dict[str, JSON]:
        numbers = {"score": self.share, "limit": self.limit} if self.what not in ("missing", "not compared") else {}
        return {"column": self.column, "what": self.what, **numbers, "from": self.was, "to": self.is_}


def judge(table: Table, asked: Quality, shown: Shown) -> Found:
    """The check `quality`."""
    metrics = {**_counts(table), **_limits(table, asked)}
    answers = shown.ask(list(metrics.values()), _kinds(table), table.seen, table.normal)
    level = LEVEL / max(1, len(table.kinds) + len(table.missing))
    found = [*_missing(table, asked), *_values(table, asked, metrics, answers, level), *_twice(table, asked, metrics, answers)]
    order = {"missing": 0, "no numbers": 1}
    found.sort(key=lambda each: (order.get(each.what, 2), -each.over, each.column))
    broken = [why for metric in metrics.values() if (why := answers.why(metric))]
    if not found and broken:
        return Found("quality", "hold", f"could not be computed: {broken[0]}")
    if not found:
        return Found("quality", "pass", f"{len(table.kinds)} columns are as the reference has them")
    first = f"{found[0].column} ({found[0].what}: {found[0].is_}, was {found[0].was})".strip()
    said = f"{_counted(found)}; first: {first}"
    units = suggestion(table, [each.column for each in found if each.what == "out of range"])
    return Found("quality", "fail", said, tuple(each.told() for each in found), units)


def summary(table: Table, shown: Shown) -> None:
    """What charts want of the inputs, for a monitor that does not ask for their quality."""
    shown.ask(list(_counts(table).values()), _kinds(table), table.seen, table.normal)


def _kinds(table: Table) -> dict[str, Kind]:
    return {name: kind for name, kind in table.kinds.items() if kind != "embedding"}


def _counted(found: list[Finding]) -> str:
    columns = len({each.column for each in found if each.column})
    return f"{columns} column{'s are' if columns != 1 else ' is'} not as the reference has them" if columns else "rows are there twice"


def _counts(table: Table) -> dict[tuple[str, str], Metric]:
    """What Evidently counts of every window, by what and by column."""
    from evidently.metrics import ColumnCount, DatasetMissingValueCount, MeanValue, MissingValueCount, RowCount

    found: dict[tuple[str, str], Metric] = {("rows", ""): RowCount(tests=[]), ("columns", ""): ColumnCount(tests=[])}
    for name, kind in _kinds(table).items():
        found["all missing", ""] = DatasetMissingValueCount(tests=[])
        found["missing", name] = MissingValueCount(column=name, tests=[])
        if kind == "number" and table.seen[name].notna().any():
            found["mean", name] = MeanValue(column=name, tests=[])
    return found


def _limits(table: Table, asked: Quality) -> dict[tuple[str, str], Metric]:
    """What it counts because there is a limit to it."""
    from evidently.metrics import DuplicatedRowCount, OutListValueCount, OutRangeValueCount

    found: dict[tuple[str, str], Metric] = {}
    if asked.duplicates is not None:
        found["duplicates", ""] = DuplicatedRowCount(tests=[])
    for name, kind in _kinds(table).items():
        if not table.seen[name].notna().any():
            continue
        if kind == "number" and asked.out_of_range is not None:
            low, high = float(table.normal[name].min()), float(table.normal[name].max())
            found["range", name] = OutRangeValueCount(column=name, left=low, right=high, tests=[])
        elif kind == "category" and asked.unseen is not None and 0 < (known := table.normal[name].dropna().unique()).size <= NAMED:
            found["list", name] = OutListValueCount(column=name, values=sorted(map(str, known)), tests=[])
    return found


# --- what stands out ---------------------------------------------------------------------------------------------------


def _missing(table: Table, asked: Quality) -> Iterator[Finding]:
    if asked.columns:
        for name in table.missing:
            yield Finding(name, "missing", "there", "not there", 1.0, 0.0)


def _values(table: Table, asked: Quality, metrics: Mapping[tuple[str, str], Metric], answers: Answers, level: float) -> Iterator[Finding]:
    for name in _kinds(table):
        normal, seen = table.normal[name], table.seen[name]
        wrong = table.wrong.get(name, 0)
        gone = _count(metrics, answers, "missing", name)
        if gone is not None:  # what is no number is of the wrong sort, but it is there
            really = gone - table.unread.get(name, 0)
            yield from _share(name, "missing values", really, len(seen), int(normal.isna().sum()), len(normal), asked.missing, level)
        held, had = int(seen.notna().sum()), int(normal.notna().sum())
        if asked.columns and wrong:
            yield from _share(name, "no numbers", wrong, len(seen), 0, len(normal), 0.0, level)
        if (outside := _count(metrics, answers, "range", name)) is not None:
            alone = sum(int((normal == end).sum()) == 1 for end in (normal.min(), normal.max()))
            for each in _share(name, "out of range", outside, held, alone, had, asked.out_of_range, level):
                yield _ranged(each, normal, seen)
        if table.kinds[name] == "category":
            yield from _unseen(name, normal, seen, _count(metrics, answers, "list", name), asked.unseen, level)


def _share(
    name: str, what: str, count: int, rows: int, count_then: int, rows_then: int, by: float | None, level: float
) -> Iterator[Finding]:
    if by is not None and risen(count, rows, count_then, rows_then, by, level):
        then = count_then / rows_then
        yield Finding(name, what, percent(then), percent(count / rows), count / rows, then + by)


def _ranged(finding: Finding, normal: pd.Series, seen: pd.Series) -> Finding:
    was = f"{figure(float(normal.min()))} to {figure(float(normal.max()))}"
    is_ = f"{figure(float(seen.min()))} to {figure(float(seen.max()))}, {finding.is_} outside"
    return Finding(finding.column, finding.what, was, is_, finding.share, finding.limit)


def _unseen(name: str, normal: pd.Series, seen: pd.Series, counted: int | None, by: float | None, level: float) -> Iterator[Finding]:
    then, now = normal.value_counts(), seen.value_counts()
    new = now[~now.index.isin(then.index)]
    count = int(new.sum()) if counted is None else counted
    for each in _share(name, "unseen values", count, int(now.sum()), int((then == 1).sum()), int(then.sum()), by, level):
        named = ", ".join(f"{short(value)} {percent(rows / int(now.sum()))}" for value, rows in new.head(3).items())
        yield Finding(name, each.what, f"{len(then)} values", named, each.share, each.limit)


def _twice(table: Table, asked: Quality, metrics: Mapping[tuple[str, str], Metric], answers: Answers) -> Iterator[Finding]:
    if asked.duplicates is None or ("duplicates", "") not in metrics:
        return
    count, rows = answers.value(metrics["duplicates", ""]), len(table.seen)
    if count is not None and above(int(count), rows, asked.duplicates, LEVEL):
        before = int(table.normal.duplicated().sum())
        share = percent(before / len(table.normal)) if len(table.normal) else "unknown"
        yield Finding("", "rows that are there twice", share, percent(count / rows), count / rows, asked.duplicates)


def _count(metrics: Mapping[tuple[str, str], Metric], answers: Answers, what: str, name: str) -> int | None:
    metric = metrics.get((what, name))
    return None if metric is None else answers.count(metric)
