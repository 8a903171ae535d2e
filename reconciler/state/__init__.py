"""The Store: what the tools cannot tell us. Ownership, open intents, conditions, memos, the audit log, and who may write.

It never answers "does it exist?". Start at `open_store`, which loads the database library; importing this package is light."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.state.records import Approval, AuditEntry, Held, Intent, Order, Quarantined, Queued, Suspension, Token, Writer, utcnow

if TYPE_CHECKING:
    from reconciler.state.store import Store

__all__ = [
    "Approval",
    "AuditEntry",
    "Held",
    "Intent",
    "Order",
    "Quarantined",
    "Queued",
    "Store",
    "Suspension",
    "Token",
    "Writer",
    "open_store",
    "utcnow",
]


def open_store(url_or_path: str | Path, *, read_only: bool = False, now: Callable[[], datetime] = utcnow) -> Store:
    """Open the Store; created, or brought to this program's schema, when need be.

    `url_or_path` is an SQLAlchemy URL (`postgresql+psycopg://...`, `sqlite:///...`) or the path of an SQLite file.
    `read_only` never creates and never migrates; where there is no Store yet, every read is empty. Writes raise StoreError then.
    `now` must give aware datetimes. Raises StoreError, with a hint, when it cannot be opened, is damaged or was made by a newer version."""
    from reconciler.state.store import Store

    return Store.open(url_or_path, read_only=read_only, now=now)


def __getattr__(name: str) -> Any:
    if name != "Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from reconciler.state.store import Store

    return Store
