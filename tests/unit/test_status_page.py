"""A status as a report for a wiki or a mail: everything that is not Ready, nothing that a reader's program would act on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

from reconciler.model import Condition, Health, Ref, Status
from reconciler.report.page import status_html, status_markdown
from reconciler.report.status import Overview

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOSTILE = '<script>alert(1)</script> [x](javascript:y) | @everyone \x1b[31m "><img src=x onerror=z>'


def _status(name: str, health: Health, *, ready: bool, message: str = "", project: str = "vision") -> Status:
    condition = Condition("Ready", ready, "Reason", message, NOW)
    return Status(Ref("Experiment", project, name), health, (condition,), "d" * 64, message=message)


STATUSES = (
    _status("fine", Health.HEALTHY, ready=True),
    _status("also-fine", Health.HEALTHY, ready=True, project="speech"),
    _status("moving", Health.PROGRESSING, ready=False, message="6 of 8 runs finished"),
    _status("broken", Health.DEGRADED, ready=False, message=HOSTILE),
)
ABOUT = Overview("toolkit", "3f9c2e1", NOW, "loop", {"mlflow": "ok", "ray": "no answer"})


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_says_the_worst_first_and_all_of_it() -> None:
    page = status_html(STATUSES, ABOUT, NOW)
    assert "2 resources of 4 Ready, 1 Degraded, 1 Progressing, applied 2026-05-01T12:00:00Z; as of 2026-05-01T12:00:00Z." in page
    assert page.index("experiment/vision/broken") < page.index("experiment/vision/moving") < page.index("experiment/vision/fine")
    assert "ray: no answer" in page
    assert "1 of 3 Ready" in page


def test_a_page_is_whole_and_holds_nothing_that_acts() -> None:
    page = status_html(STATUSES, ABOUT, NOW)
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert not tags.seen & {"script", "img", "a", "link", "iframe", "object"}
    assert not any(each.startswith("on") or each in ("src", "href") for each in tags.attributes)
    assert "\x1b" not in page


def test_markdown_shows_foreign_text_literally() -> None:
    text = status_markdown(STATUSES, ABOUT, NOW)
    assert "<script>" not in text
    assert "](" not in text.replace("\\]", "")
    assert not re.search(r"@everyone", text)
    rows = [line for line in text.splitlines() if "broken" in line]
    assert len(rows) == 1
    assert rows[0].count(" | ") == 3
    assert "| vision | 1 | 3 |" in text


def test_nothing_reconciled_is_told_too() -> None:
    assert "0 resources of 0 Ready" in status_html((), Overview(), NOW)
    assert "this installation" in status_markdown((), Overview(), NOW)
