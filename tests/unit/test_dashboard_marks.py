"""Markup of the pages: what comes from outside stays text; sessions end."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup

from reconciler.dashboard import marks, sessions
from reconciler.dashboard.login import login_page

EVIL = "<script>alert(1)</script>\"'&"


class _Read(HTMLParser):
    """What a browser would make of it: names of elements, and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.names, self.text = set[str](), ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
@example(EVIL)
@example("</p><img src=x onerror=alert(1)>")
def test_text_stays_text(text: str) -> None:
    made = [
        marks.tag("p", text),
        marks.link(text, text),
        marks.code(text),
        marks.badge(text, text),
        marks.nothing(text),
        marks.trouble(text),
    ]
    made += [marks.facts([(text, text)]), marks.table(text, (text, text), [(text, text)]), marks.resource(f"model/p/{text}", text)]
    for each in made:
        read = _Read(each)
        assert text in read.text
        assert read.names <= {"p", "a", "code", "span", "dl", "div", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_a_script_is_shown_as_it_is_written() -> None:
    for each in (marks.tag("p", EVIL), marks.table("t", ("a", "b"), [(EVIL, EVIL)]), Markup(login_page(EVIL))):
        assert "<script>alert" not in each
        assert "&lt;script&gt;alert" in each


@pytest.mark.parametrize("where", ["javascript:alert(1)", "data:text/html,x", "//elsewhere", "file:///etc/passwd", " http://x", ""])
def test_only_web_addresses_are_links(where: str) -> None:
    assert "<a" not in marks.away(where, "MLflow")
    assert marks.away("http://127.0.0.1:5000/#/experiments/1", "MLflow").startswith(
        '<a href="http://127.0.0.1:5000/#/experiments/1" target="_blank"'
    )


@pytest.mark.parametrize(
    ("ref", "address"),
    [
        ("dataset/vision/digits", "dataset/vision/digits"),
        ("project/vision", "project/-/vision"),
        ("experiment/p/e#lr0.1-s1", "experiment/p/e?key=lr0.1-s1"),
        ("experiment/p/e#a b&c=d#e", "experiment/p/e?key=a+b%26c%3Dd%23e"),
    ],
)
def test_a_resource_has_one_address(ref: str, address: str) -> None:
    assert marks.address(ref) == address


def test_moments_and_amounts_are_told_for_people() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert ">3.0 min ago<" in marks.when("2026-03-01T11:57:00Z", now)
    assert ">in 2.0 h<" in marks.when("2026-03-01T14:00:00Z", now)
    assert 'datetime="2026-03-01T11:57:00Z"' in marks.when("2026-03-01T11:57:00Z", now)
    assert marks.when(None) == marks.NOTHING
    assert (marks.size(3 * 2**30), marks.size(0), marks.size(None)) == ("3.0 GiB", "0 B", marks.NOTHING)
    assert (marks.number(12345), marks.number(0.123456), marks.number(float("nan")), marks.share(0.25)) == (
        "12,345",
        "0.1235",
        marks.NOTHING,
        "25 %",
    )
    assert (marks.span(0.5), marks.span(90), marks.span(86400 * 30)) == ("0.5 s", "1.5 min", "30 d")


def test_the_worst_is_counted_first() -> None:
    shown = marks.totals({"Healthy": 3, "Degraded": 1, "Missing": 0})
    assert shown.index("Degraded") < shown.index("Healthy")
    assert "Missing" not in shown


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: clock[0])
    found = sessions.Sessions()
    one, other = found.begin("token-1"), found.begin("token-2")
    assert (found.token(one), found.token(other), found.token("guessed"), found.token("")) == ("token-1", "token-2", "", "")
    found.end(one)
    assert found.token(one) == ""
    clock[0] = sessions.LENGTH + 1
    assert found.token(other) == ""
    names = [found.begin(str(number)) for number in range(sessions.MOST + 1)]
    assert (found.token(names[0]), found.token(names[-1])) == ("", str(sessions.MOST))
