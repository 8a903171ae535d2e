"""Scheduled reports on their way to real receivers on loopback: mail, chat, webhook; once for each time, whoever dies where."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from reconciler.alerting.courier import Courier, tell_once, telling
from reconciler.house import House
from reconciler.model import Ref
from reconciler.state import AuditEntry
from schemas.alertpolicy import AlertPolicySpec
from tests.contract import alert_child
from tests.contract.alert_lab import (
    SEARCH,
    SECRET,
    SWEEP,
    WORDS,
    Clock,
    Inbox,
    declare,
    deliver,
    hook,
    house_in,
    ill,
    listening,
    mailing,
    policy,
    until,
    well,
)
from tests.forked import called

REPOSITORY = Path(__file__).parents[2]
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def report(*receivers: str, schedule: str = "0 8 * * *", name: str = "daily", **more: Any) -> dict[str, Any]:
    return {"name": name, "receivers": list(receivers or ("ops",)), "schedule": schedule, **more}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


@pytest.fixture
def clock() -> Clock:
    found = Clock()
    found.time = NOON
    return found


@pytest.fixture
def house(tmp_path: Path, clock: Clock) -> Iterator[House]:
    made = house_in(tmp_path, clock)
    yield made
    made.store.close()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with listening() as found:
        yield found


def told(inbox: Inbox, path: str = "/hook") -> list[dict[str, Any]]:
    return [each["report"] for each in inbox.bodies(path) if "report" in each]


def only(*receivers: dict[str, Any], reports: list[dict[str, Any]]) -> AlertPolicySpec:
    """A policy with reports and without routes."""
    return AlertPolicySpec.model_validate({"receivers": list(receivers), "reports": reports})


def test_a_report_comes_once_for_each_time_and_tells_what_was_done_since_the_last(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), reports=[report()], routes=[{"receivers": ["ops"], "severity": "none", "changes": ["never"]}]))
    house.store.put_statuses([well(), ill(WORDS)])
    assert deliver(house) == NOON + timedelta(hours=20)
    clock.pass_(hours=1)
    house.store.audit(
        [
            AuditEntry(clock(), "ann", SEARCH, "create", glyph="+"),
            AuditEntry(clock(), "ann", WORDS, "update", result="failed", glyph="~"),
            AuditEntry(clock(), "ann", Ref("Experiment", "vision", "sweep", "r0"), "release", detail={"why": ""}),
            AuditEntry(clock(), "ann", Ref("Experiment", "vision", "sweep", "r1"), "release", detail={"why": "", "queued": "again"}),
            AuditEntry(clock(), "ann", SEARCH, "silence"),
        ]
    )
    clock.pass_(hours=18, minutes=59)
    deliver(house)
    assert inbox.requests == []
    for _ in range(3):
        clock.pass_(minutes=1)
        deliver(house)
    (first,) = told(inbox)
    assert (first["name"], first["due"], first["since"]) == ("daily", "2026-05-05T08:00:00Z", "2026-05-04T12:00:00Z")
    assert (first["resources"], first["ready"], first["alerts"], first["missed"]) == (2, 1, 1, 0)
    assert first["done"] == {"applied": 1, "failed": 1, "runs": 1}
    assert "<code>dataset/speech/words</code>" in first["text"]
    clock.time = NOON + timedelta(hours=44)
    deliver(house)
    second = told(inbox)[1]
    assert (second["since"], second["done"]) == (first["at"], {"applied": 0, "failed": 0, "runs": 0})
    assert len({each["id"] for each in inbox.bodies()}) == 2
    assert [each["status"] for each in inbox.bodies()] == ["report", "report"]


def test_missed_times_become_one_report_after_a_restart(tmp_path: Path, inbox: Inbox, clock: Clock) -> None:
    first = house_in(tmp_path, clock)
    declare(first, only(hook(inbox), reports=[report()]))
    deliver(first)
    first.store.close()
    clock.pass_(days=4)
    second = house_in(tmp_path, clock)
    for _ in range(2):
        tell_once(second, clock())
    (only_one,) = told(inbox)
    assert only_one["missed"] == 3
    assert "3 earlier reports were missed" in only_one["text"].split("\n\n")[1]
    second.store.close()


def test_mail_gets_a_page_chat_gets_lines_and_all_say_the_same(
    house: House, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.store.put_statuses(
        [well(), ill(WORDS, message="the bytes are gone"), *(well(Ref("Dataset", "big", f"d{n}")) for n in range(900))]
    )
    with mailing() as (port, mails):
        monkeypatch.setenv("MAIL", f"mailto://127.0.0.1:{port}?to=team@example.org&from=loop@example.org")
        monkeypatch.setenv("CHAT", f"{inbox.url.replace('http', 'json')}/chat/")
        receivers: list[dict[str, Any]] = [{"name": name, "apprise": {"fromEnv": name.upper()}} for name in ("mail", "chat")]
        declare(house, only(*receivers, hook(inbox), reports=[report("mail", "chat", "ops")]))
        deliver(house)
        clock.pass_(hours=20)
        deliver(house)
        deliver(house)
        (mail,) = mails
    assert mail["Subject"] == "this installation: 901 of 902 Ready, 1 alert fires (report daily)"
    page = _html(mail)
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>"), "nobody has cut it, though it is longer than apprise lets a message be"
    assert len(page) > 32768
    assert "the bytes are gone" in page
    (chat,) = inbox.bodies("/chat/")
    assert chat["title"] == mail["Subject"]
    assert "dataset/speech/words  Degraded since 2026-05-04T12:00:00Z: the bytes are gone" in chat["message"].splitlines()
    assert "<" not in chat["message"]
    (hooked,) = told(inbox)
    assert (hooked["title"], hooked["format"]) == (mail["Subject"], "markdown")


def _html(mail: EmailMessage) -> str:
    body = mail.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def test_formats_as_asked_for(house: House, inbox: Inbox, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT", f"{inbox.url.replace('http', 'json')}/chat/")
    reports = [report("ops", "chat", name=form, format=form) for form in ("html", "markdown", "text")]
    declare(house, only({"name": "chat", "apprise": {"fromEnv": "CHAT"}}, hook(inbox), reports=reports))
    house.store.put_statuses([well()])
    deliver(house)
    clock.pass_(hours=20)
    deliver(house)
    starts = {"html": "<!doctype html>", "markdown": "## ", "text": "Since "}
    assert {each["format"]: each["text"][: len(starts[each["format"]])] for each in told(inbox)} == starts
    assert sorted(each["message"][:8] for each in inbox.bodies("/chat/")) == sorted(("<!doctyp", "## this ", "Since 20"))


def test_quiet_hours_and_silences_hold_no_report_back(house: House, inbox: Inbox, clock: Clock) -> None:
    until_ = (clock() + timedelta(days=9)).isoformat()
    always = {"quietHours": [{"from": "00:00", "to": "23:59", "unless": "nothing"}], "silences": [{"until": until_, "why": "moving"}]}
    declare(house, policy(hook(inbox), reports=[report(projects=["vision"])], **always))
    house.store.put_statuses([ill(), ill(WORDS), well(SWEEP)])
    deliver(house)
    clock.pass_(hours=20)
    deliver(house)
    assert [each["status"] for each in inbox.bodies()] == ["report"]
    (one,) = told(inbox)
    assert (one["resources"], one["ready"], one["alerts"]) == (2, 1, 1), "of its project only"


def test_nothing_to_tell_is_noted_and_tells_nobody(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, only(hook(inbox), reports=[report(onlyWhen="changed"), report(name="bad", onlyWhen="notReady")]))
    house.store.put_statuses([well()])
    deliver(house)
    names = []
    for what in ([well()], [well()], [ill()], [ill()], [well()], [well()]):
        clock.pass_(days=1)
        house.store.put_statuses(what)
        deliver(house)
        deliver(house)
        names.append(sorted(each["name"] for each in told(inbox)))
        inbox.requests.clear()
    assert names == [["daily"], [], ["bad", "daily"], ["bad"], ["daily"], []]
    assert house.store.reports.marks()["ops", "bad"].due > house.store.reports.marks()["ops", "bad"].since


def test_a_receiver_that_was_down_gets_what_the_report_said_in_time(house: House, inbox: Inbox, clock: Clock) -> None:
    with listening() as other:
        declare(house, only(hook(inbox), hook(other, "other"), reports=[report("ops", "other")]))
        house.store.put_statuses([ill()])
        deliver(house)
        inbox.status = 503
        clock.pass_(hours=20)
        deliver(house)
        house.store.put_statuses([well()])
        inbox.status = 204
        clock.pass_(hours=3)
        deliver(house)
        assert told(inbox) == told(other)
        assert told(inbox)[0]["ready"] == 0


def test_an_alarm_does_not_wait_for_a_report_that_is_refused(house: House, inbox: Inbox, clock: Clock) -> None:
    declare(house, policy(hook(inbox), reports=[report()]))
    house.store.put_statuses([well()])
    deliver(house)
    inbox.status = 413
    clock.pass_(hours=20)
    deliver(house)
    assert [each.error for each in house.store.deliveries.heads()] == ["it answered 413"]
    inbox.status = 204
    house.store.put_statuses([ill()])
    deliver(house)
    assert inbox.told() == [[("deployment/vision/search", "firing")]]
    clock.pass_(minutes=1)
    deliver(house)
    assert len(told(inbox)) == 1


def test_words_are_kept_until_they_have_arrived_and_no_longer(house: House, inbox: Inbox, clock: Clock, tmp_path: Path) -> None:
    declare(house, only(hook(inbox), reports=[report(), report(name="other", schedule="0 9 * * *")]))
    deliver(house)
    inbox.status = 503
    clock.pass_(hours=20)
    deliver(house)
    assert _kept(tmp_path) == ["report:daily@2026-05-05T08:00Z"]
    inbox.status = 204
    clock.pass_(hours=1)
    deliver(house)
    assert [each["name"] for each in told(inbox)] == ["daily", "other"]
    declare(house, only(hook(inbox), reports=[report()]))
    deliver(house)
    assert _kept(tmp_path) == []
    assert list(house.store.reports.marks()) == [("ops", "daily")]


def _kept(root: Path) -> list[str]:
    import sqlite3

    with sqlite3.connect(root / "state" / "store.db") as store:
        return [row[0] for row in store.execute("select subject from bulletins order by subject")]


# --- loops ---------------------------------------------------------------------------------------------------------


def test_a_loop_makes_it_at_its_time_and_looks_at_nothing_until_then(tmp_path: Path, inbox: Inbox, clock: Clock) -> None:
    house = house_in(tmp_path, clock)
    looks: list[datetime] = []
    follow = house.store.reports.follow
    house.store.reports.follow = lambda policies: looks.append(clock()) or follow(policies)  # type: ignore[method-assign, func-returns-value]
    with telling(house):
        until(lambda: len(looks) == 1, 10.0)
        declare(house, only(hook(inbox), reports=[report()]))  # a pass notes it last of all
        until(lambda: len(looks) == 2, 10.0)
        used, began = time.process_time(), time.monotonic()
        time.sleep(7.0)
        share = (time.process_time() - used) / (time.monotonic() - began)
        assert len(looks) == 2, "it knows when the next one is due"
        clock.pass_(hours=20)
        until(lambda: len(told(inbox)) == 1, 8.0)
        time.sleep(4.0)
    assert len(told(inbox)) == 1
    assert share < 0.05, f"{share:.1%} of a core while nothing is due"
    house.store.close()


# --- kill -9 -------------------------------------------------------------------------------------------------------


def declared_days_ago(root: Path, inbox: Inbox) -> None:
    """Reports that are due now, on a clock of these days."""
    clock = Clock()
    clock.pass_(days=-3)
    house = house_in(root, clock)
    declare(house, only(hook(inbox), reports=[report(), report(name="weekly", schedule="0 0 * * *")]))
    deliver(house)
    house.store.close()


def finished(root: Path, inbox: Inbox) -> None:
    house = house_in(root, lambda: datetime.now(UTC))
    courier = Courier(house)
    for _ in range(2):
        courier.look()
        assert courier.wait(20.0)
    assert house.store.deliveries.heads() == []
    house.store.close()


ENDS = [(moment, what) for what in ("report", "claim", "arrived") for moment in ("before", "after")]


@pytest.mark.parametrize(("moment", "what"), ENDS, ids=[" ".join(each) for each in ENDS])
def test_whoever_dies_where_nothing_is_lost_or_doubled(tmp_path: Path, inbox: Inbox, moment: str, what: str) -> None:
    declared_days_ago(tmp_path, inbox)
    done = called(alert_child.main, tmp_path, moment, what, env={**os.environ, "HOOK_SECRET": SECRET})
    assert done.returncode == -signal.SIGKILL, done.stderr
    finished(tmp_path, inbox)
    accepted = [each["report"] for each in inbox.accepted()]
    assert sorted(each["name"] for each in accepted) == ["daily", "weekly"]
    assert all(each["missed"] for each in accepted)
    assert len(inbox.requests) == (3 if (moment, what) == ("before", "arrived") else 2), "the same id, which its receiver knows"


def test_several_processes_make_it_once(tmp_path: Path, inbox: Inbox) -> None:
    declared_days_ago(tmp_path, inbox)
    argv = [sys.executable, "-m", "tests.contract.alert_child", str(tmp_path)]
    children = [subprocess.Popen(argv, cwd=REPOSITORY, env={**os.environ, "HOOK_SECRET": SECRET}) for _ in range(3)]
    assert [each.wait(60) for each in children] == [0, 0, 0]
    finished(tmp_path, inbox)
    assert sorted(each["name"] for each in told(inbox)) == ["daily", "weekly"]
