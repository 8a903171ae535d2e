"""When scheduled reports are due: once for each time, whatever the clock does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.alerting.due import MOST_MISSED, begun, due, following, latest
from reconciler.alerting.values import Due, Mark, Policy, ReportMark
from schemas.alertpolicy import AlertPolicySpec
from schemas.statusreport import StatusReport

ZURICH = "Europe/Zurich"


def report(schedule: str = "0 8 * * *", timezone: str = "UTC", **more: Any) -> StatusReport:
    return StatusReport.model_validate({"name": "daily", "receivers": ["mail"], "schedule": schedule, "timezone": timezone, **more})


def policy(*reports: StatusReport) -> Policy:
    spec = {"receivers": [{"name": "mail", "apprise": {"fromEnv": "X"}}], "reports": [each.model_dump(mode="json") for each in reports]}
    return Policy("ops", AlertPolicySpec.model_validate(spec), at("2026-01-01T00:00"), Mark(at("2026-01-01T00:00"), 0))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(moments: list[datetime]) -> list[str]:
    return [f"{each:%m-%dT%H:%M}" for each in moments]


def made(asked: StatusReport, start: str, *looks: str) -> list[tuple[str, str, int]]:
    """What a loop that looks at these moments makes: look, time made for, missed ones."""
    mark = begun(None, asked, at(start))
    found = []
    for look in looks:
        assert mark is not None
        mark = begun(mark, asked, at(look)) or mark
        for each in due([policy(asked)], {("ops", "daily"): mark}, at(look))[0]:
            found.append((look, f"{each.at:%m-%dT%H:%M}", each.missed))
            mark = replace(mark, due=each.at)
    return found


def test_a_new_report_begins_with_its_next_time_and_each_time_comes_once() -> None:
    looks = ("2026-05-01T09:00", "2026-05-02T07:59", "2026-05-02T08:00", "2026-05-02T08:00", "2026-05-02T23:00", "2026-05-03T08:01")
    assert made(report(), "2026-05-01T08:30", *looks) == [
        ("2026-05-02T08:00", "05-02T08:00", 0),
        ("2026-05-03T08:01", "05-03T08:00", 0),
    ]


def test_missed_times_become_one_report_that_counts_them() -> None:
    assert made(report(), "2026-05-01T09:00", "2026-05-05T12:00", "2026-05-06T08:00") == [
        ("2026-05-05T12:00", "05-05T08:00", 3),
        ("2026-05-06T08:00", "05-06T08:00", 0),
    ]
    ((_, _, counted),) = made(report("* * * * *"), "2026-05-01T09:00", "2026-05-05T12:00")
    assert counted == MOST_MISSED


def test_a_clock_that_goes_back_repeats_nothing() -> None:
    looks = ("2026-05-02T08:00", "2026-05-02T07:50", "2026-05-02T08:00", "2026-05-01T23:00", "2026-05-02T08:30", "2026-05-03T08:00")
    assert [each for _, each, _ in made(report(), "2026-05-01T09:00", *looks)] == ["05-02T08:00", "05-03T08:00"]


def test_a_clock_that_was_years_ahead_does_not_silence_a_report_for_years() -> None:
    looks = ("2030-05-02T08:00", "2026-05-02T09:00", "2026-05-03T08:00")
    assert [(look, each) for look, each, _ in made(report(), "2026-05-01T09:00", *looks)] == [
        ("2030-05-02T08:00", "05-02T08:00"),
        ("2026-05-03T08:00", "05-03T08:00"),
    ]


def test_another_schedule_begins_now_and_goes_on_telling_since_the_last_report() -> None:
    weekly = report("0 8 * * mon")
    mark = ReportMark("0 8 * * mon UTC", at("2026-05-04T08:00"), at("2026-05-04T08:00"), at("2026-05-04T08:00"), "x")
    now = at("2026-05-07T12:00")
    assert begun(mark, weekly, now) is None
    fresh = begun(mark, report(), now)
    assert fresh == ReportMark("0 8 * * * UTC", now, mark.since, mark.made, "x")
    assert begun(mark, report("0 8 * * mon", ZURICH), now) is not None


def times(asked: StatusReport, start: str, number: int) -> list[datetime]:
    found, moment = [], at(start)
    for _ in range(number):
        moment = following(asked, moment)
        found.append(moment)
    return found


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        ("0 8 * * *", "2026-03-28T00:00", ["03-28T07:00", "03-29T06:00", "03-30T06:00"]),  # eight o'clock, before and after
        ("0 8 * * *", "2026-10-24T00:00", ["10-24T06:00", "10-25T07:00", "10-26T07:00"]),
        ("30 2 * * *", "2026-03-28T00:00", ["03-28T01:30", "03-29T01:00", "03-30T00:30"]),  # 02:30 is left out: 03:00
        ("30 2 * * *", "2026-10-24T00:00", ["10-24T00:30", "10-25T00:30", "10-26T01:30"]),  # 02:30 comes twice: the first
        ("0 * * * *", "2026-10-24T23:30", ["10-25T00:00", "10-25T01:00", "10-25T02:00"]),  # every hour is every hour
        ("0 * * * *", "2026-03-29T00:30", ["03-29T01:00", "03-29T02:00", "03-29T03:00"]),
    ],
)
def test_summer_time(schedule: str, start: str, expected: list[str]) -> None:
    asked = report(schedule, ZURICH)
    found = times(asked, start, 3)
    assert shown(found) == expected
    assert shown([latest(asked, each) for each in found]) == expected
    assert shown([latest(asked, each + timedelta(minutes=1)) for each in found]) == expected


@given(
    schedule=st.sampled_from(["30 2 * * *", "*/20 2,3 * * *", "0 * * * *", "15 1 * * sun", "0 8 1 * *"]),
    zone=st.sampled_from([ZURICH, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    steps=st.lists(st.sampled_from([1, 29, 60, 61, 1440, 3000, 20_000]), max_size=30),
)
def test_whoever_looks_when_every_time_is_made_or_counted_as_missed(schedule: str, zone: str, steps: list[int]) -> None:
    asked, now = report(schedule, zone), at("2026-03-20T00:00")
    mark = ReportMark(f"{schedule} {zone}", now, now)
    start, told = now, 0
    for minutes in steps:
        now += timedelta(minutes=minutes)
        found, next_ = due([policy(asked)], {("ops", "daily"): mark}, now)
        assert next_ is not None
        assert next_ > now
        for each in found:
            assert mark.due < each.at <= now
            told += 1 + min(each.missed, MOST_MISSED)
            capped = each.missed == MOST_MISSED
            mark = replace(mark, due=each.at)
            if capped:
                return
    expected, moment = 0, start
    while (moment := following(asked, moment)) <= now:
        expected += 1
    assert told == expected


def test_subjects_name_report_and_time() -> None:
    one = Due("ops", report(), at("2026-05-02T08:00"), ReportMark("", at("2026-05-01T08:00"), at("2026-05-01T08:00")))
    assert one.subject == "report:daily@2026-05-02T08:00Z"
