"""The first tables: inventory, journal, statuses, memos, audit, suspensions, meta, lease.

Written out, not taken from `reconciler.state.tables`: a revision stays as it is when the tables move on."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
REFUSAL = "the audit log is append-only"


def upgrade() -> None:
    _what_we_own()
    _what_was_seen()
    _what_people_said()
    _audit()
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_postgresql()
    else:
        _refuse_changes_sqlite()


def _ref(key: bool = True) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, primary_key=key, nullable=False) for name in ("kind", "project", "name", "key")]


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _moment(*names: str) -> list[sa.Column[datetime]]:
    return [sa.Column(name, MOMENT, nullable=False) for name in names]


def _what_we_own() -> None:
    op.create_table(
        "inventory",
        *_ref(),
        *_text("external_id", "source", "digest"),
        sa.Column("prune", sa.String, nullable=False),
        *_text("applied", "outputs", "refs", "location"),
    )
    op.create_table(
        "journal",
        *_ref(),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        *_text("external_id", "digest"),
        *_moment("at"),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("actor", sa.Text),
        *_text("host", "machine"),
        sa.Column("pid", sa.Integer, nullable=False),
        *_text("birth"),
        *_moment("since", "heartbeat_at"),
        sa.Column("ttl", sa.Float, nullable=False),
    )


def _what_was_seen() -> None:
    op.create_table(
        "statuses",
        *_ref(),
        sa.Column("health", sa.Integer, nullable=False),
        *_text("observed_digest", "message", "location", "conditions"),
    )
    op.create_table("memos", *_ref(), *_text("memo"))


def _what_people_said() -> None:
    op.create_table("suspensions", *_ref(), *_text("reason", "actor"), *_moment("at"))
    op.create_table("meta", sa.Column("key", sa.String, primary_key=True), *_text("value"))


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *_moment("at"),
        *_ref(key=False),
        *_text("actor"),
        *[sa.Column(name, sa.String, nullable=False) for name in ("action", "result", "glyph")],
        *_text("revision", "location", "detail"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_at", "audit", ["at"])
    op.create_index("audit_ref", "audit", ["project", "name", "kind", "key"])


def _refuse_changes_sqlite() -> None:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    op.execute(f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit {refuse}")
    op.execute(f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit {refuse}")
    # INSERT OR REPLACE removes the old row without firing the trigger above.
    op.execute(f"CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) {refuse}")


def _refuse_changes_postgresql() -> None:
    op.execute(
        f"CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
    )
    op.execute("CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()")
    op.execute("CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()")
