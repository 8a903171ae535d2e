"""Recurring times in which a project's work may start, or may not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from reconciler.admission.values import Window


def closed(windows: Iterable[Window], now: datetime) -> Window | None:
    """The window that forbids a start at `now`: a `deny` that is on, or the first `allow` when none of them is on. None = open."""
    allowing: Window | None = None
    allowed = False
    for window in windows:
        on = is_on(window, now)
        if on and not window.allow:
            return window
        if window.allow:
            allowing, allowed = allowing or window, allowed or on
    return None if allowed else allowing


def is_on(window: Window, now: datetime) -> bool:
    """True from each start that the cron expression names, for the window's length."""
    return now - _last_start(window, now.astimezone(UTC).replace(second=0, microsecond=0)) < timedelta(seconds=window.seconds)


@lru_cache(maxsize=4096)
def _last_start(window: Window, minute: datetime) -> datetime:
    """The latest start at or before `minute`. Cron starts fall on whole minutes, so all moments of one minute share the answer.

    Wall-clock time of the window's zone: `0 9 * * *` is nine o'clock there in summer and in winter."""
    from zoneinfo import ZoneInfo

    from croniter import croniter

    local = (minute + timedelta(seconds=1)).astimezone(ZoneInfo(window.timezone))
    start: datetime = croniter(window.cron, local).get_prev(datetime)
    return start.astimezone(UTC)
