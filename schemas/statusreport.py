"""Scheduled reports: where everything stands, told at times of its own, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import StringConstraints

from schemas.base import DnsLabel, Strict
from schemas.cron import cron_trouble, zone_trouble

Format = Literal["html", "markdown", "text"]


class StatusReport(Strict):
    """Where everything stands and what was done, once for each time of a schedule; quiet hours and silences do not hold it back."""

    name: DnsLabel
    receivers: tuple[DnsLabel, ...]
    schedule: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")]
    """Five cron fields. Times that were missed become one report, which says so."""
    timezone: str = "UTC"
    """IANA name."""
    projects: tuple[DnsLabel, ...] = ()
    """Empty = all."""
    format: Format | None = None
    """Unset: HTML for mail, text for chats, and for a webhook Markdown inside its JSON."""
    only_when: Literal["always", "notReady", "changed"] = "always"
    """`notReady`: something is not Ready, or fires; `changed`: anything differs from the report before, or something was done."""


def check_reports(reports: Sequence[StatusReport], receivers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the reports of one policy, by field."""
    names = [each.name for each in reports]
    for number, report in enumerate(reports):
        path = f"reports.{number}"
        if names.index(report.name) < number:
            yield f"{path}.name", f"the name '{report.name}' is used twice"
        if not report.receivers:
            yield f"{path}.receivers", "a report goes to one receiver at least"
        yield from check_named(f"{path}.receivers", report.receivers, receivers)
        if trouble := cron_trouble(report.schedule):
            yield f"{path}.schedule", trouble
        if trouble := zone_trouble(report.timezone):
            yield f"{path}.timezone", trouble


def check_named(path: str, named: Sequence[str], receivers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Receivers that are named and that there are not."""
    for number, name in enumerate(named):
        if name not in receivers:
            close = get_close_matches(name, receivers, n=1)
            hint = f"Did you mean `{close[0]}`?" if close else f"receivers are: {', '.join(receivers)}"
            yield f"{path}.{number}", f"there is no receiver '{name}'. {hint}"
