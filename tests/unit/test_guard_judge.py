"""What rules find, with real CEL in its own process."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from reconciler.guard.cel import Answers, evaluate
from reconciler.guard.facts import Declared, Deed, Scene, action_facts, deed_of, given_change, project_facts
from reconciler.guard.judge import judge, mistakes
from reconciler.guard.values import GuardRule
from reconciler.model import Change, Location, Ref, Update
from reconciler.registry import discover
from reconciler.testing import make_resource
from schemas.base import FromEnv
from tests.unit.widgets import owned, there, widget

A, B, CHILD = Ref("Model", "vision", "a"), Ref("Dataset", "vision", "b"), Ref("Model", "vision", "a", "k1")
SPEC = {"size": 9, "share": 0.5, "none": None, "tags": {"env": "production"}, "list": ["x", {"y": "z"}]}
SCENE = Scene(
    (
        Deed("update", A, (given_change("spec.size", 3, 9),), "because", manifest_changed=True),
        Deed("delete", B, irreversible=True),
        Deed("create", CHILD),
    ),
    {A: Declared({"team": "nlp"}, SPEC)},
    {"vision": project_facts("vision", owners=("ada",), level="advanced", labels={"env": "production"})},
    {A: {**SPEC, "size": 3}},
    resources=7,
)


def rule(condition: str, effect: Any = "deny", **more: Any) -> GuardRule:
    return GuardRule(more.pop("name", "r"), Location("policies/a.yaml", 3), effect, condition, "too much", **more)


def said(*rules: GuardRule, scene: Scene = SCENE) -> dict[str, str]:
    """Ref -> verdict, and why where a rule is broken."""
    return {str(each.ref): each.verdict + (f": {each.broken}" if each.broken else "") for each in judge(rules, scene, evaluate)}


@pytest.mark.parametrize(
    "condition",
    [
        "action.verb == 'update' && action.kind == 'Model' && action.name == 'a' && action.project == 'vision' && action.key == ''",
        "action.ref == 'model/vision/a' && action.manifestChanged && !action.irreversible && action.why == 'because'",
        "action.changes.exists(c, c.path == 'spec.size' && c.have == 3 && c.wantNumber > c.haveNumber)",
        "resource.spec.size > 8 && resource.spec.size > 8.5 && resource.spec.share < 1 && resource.spec.none == null",
        "resource.labels.team == 'nlp' && !('env' in resource.labels) && resource.spec.tags.env == 'production'",
        "resource.fields.exists(f, f.path == 'spec.list.1.y' && f.value == 'z') && resource.text.contains('production')",
        "resource.changes.size() == 1 && resource.changes[0].path == 'spec.size' && resource.changes[0].want == 9",
        "project.name == 'vision' && 'ada' in project.owners && project.level == 'advanced' && project.labels.env == 'production'",
        "plan.totals.delete == 1 && plan.totals.create == 1 && plan.resources == 7 && !has(plan.actions)",
    ],
)
def test_what_a_rule_sees_of_an_action(condition: str) -> None:
    assert said(rule(condition, kinds=("Model",), verbs=("update",))) == {"model/vision/a": "deny"}


def test_a_child_shows_the_manifest_that_it_comes_of() -> None:
    assert said(rule("resource.spec.size > 8 && action.key == 'k1'", verbs=("create",))) == {"model/vision/a#k1": "deny"}


def test_kinds_and_verbs_are_asked_before_anything_is_evaluated() -> None:
    def nothing(*_: Any) -> Answers:
        raise AssertionError("something was evaluated")

    assert judge([rule("true", kinds=("Deployment",)), rule("true", verbs=("replace",))], SCENE, nothing) == ()
    assert said(rule("true")) == {"model/vision/a": "deny", "model/vision/a#k1": "deny"}, "deletions only when they are named"
    assert said(rule("true", verbs=("delete",))) == {"dataset/vision/b": "deny"}


def test_when_narrows_and_its_error_is_the_rules() -> None:
    assert said(rule("true", when="action.key != ''")) == {"model/vision/a#k1": "deny"}
    assert said(rule("1 == 2", when="action.key != ''")) == {}
    assert said(rule("true", when="action.nope == 1", verbs=("update",))) == {"model/vision/a": 'deny: when: Key not found in map : "nope"'}


def test_a_rule_over_the_plan_holds_for_all_that_it_is_about() -> None:
    over = rule("plan.actions.exists(a, a.verb == 'delete') && plan.totals.update == 1", plan_wide=True)
    assert said(over) == {"model/vision/a": "deny", "model/vision/a#k1": "deny"}
    assert said(rule("plan.totals.delete > 1", plan_wide=True)) == {}
    assert "undeclared reference to 'action.verb'" in said(rule("action.verb == 'x'", plan_wide=True, verbs=("update",)))["model/vision/a"]


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("1 +", "Syntax error: mismatched input '<EOF>' (line 1, column 4 of the expression)"),
        ("acton.verb == 'x'", "undeclared reference to 'acton.verb' (line 1, column 6 of the expression)"),
        ("resource.spec.nope > 3", 'Key not found in map : "nope"'),
        ("resource.spec.tags > 3", "No matching overloads found : _>_(map, int64)"),
        ("resource.spec.size", "it gives int, not true or false"),
        ("1 + 1", "it gives int, not true or false"),
        ("[1].exists(x, " * 40 + "true" + ")" * 40, "recursion limit exceeded"),
        ("resource.spec.size > 99999999999999999999", "int"),
    ],
)
def test_what_cannot_be_judged_lets_nothing_through(condition: str, why: str) -> None:
    told = said(rule(condition, verbs=("update",)))["model/vision/a"]
    assert told.startswith("deny: ")
    assert why in told
    assert said(rule(condition, "requireApproval", verbs=("update",)))["model/vision/a"].startswith("deny: ")
    assert said(rule(condition, "warn", verbs=("update",)))["model/vision/a"].startswith("warn: "), "it could not have stopped anything"


def test_a_rule_that_was_not_read_needs_no_evaluation() -> None:
    def nothing(*_: Any) -> Answers:
        raise AssertionError("something was evaluated")

    [found, *_] = judge([rule("", broken="policies/a.yaml:3:5: unknown field", verbs=("update",))], SCENE, nothing)
    assert (found.verdict, found.broken) == ("deny", "policies/a.yaml:3:5: unknown field")


def test_mistakes_are_found_without_a_plan() -> None:
    rules = [rule("true"), rule("1 +"), rule("", broken="no"), rule("resource.spec.nope > 3")]
    assert [(rules.index(each), bool(why)) for each, why in mistakes(rules, evaluate)] == [(1, True), (2, True)]


def test_without_the_package_nothing_that_a_rule_is_about_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    told = said(rule("1 == 2", verbs=("update",)))["model/vision/a"]
    assert told == "deny: the package cel-expr-python is not installed"


HUGE = Scene((Deed("update", A),), {A: Declared({}, {"many": ["a" * 1000] * 9000})})


@pytest.mark.parametrize(
    "condition",
    [
        "resource.spec.many.map(x, x+x+x+x+x+x+x+x).map(x, x+x+x+x+x+x+x+x).map(x, x+x+x+x+x+x+x+x).size() > 0",
        "resource.spec.many.exists(x, resource.spec.many.exists(y, resource.spec.many.exists(z, x + y + z == '')))",
    ],
    ids=["memory", "time"],
)
def test_a_rule_that_takes_too_much_is_ended_and_its_neighbours_are_judged(condition: str) -> None:
    began = time.monotonic()
    found = judge([rule("action.verb == 'update'", name="fine"), rule(condition, name="greedy")], HUGE, evaluate)
    assert time.monotonic() - began < 60
    assert {each.rule.name: bool(each.broken) for each in found} == {"fine": False, "greedy": True}


def test_a_pass_does_not_wait_for_rules_for_ever() -> None:
    many = ["a" * 100] * 9000
    scene = Scene((Deed("update", A),), {A: Declared({}, {"many": many})})
    rules = [rule(f"resource.spec.many.map(x, x + '{n}').size() < 0", name=f"slow-{n}") for n in range(40)]
    began = time.monotonic()
    found = judge(rules, scene, evaluate)
    assert time.monotonic() - began < 60
    assert any("took more than" in each.broken or "needed too much" in each.broken for each in found)


def test_secrets_and_what_the_environment_holds_are_seen_by_no_rule() -> None:
    changes = (Change("spec.password", "old-canary", "new-canary", secret=True),)
    spec = {"installation": "x", "mlflow": {"managed": False, "endpoint": "http://h", "password": {"fromEnv": "CANARY"}}}
    platform = make_resource(discover().kinds["Platform"], "x", spec)
    assert platform.spec.mlflow.password == FromEnv(fromEnv="CANARY")  # type: ignore[attr-defined, call-arg]
    deed = deed_of(Update(widget("a"), there("a"), changes), {owned("a").ref: owned("a")}, {})
    facts = str(action_facts(deed, Scene((deed,), {deed.ref: Declared({}, platform.spec.model_dump(mode="json"))})))
    assert "canary" not in facts
    assert "'fromEnv': 'CANARY'" in facts, "where it comes from is no secret"


@pytest.mark.parametrize(
    ("have", "want", "numbers"),
    [
        ("1Gi", "500Mi", (2.0**30, 500 * 2.0**20)),
        (3, 0.5, (3.0, 0.5)),
        ("90s", "5m", (90.0, 300.0)),
        ("2", "500m", (2.0, 0.5)),
        (None, "2Gi", (None, 2.0**31)),
        (True, False, (None, None)),
        ("text", 3, (None, None)),
        ([1], None, (None, None)),
    ],
)
def test_sides_of_a_change_as_numbers(have: Any, want: Any, numbers: tuple[Any, Any]) -> None:
    change: Mapping[str, Any] = given_change("p", have, want)
    assert (change["haveNumber"], change["wantNumber"]) == numbers


def test_children_of_one_resource_are_judged_one_by_one() -> None:
    refs = [Ref("Model", "vision", "a", f"k{number}") for number in range(30)]
    scene = Scene(tuple(Deed("create", ref) for ref in refs), {A: Declared({}, SPEC)})
    found: Sequence[Any] = judge([rule("action.key in ['k3', 'k7']")], scene, evaluate)
    assert [each.ref.key for each in found] == ["k3", "k7"]
