"""What the model answers, and the truth, held against the reference's: the checks `predictions` and `labels`."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.model.monitoring import Found
from reconciler.model.values import JSON
from reconciler.monitoring.drift import Judged, judge
from reconciler.monitoring.instances import Columns
from reconciler.monitoring.report import Shown
from reconciler.monitoring.side import ABSENT, Side
from reconciler.monitoring.table import Table, compared
from schemas.checks import Compared

PREDICTION, LABEL = "prediction", "label"


def predictions(normal: Side, seen: Side, asked: Compared, least: int, shown: Shown) -> Judged:
    """Of a reference without answers, what is true stands in for them: a model that is right on average answers with the same mean, and
    with the same classes about as often, but its numbers spread less than the truth does. So of numbers only the mean is compared."""
    then, stands_in = ([*normal.answers], False) if _known(normal.answers) else ([*normal.truths], True)
    if not _known(then):
        hint = "its `target` would stand in for them" if not normal.truths else "nor labels"
        return Judged(Found("predictions", "hold", f"the reference has no answers: {hint}"))
    return _judge("predictions", PREDICTION, then, seen.answers, asked, least, shown, means=stands_in)


def labels(normal: Side, seen: Side, asked: Compared, least: int, shown: Shown) -> Judged:
    """Target drift: of the rows whose label has come."""
    if not _known(normal.truths):
        return Judged(Found("labels", "hold", "the reference has no truth: name its column as `target`"))
    return _judge("labels", LABEL, normal.truths, seen.truths, asked, least, shown)


def _judge(
    check: str, name: str, then: Sequence[JSON], now: Sequence[JSON], asked: Compared, least: int, shown: Shown, *, means: bool = False
) -> Judged:
    before, after = [each for each in then if each is not ABSENT], [each for each in now if each is not ABSENT]
    if len(after) < least:
        return Judged(Found(check, "hold", f"{len(after)} of {least} {name}s"))
    table = _table(name, before, after)
    if not table.kinds and not table.missing:
        return Judged(Found(check, "hold", f"{name}s are neither numbers nor classes: {'; '.join(table.notes) or 'nothing to compare'}"))
    return judge(check, table, [*table.kinds, *table.missing], asked, shown, means=means)


def _known(values: Sequence[JSON]) -> bool:
    return any(each is not ABSENT for each in values)


def _table(name: str, then: Sequence[JSON], now: Sequence[JSON]) -> Table:
    """One column, or one for each field or place of an answer that has several."""
    sides = []
    for values in (then, now):
        columns = Columns(len(values))
        for each in values:
            columns.add({name: each})
        sides.append(columns)
    return compared(sides[0].values, sides[1].values, len(then), len(now))
