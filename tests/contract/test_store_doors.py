"""Tokens, orders and answers of the Store, in SQLite and PostgreSQL; and how it tells that something was written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.model import Ref
from reconciler.state import Store, Token, open_store
from tests.contract.store_values import NOON, Clock, entry, status

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")
WORKFLOW = Ref("Workflow", "p", "nightly")


def token(id_: str = "a1", **more: object) -> Token:
    given = {"name": "ci", "role": "operator", "projects": frozenset({"p"}), "hash": "h", "actor": "ann", "created": NOON, **more}
    return Token(id_, **given)  # type: ignore[arg-type]


def test_a_token_is_kept_and_ends_once(store: Store, clock: Clock) -> None:
    store.doors.add_token(token(expires=NOON + timedelta(days=1)))
    [kept] = store.doors.tokens()
    assert kept == token(expires=NOON + timedelta(days=1))
    assert kept.good(NOON)
    assert not kept.good(NOON + timedelta(days=1))
    clock.pass_(5)
    ended = store.doors.revoke_token("a1", "bob")
    assert ended is not None
    assert ended.revoked == NOON + timedelta(seconds=5)
    clock.pass_(5)
    assert store.doors.revoke_token("a1", "bob") == ended, "the first time counts"
    assert [(each.action, each.actor) for each in store.history()] == [("revoke", "bob"), ("token", "ann")]
    assert store.doors.revoke_token("b2", "bob") is None
    assert store.doors.token("b2") is None


def test_an_order_waits_until_it_is_settled(store: Store) -> None:
    first = store.doors.order(WORKFLOW, "run", "ann", {"rows": "500"})
    second = store.doors.order(WORKFLOW, "rollback", "ann", {"reason": "bad"})
    assert store.doors.waiting_orders() == [first, second]
    store.doors.settle(first, "done", "run-1")
    store.doors.settle(second, "failed", "no")
    assert store.doors.waiting_orders() == []
    done, failed = (store.doors.order_of(each.number) for each in (first, second))
    assert done is not None
    assert failed is not None
    assert (done.state, done.result, failed.state) == ("done", "run-1", "failed")
    [line] = store.history()
    assert (line.action, line.result, line.detail["error"]) == ("rollback", "failed", "no")
    assert store.doors.order_of(99) is None


def test_a_request_is_answered_once_for_a_day(store: Store, clock: Clock) -> None:
    assert store.doors.claim("ann", "k", "digest") is None
    again = store.doors.claim("ann", "k", "digest")
    assert again is not None
    assert again.status == 0, "under way"
    assert store.doors.claim("bob", "k", "digest") is None, "of somebody else"
    store.doors.answer("ann", "k", 200, "{}")
    known = store.doors.claim("ann", "k", "other")
    assert known is not None
    assert (known.request, known.status, known.body) == ("digest", 200, "{}")
    store.doors.unclaim("bob", "k")
    assert store.doors.claim("bob", "k", "digest") is None
    clock.pass_(86_401)
    assert store.doors.claim("ann", "k", "digest") is None


def test_what_is_written_counts_and_what_is_not_does_not(store: Store, place: str | Path, clock: Clock) -> None:
    before = store.changes()
    store.put_statuses([status()])
    assert store.changes() == before + 1
    store.put_statuses([status()])
    assert store.changes() == before + 1, "nothing differs"
    with open_store(place, now=clock) as other:
        other.audit([entry()])
    assert store.changes() == before + 2, "another process' writes count too"
    with store.writer("ann"):
        store.heartbeat()
    assert store.changes() == before + 2, "a heartbeat is none"


def test_lines_come_in_pages_with_their_numbers(store: Store) -> None:
    store.audit([entry(Ref("Experiment", each, "e"), str(number)) for number, each in enumerate("pqpqp")])
    store.audit([entry(None, "reconcile"), entry(Ref("Project", None, "p"), "own")])
    first = store.lines.page(limit=2)
    rest = store.lines.page(before=first[-1][0], limit=99)
    assert [each.action for _, each in (*first, *rest)] == ["own", "reconcile", "4", "3", "2", "1", "0"]
    mine = store.lines.page(projects=frozenset({"p"}), limit=99)
    assert [each.action for _, each in mine] == ["own", "4", "2", "0"]
    assert store.lines.page(projects=frozenset(), limit=99) == []
    newest = store.lines.last()
    assert [number for number, _ in store.lines.after(newest - 2, 99)] == [newest - 1, newest]
