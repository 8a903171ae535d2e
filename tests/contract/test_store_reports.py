"""Scheduled reports in the Store, on SQLite and on a real PostgreSQL: made once, words kept until they have arrived."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.alerting.decide import notification
from reconciler.alerting.values import Bulletin, Due, Mark, Part, Policy, ReportMark
from reconciler.errors import StoreError
from reconciler.model import Ref
from reconciler.state import AuditEntry, Store, open_store
from schemas.alertpolicy import AlertPolicySpec
from tests.contract.store_values import Clock

pytest_plugins = ["tests.contract.store_fixtures"]
pytestmark = pytest.mark.xdist_group("store")
EVERY_TEXT = "Größe \x00 \udc80 \u202e ✗"
WORDS = Bulletin("daily", EVERY_TEXT, "<p>", "## x", (EVERY_TEXT, "b"), {"ready": 3, "done": {"runs": 1}}, "html")


def policy(clock: Clock, *names: str, schedule: str = "* * * * *") -> Policy:
    reports = [{"name": each, "receivers": ["a"], "schedule": schedule} for each in names]
    spec = {"receivers": [{"name": "a", "apprise": {"fromEnv": "X"}}], "reports": reports}
    return Policy("p", AlertPolicySpec.model_validate(spec), clock(), Mark(clock(), 0))


def due(found: Policy, clock: Clock, mark: ReportMark) -> Due:
    return Due("p", found.spec.reports[0], clock(), mark)


def queue(store: Store, asked: Due, words: Bulletin | None = WORDS, said: str = "x") -> bool:
    parts = (Part(asked.subject, "report"),)
    made = [notification("p", each, ("report", "daily"), parts) for each in ("a", "b")]
    return store.reports.queue(asked, made, words, said, asked.at)


def test_what_is_new_begins_now_and_what_is_gone_is_forgotten(store: Store, clock: Clock) -> None:
    began = clock()
    found = policy(clock, "daily", "weekly")
    marks = store.reports.follow([found])
    assert marks == dict.fromkeys([("p", "daily"), ("p", "weekly")], ReportMark("* * * * * UTC", began, began))
    clock.pass_(600)
    assert store.reports.follow([found]) == marks == store.reports.marks()
    assert store.reports.follow([policy(clock, "daily")]) == {("p", "daily"): marks["p", "daily"]}
    clock.pass_(600)
    assert store.reports.follow([policy(clock, "daily", schedule="0 8 * * *")])["p", "daily"] == ReportMark("0 8 * * * UTC", clock(), began)
    assert (store.reports.follow([]), store.reports.marks()) == ({}, {})


def test_it_is_made_once_and_its_words_come_back(store: Store, place: str | Path, clock: Clock) -> None:
    found = policy(clock, "daily")
    mark = store.reports.follow([found])["p", "daily"]
    clock.pass_(60)
    asked = due(found, clock, mark)
    with ThreadPoolExecutor(4) as threads:
        done = [each.result() for each in [threads.submit(queue, store, asked) for _ in range(4)]]
    assert sorted(done) == [False, False, False, True]
    assert store.reports.marks()["p", "daily"] == ReportMark(mark.asked, asked.at, asked.at, asked.at, "x")
    store.close()
    with open_store(place, now=clock) as again:
        heads = again.deliveries.heads()
        assert [(each.receiver, each.attempts) for each in heads] == [("a", 0), ("b", 0)]
        claimed = again.deliveries.claim("p", "a", clock() + timedelta(seconds=30))
        assert claimed is not None
        assert (claimed.parts, claimed.group) == ((Part(asked.subject, "report"),), ("report", "daily"))
        assert again.reports.bulletin("p", claimed.parts) == WORDS
        assert again.reports.bulletin("q", claimed.parts) is None
        assert again.reports.bulletin("p", (Part(asked.subject, "firing"),)) is None


def test_words_go_when_all_have_them_and_nothing_to_tell_moves_the_mark_only(store: Store, clock: Clock) -> None:
    found = policy(clock, "daily")
    first = store.reports.follow([found])["p", "daily"]
    clock.pass_(60)
    asked = due(found, clock, first)
    assert queue(store, asked)
    for receiver in ("a", "b"):
        assert store.reports.bulletin("p", (Part(asked.subject, "report"),)) == WORDS
        claimed = store.deliveries.claim("p", receiver, clock() + timedelta(seconds=30))
        assert claimed is not None
        store.deliveries.arrived(claimed.number)
    clock.pass_(60)
    later = due(found, clock, store.reports.marks()["p", "daily"])
    assert queue(store, later, None, "y")
    assert store.reports.marks()["p", "daily"] == ReportMark(first.asked, later.at, asked.at, asked.at, "x")
    assert store.deliveries.heads() == []
    clock.pass_(60)
    assert queue(store, due(found, clock, store.reports.marks()["p", "daily"]))
    assert store.reports.bulletin("p", (Part(asked.subject, "report"),)) is None


def test_a_time_that_was_told_is_not_told_again_though_its_mark_is_lost(store: Store, clock: Clock) -> None:
    found = policy(clock, "daily")
    mark = store.reports.follow([found])["p", "daily"]
    clock.pass_(60)
    asked = due(found, clock, mark)
    queue(store, asked)
    store.reports.follow([])
    clock.pass_(-30)
    store.reports.follow([found])
    clock.pass_(30)
    assert queue(store, asked)
    assert len(store.deliveries.listed(clock() - timedelta(days=1))) == 2


def test_alarms_are_claimed_before_reports(store: Store, clock: Clock) -> None:
    from reconciler.alerting.values import Decision

    found = policy(clock, "daily")
    mark = store.reports.follow([found])["p", "daily"]
    clock.pass_(60)
    queue(store, due(found, clock, mark))
    store.deliveries.queue(Decision((notification("p", "a", ("alerts",), (Part("1", "firing"),)),)))
    claimed = store.deliveries.claim("p", "a", clock() + timedelta(seconds=30))
    assert claimed is not None
    assert claimed.group == ("alerts",)


def test_what_was_done_is_counted(store: Store, clock: Clock) -> None:
    since = clock()
    run = Ref("Experiment", "vision", "sweep", "r0")
    store.audit([AuditEntry(clock(), "ann", Ref("Dataset", "vision", "old"), "create", glyph="+")])
    clock.pass_(60)
    store.audit(
        [
            AuditEntry(clock(), "ann", Ref("Dataset", "vision", "a"), "create", glyph="+"),
            AuditEntry(clock(), "ann", Ref("Dataset", "speech", "b"), "update", glyph="~"),
            AuditEntry(clock(), "ann", Ref("Project", None, "vision"), "update", result="failed", glyph="~"),
            AuditEntry(clock(), "ann", run, "release", detail={"why": "it ended"}),
            AuditEntry(clock(), "ann", run, "release", detail={"queued": "again"}),
            AuditEntry(clock(), "ann", None, "approve"),
        ]
    )
    until = clock()
    clock.pass_(60)
    store.audit([AuditEntry(clock(), "ann", Ref("Dataset", "vision", "new"), "create", glyph="+")])
    assert store.reports.done(since, until, ()) == {"applied": 2, "failed": 1, "runs": 1}
    assert store.reports.done(since, until, ("vision",)) == {"applied": 1, "failed": 1, "runs": 1}
    assert store.reports.done(since, until, ("speech",)) == {"applied": 1, "failed": 0, "runs": 0}


def test_a_store_for_reading(store: Store, place: str | Path, clock: Clock) -> None:
    marks = store.reports.follow([policy(clock, "daily")])
    with open_store(place, read_only=True, now=clock) as reader:
        assert reader.reports.marks() == marks
        with pytest.raises(StoreError, match="reading only"):
            reader.reports.follow([])
