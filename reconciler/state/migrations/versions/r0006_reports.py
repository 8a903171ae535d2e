"""Scheduled reports: how far each has come, and what those say that are on their way.

Written out, not taken from `reconciler.state.tables`: a revision stays as it is when the tables move on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "report_marks",
        *(sa.Column(name, sa.String, primary_key=True, nullable=False) for name in ("policy", "report")),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("due", MOMENT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("made", MOMENT),
        sa.Column("said", sa.String, nullable=False),
    )
    op.create_table(
        "bulletins",
        *(sa.Column(name, sa.String, primary_key=True, nullable=False) for name in ("policy", "subject")),
        sa.Column("content", sa.Text, nullable=False),
    )
