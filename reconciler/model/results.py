"""What became of the actions, and where the resources stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Literal, TypeAlias

from reconciler.model.actions import Action, Diff
from reconciler.model.names import NOWHERE, Location, Ref
from reconciler.model.resources import Observation
from reconciler.model.values import Outputs


class Health(IntEnum):
    """Ordered by badness: a parent is as healthy as its worst child."""

    HEALTHY = 0
    SUSPENDED = 1
    PROGRESSING = 2
    UNKNOWN = 3
    MISSING = 4
    DEGRADED = 5

    def __str__(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How an object is, and why, in words that do not change from pass to pass."""

    health: Health
    message: str = ""
    reason: str = ""
    """CamelCase; empty = the health's own name. On what is Healthy: a remark that `status` shows although all is well."""
    stalled: bool = False
    """True: nothing will be tried again until the manifest or the tool changes."""
    severity: str = ""
    """How bad it is, for alerts: `info`, `warning` or `critical`; empty = what its health says."""


@dataclass(frozen=True, slots=True)
class Done:
    """The tool has accepted it."""

    external_id: str
    outputs: Outputs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Started:
    """Long work goes on outside; look again at `recheck_at`."""

    token: str
    recheck_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    error: Exception


Outcome: TypeAlias = Done | Started | Failed


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one action."""

    action: Action
    outcome: Outcome | None
    """None: nothing was tried (Keep, Blocked, or stopped before its turn)."""
    observation: Observation | None = None
    """After the write."""
    left_over: Diff = ()
    """Still differs after a successful write: a defect of the controller or of the tool, reported by name."""
    attempts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement about a resource. `message` holds no timestamp and no counter, so that it does not flap."""

    type: Literal["Ready", "Synced", "Stalled", "Admitted", "Compatible"]
    status: bool | None
    """None = not known."""
    reason: str
    message: str = ""
    since: datetime | None = None
    """When `status` last changed; filled by the Store."""
    severity: str = ""
    """As `HealthReport.severity`; on Ready alone."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a resource stands after a pass."""

    ref: Ref
    health: Health
    conditions: tuple[Condition, ...]
    observed_digest: str = ""
    location: Location = NOWHERE
    message: str = ""
    """The most telling reason, for the WHY column."""

    @property
    def ready(self) -> bool:
        return any(each.type == "Ready" and each.status is True for each in self.conditions)
