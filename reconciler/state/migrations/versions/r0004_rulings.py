"""What people ruled: approvals that wait to be carried out, and revisions that are not taken.

Written out, not taken from `reconciler.state.tables`: a revision stays as it is when the tables move on."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        *(sa.Column(name, sa.String, primary_key=True, nullable=False) for name in ("kind", "project", "name", "key")),
        *_text("digest", "actor"),
        _at(),
        *_text("revision"),
    )
    op.create_table(
        "quarantine",
        *(sa.Column(name, sa.String, primary_key=True, nullable=False) for name in ("source", "revision")),
        *_text("trees", "reason", "actor"),
        _at(),
    )


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _at() -> sa.Column[datetime]:
    return sa.Column("at", sa.DateTime(timezone=True), nullable=False)
