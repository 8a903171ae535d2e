"""When workflows run next, and how the last run of each went: from their manifests and notebooks. Asks no tool."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.report.show import rfc3339

PASSED = ("id", "state", "type", "note", "version")
"""Of a run, as Airflow says it."""


def standing(notes: Mapping[str, Any], spec: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """One workflow's. `spec`: as its manifest said it last, without what is at its default."""
    return {
        "schedule": spec.get("schedule"),
        "timezone": spec.get("timezone") or "UTC",
        "paused": bool(spec.get("paused")),
        "next": None if spec.get("paused") else following(spec.get("schedule"), spec.get("timezone") or "UTC", now),
        "last": _run(notes.get("last")),
        "runs": [found for each in reversed(notes.get("runs") or ()) if (found := _run(each)) is not None],
        "triggers": [
            f"{kind}/{name}" for each in spec.get("triggers") or () if isinstance(each, Mapping) for kind, name in each.items() if name
        ],
    }


def following(schedule: Any, timezone: Any, now: datetime) -> str | None:
    """The next time of a schedule; None = there is none, or it cannot be read."""
    from zoneinfo import ZoneInfo

    from croniter import CroniterError, croniter

    if not isinstance(schedule, str):
        return None
    try:
        at = croniter(schedule, now.astimezone(ZoneInfo(str(timezone)))).get_next(datetime)
    except (CroniterError, ValueError, KeyError, OSError):
        return None
    return rfc3339(at.astimezone(UTC))


def _run(raw: Any) -> dict[str, Any] | None:
    if not isinstance(raw, Mapping):
        return None
    began, ended = _seconds(raw.get("started")) or _seconds(raw.get("queued")), _seconds(raw.get("ended"))
    failure = raw.get("failure")
    took = (ended - began) / timedelta(seconds=1) if began is not None and ended is not None else None
    return {
        **{name: raw.get(name) for name in PASSED},
        "started": rfc3339(began),
        "ended": rfc3339(ended),
        "seconds": max(0.0, took) if took is not None else None,
        "failure": {name: failure.get(name) for name in ("task", "why", "tail")} if isinstance(failure, Mapping) else None,
    }


def _seconds(text: Any) -> datetime | None:
    """A moment as Airflow writes it."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
