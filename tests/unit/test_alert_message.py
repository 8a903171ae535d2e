"""What messages say, and how long they may become."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.alerting.courier import pause
from reconciler.alerting.message import body, text, title
from reconciler.alerting.values import Alert, Change, Message, Notification, Part
from reconciler.errors import Terminal, Transient
from reconciler.model import Location, Ref
from schemas.alertpolicy import Templates

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAIN = Templates()


def alert(number: int, **more: Any) -> Alert:
    given: Any = {
        "severity": "warning",
        "message": "it broke",
        "since": NOW - timedelta(minutes=5),
        "location": Location("a.yaml", 7),
        **more,
    }
    return Alert(str(number), Ref("Dataset", "p", f"d{number}"), "DataMissing", **given)


def message(*alerts: Alert, phase: str = "", changes: tuple[Change, ...] = (), **more: Any) -> Message:
    parts = tuple(Part(each.id, phase or ("firing" if each.firing else "resolved")) for each in alerts)  # type: ignore[arg-type]
    return Message(Notification("ops", "chat", ("alerts",), parts, "id"), tuple(zip(parts, alerts, strict=True)), changes, NOW, **more)


def test_one_alert() -> None:
    said = message(alert(1))
    assert title(said, PLAIN) == "warning: dataset/p/d1: it broke"
    assert text(said, PLAIN).splitlines() == [
        "dataset/p/d1  warning since 2026-03-01 11:55 UTC: DataMissing: it broke  (a.yaml:7)",
        "Next: reconcile why dataset/p/d1",
    ]


def test_the_worst_comes_first_and_what_is_over_last() -> None:
    over = alert(1, severity="critical", ended=NOW)
    said = message(alert(2), over, alert(3, severity="critical"))
    assert title(said, PLAIN) == "critical: dataset/p/d3 and 2 more"
    assert [line.split()[0] for line in text(said, PLAIN).splitlines()[:3]] == ["dataset/p/d3", "dataset/p/d2", "dataset/p/d1"]


def test_what_is_over() -> None:
    over = alert(1, ended=NOW - timedelta(minutes=2))
    assert title(message(over, phase="resolved"), PLAIN) == "resolved: dataset/p/d1 after 3 min"
    said = text(message(over, phase="resolved", successors={"1": "ToolUnreachable"}), PLAIN)
    assert said == "dataset/p/d1  over after 3 min, now ToolUnreachable: DataMissing: it broke"
    assert "not told before" in text(message(over, phase="passed"), PLAIN)


def test_a_message_that_comes_late_says_what_it_was_made_to_say() -> None:
    late = message(alert(1, ended=NOW - timedelta(minutes=2)), phase="firing")
    assert title(late, PLAIN) == "warning: dataset/p/d1: it broke"
    assert text(late, PLAIN).splitlines()[0].endswith("(a.yaml:7)  (over by now)")
    value = json.loads(body(late))
    assert (value["status"], value["alerts"][0]["status"], value["alerts"][0]["ended"]) == ("firing", "firing", "2026-03-01T11:58:00Z")


def test_what_fires_still_and_what_was_done() -> None:
    assert title(message(alert(1), phase="repeat"), PLAIN).startswith("still warning: dataset/p/d1")
    done = (Change(5, NOW, Ref("Dataset", "p", "d"), "update", "ann", "replicas"), Change(6, NOW, None, "silence", "ann"))
    said = message(changes=done)
    assert title(said, PLAIN) == "changed: dataset/p/d and 1 more"
    assert text(said, PLAIN).splitlines() == [
        "dataset/p/d  update by ann at 2026-03-01 12:00 UTC: replicas",
        "the installation  silence by ann at 2026-03-01 12:00 UTC",
        "Next: reconcile history dataset/p/d",
    ]


def test_nothing_grows_without_bounds_and_nothing_reaches_a_terminal() -> None:
    hostile = "x\x1b[31m\n" * 5000
    said = message(*(alert(number, message=hostile) for number in range(1000)))
    words, value = text(said, PLAIN), json.loads(body(said))
    assert len(words) < 15_000
    assert "and 980 more" in words
    assert words.replace("\n", "").isprintable()
    assert title(said, PLAIN).isprintable()
    assert (len(value["alerts"]), value["left"]) == (100, 900)
    assert len(body(said)) < 700_000
    assert len(text(said, Templates(text="$message " * 100))) < 30_000
    assert len(title(said, Templates(title="$message " * 50))) <= 300


def test_templates_say_how_many_where_things_differ() -> None:
    said = message(alert(1), alert(2, severity="critical"))
    assert title(said, Templates(title="$severity $status $count $kind $name $project $ref $policy")) == (
        "critical firing 2 Dataset 2 names p 2 resources ops"
    )


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 5), (2, 10), (3, 20), (8, 600), (999, 600)])
def test_pauses_double_up_to_ten_minutes(attempts: int, seconds: float) -> None:
    assert pause(attempts, Terminal("no")) == seconds


def test_a_receiver_may_ask_for_more_time_within_reason() -> None:
    assert pause(1, Transient("no", retry_after=90)) == 90
    assert pause(1, Transient("no", retry_after=90_000)) == 600
    assert pause(5, Transient("no", retry_after=1)) == 80
