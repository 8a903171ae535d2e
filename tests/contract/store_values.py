"""What the tests of the Store put into it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from reconciler.model import Condition, Health, Location, Owned, Ref, Status
from reconciler.state import AuditEntry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXPERIMENT = Ref("Experiment", "ünï", "名前")
DATASET = Ref("Dataset", "ünï", "iris")
RUN = Ref("Experiment", "ünï", "名前", "run-1")
PROJECT = Ref("Project", None, "ünï")
OWNED = Owned(
    ref=EXPERIMENT,
    external_id="42",
    source="root",
    digest="d" * 64,
    applied={"tags": {"team": "Größe ✓", "n": 1, "x": 1.5, "none": None}, "list": [1, [True]]},
    prune="confirm",
    outputs={"id": "42"},
    references=(PROJECT, RUN),
    location=Location("projects/ünï/a b.yaml", 3, 1),
)


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def pass_(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def admin(place: str | Path) -> sa.Connection:
    """A connection beside the Store, that commits each statement."""
    url = place if isinstance(place, str) else sa.URL.create("sqlite", database=str(place))
    return sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect()


def entry(ref: Ref | None = EXPERIMENT, action: str = "create", at: datetime = NOON, **more: object) -> AuditEntry:
    return AuditEntry(at=at, actor="ann", ref=ref, action=action, **more)  # type: ignore[arg-type]


def status(health: Health = Health.HEALTHY, ready: bool | None = True, ref: Ref = EXPERIMENT, message: str = "") -> Status:
    conditions = (Condition("Ready", ready, "Healthy", message), Condition("Synced", True, "AsDesired"))
    return Status(ref, health, conditions, "digest", Location("a.yaml", 1), message)
