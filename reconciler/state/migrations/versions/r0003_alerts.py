"""Alerts: what is wrong, what was told to whom, silences, and how far each policy has come.

Written out, not taken from `reconciler.state.tables`: a revision stays as it is when the tables move on."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _alerts()
    _deliveries()
    op.create_table(
        "silences",
        sa.Column("id", sa.String, primary_key=True),
        _moment("start"),
        _moment("until"),
        *_text("why", "actor", "covers"),
    )
    op.create_table(
        "alert_marks",
        sa.Column("policy", sa.String, primary_key=True),
        sa.Column("spec", sa.String, nullable=False),
        _moment("since"),
        _moment("ended"),
        sa.Column("audit", sa.Integer, nullable=False),
        sa.Column("changes", sa.Boolean, nullable=False),
    )


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _moment(name: str, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, MOMENT, nullable=nullable)


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("kind", "project", "name", "key")),
        *_text("reason"),
        sa.Column("severity", sa.String, nullable=False),
        *_text("message", "location"),
        _moment("since"),
        _moment("ended", nullable=True),
    )
    op.create_index("alerts_ended", "alerts", ["ended"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        *(sa.Column(name, sa.String, nullable=False) for name in ("policy", "receiver")),
        *_text("about"),
        _moment("created"),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        _moment("next_try", nullable=True),
        _moment("finished", nullable=True),
        *_text("error", "claimer"),
        _moment("claimed_until", nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("deliveries_state", "deliveries", ["state", "policy", "receiver"])
    op.create_index("deliveries_created", "deliveries", ["created"])
    op.create_table(
        "delivery_parts",
        *(sa.Column(name, sa.String, primary_key=True, nullable=False) for name in ("policy", "receiver", "subject", "phase")),
        sa.Column("nth", sa.Integer, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("delivery", sa.Integer, nullable=False),
    )
    op.create_index("delivery_parts_delivery", "delivery_parts", ["delivery"])
    op.create_index("delivery_parts_subject", "delivery_parts", ["subject"])
