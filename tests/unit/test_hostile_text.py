"""Text that an attacker wrote (a name in a tool, a description, an error, a commit) reaches no terminal, page or program but as text.
Plans are tested in `test_report_plan.py`; this is everything else that is printed."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Callable
from contextlib import redirect_stderr
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from reconciler.alerting.message import body, text, title
from reconciler.alerting.values import Alert, Message, Notification, Part
from reconciler.applied import Applied
from reconciler.cli.output import complain
from reconciler.errors import Rejected
from reconciler.log import Log
from reconciler.loop import Report
from reconciler.model import Attribution, Blocked, Condition, Diagnostic, Failed, Health, Keep, Location, Ref, Result, Status, Update
from reconciler.report.done import report_text
from reconciler.report.history import history_text
from reconciler.report.json import diagnostics_json, error_json, history_json, report_json, services_json, status_json
from reconciler.report.log import Account
from reconciler.report.markdown import block, code, escape
from reconciler.report.services import services_text
from reconciler.report.status import Overview, one_text, status_text
from reconciler.report.text import diagnostics_text
from reconciler.report.undone import undone_json, undone_text
from reconciler.report.watch import moment_lines, report_line
from reconciler.source.earlier import Restored, Tree
from reconciler.source.follow import Standing
from reconciler.state import AuditEntry
from reconciler.undo import Turned, Verdict
from reconciler.undoing import Undoing
from schemas.alertpolicy import Templates
from tests.golden.plans.cases import HOSTILE, SEEN, resource

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MARKUP = "| `x` <script>alert(1)</script> @team [a](http://b) </details> ```"
WILD = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202egnp\u202c \u2066iso\u2069 \u200b \x00 \r\n" + MARKUP
"""Escapes of terminals in 7 and 8 bits, bidi overrides and isolates, what is not seen, NUL, line ends, and markup."""
REF = Ref("Experiment", "p", f"e{WILD}")
AT = Location(f"m/{WILD}.yaml", 3)
STATUS = Status(REF, Health.DEGRADED, (Condition("Ready", False, f"Bad{WILD}", WILD),), "", AT, WILD)
MISTAKE = Diagnostic(AT, WILD, path=f"spec.{WILD}", ref=REF, hint=WILD, reason="Unreadable")
ENTRY = AuditEntry(
    NOW, WILD, REF, WILD, "failed", "~", {"error": WILD, f"k{WILD}": [WILD], "outputs": {WILD: WILD}, "o": {"x": WILD}}, WILD, AT
)
UPDATE = Update(resource("experiment/vision/worse"), SEEN, (), WILD)
RESULTS = (
    Result(UPDATE, Failed(Rejected(WILD, hint=WILD)), attempts=1),
    Result(Blocked(REF, "NotOurs", WILD, WILD), None),
    Result(Keep(REF, WILD), None),
)
REPORT = Report(HOSTILE, RESULTS, (STATUS,), 1.0)
ALERT = Alert("1", REF, WILD, severity="warning", message=WILD, since=NOW, location=AT)
MESSAGE = Message(Notification("ops", "chat", ("alerts",), (Part("1", "firing"),), "id"), ((Part("1", "firing"), ALERT),), (), NOW)
ABOUT = Overview("toolkit", WILD, tools={WILD: WILD}, sources=(Standing("team", "1" * 40, WILD, WILD, "", WILD),))
UNDOING = Undoing(
    Applied(1, (ENTRY,), WILD, ""),
    cast("Tree", None),  # nothing that is printed is asked of it
    "1" * 40,
    (Restored(WILD, "write"),),
    Turned({}, frozenset(), frozenset(), frozenset(), (REF,)),
    HOSTILE,
    (Verdict(REF, WILD, WILD, "cannot", WILD), Verdict(REF, "~", WILD, "takenBackBut", WILD, 2)),
    True,
)
PRINTED: dict[str, Callable[[], str]] = {
    "report text": lambda: report_text(REPORT, all_=True),
    "status": lambda: status_text([STATUS], ABOUT, NOW, all_=True),
    "one status": lambda: one_text(STATUS, NOW),
    "history": lambda: history_text([ENTRY], NOW),
    "undo": lambda: undone_text(UNDOING, NOW, dry_run=False),
    "loop": lambda: "\n".join(moment_lines(REPORT, NOW, set(), first=True)),
    "services": lambda: services_text({"mlflow": {"state": WILD, "url": WILD, "pid": 1, "version": WILD, "message": WILD}}),
    "mistakes": lambda: diagnostics_text([MISTAKE]),
    "markdown": lambda: escape(WILD) + code(WILD),
    "alert": lambda: title(MESSAGE, Templates()) + text(MESSAGE, Templates(title="$message", text="$message $ref")),
    "attribution": lambda: escape(str(Attribution(WILD, NOW, WILD))),
    "error": lambda: _complained(),
}
MACHINES: dict[str, Callable[[], str]] = {
    "report": lambda: report_json(REPORT, all_=True),
    "status": lambda: status_json([STATUS], about={"revision": WILD}),
    "history": lambda: history_json([ENTRY]),
    "undo": lambda: undone_json(UNDOING, NOW, dry_run=False),
    "loop": lambda: report_line(REPORT, NOW),
    "mistakes": lambda: diagnostics_json([MISTAKE], resources=1),
    "services": lambda: services_json({"mlflow": {"message": WILD}}),
    "error": lambda: error_json(WILD, WILD),
    "alert": lambda: body(MESSAGE).decode(),
}


def _complained() -> str:
    with redirect_stderr(io.StringIO()) as out:
        complain(WILD, WILD)
    return out.getvalue()


def wild(text: str) -> set[str]:
    """Characters that do something."""
    return {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") and each != "\n"}


@pytest.mark.parametrize("name", PRINTED)
def test_nothing_that_is_printed_steers_a_terminal(name: str) -> None:
    said = PRINTED[name]()
    assert "gnp" in said, "it is shown"
    assert not wild(said)


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_that_programs_read_steers_a_terminal_and_it_reads_back_as_it_was(name: str) -> None:
    said = MACHINES[name]()
    assert not wild(said)
    assert any("gnp" in each and wild(each) for each in _texts(json.loads(said)))


def _texts(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for key, each in value.items() for text in (str(key), *_texts(each))]
        case list():
            return [text for each in value for text in _texts(each)]
        case _:
            return []


def test_nothing_in_the_log_steers_a_terminal(tmp_path: Path) -> None:
    log = Log()
    log.keep(tmp_path / "log.jsonl", 1 << 20, 1)
    for each in Account(lambda kind: WILD).entries(REPORT):
        log.told(each.level, each.event, **each.about)
    said = (tmp_path / "log.jsonl").read_text("ascii")
    assert not wild(said)
    assert {json.loads(line)["event"] for line in said.splitlines()} == {"write", "manifest", "condition", "pass"} - (
        set() if HOSTILE.diagnostics else {"manifest"}
    )


def test_markdown_has_no_markup_mention_or_address_of_theirs() -> None:
    for said in (escape(WILD), code(WILD)):
        assert "<script" not in said
        assert "</details" not in said
        assert "http://" not in said
        assert not re.search(r"@\w", said)
        assert not re.search(r"(?<![\\#])[|`]", said.replace("&#124;", ""))


def test_a_fence_is_ended_by_nothing_in_it() -> None:
    said = block(f"text\n````\n{WILD}")
    fence = said.split("text", 1)[0]
    assert said.count(f"\n{fence}\n") == 1
    assert len(fence) == 5
