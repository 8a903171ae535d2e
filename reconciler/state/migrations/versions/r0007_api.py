"""Who may ask the API, what was asked of the loop through it, and what was answered.

Written out, not taken from `reconciler.state.tables`: a revision stays as it is when the tables move on."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        *_text("name", "role", "projects", "hash", "actor"),
        _moment("created"),
        *(_moment(name, nullable=True) for name in ("expires", "revoked")),
    )
    op.create_table(
        "orders",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        _moment("at"),
        *(sa.Column(name, sa.String, nullable=False) for name in ("kind", "project", "name", "key")),
        *_text("actor"),
        sa.Column("action", sa.String, nullable=False),
        *_text("detail"),
        sa.Column("state", sa.String, nullable=False),
        *_text("result"),
        _moment("finished", nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("orders_state", "orders", ["state"])
    op.create_table(
        "answers",
        sa.Column("actor", sa.Text, primary_key=True, nullable=False),
        sa.Column("key", sa.String, primary_key=True, nullable=False),
        *_text("request"),
        sa.Column("status", sa.Integer, nullable=False),
        *_text("body"),
        _moment("at"),
    )
    op.create_index("answers_at", "answers", ["at"])


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
