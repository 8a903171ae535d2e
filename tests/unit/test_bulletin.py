"""What a scheduled report says, to whom in which words, and how long it may become."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from reconciler.alerting.message import body, status_of, title
from reconciler.alerting.values import Alert, Bulletin, Due, Message, Notification, Part, ReportMark
from reconciler.model import Condition, Health, Ref, Status
from reconciler.report.bulletin import HTML_LIMIT, MARKDOWN_LIMIT, Facts, bulletin, is_wanted, of_projects, said, worded
from reconciler.report.status import Overview
from schemas.alertpolicy import Templates
from schemas.statusreport import StatusReport

NOW = datetime(2026, 5, 4, 6, tzinfo=UTC)
BEFORE = NOW - timedelta(days=1)
NOTHING = {"applied": 0, "failed": 0, "runs": 0}
HOSTILE = "<script>alert(1)</script> [x](javascript:y) | @everyone \x1b[31m"


def asked(missed: int = 0, **more: Any) -> Due:
    report = StatusReport.model_validate({"name": "daily", "receivers": ["mail"], "schedule": "0 6 * * *", **more})
    return Due("ops", report, NOW, ReportMark("", BEFORE, BEFORE), missed)


def status(name: str, health: Health = Health.HEALTHY, project: str = "vision", message: str = "") -> Status:
    ready = Condition("Ready", health is Health.HEALTHY, "Reason", message, BEFORE)
    return Status(Ref("Dataset", project, name), health, (ready,), message=message)


def alert(name: str, severity: Any = "warning", project: str = "vision") -> Alert:
    return Alert(name, Ref("Dataset", project, name), "DataMissing", severity, "it is gone", BEFORE)


def facts(*statuses: Status, fires: tuple[Alert, ...] = (), done: dict[str, int] = NOTHING) -> Facts:
    return Facts(statuses, fires, done, Overview("shop", "3f9c2e1"), NOW)


def message(made: Bulletin) -> Message:
    return Message(Notification("ops", "mail", ("report", "daily"), (Part("report:daily", "report"),), "id"), (), (), NOW, bulletin=made)


def test_it_says_where_everything_stands_what_was_done_and_what_fires() -> None:
    seen = facts(
        status("digits"),
        status("faces", Health.MISSING, message="the bytes are gone"),
        status("words", project="speech"),
        fires=(alert("faces"),),
        done={"applied": 12, "failed": 1, "runs": 8},
    )
    made = bulletin(asked(), seen)
    assert made.title == "shop @ 3f9c2e1: 2 of 3 Ready, 1 alert fires (report daily)"
    assert made.text == (
        "Since 2026-05-03T06:00:00Z: 12 changes applied, 1 failed, 8 runs ended. 1 alert fires.",
        "dataset/vision/faces  Missing since 2026-05-03T06:00:00Z: the bytes are gone",
        "warning: dataset/vision/faces since 2026-05-03T06:00:00Z: DataMissing",
        "speech: 1 of 1 Ready",
        "vision: 1 of 2 Ready",
        "As of 2026-05-04T06:00:00Z. Next: reconcile status",
    )
    for page in (made.html, made.markdown):
        assert "12 changes applied, 1 failed, 8 runs ended" in page
        assert "DataMissing: it is gone" in page
        assert page.index("12 changes") < page.index("the bytes are gone") < page.index("DataMissing")
    assert json.loads(body(message(made)))["report"] == {
        "name": "daily",
        "due": "2026-05-04T06:00:00Z",
        "at": "2026-05-04T06:00:00Z",
        "since": "2026-05-03T06:00:00Z",
        "missed": 0,
        "resources": 3,
        "ready": 2,
        "alerts": 1,
        "done": {"applied": 12, "failed": 1, "runs": 8},
        "title": made.title,
        "format": "markdown",
        "text": made.markdown,
    }
    assert (status_of(message(made)), title(message(made), Templates(title="own"))) == ("report", made.title)


@pytest.mark.parametrize(
    ("missed", "words"),
    [(1, "1 earlier report was missed"), (3, "3 earlier reports were missed"), (100, "100 or more earlier reports were missed")],
)
def test_missed_ones_are_told_in_the_first_line(missed: int, words: str) -> None:
    made = bulletin(asked(missed), facts(status("digits")))
    assert made.text[0].startswith(words)
    assert made.markdown.split("\n\n")[1].startswith(words)
    assert made.html.index(words) < made.html.index("Since")


def test_only_its_projects() -> None:
    statuses = [status("digits"), status("words", Health.DEGRADED, "speech"), Status(Ref("Project", None, "vision"), Health.HEALTHY, ())]
    chosen, fires = of_projects(("vision",), statuses, [alert("words", project="speech"), alert("b"), alert("a", "critical")])
    assert [str(each.ref) for each in chosen] == ["dataset/vision/digits", "project/vision"]
    assert [each.id for each in fires] == ["a", "b"]
    assert of_projects((), statuses, [])[0] == statuses


def test_only_when_there_is_something_to_tell() -> None:
    well, ill = facts(status("digits")), facts(status("digits", Health.DEGRADED))
    assert is_wanted(asked(), well)
    assert [is_wanted(asked(onlyWhen="notReady"), each) for each in (well, ill, facts(fires=(alert("a"),)))] == [False, True, True]
    changed = asked(onlyWhen="changed")
    same = replace(changed, mark=replace(changed.mark, said=said(well)))
    assert [is_wanted(same, each) for each in (well, ill, replace(well, done={**NOTHING, "failed": 1}))] == [False, True, True]
    assert is_wanted(changed, well), "the first one"
    later = replace(well, now=NOW + timedelta(days=1), statuses=[replace(well.statuses[0], message="other words")])
    assert said(later) == said(well)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.open += [] if tag == "meta" else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_thousands_of_resources_stay_within_bounds_and_whole() -> None:
    wrong = [status(f"wrong-{number}", Health.DEGRADED, message="it broke " * 30) for number in range(1000)]
    fine = [status(f"fine-{number}") for number in range(3000)]
    alerts = tuple(alert(f"alert-{number}") for number in range(1000))
    made = bulletin(asked(), facts(*wrong, *fine, fires=alerts))
    assert len(made.html) <= HTML_LIMIT
    assert len(made.markdown) <= MARKDOWN_LIMIT
    tags = _Tags()
    tags.feed(made.html)
    assert tags.open == []
    assert "more lines: <code>reconcile status</code> shows everything" in made.html
    assert "more lines: `reconcile status` shows everything" in made.markdown
    assert len(body(message(made))) < 2 * MARKDOWN_LIMIT
    for room in (500, 2000, 4096, 7800):
        told, form = worded(made, "text", room)
        assert form == "text"
        assert len(told) <= room
        assert told.splitlines()[-1] == "... and more: reconcile status shows everything"


def test_what_does_not_fit_a_service_becomes_a_text() -> None:
    made = bulletin(asked(), facts(status("digits")))
    assert worded(made, "html", 10**6) == (made.html, "html")
    assert worded(made, "markdown", len(made.markdown)) == (made.markdown, "markdown")
    for room, form in ((len(made.html) - 1, "html"), (len(made.markdown) - 1, "markdown")):
        assert worded(made, form, room) == ("\n".join(made.text), "text")  # type: ignore[arg-type]


def test_foreign_text_acts_nowhere() -> None:
    hostile = replace(alert("a"), reason=HOSTILE, message=HOSTILE)
    made = bulletin(asked(), replace(facts(status("digits", Health.DEGRADED, message=HOSTILE), fires=(hostile,)), about=Overview(HOSTILE)))
    tags = _Tags()
    tags.feed(made.html)
    assert "script" not in tags.seen
    assert "<script>" not in made.markdown
    assert "@everyone" not in made.markdown
    assert "\x1b" not in "".join((made.html, made.markdown, made.title, *made.text))
