"""The Store's tables. A change here needs a revision in migrations/versions and a new HEAD."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    update,
)
from sqlalchemy.types import TypeDecorator

from reconciler.model import Ref
from reconciler.model.demand import RESOURCES

HEAD = "0007"
"""The newest revision; compared without loading Alembic when the Store is opened."""
REF = ("kind", "project", "name", "key")
"""The columns that hold a Ref."""
VERSION_TABLE = "reconciler_version"
"""Not Alembic's default name: another tool may keep its own tables in the same PostgreSQL database."""


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC. SQLite keeps no offset, so that both databases compare and sort alike."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()


def _ref(*, key: bool = True) -> list[Column[str]]:
    """The four parts of a Ref; empty text stands for None, which a primary key cannot hold."""
    return [Column(name, String, primary_key=key, nullable=False) for name in REF]


inventory = Table(
    "inventory",
    metadata,
    *_ref(),
    Column("external_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("prune", String, nullable=False),
    Column("applied", Text, nullable=False),
    Column("outputs", Text, nullable=False),
    Column("refs", Text, nullable=False),
    Column("location", Text, nullable=False),
)
manifests = Table("manifests", metadata, *_ref(), Column("declared", Text, nullable=False))
"""Beside the inventory, and read for `reconcile import` only: no pass needs it."""
journal = Table(
    "journal",
    metadata,
    *_ref(),
    Column("action", String, nullable=False),
    Column("state", String, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("at", Moment, nullable=False),
)
statuses = Table(
    "statuses",
    metadata,
    *_ref(),
    Column("health", Integer, nullable=False),
    Column("observed_digest", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("conditions", Text, nullable=False),
)
memos = Table("memos", metadata, *_ref(), Column("memo", Text, nullable=False))
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    *_ref(key=False),
    Column("actor", Text, nullable=False),
    Column("action", String, nullable=False),
    Column("result", String, nullable=False),
    Column("glyph", String, nullable=False),
    Column("revision", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_at", "at"),
    Index("audit_action", "action", "at"),
    Index("audit_ref", "project", "name", "kind", "key"),
    sqlite_autoincrement=True,
)
suspensions = Table(
    "suspensions",
    metadata,
    *_ref(),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Moment, nullable=False),
)
meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", Text, nullable=False))
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("token", Integer, nullable=False),
    Column("actor", Text),
    Column("host", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("birth", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("heartbeat_at", Moment, nullable=False),
    Column("ttl", Float, nullable=False),
)
"""One row, or none before the first writer. `actor` is NULL while nobody holds it; `token` only grows."""


def _asked() -> list[Column[Any]]:
    """What work that waits and work that runs have in common. Amounts in the units of `Amounts`; `template` as JSON."""
    return [
        Column("owner", String, nullable=False),
        *(Column(name, BigInteger, nullable=False) for name in RESOURCES),
        Column("priority", Integer, nullable=False),
        Column("since", Moment, nullable=False),
        Column("work", String, nullable=False),
        Column("seconds", Float),
        Column("preemptible", Boolean, nullable=False),
        Column("preempted", Integer, nullable=False),
        Column("largest_buffer", BigInteger, nullable=False),
        Column("template", Text, nullable=False),
        Column("detail", Text, nullable=False),
    ]


queue = Table("queue", metadata, *_ref(), *_asked(), Column("not_before", Moment), Column("accepted", Boolean, nullable=False))
"""What waits for its lease. `since`: when it began to wait."""
leases = Table(
    "leases",
    metadata,
    *_ref(),
    *_asked(),
    Column("node", String, nullable=False),
    Column("queued", Moment, nullable=False),
    Column("job", Text, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("ending", Boolean, nullable=False),
    Column("preemptor", Text, nullable=False),
    Column("why", Text, nullable=False),
)
"""What was granted its amounts and is not gone yet. `since`: when it was granted; `preemptor` and `why` as JSON."""
learned = Table("learned", metadata, Column("template", Text, primary_key=True), Column("value", Text, nullable=False))
alerts = Table(
    "alerts",
    metadata,
    Column("id", String, primary_key=True),
    *_ref(key=False),
    Column("reason", Text, nullable=False),
    Column("severity", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("ended", Moment),
    Index("alerts_ended", "ended"),
)
"""What is, or was, not as it should be. `ended` is NULL while it fires."""
deliveries = Table(
    "deliveries",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("policy", String, nullable=False),
    Column("receiver", String, nullable=False),
    Column("about", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try", Moment),
    Column("finished", Moment),
    Column("error", Text, nullable=False),
    Column("claimer", Text, nullable=False),
    Column("claimed_until", Moment),
    Index("deliveries_state", "state", "policy", "receiver"),
    Index("deliveries_created", "created"),
    sqlite_autoincrement=True,
)
"""Messages to receivers. `about`: the group, as JSON; `claimer`: the process that is sending it."""
delivery_parts = Table(
    "delivery_parts",
    metadata,
    *(Column(name, String, primary_key=True, nullable=False) for name in ("policy", "receiver", "subject", "phase")),
    Column("nth", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("delivery", Integer, nullable=False),
    Index("delivery_parts_delivery", "delivery"),
    Index("delivery_parts_subject", "subject"),
)
"""What the messages tell: the primary key lets nobody be told the same thing twice."""
silences = Table(
    "silences",
    metadata,
    Column("id", String, primary_key=True),
    Column("start", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("why", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("covers", Text, nullable=False),
)
alert_marks = Table(
    "alert_marks",
    metadata,
    Column("policy", String, primary_key=True),
    Column("spec", String, nullable=False),
    Column("since", Moment, nullable=False),
    Column("ended", Moment, nullable=False),
    Column("audit", Integer, nullable=False),
    Column("changes", Boolean, nullable=False),
)
"""How far each AlertPolicy has come. `spec`: digest of what it was then; `changes`: whether it followed the audit log."""
report_marks = Table(
    "report_marks",
    metadata,
    *(Column(name, String, primary_key=True, nullable=False) for name in ("policy", "report")),
    Column("asked", Text, nullable=False),
    Column("due", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    Column("made", Moment),
    Column("said", String, nullable=False),
)
"""How far each scheduled report of each AlertPolicy has come: see `ReportMark`."""
bulletins = Table(
    "bulletins",
    metadata,
    *(Column(name, String, primary_key=True, nullable=False) for name in ("policy", "subject")),
    Column("content", Text, nullable=False),
)
"""What reports say that are on their way; `subject` as in `delivery_parts`."""
approvals = Table(
    "approvals",
    metadata,
    *_ref(),
    Column("digest", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("revision", Text, nullable=False),
)
"""Of each resource the one desired state that somebody said yes to and that is not carried out yet."""
quarantine = Table(
    "quarantine",
    metadata,
    *(Column(name, String, primary_key=True, nullable=False) for name in ("source", "revision")),
    Column("trees", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Moment, nullable=False),
)
"""Commits that are not taken. `trees`: folder -> what git calls its content there, as JSON: the same content under another commit is
not taken either."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("name", "role", "projects", "hash", "actor")),
    Column("created", Moment, nullable=False),
    Column("expires", Moment),
    Column("revoked", Moment),
)
"""Who may ask the API. `hash`: SHA-256 of the secret, which is kept nowhere; `projects`: as JSON."""
orders = Table(
    "orders",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    *_ref(key=False),
    Column("actor", Text, nullable=False),
    Column("action", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("result", Text, nullable=False),
    Column("finished", Moment),
    Index("orders_state", "state"),
    sqlite_autoincrement=True,
)
"""What somebody asked the loop to do that only a controller can."""
answers = Table(
    "answers",
    metadata,
    Column("actor", Text, primary_key=True, nullable=False),
    Column("key", String, primary_key=True, nullable=False),
    Column("request", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Index("answers_at", "at"),
)
"""What was answered to requests that name themselves, so that none is carried out twice. `request`: its digest; `status` 0 = under way."""


def ref_columns(table: Table) -> list[Column[str]]:
    return [table.c[name] for name in REF]


def is_ref(table: Table, ref: Ref, *, family: bool = False) -> ColumnElement[bool]:
    """True for the rows of `ref`; with `family` for those of its children too."""
    parts = {"kind": ref.kind, "project": ref.project or "", "name": ref.name}
    whole = parts if family else {**parts, "key": ref.key}
    return and_(*(table.c[name] == value for name, value in whole.items()))


def is_bound_ref(table: Table) -> ColumnElement[bool]:
    """True for the row that the parameters of `bound_refs` name; for one statement over many Refs."""
    return and_(*(table.c[name] == bindparam(f"the_{name}") for name in REF))


def bound_refs(refs: Iterable[Ref]) -> list[dict[str, str]]:
    """The parameters for `is_bound_ref`."""
    return [{"the_kind": each.kind, "the_project": each.project or "", "the_name": each.name, "the_key": each.key} for each in refs]


RENAMED = (inventory, manifests, statuses, memos, suspensions, queue, leases, alerts)
"""What is kept of a resource as it is now. What was done and told about it (audit, deliveries) stays as it was said."""


def rename(connection: Connection, old: Ref, new: Ref) -> None:
    """Every row of `old` and its children is one of `new`; what was left there under the new name makes room."""
    for table in RENAMED:
        if table is not alerts:  # the only one whose key is not the Ref: what ended stays beside what fires
            connection.execute(delete(table).where(is_ref(table, new, family=True)))
        connection.execute(update(table).where(is_ref(table, old, family=True)).values(project=new.project or "", name=new.name))
