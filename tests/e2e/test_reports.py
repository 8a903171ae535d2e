"""Scheduled reports from a manifest tree: a single pass and a loop make them at their times, and a loop that is killed loses none."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.contract.alert_lab import SECRET, Inbox, listening, mailing, until
from tests.e2e.installation import RECONCILE, Installation, dataset, project, start


def _policy(inbox: Inbox, *reports: str) -> str:
    hook = f"{{url: '{inbox.url}/hook', secret: {{fromEnv: HOOK_SECRET}}}}"
    head = "apiVersion: reconciler.mlops/v1\nkind: AlertPolicy\nmetadata: {name: ops}\nspec:\n"
    mail = "    - {name: mail, apprise: {fromEnv: MAIL}}\n" if any("mail" in each for each in reports) else ""
    receivers = f"  receivers:\n    - {{name: ops, webhook: {hook}}}\n{mail}"
    return f"{head}{receivers}  reports:\n" + "".join(f"    - {{{each}}}\n" for each in reports)


DAILY = 'name: daily, receivers: [ops, mail], schedule: "0 8 * * *", timezone: Europe/Zurich'


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with listening() as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, inbox: Inbox) -> Installation:
    """A dataset, and one that has no data. No tool is needed for either."""
    found = start(tmp_path / "root", "http://127.0.0.1:9", "reports")
    found.env = {"HOOK_SECRET": SECRET, "MAIL": "mailto://127.0.0.1:9?to=team@example.org&from=loop@example.org"}
    found.write(
        {
            "manifests/data.yaml": "---\n".join([project("p"), dataset("words", "p", "words.csv")]),
            "manifests/alerts.yaml": _policy(inbox, DAILY),
            "code/p/words.csv": "a\n1\n",
        }
    )
    return found


def _told(inbox: Inbox) -> list[dict[str, Any]]:
    return [each["report"] for each in inbox.accepted() if "report" in each]


def _days_pass(here: Installation, days: int) -> None:
    """As if nothing had run for so long."""
    with sqlite3.connect(here.root / ".mlops" / "store.db") as store:
        for column in ("due", "since"):
            store.execute(f"update report_marks set {column} = strftime('%Y-%m-%d %H:%M:%f', {column}, ?)", (f"-{days} days",))


def test_a_pass_makes_what_is_due_and_the_commands_tell_of_it(here: Installation, inbox: Inbox) -> None:
    with mailing() as (port, mails):
        here.env["MAIL"] = f"mailto://127.0.0.1:{port}?to=team@example.org&from=loop@example.org"
        here.ok()
        assert inbox.requests == []
        assert here.status()["alertpolicy/ops"]["message"] == "2 receivers, 1 report"
        assert "  ops/daily to ops, mail  next 20" in here.ok("alerts").out
        _days_pass(here, 3)
        assert "due since 20" in here.ok("alerts").out
        here.write({"manifests/more.yaml": dataset("more", "p", "more.csv")})
        assert here.run().code == 1
        here.run()
        (report,) = _told(inbox)
        assert (report["missed"], report["resources"], report["ready"], report["alerts"]) == (2, 5, 4, 1)
        assert report["done"]["applied"] == 4
        assert report["done"]["failed"] >= 1
        (mail,) = mails
        assert mail["Subject"] == report["title"] == "reports: 4 of 5 Ready, 1 alert fires (report daily)"
        body = mail.get_body(("html",))
        assert body is not None
        assert "dataset/p/more" in body.get_content()
        (shown,) = json.loads(here.ok("alerts", "-o", "json").out)["reports"]
        assert (shown["policy"], shown["name"], shown["receivers"], shown["waits"]) == ("ops", "daily", ["ops", "mail"], None)
        assert shown["last"] == report["at"]
        assert "report daily@20" in here.ok("alerts", "--all").out

        assert here.ok("alerts", "test", "ops", "--report", "daily", "--receiver", "mail").out == "mail: arrived\n"
        assert mails[1]["Subject"].endswith("(test of report daily)")
        assert here.ok("alerts", "test", "ops", "--report", "daily").out == "ops: arrived\nmail: arrived\n"
        wrong = here.run("alerts", "test", "ops", "--report", "dayly")
        assert (wrong.code, "has no report 'dayly'" in wrong.err, "did you mean daily" in wrong.err) == (1, True, True)
        assert json.loads(here.ok("alerts", "-o", "json").out)["reports"] == [shown]


def test_a_loop_makes_it_at_its_minute_and_one_that_is_killed_loses_and_repeats_none(here: Installation, inbox: Inbox) -> None:
    here.write({"manifests/alerts.yaml": _policy(inbox, 'name: often, receivers: [ops], schedule: "* * * * *"')})

    def loop() -> subprocess.Popen[bytes]:
        argv = [RECONCILE, "watch", "--every", "30s"]
        return subprocess.Popen(argv, cwd=here.root, env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    here.ok()
    inbox.status = 503
    running = loop()
    try:
        until(lambda: _waiting(here) == 1, 100.0)  # made at its minute, and not delivered
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        inbox.status = 204
        running = loop()
        until(lambda: bool(_told(inbox)), 30.0)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    told = _told(inbox)
    times = [each["due"] for each in told]
    assert times == sorted(set(times))
    assert [each["missed"] for each in told] == [0] * len(told)
    for before, after in pairwise(told):
        assert after["since"] == before["at"]


def _waiting(here: Installation) -> int:
    with sqlite3.connect(f"file:{here.root / '.mlops' / 'store.db'}?mode=ro", uri=True) as store:
        return int(store.execute("select count(*) from deliveries where state in ('queued', 'sending') and attempts > 0").fetchone()[0])
