"""Times that recur: cron fields in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime


def zone_trouble(name: str) -> str:
    """What is wrong with the name of a time zone; empty = nothing."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a name that is a folder raises OSError
        return f"there is no time zone {name!r}; use an IANA name, such as Europe/Zurich"
    return ""


def cron_trouble(cron: str) -> str:
    """What is wrong with five cron fields; empty = nothing. A day that no calendar has is wrong, too."""
    from croniter import CroniterBadDateError, CroniterError, croniter

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    try:
        croniter(cron, moment).get_prev()
        croniter(cron, moment).get_next()
    except CroniterBadDateError:
        return f"{cron!r} names a day that no calendar has"
    except CroniterError as error:
        return f"not five cron fields (minute, hour, day of month, month, day of week): {error}"
    return ""
