"""Who changed something in a tool, as far as the tool's own records tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.model.actions import Diff
from reconciler.model.resources import Present, Resource

LONGEST = 120
"""Characters of a name or a channel: they come from outside."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """What is known of one change; what is empty is not known."""

    who: str = ""
    """As the tool names them; empty = it does not tell."""
    when: datetime | None = None
    channel: str = ""
    """Through what, or why no more is known: `Airflow's pages or API`, `commit 9f3c2aa`, `MLflow does not tell who`."""
    after: datetime | None = None
    """Where `when` is not known: it was as applied then."""
    until: datetime | None = None
    """And it was not so any more when this was found."""

    def __str__(self) -> str:
        """To follow `changed in the tool`: ` by ada on 2026-05-01 12:03 UTC (Airflow's pages or API)`; empty when nothing is known."""
        who = f" by {self.who[:LONGEST]}" if self.who else ""
        channel = f" ({self.channel[:LONGEST]})" if self.channel else ""
        return f"{who}{self._time()}{channel}"

    def _time(self) -> str:
        if self.when is not None:
            return f" on {_day(self.when)} {_clock(self.when)} UTC"
        if self.after is None or self.until is None:
            return ""
        first, last = f"{_day(self.after)} {_clock(self.after)}", f"{_day(self.until)} {_clock(self.until)}"
        return f" between {first} and {_clock(self.until) if _day(self.after) == _day(self.until) else last} UTC"


@dataclass(frozen=True, slots=True)
class Drift:
    """A resource that somebody changed in the tool."""

    resource: Resource[Any]
    seen: Present
    changes: Diff
    """What is not any more as it was applied."""
    since: datetime | None
    """It was as applied then, so that what the tool tells of earlier times is not about this; None = not known."""


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}"
