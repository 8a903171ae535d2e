"""Files of rules: what is read of them, and what becomes of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.guard.cases import run_tests
from reconciler.guard.cel import evaluate
from reconciler.guard.facts import Scene
from reconciler.guard.judge import mistakes
from reconciler.guard.remember import ALWAYS, kinds_of
from reconciler.guard.rules import DEFAULTS, in_force, read_book, shipped_book
from reconciler.registry import discover
from schemas.platform import PlatformSpec
from schemas.policy import Policy

GOOD = """# rules of the platform team
rules:
  - name: few-replicas
    kinds: [Deployment]
    deny: resource.spec.replicas.max > 8
    message: more than eight replicas
"""


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def own(root: Path, *names: str) -> list[str]:
    """The rules of the files, as `NAME at PLACE`, with why those that are broken are."""
    found = in_force(Policy(rules=names), written(root, {}))
    return [f"{each.name} at {each.at}{f' broken: {each.broken}' if each.broken else ''}" for each in found if not each.shipped]


def test_rules_come_with_their_places_in_the_order_of_their_files(tmp_path: Path) -> None:
    written(tmp_path, {"policies/b.yaml": GOOD, "policies/a.yaml": GOOD.replace("few", "some"), "policies/c.txt": "no", "x.yaml": "no"})
    assert own(tmp_path, "policies/*.yaml") == ["some-replicas at policies/a.yaml:3", "few-replicas at policies/b.yaml:3"]


def test_what_is_read_of_a_rule(tmp_path: Path) -> None:
    text = """rules:
  - name: asks
    kinds: [Dataset, Model]
    verbs: [delete]
    over: plan
    when: action.irreversible
    requireApproval: plan.totals.delete > 2
    owners: [ada, project]
    message: too much at once
"""
    [rule] = read_book("a.yaml", written(tmp_path, {"a.yaml": text})).rules
    assert (rule.effect, rule.condition, rule.when) == ("requireApproval", "plan.totals.delete > 2", "action.irreversible")
    assert (rule.kinds, rule.verbs, rule.plan_wide, rule.owners) == (("Dataset", "Model"), ("delete",), True, ("ada", "project"))
    assert rule.about("delete", "Model")
    assert not rule.about("update", "Model")
    assert not rule.about("delete", "Experiment")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GOOD.replace("deny:", "denny:"), "few-replicas at a.yaml:3 broken: a.yaml:5:5: denny: unknown field. Did you mean `deny`?"),
        (GOOD.replace("deny: resource.spec.replicas.max > 8", "kindss: []"), "few-replicas at a.yaml:3 broken: a.yaml:5:5: kindss"),
        (GOOD.replace("    deny: resource.spec.replicas.max > 8\n", ""), "exactly one of deny, warn, requireApproval; found 0"),
        (GOOD + "    owners: [ada]\n", "owners: has a meaning with `requireApproval` only"),
        (GOOD.replace("[Deployment]", "[]").replace("spec.replicas.max > 8", "changes.size() > 1"), "names its kinds"),
        ("rules: [", "a at a.yaml:2:1 broken: a.yaml:2:1: this is not YAML"),
        ("rules: {a: b}\n", "`rules` and `tests` are lists"),
        ("rule: []\n", "a at a.yaml:1:1 broken: a.yaml:1:1: unknown field rule; allowed are rules, tests"),
        ("- a\n", "expected one document"),
        (GOOD + "---\n" + GOOD, "expected one document"),
        (GOOD + "rules: []\n", "the key is written twice"),
        ("x" * 1_100_000, "more than 1024 KiB"),
    ],
)
def test_what_is_wrong_breaks_its_rule_or_its_file(tmp_path: Path, text: str, found: str) -> None:
    written(tmp_path, {"a.yaml": text})
    [told] = own(tmp_path, "a.yaml")
    assert found in told
    assert " broken: " in told


def test_a_broken_rule_is_about_everything_and_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    both = GOOD + "  - name: other\n    deny: 'true'\n"
    good, bad = read_book("a.yaml", written(tmp_path, {"a.yaml": both})).rules
    assert not good.broken
    assert "message" in bad.broken
    assert bad.about("delete", "Anything")


def test_files_that_are_not_there_or_lie_elsewhere_are_broken_rules(tmp_path: Path) -> None:
    root = written(tmp_path / "root", {"manifests/a.yaml": ""})
    written(tmp_path, {"outside.yaml": GOOD})
    (root / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    assert ["cannot be read: No such file" in each for each in own(root, "policies.yaml")] == [True]
    assert ["names policies/*.yaml, and there is no such file" in each for each in own(root, "policies/*.yaml")] == [True]
    assert ["lies outside of the installation's root" in each for each in own(root, "link.yaml")] == [True]


def test_a_name_stands_for_one_rule(tmp_path: Path) -> None:
    written(tmp_path, {"a.yaml": GOOD, "b.yaml": GOOD, "c.yaml": GOOD.replace("few-replicas", "secret-literal")})
    one, two, three = own(tmp_path, "a.yaml", "b.yaml", "c.yaml")
    assert "broken" not in one
    assert two.endswith("broken: the name is taken by the rule at a.yaml:3")
    assert "the name is taken by the rule at shipped.yaml:" in three


def test_shipped_rules_are_as_strong_as_the_platform_says(tmp_path: Path) -> None:
    def strength(**shipped: object) -> dict[str, str]:
        policy = PlatformSpec.model_validate({"installation": "x", "policy": {"shipped": shipped}}).policy
        return {each.name: each.effect for each in in_force(policy, tmp_path)}

    assert strength() == DEFAULTS
    changed = strength(**{"mass-deletion": False, "quota-increase": "requireApproval", "secret-literal": "off"})
    others = {name: each for name, each in DEFAULTS.items() if name not in ("mass-deletion", "secret-literal")}
    assert changed == {**others, "quota-increase": "requireApproval"}


def test_the_shipped_rules_hold_what_their_own_tests_say() -> None:
    book = shipped_book()
    outcomes, untested = run_tests(book, discover().kinds, evaluate, lambda _: Scene((), {}))
    assert {each.name: each.failures for each in outcomes if each.failures} == {}
    assert untested == ()
    assert {each.name for each in book.rules} == DEFAULTS.keys()
    assert mistakes(book.rules, evaluate) == []


def test_what_shipped_rules_look_back_at_is_remembered_from_the_first_pass_on() -> None:
    assert kinds_of(shipped_book().rules) == ALWAYS


def test_a_test_that_does_not_hold_says_what_came_instead(tmp_path: Path) -> None:
    text = """tests:
  - name: nine are too many
    actions: [{ref: deployment/vision/a, spec: {replicas: {max: 9}}}]
    expect: {deployment/vision/a: deny few-replicas}
  - name: eight are not
    actions: [{ref: deployment/vision/a, spec: {replicas: {max: 8}}}]
    expect: {deployment/vision/a: deny few-replicas}
  - name: nor is what is not said
    actions: [{ref: deployment/vision/a, spec: {replicas: {max: 3}}}, {ref: deployment/vision/b#r1, spec: {replicas: {max: 9}}}]
  - name: no such kind
    actions: [{ref: deploiment/vision/a}]
  - nme: x
"""
    book = read_book("a.yaml", written(tmp_path, {"a.yaml": GOOD + text}))
    outcomes, untested = run_tests(book, discover().kinds, evaluate, lambda _: Scene((), {}))
    assert untested == ()
    found = {each.name: (str(each.at), each.failures) for each in outcomes}
    assert found["nine are too many"] == ("a.yaml:8", ())
    assert found["eight are not"] == ("a.yaml:11", ("deployment/vision/a: expected deny few-replicas, got nothing",))
    assert found["nor is what is not said"][1] == ("deployment/vision/b#r1: expected nothing, got deny few-replicas",)
    assert "there is no such kind" in found["no such kind"][1][0]
    assert "nme: unknown field" in found["as it is written"][1][0]
