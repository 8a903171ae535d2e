"""From windows to episodes: when a breach opens and ends, what explains it, what is done about it and how often."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controllers.monitors import notes as book
from controllers.monitors.causes import causes
from controllers.monitors.judging import judge
from controllers.monitors.notes import Episode, Notes, Pending, Streak
from controllers.monitors.reacting import done, due, spent
from controllers.monitors.schedule import due as next_due
from controllers.monitors.telling import breached, suggestions
from reconciler.model import Health, Ref
from reconciler.model.monitoring import Found, Verdict, WindowResult
from reconciler.testing import make_resource
from schemas.monitor import KIND, MonitorSpec

REF = Ref("Monitor", "demo", "m")
HOUR = 3600.0
COLUMN = {"column": "a", "what": "drifted", "score": 0.4}


def resource(**more: Any) -> Any:
    return make_resource(KIND, "m", {"deployment": "d", "checks": {"drift": {}, "performance": {"minimum": 0.8}}, **more})


def spec(**more: Any) -> MonitorSpec:
    found: MonitorSpec = resource(**more).spec
    return found


def window(number: int, drift: Verdict = "pass", performance: Verdict = "hold", **more: Any) -> WindowResult:
    checks = (
        Found("drift", drift, "1 of 2 columns drifted" if drift == "fail" else "none", (COLUMN,) if drift == "fail" else (), "look at a"),
        Found("performance", performance, "accuracy 0.6" if performance == "fail" else "fine"),
    )
    told = [each.verdict for each in checks]
    verdict: Verdict = "fail" if "fail" in told else "pass" if "pass" in told else "hold"
    return WindowResult(
        **{
            "key": f"k{number}",
            "verdict": verdict,
            "start": number * HOUR,
            "end": (number + 1) * HOUR,
            "rows": 100,
            "checks": checks,
            **more,
        }
    )


def after(wanted: MonitorSpec, *windows: WindowResult, start: Notes | None = None, again: int = 0) -> Notes:
    notes = start or Notes(since=1.0)
    for each in windows:
        pending = Pending(each.key, each.start, each.end, again=again, context={"revision": "r1"})
        notes = judge(REF, wanted, replace(notes, pending=pending), each, ("because",), each.end + 20)
    return notes


def test_one_bad_window_is_a_breach_and_one_good_one_ends_it() -> None:
    notes = after(spec(), window(1), window(2, "fail"))
    assert notes.episode is not None
    assert (notes.episode.since, notes.episode.failing) == (2 * HOUR, {"drift": "1 of 2 columns drifted"})
    assert (notes.episode.columns, notes.episode.causes, notes.episode.suggestions) == ((COLUMN,), ("because",), ("look at a",))
    ended = after(spec(), window(3), start=notes)
    assert ended.episode is None
    assert ended.before is not None
    assert ended.before.id == notes.episode.id
    assert ended.before.ended == 4 * HOUR + 20


def test_for_and_clear_after_count_windows_in_a_row() -> None:
    patient = spec(**{"for": 3, "clearAfter": 2})
    bad = [window(number, "fail") for number in range(10)]
    assert after(patient, *bad[:2]).episode is None
    assert after(patient, bad[0], bad[1], window(2), bad[3], bad[4]).episode is None, "not in a row"
    notes = after(patient, *bad[:3])
    assert notes.episode is not None
    assert notes.episode.since == 0.0, "since the first of them"
    assert notes.episode.until == HOUR
    still = after(patient, window(4), bad[5], window(6), start=notes)
    assert still.episode is not None
    assert still.episode.id == notes.episode.id, "the same breach"
    assert after(patient, window(7), start=still).episode is None


def test_a_window_that_holds_is_neither_good_nor_bad() -> None:
    patient = spec(**{"for": 2})
    notes = after(patient, window(1, "fail"), window(2, "hold"), window(3, "fail"))
    assert notes.episode is not None, "too little data in between ends no row"
    assert after(patient, window(4, "hold"), start=notes).episode is not None, "nor does it end a breach"


def test_checks_are_judged_each_by_itself() -> None:
    notes = after(spec(), window(1, "fail", "fail"))
    half = after(spec(), window(2, "pass", "hold"), start=notes)
    assert half.episode is not None
    assert set(half.episode.failing) == {"performance"}
    assert after(spec(), window(3, "pass", "pass"), start=half).episode is None


def test_late_labels_say_something_of_performance_only() -> None:
    notes = after(spec(), window(1), window(2))
    late = after(spec(), replace(window(1, "fail", "fail"), key="k1b", labels=90), start=notes, again=1)
    assert late.episode is not None
    assert set(late.episode.failing) == {"performance"}
    assert [(each.key, each.again) for each in late.windows] == [("k1b", 1), ("k2", 0)], "the same window, looked at again"
    assert late.cursor == notes.cursor


def test_the_version_that_was_looked_at_is_done_and_not_the_one_that_came_meanwhile() -> None:
    wanted = spec(deployment=None, dataset="a", reference={"dataset": "b"}, checks={"drift": {}})
    pending = Pending("k1", HOUR, HOUR, version="v1")
    notes = judge(REF, wanted, Notes(since=1.0, version="v0", pending=pending), window(1), (), 2 * HOUR)
    assert notes.version == "v1"
    following = next_due(wanted, notes, "about", 2 * HOUR, 0, 0, "v2")
    assert following is not None
    assert following.version == "v2"


def test_what_is_not_asked_any_more_cannot_fail() -> None:
    notes = after(spec(), window(1, "fail"))
    other = spec(checks={"performance": {"minimum": 0.8}})
    found = replace(window(2), checks=(Found("performance", "pass", "fine"),))
    assert after(other, found, start=notes).episode is None


def test_the_first_window_that_one_version_answered_alone_is_the_baseline() -> None:
    measured = {"latency": 0.02, "memory": 1e8}
    mixed = window(1, measured={"latency": 9.0}, revisions={"r0": 5, "r1": 95})
    notes = after(spec(), mixed, window(2, "hold", revisions={"r1": 1}), window(3, measured=measured, revisions={"r1": 100}))
    assert (notes.baseline, notes.baseline_of) == (measured, "r1")
    assert after(spec(), window(4, measured={"latency": 7.0}, revisions={"r1": 3}), start=notes).baseline == measured


@given(st.lists(st.sampled_from(["pass", "fail", "hold"]), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_a_breach_is_open_exactly_while_the_rule_says_so(verdicts: list[Verdict], for_: int, clear_after: int) -> None:
    """Against the rule written down another way; and each breach has an id of its own."""
    wanted, notes, seen = spec(**{"for": for_, "clearAfter": clear_after}), Notes(since=1.0), set[str]()
    said: list[Verdict] = []
    is_open = False
    for number, verdict in enumerate(verdicts):
        notes = after(wanted, window(number, verdict), start=notes)
        if verdict != "hold":
            said.append(verdict)
        tail = said[-clear_after:] if is_open else said[-for_:]
        if not is_open and len(tail) == for_ and set(tail) == {"fail"}:
            is_open = True
            assert notes.episode is not None
            assert notes.episode.id not in seen
            seen.add(notes.episode.id)
        elif is_open and len(tail) == clear_after and set(tail) == {"pass"}:
            is_open = False
        assert (notes.episode is not None) == is_open
        assert book.read(json.loads(json.dumps(book.written(notes)))) == notes


# --- causes ------------------------------------------------------------------------------------------------------------

GOOD = {"version": "1", "revision": "r1", "dataset/demo/t": "d1", "os": "Linux 6", "mlx": "0.32", "reference": "d1", "monitor": "m"}


def test_inputs_that_moved_while_nothing_declared_changed_come_from_outside() -> None:
    [first] = causes(window(1, "fail"), GOOD, GOOD)
    assert first.startswith("what is asked changed")


def test_another_version_explains_other_answers_before_anything_else() -> None:
    found = replace(window(1), checks=(Found("drift", "pass", ""), Found("predictions", "fail", "moved")))
    told = causes(found, {**GOOD, "version": "2", "revision": "r2", "os": "Linux 7"}, GOOD)
    assert told[0] == "another version of the model answers (1 -> 2)"
    assert any(each.startswith("the operating system changed") for each in told[1:])
    assert told[-1].startswith("the inputs are as they were")
    assert not any("revision" in each for each in told), "the version says it already"


def test_a_check_that_held_is_no_witness() -> None:
    found = replace(window(1), checks=(Found("drift", "hold", ""), Found("performance", "fail", "")))
    assert causes(found, GOOD, GOOD) == ("nothing that is declared here changed since the last good window",)


def test_without_a_good_window_nothing_is_guessed() -> None:
    assert causes(window(1, "fail"), GOOD, {}) == ()


def test_heat_explains_slow_answers() -> None:
    found = replace(window(1), checks=(Found("operations", "fail", "p95 900 ms"),))
    assert (
        causes(found, {**GOOD, "heat": "serious", "mlx": "0.33"}, {**GOOD, "heat": "nominal"})[0]
        == "the machine's heat changed (nominal -> serious)"
    )


# --- reactions ---------------------------------------------------------------------------------------------------------

OPEN = Episode(
    "e1",
    0.0,
    5.0,
    10.0,
    "drift",
    {"drift": "moved"},
    ({"column": "a"}, {"column": "b"}, {"column": "a"}),
    ("another version of the model answers (1 -> 2)",),
)


def test_each_thing_is_done_once_for_an_episode() -> None:
    wanted = resource(onBreach=[{"alert": "critical"}, {"run": "retrain"}, {"rollback": True}])
    notes = Notes(since=1.0, episode=OPEN)
    run, back = due(wanted, notes, 100.0)
    assert (run.verb, str(run.ref), run.id) == ("start", "workflow/demo/retrain", "breach-e1")
    assert run.conf == {
        "monitor": "demo/m",
        "breach": "e1",
        "since": "1970-01-01T00:00:00+00:00",
        "until": "1970-01-01T00:00:05+00:00",
        "columns": "a,b",
    }
    assert (back.verb, str(back.ref), back.refused) == ("roll_back", "deployment/demo/d", "")
    notes = done(notes, run, "started", 100.0, carried_out=True)
    assert [each.key for each in due(wanted, notes, 101.0)] == [back.key]
    notes = done(notes, back, "back to v1", 101.0, carried_out=True)
    assert due(wanted, notes, 1e9) == ()


def test_an_old_version_is_not_taken_back() -> None:
    wanted = resource(onBreach=[{"rollback": True}])
    [back] = due(wanted, Notes(since=1.0, episode=replace(OPEN, causes=("what is asked changed",))), 1.0)
    assert back.refused.startswith("not rolled back")


def test_the_pause_doubles_and_the_budget_ends() -> None:
    wanted = resource(onBreach=[{"run": "retrain", "atMost": 3, "within": "24h", "backOff": "10m"}])
    notes, now, times = Notes(since=1.0), 1000.0, list[float]()
    for number in range(200):
        notes = replace(notes, episode=replace(OPEN, id=f"e{number}"))
        for each in due(wanted, notes, now):
            times.append(now)
            notes = done(notes, each, "started", now, carried_out=True)
        now += 60.0
    assert [round(later - times[0]) for later in times] == [0, 600, 1800], "10 minutes, then 20, then no more that day"
    assert due(wanted, replace(notes, episode=replace(OPEN, id="next")), times[0] + 86_401.0) != ()
    [said] = spent(wanted, replace(notes, episode=replace(OPEN, id="next")), now)
    assert said.startswith("run workflow/demo/retrain waits: it was done 3 times")
    assert said in breached(wanted, OPEN, [said]).message


def test_what_could_not_be_carried_out_costs_no_budget() -> None:
    wanted = resource(onBreach=[{"run": "retrain", "atMost": 1}])
    notes = Notes(since=1.0, episode=OPEN)
    [run] = due(wanted, notes, 1.0)
    notes = done(notes, run, "could not be started", 1.0, carried_out=False)
    assert due(wanted, notes, 2.0) == (), "told once"
    assert len(due(wanted, replace(notes, episode=replace(OPEN, id="e2")), 3.0)) == 1


def test_a_breach_says_what_since_when_why_and_what_would_help() -> None:
    told = breached(resource(onBreach=[{"alert": "critical"}, {"run": "retrain"}]), OPEN)
    assert (told.health, told.reason, told.severity) == (Health.DEGRADED, "DataDrift", "critical")
    assert "moved; since Thu 00:00 UTC" in told.message
    assert "probably: another version of the model answers (1 -> 2)" in told.message
    assert "`reconcile run workflow/demo/retrain` trains again" in told.message
    assert '`reconcile rollback deployment/demo/d --reason "m"`' in told.message
    acted = replace(OPEN, acted={"run workflow/demo/retrain": {"at": 1.0, "said": "started workflow/demo/retrain, run breach-e1"}})
    told = breached(resource(onBreach=[{"run": "retrain"}]), acted)
    assert "started workflow/demo/retrain, run breach-e1" in told.message
    assert "trains again" not in told.message


def test_a_breach_is_called_by_its_gravest_check_and_keeps_its_name() -> None:
    notes = after(spec(), window(1, "fail", "fail"))
    assert notes.episode is not None
    assert breached(resource(), notes.episode).reason == "PerformanceLoss"
    later = after(spec(), window(2, "fail", "pass"), start=notes)
    assert later.episode is not None
    assert set(later.episode.failing) == {"drift"}
    assert breached(resource(), later.episode).reason == "PerformanceLoss", "one breach is one alert"


def test_what_came_later_did_not_cause_it() -> None:
    notes = after(spec(), window(1, "fail"))
    pending = Pending("k2", 2 * HOUR, 3 * HOUR)
    later = judge(REF, spec(), replace(notes, pending=pending), window(2, "fail"), ("another version",), 3 * HOUR)
    assert later.episode is not None
    assert later.episode.causes == ("because",)


def test_without_a_workflow_training_again_is_only_advised() -> None:
    assert any("train again" in each for each in suggestions(resource(), OPEN))


def test_an_empty_notebook_and_one_of_another_version_can_be_read() -> None:
    assert book.read({}) == Notes()
    assert book.read({"since": 3.0, "unheard": 1, "streaks": {"drift": {"bad": 2, "new": 1}}}) == Notes(
        since=3.0, streaks={"drift": Streak(2)}
    )
