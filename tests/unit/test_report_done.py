"""What a pass did, where everything stands, and what is told meanwhile."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cli.exit import Exit, of_proposal, of_report
from reconciler.errors import Rejected, Transient
from reconciler.events import Event
from reconciler.loop import Report
from reconciler.model import (
    Blocked,
    Change,
    Condition,
    Create,
    Delete,
    Done,
    Failed,
    Health,
    Keep,
    Location,
    Result,
    Started,
    Status,
    Update,
)
from reconciler.report.done import report_text
from reconciler.report.history import history_text
from reconciler.report.json import history_json, report_json, status_json
from reconciler.report.progress import Picture, progress
from reconciler.report.services import services_text
from reconciler.report.status import Overview, about_value, one_text, status_text
from reconciler.state import AuditEntry
from tests.golden.plans.cases import CASES, DOWN, MISTAKES, MIXED, SEEN, SUSPECT, owned, proposal, ref, resource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MADE = Create(resource("experiment/vision/new"))
CHANGED = Update(resource("experiment/vision/tagged"), SEEN, (Change("spec.tags.a", "1", "2"),))


def status(name: str, health: Health, ready: bool | None, message: str = "", minutes: int = 3) -> Status:
    at = NOW - timedelta(minutes=minutes)
    return Status(ref(name), health, (Condition("Ready", ready, str(health), message, at),), "d" * 64, Location("m.yaml", 3), message)


def report(*results: Result, statuses: tuple[Status, ...] = (), interrupted: bool = False) -> Report:
    return Report(proposal(tuple(each.action for each in results)), results, statuses, 2.4, interrupted)


def status_of(kind: str) -> Status:
    return replace(STATUSES[0], ref=ref(f"{kind}/vision/d"))


GOOD = report(Result(MADE, Done("1"), attempts=1, seconds=1.2), Result(CHANGED, Done("2")), Result(Keep(ref("dataset/v/d")), None))
BAD = report(
    Result(MADE, Failed(Rejected("MLflow refused the tag 'a'", hint="tags are at most 5000 long")), attempts=1),
    Result(CHANGED, Failed(Transient("no answer \x1b[31m")), attempts=4),
    Result(Delete(owned("experiment/vision/later")), None),
)


def test_a_pass_tells_outcome_actions_and_next_step() -> None:
    lines = report_text(GOOD).split("\n")
    assert lines[0] == "Done: 1 created, 1 changed, 1 unchanged @ 3f9c2e1 (2.4 s)."
    assert lines[2].split() == ["+", "experiment/vision/new", "created", "in", "1.2", "s"]
    assert "tags.a  1 -> 2" in lines[4]
    assert lines[-1].startswith("Next: `reconcile status")


def test_a_pass_without_changes_is_one_line() -> None:
    quiet = Report(CASES["nothing"], tuple(Result(each, None) for each in CASES["nothing"].plan.actions), (), 0.6)
    assert report_text(quiet) == "No changes: 55 resources match manifests @ 3f9c2e1 (0.6 s)."


def test_what_a_wrong_manifest_names_is_not_waited_for() -> None:
    why = Condition("Ready", None, "InvalidManifest", "its manifest is wrong")
    refused = Status(ref("experiment/vision/wrong"), Health.UNKNOWN, (why,))
    said = report_text(Report(MISTAKES, (Result(MADE, Done("1")),), (refused,), 1.0))
    assert "not Ready yet" not in said
    assert "tells when" not in said


def test_what_is_held_on_purpose_is_no_obstacle() -> None:
    said = report_text(Report(CASES["held"], tuple(Result(each, None) for each in CASES["held"].plan.actions), (), 1.0))
    assert said.startswith("Nothing done: 1 suspended, 1 observed, 2 unchanged")
    assert said.endswith("Next: `reconcile status --all` shows everything.")


def test_long_names_widen_their_column() -> None:
    long = Create(resource(f"experiment/vision/{'n' * 50}"), why="it was deleted outside the reconciler")
    lines = report_text(report(Result(MADE, Done("1")), Result(long, Done("2"))), width=110).split("\n")
    assert lines[2].index("created") == lines[3].index("created")
    assert lines[4] == "      it was deleted outside the reconciler"


def test_failures_say_why_and_what_next() -> None:
    said = report_text(BAD)
    assert said.startswith("Failed in part: 2 failed, 1 not reached @")
    assert "tags are at most 5000 long" in said
    assert "no answer \\x1b[31m (tried 4 times)" in said
    assert "not reached" in said
    assert said.split("\n")[-1].startswith("Next: `reconcile` tries what failed again")


def test_a_left_over_difference_is_named_as_a_defect_and_fails_the_pass() -> None:
    left = report(Result(CHANGED, Done("2"), left_over=(Change("spec.tags.a", "1", "2"),)))
    assert "defect of the controller or of the tool" in report_text(left)
    assert of_report(left, wait=False, detailed=False) is Exit.ERROR


@pytest.mark.parametrize(
    ("name", "detailed", "code"),
    [
        ("nothing", True, Exit.OK),
        ("tool-down", True, Exit.HELD),
        ("suspect", False, Exit.HELD),
        ("mistakes", True, Exit.ERROR),
        ("mixed", True, Exit.HELD),
    ],
)
def test_exit_codes_of_a_dry_run(name: str, detailed: bool, code: Exit) -> None:
    assert of_proposal(CASES[name], detailed=detailed) is code


def test_exit_codes_of_changes_and_of_a_pass() -> None:
    changes = proposal((MADE,))
    assert of_proposal(changes, detailed=True) is Exit.CHANGES
    assert of_proposal(changes, detailed=False) is Exit.OK
    assert of_report(GOOD, wait=False, detailed=False) is Exit.OK
    assert of_report(GOOD, wait=False, detailed=True) is Exit.CHANGES
    assert of_report(BAD, wait=False, detailed=False) is Exit.ERROR
    assert of_report(replace(GOOD, interrupted=True), wait=False, detailed=False) is Exit.INTERRUPTED
    held = report(Result(Blocked(ref("dataset/v/d"), "NotOurs", "no mark"), None))
    assert of_report(held, wait=False, detailed=False) is Exit.HELD


@pytest.mark.parametrize(("health", "code"), [(Health.PROGRESSING, Exit.HELD), (Health.DEGRADED, Exit.ERROR)])
def test_waiting_in_vain_is_not_success(health: Health, code: Exit) -> None:
    late = report(Result(MADE, Started("t")), statuses=(status("experiment/vision/new", health, False, "still starting"),))
    assert of_report(late, wait=True, detailed=False) is code
    assert of_report(late, wait=False, detailed=False) is Exit.OK
    assert "1 not Ready yet" in report_text(late).split("\n")[0]


def test_errors_in_manifests_fail_the_pass_although_the_rest_was_done() -> None:
    partial = Report(MISTAKES, (Result(MADE, Done("1")),), (), 1.0)
    assert report_text(partial).startswith("Failed in part: 1 created, 2 errors in the manifests")
    assert of_report(partial, wait=False, detailed=False) is Exit.ERROR


def test_held_deletions_and_dead_tools_are_told_after_a_pass_too() -> None:
    held = Report(SUSPECT, tuple(Result(each, None) for each in SUSPECT.plan.actions), (), 1.0)
    assert report_text(held).split("\n")[-1].endswith("see above.") or "--confirm 5a12be77" in report_text(held).split("\n")[-1]
    down = Report(DOWN, tuple(Result(each, None) for each in DOWN.plan.actions), (), 1.0)
    assert "mlflow could not be read" in report_text(down)


def test_report_json_holds_every_outcome() -> None:
    found = json.loads(report_json(BAD, at=NOW))
    assert [each["outcome"] for each in found["results"]] == ["failed", "failed"]
    assert found["results"][0]["errorType"] == "Rejected"
    assert found["at"] == "2026-03-01T12:00:00Z"
    started = report(Result(MADE, Started("token", NOW)))
    assert json.loads(report_json(started))["results"][0]["recheckAt"] == "2026-03-01T12:00:00Z"


STATUSES = [
    status("experiment/vision/fine", Health.HEALTHY, True),
    status("experiment/vision/slow", Health.PROGRESSING, False, "6 of 8 runs finished"),
    status("dataset/vision/broken", Health.DEGRADED, False, "3 files are damaged " * 6, 120),
]
ABOUT = Overview("toolkit", "3f9c2e1", NOW - timedelta(minutes=4), "ann", {"mlflow": "ok", "postgres": "dead"})


def test_status_shows_the_worst_first_and_hides_what_is_ready() -> None:
    said = status_text(STATUSES, ABOUT, NOW, width=100)
    lines = said.split("\n")
    assert lines[0].startswith("toolkit @ 3f9c2e1, applied 4 min ago by ann")
    assert lines[0].endswith("1 Ready   1 Degraded   1 Progressing")
    assert lines[2].split() == ["PROJECT", "KIND", "NAME", "HEALTH", "SINCE", "WHY"]
    assert lines[3].split()[:4] == ["vision", "Dataset", "broken", "Degraded"]
    assert "fine" not in said
    assert lines[-1] == "1 more is Ready (`--all`).      mlflow ok · postgres dead"
    assert "fine" in status_text(STATUSES, ABOUT, NOW, all_=True)
    assert all(len(line) <= 100 for line in lines)
    assert "Nothing has been reconciled here yet" in status_text([], Overview(), NOW)


def test_status_of_everything_ready_is_short() -> None:
    assert status_text(STATUSES[:1], Overview("t"), NOW, width=40).split("\n") == [
        "t" + " " * 32 + "1 Ready",
        "",
        "1 resource is Ready (`--all`).",
    ]


def test_status_tells_how_old_it_is_and_may_become() -> None:
    looked = {"Dataset": NOW - timedelta(seconds=12), "Workflow": NOW - timedelta(minutes=4)}
    watched = Overview("t", looked=looked, every={"*": 30.0, "Workflow": 300.0}, watched=True)
    told = status_text(STATUSES, watched, NOW).split("\n")[-1]
    assert told == "watched: the tools are looked at every 30 s (Workflow 5 min); the oldest look is of 4 min ago (Workflow)"
    assert "state            read 12 s ago; looked at every 30 s" in one_text(status_of("dataset"), NOW, about=watched)
    assert about_value(watched)["looked"]["Workflow"] == {"at": "2026-03-01T11:56:00Z", "everySeconds": 300.0}  # type: ignore[index]


def test_status_that_nobody_keeps_fresh_says_so_once_it_is_old() -> None:
    fresh = Overview("t", looked={"Dataset": NOW - timedelta(minutes=4)})
    assert "watched" not in status_text(STATUSES, fresh, NOW)
    old = Overview("t", looked={"Dataset": NOW - timedelta(hours=3)}, every={"*": 30.0})
    assert status_text(STATUSES, old, NOW).split("\n")[-1].startswith("not watched: what was changed in the tools since 3 h ago")
    assert "read 3 h ago; no loop looks again" in one_text(status_of("dataset"), NOW, about=old)
    assert about_value(old)["looked"]["Dataset"]["everySeconds"] is None  # type: ignore[index]


def test_one_resource_in_full_and_as_json() -> None:
    said = one_text(STATUSES[1], NOW)
    assert "experiment/vision/slow  Progressing   m.yaml:3" in said
    assert "6 of 8 runs finished" in said
    found = json.loads(status_json(STATUSES, about=about_value(ABOUT), at=NOW))
    assert found["totals"]["Degraded"] == 1
    assert found["resources"][0]["conditions"][0] == {
        "type": "Ready",
        "status": "False",
        "reason": "Degraded",
        "message": "3 files are damaged " * 6,
        "since": "2026-03-01T10:00:00Z",
    }


def test_history_for_people_and_programs() -> None:
    entry = AuditEntry(
        NOW, "ann", ref("dataset/v/d"), "update", glyph="~", detail={"changes": ["spec.tags.a"], "why": ""}, revision="3f9c2e1"
    )
    said = history_text([entry], NOW + timedelta(minutes=5))
    assert said.startswith("1 entry, the newest 5 min ago.")
    assert "2026-03-01T12:00:00Z  ~ update    dataset/v/d   by ann @ 3f9c2e1\n      changes: tags.a" in said
    assert json.loads(history_json([entry]))["entries"][0]["at"] == "2026-03-01T12:00:00Z"
    assert history_text([], NOW).startswith("Nothing is recorded.")
    odd = AuditEntry(NOW, "ann", None, "update", detail={"loss": float("nan"), "all": [float("inf"), 1.5]})
    assert json.loads(history_json([odd]))["entries"][0]["detail"] == {"loss": None, "all": [None, 1.5]}
    assert "NaN" not in history_json([odd])


def test_services_table() -> None:
    said = services_text({"mlflow": {"state": "dead", "url": None, "pid": None, "version": None, "message": "its process ended"}})
    assert said.startswith("0 of 1 service works.")
    assert "reconcile platform up" in said


def test_a_server_that_is_not_ours_is_not_advised_to_be_started() -> None:
    away = {"state": "unreachable", "url": "http://10.0.0.1:5000", "pid": None, "version": None, "message": "no answer"}
    said = services_text({"mlflow": away})
    assert "platform up" not in said
    assert "mlflow is not run by this installation" in said


def test_progress_counts_estimates_and_names_what_runs() -> None:
    clock = iter(float(each) for each in range(100))
    picture = Picture(lambda: next(clock))
    picture.hear(Event("phase", "applying"))
    picture.hear(Event("start", "create", ref("dataset/v/a"), 0, 4))
    picture.hear(Event("done", "create", ref("dataset/v/a"), 1, 4))
    picture.hear(Event("start", "create", ref("dataset/v/b"), 1, 4))
    picture.hear(Event("failed", "no", ref("dataset/v/c"), 2, 4))
    assert picture.headline().startswith("applying: 2 of 4, 1 failed, about ")
    assert "now dataset/v/b create" in picture.line()


def test_progress_writes_plain_lines_off_a_terminal_and_nothing_when_quiet() -> None:
    stream = io.StringIO()
    with progress(stream, every=0.02) as listen:
        listen(Event("phase", "looking at the tools"))
        deadline = time.monotonic() + 10
        while "looking at the tools" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "looking at the tools" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    silent = io.StringIO()
    with progress(silent, quiet=True) as listen:
        listen(Event("phase", "x"))
    assert silent.getvalue() == ""


def test_a_pass_of_everything_reads_well() -> None:
    results = tuple(Result(each, Done("1") if not isinstance(each, Keep | Blocked) else None) for each in MIXED.plan.actions)
    said = report_text(Report(MIXED, results, (), 3.0))
    assert said.startswith("Done: 1 created, 2 changed, 1 replaced, 1 deleted, 1 adopted, 1 blocked, 55 unchanged @ 3f9c2e1 (3.0 s).")
    assert "lifecycle.adopt: true" in said
