"""Which window is looked at next. Pure.

Windows by time end on a grid that starts at midnight UTC, so that a restart, an edit or a slow worker never moves one, and none is looked
at twice. One at a time: a worker that is late delays the next window, and what was missed meanwhile is one window, or each in turn with
`catchUp`."""

from __future__ import annotations

import math
from dataclasses import replace

from controllers.monitors.notes import Notes, Pending
from reconciler.model import digest_of
from schemas.base import duration_value
from schemas.monitor import Count, MonitorSpec

SETTLE = 12.0
"""Seconds after its end in which the last rows of a window come to the disk: the gateway writes every 10 s."""
RELABEL = 60.0
"""Seconds between two looks at the same window for labels that came late, at least; and not more often than windows end."""


def every(spec: MonitorSpec) -> float:
    """Seconds between the ends of two windows by time."""
    return duration_value(spec.every or (spec.window if isinstance(spec.window, str) else "1m")).total_seconds()


def begin(spec: MonitorSpec, notes: Notes, now: float, rows: int) -> Notes:
    """The notebook of a monitor that starts to watch; `rows` were ever logged. A dataset's version of now is its first window."""
    grid = now if isinstance(spec.window, Count) else _grid(now, every(spec))
    return replace(notes, since=now, cursor=grid, taken=rows)


def due(spec: MonitorSpec, notes: Notes, about: str, now: float, rows: int, labels: int, version: str) -> Pending | None:
    """The window to look at, None while there is none. `about` is what makes a look one of its own beside the time: the monitor, what is
    normal, what is asked. `rows` and `labels` were ever logged; `version` is that of the dataset, for one that watches versions."""
    if notes.pending is not None:
        return notes.pending
    if not notes.since:
        return None
    if spec.dataset is not None:
        return _pending(about, now, now, version) if version not in ("", "*", notes.version) else None
    if isinstance(spec.window, Count):
        found = _by_count(spec.window.count, notes, about, rows)
    else:
        found = _by_time(spec, notes, about, now)
    return found or _again(spec, notes, about, now, labels)


def next_look(spec: MonitorSpec, notes: Notes) -> float | None:
    """Unix seconds at which the next window by time is due; None = time alone does not tell."""
    if not notes.since or spec.dataset is not None or isinstance(spec.window, Count):
        return None
    return notes.cursor + every(spec) + SETTLE


def _by_time(spec: MonitorSpec, notes: Notes, about: str, now: float) -> Pending | None:
    assert isinstance(spec.window, str)
    step, length = every(spec), duration_value(spec.window).total_seconds()
    last = _grid(now - SETTLE, step)
    first = _grid(notes.cursor, step) + step  # another `every` since: from the next end on its own grid
    if last < first:
        return None
    end = first if spec.catch_up else last
    return _pending(about, end - length, end)


def _by_count(count: int, notes: Notes, about: str, rows: int) -> Pending | None:
    """What was missed is one longer window: no prediction is left out."""
    waiting = rows - notes.taken
    if waiting < count:
        return None
    size = waiting - waiting % count
    return Pending(digest_of([about, notes.cursor, size])[:16], notes.cursor, 0.0, size)


def _again(spec: MonitorSpec, notes: Notes, about: str, now: float, labels: int) -> Pending | None:
    """A window whose labels were not all there, when more have come since; the oldest first."""
    performance = spec.checks.performance
    if performance is None:
        return None
    horizon, pause = duration_value(performance.wait).total_seconds(), max(RELABEL, every(spec))
    for each in notes.windows:
        if each.labels < each.rows and labels > each.labels_then and now - each.end <= horizon and now - each.at >= pause:
            key = digest_of([about, each.start, each.end, each.again + 1])[:16]
            return Pending(key, each.start, each.end, again=each.again + 1)
    return None


def _pending(about: str, start: float, end: float, version: str = "") -> Pending:
    return Pending(digest_of([about, version or [start, end]])[:16], start, end, version=version)


def _grid(at: float, step: float) -> float:
    return math.floor(at / step) * step
