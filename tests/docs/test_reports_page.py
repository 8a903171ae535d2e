"""docs/reports.md does what it says: a schedule, a report that is asked for, a real mail. No tool is needed."""

from __future__ import annotations

import sys
from email.message import EmailMessage
from pathlib import Path

from tests.contract.alert_lab import mailing
from tests.docs.walkthrough import Walk, environment, walked

PAGE = Path(__file__).parents[2] / "docs" / "reports.md"


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    def keep(mail: EmailMessage) -> None:
        """As the page's reader finds it: subject and page, in a file."""
        page = mail.get_body(("html",))
        assert page is not None
        with (tmp_path / "inbox.txt").open("a") as out:
            out.write(f"Subject: {mail['Subject']}\n{page.as_string()}\n")

    with mailing(keep) as (port, _):
        words = {"2525": str(port), "http://127.0.0.1:5000": "http://127.0.0.1:9"}
        walked(PAGE, Walk(tmp_path, environment(Path(sys.executable).parent), words))


def test_the_page_is_short() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 130
