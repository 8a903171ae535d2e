"""When scheduled reports are due: from their schedules, how far each has come, and now. Pure.

A schedule is wall-clock time of its zone, as cron takes it: `0 8 * * *` is eight o'clock there in summer and in winter, an hour that is
left out is made up for at its end, and a fixed hour that comes twice counts once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from reconciler.alerting.values import Due, Policy, ReportMark
from schemas.statusreport import StatusReport

MOST_MISSED = 100
"""Missed times that are counted."""
SET_BACK = timedelta(days=1)
"""A mark so far ahead was made by a clock that was wrong."""


def due(policies: Iterable[Policy], marks: Mapping[tuple[str, str], ReportMark], now: datetime) -> tuple[tuple[Due, ...], datetime | None]:
    """The reports that are to be made now, one for each at most; and when the next one will be, None = never.

    A report without a mark is not followed yet."""
    found: list[Due] = []
    later: list[datetime] = []
    for policy in policies:
        for report in policy.spec.reports:
            if (mark := marks.get((policy.name, report.name))) is None:
                continue
            later.append(following(report, now))
            newest = latest(report, now)
            if newest > mark.due:
                found.append(Due(policy.name, report, newest, mark, missed(report, mark.due, newest)))
    return tuple(found), min(later, default=None)


def latest(report: StatusReport, now: datetime) -> datetime:
    """The newest time of the schedule that is not after `now`, in UTC."""
    return _latest(report.schedule, report.timezone, now.astimezone(UTC).replace(second=0, microsecond=0))


def following(report: StatusReport, after: datetime) -> datetime:
    """The first time of the schedule after `after`, in UTC."""
    return _step(report.schedule, report.timezone, after, forward=True)


def missed(report: StatusReport, done: datetime, newest: datetime) -> int:
    """How many times lie between `done` and `newest`; `MOST_MISSED` may mean more."""
    counted, moment = 0, newest
    while counted < MOST_MISSED and (moment := _step(report.schedule, report.timezone, moment, forward=False)) > done:
        counted += 1
    return counted


def begun(mark: ReportMark | None, report: StatusReport, now: datetime) -> ReportMark | None:
    """The mark that a report goes on from, where the one it has (None = none) does not do: it is new, its schedule is another one, or the
    clock was set back. None = it does."""
    asked = f"{report.schedule} {report.timezone}"
    if mark is None:
        return ReportMark(asked, due=now, since=now)
    if mark.asked == asked and mark.due <= now + SET_BACK:
        return None
    return ReportMark(asked, due=now, since=min(mark.since, now), made=mark.made, said=mark.said)


@lru_cache(maxsize=256)
def _latest(schedule: str, timezone: str, minute: datetime) -> datetime:
    """All moments of one minute share the answer."""
    return _step(schedule, timezone, minute + timedelta(seconds=1), forward=False)


def _step(schedule: str, timezone: str, moment: datetime, *, forward: bool) -> datetime:
    from zoneinfo import ZoneInfo

    from croniter import croniter

    local = moment.astimezone(ZoneInfo(timezone))
    while True:
        cron = croniter(schedule, local)
        local = cron.get_next(datetime) if forward else cron.get_prev(datetime)
        if not _comes_again(schedule, local):
            return local.astimezone(UTC)


def _comes_again(schedule: str, local: datetime) -> bool:
    """True for the second of two equal wall-clock times, where the schedule names its hours: one that runs every hour wants both."""
    fixed = "*" not in schedule.split()[1]
    return fixed and local.replace(fold=0).astimezone(UTC) < local.astimezone(UTC)
