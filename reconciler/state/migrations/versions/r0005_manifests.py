"""What the manifest of each thing in the inventory says, for `reconcile import`.

Written out, not taken from `reconciler.state.tables`: a revision stays as it is when the tables move on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "manifests",
        *(sa.Column(name, sa.String, primary_key=True, nullable=False) for name in ("kind", "project", "name", "key")),
        sa.Column("declared", sa.Text, nullable=False),
    )
