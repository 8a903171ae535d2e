"""`reconcile run` and `rollback` under rules: refused before anything is asked of a tool.

No tool is up here: what is let through fails at that."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from tests.unit.test_cli import reconcile

PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {name: here}
spec:
  installation: here
  mlflow: {managed: false, endpoint: "http://127.0.0.1:9"}
  airflow: {managed: false, endpoint: "http://127.0.0.1:9", bundle: dags.git}
  policy: {rules: [policies/*.yaml]}
---
apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: vision}
spec: {path: vision, owners: [ada]}
"""
THINGS = """apiVersion: reconciler.mlops/v1
kind: Workflow
metadata: {name: nightly, project: vision}
spec:
  tasks: [{name: train, command: python train.py}]
---
apiVersion: reconciler.mlops/v1
kind: Model
metadata: {name: digits, project: vision}
spec: {experiment: probe}
---
apiVersion: reconciler.mlops/v1
kind: Experiment
metadata: {name: probe, project: vision}
"""
RULE = """rules:
  - name: not-by-hand
    verbs: [start, rollback]
    {effect}: {condition}
    message: nothing is started by hand here
{more}"""
RUN = ("run", "workflow/vision/nightly", "--conf", "rows=7")
BACK = ("rollback", "model/vision/digits", "--reason", "it is bad")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("manifests", "vision", "policies"):
        (tmp_path / name).mkdir()
    (tmp_path / "manifests/platform.yaml").write_text(PLATFORM)
    (tmp_path / "policies/hands.yaml").write_text("rules: []\n")
    said = reconcile(cwd=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    (tmp_path / "manifests/things.yaml").write_text(THINGS)
    return tmp_path


def rule(tree: Path, effect: str, condition: str = "true", more: str = "") -> None:
    (tree / "policies/hands.yaml").write_text(RULE.format(effect=effect, condition=f'"{condition}"', more=more))


def said(tree: Path, *words: str) -> str:
    done = reconcile(*words, cwd=tree)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize(
    ("words", "ref", "past"), [(RUN, "workflow/vision/nightly", "started"), (BACK, "model/vision/digits", "rolled back")]
)
def test_what_a_rule_denies_is_refused_with_its_place(tree: Path, words: tuple[str, ...], ref: str, past: str) -> None:
    rule(tree, "deny")
    assert said(tree, *words) == (
        f"error: {ref} is not {past}: rule not-by-hand (policies/hands.yaml:2): nothing is started by hand here\n"
        "  change the rule; `reconcile policy list` shows the rules in force\n"
    )
    rule(tree, "deny", "false")
    assert "not-by-hand" not in said(tree, *words), "it came as far as the tool"


def test_a_rule_sees_who_asks_and_why_and_what_for(tree: Path) -> None:
    me = getpass.getuser()
    rule(tree, "deny", f"action.by == '{me}' && action.conf.rows == '7' && resource.spec.paused == false && project.owners == ['ada']")
    assert "not-by-hand" in said(tree, *RUN)
    rule(tree, "deny", f"action.by == '{me}' && action.why == 'it is bad' && resource.spec.experiment == 'probe'")
    assert "not-by-hand" in said(tree, *BACK)


def test_a_broken_rule_refuses_and_says_where_it_is(tree: Path) -> None:
    rule(tree, "deny", "action.nope")
    assert 'rule not-by-hand (policies/hands.yaml:2): cannot be judged: Key not found in map : "nope"' in said(tree, *RUN)
    assert "correct the rule at policies/hands.yaml:2" in said(tree, *BACK)
    (tree / "policies/hands.yaml").write_text("rules: [")
    assert "cannot be judged" in said(tree, *RUN)


def test_a_warning_is_told_and_the_command_goes_on(tree: Path) -> None:
    rule(tree, "warn")
    first, second = said(tree, *RUN).splitlines()[:2]
    assert first == "warning: workflow/vision/nightly: rule not-by-hand (policies/hands.yaml:2): nothing is started by hand here"
    assert second.startswith("error: ")
    assert "not-by-hand" not in second


def test_the_command_of_who_may_say_yes_is_the_yes(tree: Path) -> None:
    rule(tree, "requireApproval", more="    owners: [project, grace]\n")
    refused = said(tree, *RUN)
    assert "is not started: it needs a yes of ada, grace: rule not-by-hand (policies/hands.yaml:2): " in refused
    assert f"you are {getpass.getuser()}" in refused
    rule(tree, "requireApproval", more=f"    owners: [{getpass.getuser()}]\n")
    assert "not-by-hand" not in said(tree, *RUN)
    rule(tree, "requireApproval")
    assert "not-by-hand" not in said(tree, *RUN), "anybody may"


def test_the_rules_of_the_applied_platform_count_where_other_manifests_are_named(tree: Path) -> None:
    rule(tree, "deny")
    mine = tree / "mine"
    mine.mkdir()
    (mine / "all.yaml").write_text(PLATFORM.replace("  policy: {rules: [policies/*.yaml]}\n", "") + "---\n" + THINGS)
    assert "not-by-hand" in said(tree, *RUN, "-f", "mine")


def test_a_rule_of_a_platform_that_was_not_applied_yet_counts_from_now_on(tree: Path) -> None:
    platform = tree / "manifests/platform.yaml"
    platform.write_text(PLATFORM.replace("policies/*", "later/*"))
    (tree / "later").mkdir()
    (tree / "later/hands.yaml").write_text(RULE.format(effect="deny", condition='"true"', more=""))
    assert "later/hands.yaml:2" in said(tree, *RUN)
