"""What every rendering of a plan must keep to, whatever the plan holds."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import pytest

from reconciler.loop import Proposal
from reconciler.model import Blocked, Change, Diagnostic, Keep, Location, Source, Update
from reconciler.report.json import plan_json
from reconciler.report.markdown import LIMIT, plan_markdown
from reconciler.report.rows import plan_digest
from reconciler.report.show import clean, pair, shorten, took, value
from reconciler.report.text import drift_text, plan_text
from reconciler.selection import Selection
from tests.golden.plans.cases import CASES, HOSTILE, MISTAKES, MIXED, NASTY, SECRET, SEEN, SUSPECT, proposal, ref, resource


def formats(found: Proposal) -> dict[str, str]:
    return {
        "text": plan_text(found, width=80, all_=True),
        "drift": drift_text(found, width=80),
        "markdown": plan_markdown(found, all_=True),
        "json": plan_json(found, all_=True),
    }


def test_first_line_is_the_outcome_and_last_line_the_next_step() -> None:
    lines = plan_text(MIXED).split("\n")
    assert lines[0].startswith("Plan for toolkit @ 3f9c2e1 (applied before: 8b1d770), 62 resources, read from 2 tools in 0.6 s")
    assert lines[-1] == "Next: `reconcile` applies this."
    assert "1 to create, 2 to change, 1 to replace, 1 to delete, 1 to adopt, 1 blocked, 55 unchanged." in lines


def test_the_next_step_is_a_command_that_does_what_was_shown() -> None:
    chosen = replace(proposal((Update(resource("experiment/v/e"), SEEN, ()),)), selection=Selection(projects=frozenset({"v"})))
    assert plan_text(chosen).endswith("Next: `reconcile --project v` applies this.")
    said = plan_text(CASES["yes"])
    assert "`reconcile --confirm 0badcafe` applies this; " in said
    assert said.endswith("--confirm experiment/vision/moved` does this and exactly the replacement that waits above.")
    assert plan_text(SUSPECT).endswith("Next: `reconcile --confirm 5a12be77` does exactly the 12 deletions that wait above.")


def test_overlooked_differences_are_shown_and_are_no_changes() -> None:
    kept = replace(
        CASES["nothing"], plan=replace(CASES["nothing"].plan, actions=(Keep(ref("experiment/v/e"), "ignored: spec.tags.a (why)"),))
    )
    assert plan_text(kept).split("\n")[2].split(maxsplit=2)[2] == "ignored: spec.tags.a (why)"
    assert plan_text(kept).startswith("No changes: 1 resource matches")
    assert "\x1b[2m  = experiment/v/e" in plan_text(kept, color=True)
    assert "ignored: spec.tags.a" in plan_markdown(kept)
    found = json.loads(plan_json(kept))
    assert (found["outcome"], found["actions"][0]["why"]) == ("noChanges", "ignored: spec.tags.a (why)")


def test_a_source_without_manifests_is_told_once_with_what_to_do() -> None:
    why = "manifests: source root holds no manifest"
    empty = replace(
        proposal((Blocked(ref("experiment/v/e"), "SourceIncomplete", f"nothing is deleted: {why}", "fix the source"),)),
        sources=(Source("root", "", False, 0, 0, why),),
        diagnostics=(Diagnostic(Location("manifests"), "source root holds no manifest", severity="warning", reason="EmptySource"),),
    )
    assert plan_text(empty).count("holds no manifest") == 1
    assert plan_text(empty).endswith("Next: put the manifests back, or name where they are with -f PATH.")


def test_no_changes_is_one_line_and_is_never_claimed_when_a_tool_could_not_be_read() -> None:
    assert plan_text(CASES["nothing"]) == "No changes: 55 resources match manifests @ 3f9c2e1 (0.6 s)."
    blind = replace(CASES["nothing"], tools={"mlflow": "refused", "dvc": "ok"})
    assert "No changes" not in plan_text(blind)
    assert "mlflow could not be read: refused" in plan_text(blind)


def test_what_stands_in_the_way_of_many_is_told_once() -> None:
    text = " ".join(plan_text(SUSPECT).split())
    assert text.count("looks like a broken source") == 1
    assert text.count("dataset/vision/old-") == 12
    assert "`reconcile --confirm 5a12be77`" in text


@pytest.mark.parametrize("case", CASES)
def test_nothing_from_outside_reaches_the_terminal_as_a_control(case: str) -> None:
    for name, said in formats(CASES[case]).items():
        wild = {each for each in said if unicodedata.category(each) in ("Cc", "Cf") and each != "\n"}
        assert not wild, f"{name}: {wild!r}"


@pytest.mark.parametrize("case", CASES)
def test_a_secret_is_in_no_format(case: str) -> None:
    for name, said in formats(CASES[case]).items():
        assert SECRET not in said, name
    assert "(changed)" in plan_text(HOSTILE)


def test_colour_adds_only_colour() -> None:
    import re

    plain, colored = plan_text(MIXED), plan_text(MIXED, color=True)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == plain


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_lines_fit_the_width_but_for_names_that_do_not(width: int) -> None:
    for line in plan_text(MIXED, width=width, all_=True).split("\n"):
        one_name = len(line.split()) <= 2
        assert len(line) <= max(width, 50) or one_name or line.startswith(("Plan for", "Next:")) or "unchanged" in line, (width, line)


def test_markdown_of_a_huge_plan_stays_below_the_limit_and_says_what_is_missing() -> None:
    actions = tuple(
        Update(resource(f"experiment/vision/e-{number}"), SEEN, (Change("spec.description", "x" * 500, NASTY * 5),), NASTY)
        for number in range(2000)
    )
    said = plan_markdown(proposal(actions))
    assert len(said) <= LIMIT
    assert "more actions left out" in said
    assert f"plan {plan_digest(proposal(actions))}" in said
    assert said.count("<details>") == said.count("</details>") == 1


def test_markdown_shows_foreign_text_literally() -> None:
    said = plan_markdown(HOSTILE)
    assert "<script>" not in said
    assert "[a](http" not in said
    assert " @everyone" not in said
    assert said.count("</details>") == 1
    table = [line for line in said.split("\n") if line.startswith("| <code>&#126;")]
    assert len(table) == 1
    assert table[0].count("|") == 5


def test_markdown_tells_what_cannot_be_undone_above_the_fold() -> None:
    above = plan_markdown(MIXED).split("<details>")[0].split("| | resource")[0]
    assert "**Cannot be undone:** experiment/vision/moved, experiment/cpu-compression/old-probe" in above


def test_json_is_versioned_and_lists_unchanged_only_when_asked() -> None:
    found = json.loads(plan_json(MIXED))
    assert (found["formatVersion"], found["kind"], found["outcome"]) == (1, "plan", "changes")
    assert [each["action"] for each in found["actions"]] == ["update", "create", "update", "replace", "adopt", "blocked", "delete"]
    assert found["totals"]["keep"] == 55
    assert len(json.loads(plan_json(MIXED, all_=True))["actions"]) == 62
    assert found["actions"][1]["after"] == ["dataset/lora-finetuning/support-tickets"]
    assert json.loads(plan_json(MISTAKES))["outcome"] == "errors"
    assert json.loads(plan_json(SUSPECT))["outcome"] == "held"


def test_plan_digest_names_the_work_and_not_the_moment() -> None:
    assert plan_digest(MIXED) == plan_digest(replace(MIXED, seconds=9.9, calls=99))
    fewer = replace(MIXED, plan=replace(MIXED.plan, actions=MIXED.plan.actions[1:]))
    assert plan_digest(MIXED) != plan_digest(fewer)
    more_kept = replace(MIXED, plan=replace(MIXED.plan, actions=(*MIXED.plan.actions, Keep(ref("dataset/p/x")))))
    assert plan_digest(MIXED) == plan_digest(more_kept)


def test_drift_shows_only_what_differs() -> None:
    said = drift_text(MIXED)
    assert said.startswith("4 of 62 resources differ from the manifests @ 3f9c2e1 (0.6 s).")
    assert "support-tickets" in said
    assert "old-probe" not in said
    assert drift_text(CASES["nothing"]) == "No differences: 55 resources @ 3f9c2e1 (0.6 s)."
    assert drift_text(CASES["tool-down"]).startswith("No differences known: 3 resources @ 3f9c2e1, 2 could not be read")


def test_values_are_shown_on_one_line_without_doubt() -> None:
    assert [value(each) for each in (None, "plain", "true", "", "two words", 3, [1, "a"], {"b": 1, "a": None})] == [
        "(not set)",
        "plain",
        '"true"',
        '""',
        '"two words"',
        "3",
        '[1, "a"]',
        '{"a": null, "b": 1}',
    ]
    assert clean("a\nb\x1b[0m\u202e") == "a\\nb\\x1b[0m\\u202e"


def test_long_values_are_cut_so_that_the_difference_stays_in_sight() -> None:
    have, want = pair("same " * 50 + "OLD" + " tail" * 50, "same " * 50 + "NEW" + " tail" * 50, 40)
    assert "OLD" in have
    assert "NEW" in want
    assert len(have) <= 40
    assert len(want) <= 40
    assert shorten("abcdefghijklmnopqrstuvwxyz", 10) == "abcdef…xyz"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (0.6, "0.6 s"), (42, "42 s"), (240, "4 min"), (7200, "2 h"), (400_000, "5 d")]
)
def test_spans_for_people(seconds: float, said: str) -> None:
    assert took(seconds) == said


def test_many_runs_of_one_experiment_are_folded() -> None:
    from dataclasses import replace

    from reconciler.model import Create, Ref
    from reconciler.report.rows import row
    from reconciler.report.text import FOLDED, rows_lines
    from reconciler.testing.context import make_resource
    from schemas.experiment import KIND

    parent = make_resource(KIND, "sweep")
    runs = [replace(parent, ref=Ref("Experiment", "demo", "sweep", f"rank{index}-s0")) for index in range(FOLDED + 5)]
    found = [row(Create(parent)), *(row(Create(each)) for each in runs)]
    found[-1] = replace(found[-1], notes=("would start now: rank0-s0",))
    lines = rows_lines(found, color=False, width=120)
    assert [line.split()[1] for line in lines[:4]] == [
        "experiment/demo/sweep",
        *(f"experiment/demo/sweep#rank{index}-s0" for index in range(3)),
    ]
    assert "… and 14 more of experiment/demo/sweep" in lines[4]
    assert lines[5].strip() == "would start now: rank0-s0"
    assert len(rows_lines(found, color=False, width=120, all_=True)) == len(found) + 1
