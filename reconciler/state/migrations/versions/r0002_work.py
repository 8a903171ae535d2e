"""Work under admission: queue, leases, learned; an index that keeps the deletion budget quick among the lines of many grants.

Written out, not taken from `reconciler.state.tables`: a revision stays as it is when the tables move on."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "queue",
        *_ref(),
        *_asked(),
        sa.Column("not_before", MOMENT),
        sa.Column("accepted", sa.Boolean, nullable=False),
    )
    op.create_table(
        "leases",
        *_ref(),
        *_asked(),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("queued", MOMENT, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("ending", sa.Boolean, nullable=False),
        sa.Column("preemptor", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
    op.create_table("learned", sa.Column("template", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False))
    op.create_index("audit_action", "audit", ["action", "at"])


def _ref() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, primary_key=True, nullable=False) for name in ("kind", "project", "name", "key")]


def _asked() -> list[sa.Column[Any]]:
    return [
        sa.Column("owner", sa.String, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("memory", "cpu", "gpu", "watts")),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("work", sa.String, nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("preemptible", sa.Boolean, nullable=False),
        sa.Column("preempted", sa.Integer, nullable=False),
        sa.Column("largest_buffer", sa.BigInteger, nullable=False),
        sa.Column("template", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    ]
