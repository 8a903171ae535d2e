"""What the loop says: each thing once, for as long as it stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.loop import Proposal, Report
from reconciler.model import Blocked, Condition, Create, Health, Plan, Ref, Result, Started, Status
from reconciler.report.watch import moment_lines, report_line
from reconciler.testing.context import make_resource
from schemas.experiment import KIND

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = replace(make_resource(KIND, "sweep"), ref=Ref("Experiment", "demo", "sweep", "rank1-s0"), root=Path())


def _report(action: Create | Blocked, *, ready: bool, started: bool = False) -> Report:
    proposal = Proposal(Plan((action,)), {}, {}, {}, (), (), (), {}, 0.1, 0, "", None)
    status = Status(RUN.ref, Health.HEALTHY if ready else Health.PROGRESSING, (Condition("Ready", ready, "x"),), message="accuracy 0.9")
    return Report(proposal, (Result(action, Started("id") if started else None),), (status,), 0.2)


def test_a_run_is_told_when_it_starts_and_when_it_ends() -> None:
    told: set[str] = set()
    first = moment_lines(_report(Create(RUN), ready=False, started=True), NOW, told)
    assert first[0] == "03:04:05  + experiment/demo/sweep#rank1-s0  started"
    assert first[-1].startswith("03:04:05  0 of 1 Ready")
    again = moment_lines(_report(Blocked(RUN.ref, "WaitingForCpu", "2 cores", held=True), ready=False), NOW, told)
    assert again == []
    end = moment_lines(_report(Blocked(RUN.ref, "WaitingForCpu", "2 cores", held=True), ready=True), NOW, told)
    assert end[0] == "03:04:05  = experiment/demo/sweep#rank1-s0  accuracy 0.9"
    assert moment_lines(_report(Blocked(RUN.ref, "WaitingForCpu", "", held=True), ready=True), NOW, told) == []


def test_the_first_pass_says_how_things_stand_though_nothing_was_done() -> None:
    quiet = _report(Blocked(RUN.ref, "WaitingForCpu", "", held=True), ready=True)
    assert moment_lines(quiet, NOW, set(), first=True) == ["03:04:05  1 of 1 Ready (0.2 s)"]


def test_what_is_in_the_way_is_told_once() -> None:
    told: set[str] = set()
    report = _report(Blocked(RUN.ref, "NotOurs", "someone else's"), ready=False)
    assert moment_lines(report, NOW, told)[0] == "03:04:05  ! experiment/demo/sweep#rank1-s0  NotOurs: someone else's"
    assert moment_lines(report, NOW, told) == []


def test_programs_hear_only_of_passes_that_did_something() -> None:
    assert report_line(_report(Blocked(RUN.ref, "NotOurs", ""), ready=False), NOW) == ""
    assert '"outcome": "started"' in report_line(_report(Create(RUN), ready=False, started=True), NOW)
