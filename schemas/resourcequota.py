"""ResourceQuota: a project's share of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import DnsLabel, Duration, KindInfo, Quantity, Spec, Strict
from schemas.cron import cron_trouble, zone_trouble


class Amounts(Strict):
    """Amounts of what the machine has; unset = not limited by this quota."""

    memory: Quantity | None = None
    """Bytes."""
    gpu: Quantity | None = None
    """Devices or shares of one."""
    cpu: Quantity | None = None
    """Cores."""
    watts: Quantity | None = None
    """Electrical power."""


class Window(Strict):
    """A recurring time in which something may be done, or may not."""

    kind: Literal["allow", "deny"]
    cron: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")]
    """Start, as five cron fields."""
    duration: Duration
    timezone: str = "UTC"
    """IANA name."""


class ResourceQuotaSpec(Spec):
    """A share of the machine with the rules for lending and borrowing."""

    nominal: Amounts
    """What the project can always use."""
    borrowing_limit: Amounts | None = None
    """How much more it may take from idle shares of its cohort; unset = all of it."""
    lending_limit: Amounts | None = None
    """How much of its idle share others may take; unset = all of it."""
    cohort: DnsLabel | None = None
    """Projects that lend to each other."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of what is borrowed, relative to others."""
    priority: Annotated[int, Field(ge=1, le=10)] = 5
    """Of runs that do not say their own; 10 goes first."""
    max_running: Annotated[int, Field(ge=0)] | None = None
    windows: tuple[Window, ...] = ()


def check(spec: ResourceQuotaSpec) -> Iterator[tuple[str, str]]:
    """Times that no calendar has: a window that can never be evaluated must not reach admission."""
    return windows_trouble(spec.windows)


def windows_trouble(windows: tuple[Window, ...]) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it)."""
    for number, window in enumerate(windows):
        if trouble := zone_trouble(window.timezone):
            yield f"windows.{number}.timezone", trouble
        elif trouble := cron_trouble(window.cron):
            yield f"windows.{number}.cron", trouble


KIND = KindInfo(
    name="ResourceQuota",
    spec=ResourceQuotaSpec,
    scope="project",
    prune="auto",
    summary="What a project may use of the machine, lend and borrow.",
    root_only=True,
    check=check,
)
