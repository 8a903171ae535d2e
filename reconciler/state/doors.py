"""Who may ask the API, what was asked of the loop through it, and what was answered. Reached as `store.doors`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from reconciler.model import Ref
from reconciler.state import encode, tables
from reconciler.state.database import Database
from reconciler.state.records import Answer, AuditEntry, Order, Token

REMEMBERED = timedelta(days=1)
"""For so long a request that comes again is given the same answer."""
Write = Callable[[], AbstractContextManager[Connection]]


class Doors:
    """The tables `tokens`, `orders` and `answers`. Everything may raise StoreError. Allowed while another process reconciles."""

    def __init__(self, database: Database, write: Write, now: Callable[[], datetime]) -> None:
        self._database, self._write, self._now = database, write, now

    # --- tokens ---

    def tokens(self) -> list[Token]:
        """All that were ever made, the newest first."""
        return self._database.decoded(select(tables.tokens).order_by(tables.tokens.c.created.desc(), tables.tokens.c.id), _token)

    def token(self, id_: str) -> Token | None:
        """The one of this id; None = there is none."""
        return next(iter(self._database.decoded(select(tables.tokens).where(tables.tokens.c.id == id_), _token)), None)

    def add_token(self, token: Token) -> None:
        """Keep a new one; the audit log tells who made it, and for what."""
        row = {
            "id": token.id,
            "name": token.name,
            "role": token.role,
            "projects": encode.to_text(sorted(token.projects)),
            "hash": token.hash,
            "actor": token.actor,
            "created": token.created,
            "expires": token.expires,
            "revoked": token.revoked,
        }
        detail = {"token": token.id, "name": token.name, "role": token.role, "projects": sorted(token.projects)}
        with self._write() as connection:
            connection.execute(insert(tables.tokens), [row])
            _append(connection, AuditEntry(token.created, token.actor, None, "token", detail=detail))

    def revoke_token(self, id_: str, actor: str) -> Token | None:
        """End it at once; safe to repeat. None = there is none of this id."""
        now, table = self._now(), tables.tokens
        with self._write() as connection:
            done = connection.execute(update(table).where(and_(table.c.id == id_, table.c.revoked.is_(None))).values(revoked=now))
            if done.rowcount:
                _append(connection, AuditEntry(now, actor, None, "revoke", detail={"token": id_}))
        return self.token(id_)

    # --- orders ---

    def order(self, ref: Ref, action: Literal["run", "rollback"], actor: str, detail: dict[str, Any]) -> Order:
        """Ask the loop for something; its next whole pass begins with it."""
        now = self._now()
        row = {"at": now, "actor": actor, "action": action, "detail": encode.to_text(detail, ref), "state": "waiting", "result": ""}
        with self._write() as connection:
            made = connection.execute(insert(tables.orders).values({**encode.ref_row(ref), **row, "finished": None}))
            (number,) = made.inserted_primary_key or (0,)
        return Order(int(number), now, ref, actor, action, detail)

    def waiting_orders(self) -> list[Order]:
        """What nobody has done yet, the oldest first."""
        table = tables.orders
        return self._database.decoded(select(table).where(table.c.state == "waiting").order_by(table.c.number), _order)

    def order_of(self, number: int) -> Order | None:
        """The one of this number; None = there is none."""
        return next(iter(self._database.decoded(select(tables.orders).where(tables.orders.c.number == number), _order)), None)

    def settle(self, order: Order, state: Literal["waiting", "begun", "done", "failed"], result: str) -> None:
        """How it stands now: a failure is told in the audit log, what is done tells itself there."""
        if state == "waiting" and order.result == result and order.action == "run":
            return  # it waits on, for what it waited for
        now, table = self._now(), tables.orders
        finished = now if state in ("done", "failed") else None
        with self._write() as connection:
            connection.execute(update(table).where(table.c.number == order.number).values(state=state, result=result, finished=finished))
            if state == "failed":
                detail = {"order": order.number, "error": result}
                _append(connection, AuditEntry(now, order.actor, order.ref, order.action, "failed", detail=detail))

    # --- answers ---

    def claim(self, actor: str, key: str, request: str) -> Answer | None:
        """None: this request is the first of its name, and must be answered with `answer` or `unclaim`. Else what is known of the first."""
        table, now = tables.answers, self._now()
        with self._write() as connection:
            connection.execute(delete(table).where(table.c.at < now - REMEMBERED))
            row = connection.execute(select(table).where(_named(actor, key))).first()
            if row is not None:
                return Answer(row[2], row[3], row[4])
            first = {"actor": actor, "key": key, "request": request, "status": 0, "body": "", "at": now}
            connection.execute(insert(table), [first])
        return None

    def answer(self, actor: str, key: str, status: int, body: str) -> None:
        """What the request of this name is answered, now and when it comes again."""
        with self._write() as connection:
            connection.execute(update(tables.answers).where(_named(actor, key)).values(status=status, body=body))

    def unclaim(self, actor: str, key: str) -> None:
        """It was not carried out, so that it may be tried again under the same name."""
        with self._write() as connection:
            connection.execute(delete(tables.answers).where(_named(actor, key)))


def _named(actor: str, key: str) -> ColumnElement[bool]:
    return and_(tables.answers.c.actor == actor, tables.answers.c.key == key)


def _append(connection: Connection, entry: AuditEntry) -> None:
    connection.execute(insert(tables.audit), [encode.audit_row(entry)])


def _token(row: Sequence[Any]) -> Token:
    id_, name, role, projects, hash_, actor, created, expires, revoked = row
    return Token(id_, name, role, frozenset(encode.from_text(projects)), hash_, actor, created, expires, revoked)


def _order(row: Sequence[Any]) -> Order:
    number, at, kind, project, name, key, actor, action, detail, state, result, finished = row
    return Order(number, at, encode.ref_from(kind, project, name, key), actor, action, encode.from_text(detail), state, result, finished)
