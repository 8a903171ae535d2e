"""Labels that come for predictions: written, and counted for the version that made the prediction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.gateway.joins import REMEMBERED, Join, Score
from reconciler.gateway.parquet import Kind, read_parts
from reconciler.gateway.parts import FLUSH, Parts
from reconciler.gateway.predictions import LONGEST_ID, as_text
from reconciler.model.serving import Route, Target, folder

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Mapping[str, Kind] = {"time": "time", "id": "text", "deployment": "text", "label": "text"}
"""One row for each label, in the order in which they came; a later one for the same id corrects the earlier; `label` is JSON."""


class Feedback:
    """Writes below `serving/feedback`, and counts from its own start. For one thread, which never waits.

    `remember`: how many predictions of a route can be joined; `flush`: seconds that a label waits at most to be written."""

    def __init__(
        self, state_dir: Path, *, remember: int = REMEMBERED, flush: float = FLUSH, clock: Callable[[], float] = time.time
    ) -> None:
        self._parts = Parts(folder(state_dir) / "feedback", COLUMNS, flush=flush, clock=clock)
        self._clock, self._remember = clock, remember
        self._joins: dict[str, Join] = {}
        self._scores: dict[str, Score] = {}

    @property
    def written(self) -> int:
        """Labels on disk."""
        return self._parts.written

    @property
    def dropped(self) -> int:
        """Labels that were not written: too many waited, or the disk refused them."""
        return self._parts.dropped

    def add(self, route: Route, labels: Sequence[Mapping[str, Any]]) -> int:
        """Take labels, each `{"id": ..., "label": ...}`; how many were taken: none when too many wait to be written.

        A label whose prediction is not known (yet) is written too; it counts once the prediction is."""
        now = self._clock()
        found = [(each["id"], each["label"], text) for each in labels if _named(each) and (text := _text(each))]
        rows = [(now, id_, route.path, text) for id_, _, text in found]
        size = sum(len(row[1]) + len(row[3]) + 100 for row in rows)
        if not rows or not self._parts.put(route.project, route.name, rows, size, route.predictions.retain):
            return 0
        join = self._join(route)
        for id_, label, _ in found:
            join.labelled(id_, label)
        return len(rows)

    def seen(self, route: Route, target: Target, ids: Sequence[str], predictions: Sequence[Any]) -> None:
        """Remember what was answered, for the labels that come later or came before."""
        self._join(route).predicted(target.app, ids, predictions)

    def stats(self, app: str) -> tuple[int, int, float]:
        """Of an application: predictions whose label has come, how many of them were right, the sum of |prediction - label|."""
        found = self._scores.get(app, Score())
        return found.labels, found.correct, found.absolute_error

    def close(self) -> None:
        """Write what waits."""
        self._parts.close()

    def _join(self, route: Route) -> Join:
        return self._joins.setdefault(route.path, Join(self._score, self._remember))

    def _score(self, app: str) -> Score:
        return self._scores.setdefault(app, Score())


def read(state_dir: Path, project: str, name: str, since: datetime | None = None) -> pa.Table:
    """The labels of a deployment in the order in which they came; with `since` only those of that time and later.

    Raises UsageError for what is not the name of a deployment, Terminal for a file that cannot be read."""
    return read_parts(folder(state_dir) / "feedback", COLUMNS, project, name, since)


def _named(each: Mapping[str, Any]) -> bool:
    return isinstance(each.get("id"), str) and 0 < len(each["id"]) <= 2 * LONGEST_ID  # a made id holds the request's


def _text(each: Mapping[str, Any]) -> str:
    """The label as JSON; empty when there is none, or one that is nested too deeply."""
    try:
        return as_text(each["label"])
    except (KeyError, RecursionError):
        return ""
