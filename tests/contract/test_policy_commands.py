"""Rules over commands and reactions: real Store, real files, real CEL, engines in a fake tool that can be started and rolled back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.approve import only
from reconciler.controller import Reaction
from reconciler.guard.reactions import asker_of
from reconciler.house import House
from reconciler.loop import carry_out, propose
from reconciler.model import Blocked, Ref
from reconciler.orders.carry import carry_out_orders
from reconciler.registry import Kinds
from reconciler.report.text import chosen_text, plan_text
from reconciler.selection import Selection
from reconciler.shard import Shard
from reconciler.source.read import read
from reconciler.state import Approval
from tests.contract.crash_child import house_in, tool_in
from tests.contract.test_policy_pass import PLATFORM
from tests.unit.test_react import Asking, Engine

OTHER, ASKER = Ref("Engine", "p", "other"), Ref("Widget", "p", "w")
START = Reaction("run engine/p/other", "start", OTHER, "weight drifted", "breach-1", {"rows": "500"})
BACK = Reaction("rollback engine/p/other", "roll_back", OTHER, "weight drifted", "breach-1")
STARTED, ROLLED = Ref("Engine", "p", "other", "start@w"), Ref("Engine", "p", "other", "rollback@w")
RULE = """rules:
  - name: by-hand
    kinds: [Engine]
    verbs: [start, rollback]
    {effect}: {condition}
    message: engines are started by people
"""


def rules(root: Path, effect: str = "deny", condition: str = "action.by.startsWith('widget/')", more: str = "") -> None:
    (root / "policies/rules.yaml").write_text(RULE.format(effect=effect, condition=f'"{condition}"') + more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("manifests", "code", "policies"):
        (tmp_path / name).mkdir()
    (tmp_path / "manifests/platform.yaml").write_text(PLATFORM)
    head = "apiVersion: reconciler.mlops/v1\nkind: {kind}\nmetadata: {{name: {name}, project: p}}\nspec: {{size: 3}}\n"
    both = [head.format(kind="Widget", name="w"), head.format(kind="Engine", name="other")]
    (tmp_path / "manifests/things.yaml").write_text("---\n".join(both))
    rules(tmp_path)
    return tmp_path


@pytest.fixture
def engine(root: Path) -> Engine:
    return Engine(tool_in(root))


@pytest.fixture
def asking(root: Path, engine: Engine) -> Asking:
    return Asking(tool_in(root))


@pytest.fixture
def house(root: Path, asking: Asking, engine: Engine) -> House:
    found = house_in(root, tool_in(root))
    kinds: Any = {**found.kinds.controllers, "Widget": asking, "Engine": engine}
    found = replace(found, kinds=Kinds(kinds))
    done(found)  # before anything is asked for
    return found


def whole(house: House) -> Selection:
    return Selection(paths=(house.settings.root / "manifests",))


def done(house: House) -> dict[str, str]:
    """One pass; Ref -> what is said of it, of everything that is not Ready."""
    report = carry_out(propose(whole(house), house), house)
    return {str(each.ref): each.message for each in report.statuses if not each.ready}


def held(house: House) -> dict[str, str]:
    """Ref -> reason, of what a plan shows as blocked."""
    return {str(each.ref): each.reason for each in propose(whole(house), house).plan.actions if isinstance(each, Blocked)}


def say_yes(house: House, actor: str) -> None:
    proposal = propose(whole(house), house)
    assert proposal.policy is not None
    given = [Approval(ref, digest, actor, house.now(), "") for ref, digest in proposal.policy.asked.waiting.items()]
    house.store.rulings.approve(given)


@pytest.mark.parametrize(("wanted", "named"), [(START, STARTED), (BACK, ROLLED)])
def test_a_reaction_that_is_denied_is_not_done_and_shown_until_the_rule_is_gone(
    root: Path, house: House, asking: Asking, engine: Engine, wanted: Reaction, named: Ref
) -> None:
    asking.wanted = [wanted]
    why = "widget/p/w calls for it (weight drifted); rule by-hand (policies/rules.yaml:2): engines are started by people"
    assert done(house) == {str(named): why}, "in the pass that found it, and its engine is as well as before"
    assert held(house) == {str(named): "PolicyDenied"}
    assert done(house) == {str(named): why}
    assert (engine.calls, asking.told) == ([], []), "it was not noted as done"
    [row] = [each for each in propose(whole(house), house).plan.actions if isinstance(each, Blocked)]
    assert row.next == "change what widget/p/w calls for, or the rule; `reconcile policy list` shows the rules in force"
    assert str(row.location) == "manifests/things.yaml:1"
    (root / "policies/rules.yaml").write_text("rules: []\n")
    assert done(house) == {}
    assert [each[0] for each in engine.calls] == [wanted.verb]
    assert held(house) == {}
    assert named not in house.store.statuses()


def test_rules_see_verb_reason_asker_and_conf(root: Path, house: House, asking: Asking, engine: Engine) -> None:
    asking.wanted = [START, BACK]
    rules(
        root,
        condition="action.verb == 'start' && action.conf.rows == '500' && action.why == 'weight drifted' && action.by == 'widget/p/w'"
        " && action.key == '' && resource.spec.size == 3 && 'ada' in project.owners && plan.totals.start == 1 && plan.resources == 4",
    )
    assert done(house).keys() == {str(STARTED)}
    assert [each[0] for each in engine.calls] == ["roll_back"]


def test_a_rule_that_names_no_command_is_about_none_and_a_broken_one_about_all(
    root: Path, house: House, asking: Asking, engine: Engine
) -> None:
    asking.wanted = [START]
    rules(root, condition="action.nope == 1")
    assert "cannot be judged: Key not found" in done(house)[str(STARTED)]
    (root / "policies/rules.yaml").write_text("rules: [")
    assert held(house) == {str(STARTED): "PolicyBroken"}
    (root / "policies/rules.yaml").write_text("rules: [{name: all, deny: 'true', message: nothing}]\n")
    assert done(house) == {}, "verbs are named, as for deletions"
    assert [each[0] for each in engine.calls] == ["start"]


def test_a_warning_is_told_and_the_reaction_done(root: Path, house: House, asking: Asking, engine: Engine) -> None:
    asking.wanted = [START]
    rules(root, "warn")
    proposal = propose(whole(house), house)
    assert proposal.policy is not None
    assert [str(each.ref) for each in proposal.policy.ruled.warnings] == [str(STARTED)]
    assert done(house) == {}
    assert [each[0] for each in engine.calls] == ["start"]
    [entry] = [each for each in house.store.history() if each.action == "start"]
    assert entry.detail["rules"] == "rule by-hand (policies/rules.yaml:2): engines are started by people"


ASKS = "    owners: [project]\n"


def test_a_reaction_waits_for_the_yes_of_an_owner_and_each_breach_for_its_own(
    root: Path, house: House, asking: Asking, engine: Engine
) -> None:
    rules(root, "requireApproval", more=ASKS)
    asking.wanted = [START]
    assert done(house)[str(STARTED)].startswith(
        "widget/p/w calls for it (weight drifted); it needs a yes of ada: rule by-hand (policies/rules.yaml:2): "
    )
    [row] = [each for each in propose(whole(house), house).plan.actions if isinstance(each, Blocked)]
    assert (row.reason, row.next) == ("AwaitingApproval", "reconcile approve project/p engine/p/other#start@w")
    say_yes(house, "eve")
    assert held(house) == {str(STARTED): "AwaitingApproval"}, "not one of the owners"
    say_yes(house, "ada")
    assert held(house) == {}
    done(house)
    assert [each[0] for each in engine.calls] == ["start"]
    done(house)
    assert house.store.rulings.approvals() == {}, "it was carried out"
    asking.wanted = [replace(START, id="breach-2")]
    assert done(house).keys() == {str(STARTED)}
    assert len(engine.calls) == 1


def test_a_yes_to_a_reaction_and_one_to_a_manifest_do_not_disturb_each_other(
    root: Path, house: House, asking: Asking, engine: Engine
) -> None:
    sized = "  - {name: sized, kinds: [Engine], requireApproval: resource.spec.size > 3, message: larger than three}\n"
    rules(root, "requireApproval", more=sized)
    asking.wanted = [START]
    things = root / "manifests/things.yaml"
    before, after = things.read_text().rsplit("size: 3", 1)
    things.write_text(f"{before}size: 4{after}")
    assert held(house) == {str(OTHER): "AwaitingApproval", str(STARTED): "AwaitingApproval"}
    proposal = propose(whole(house), house)
    assert proposal.policy is not None
    [row] = [each for each in proposal.plan.actions if isinstance(each, Blocked) and each.ref == OTHER]
    assert row.next.endswith(proposal.policy.asked.digests["p"]), "one digest names all that waits"
    digest = proposal.policy.asked.waiting[STARTED]
    house.store.rulings.approve([Approval(STARTED, digest, "ada", house.now(), "")])
    assert done(house).keys() == {str(OTHER)}
    assert [each[0] for each in engine.calls] == ["start"]


def test_what_is_not_asked_for_any_more_needs_no_yes(root: Path, house: House, asking: Asking) -> None:
    rules(root, "requireApproval")
    asking.wanted = [START]
    done(house)
    say_yes(house, "ada")
    asking.wanted = []
    assert done(house) == {}
    assert house.store.rulings.approvals() == {}
    assert STARTED not in house.store.statuses()


def test_the_manifest_of_now_may_be_wrong_and_the_last_one_counts(root: Path, house: House, asking: Asking, engine: Engine) -> None:
    asking.wanted = [START]
    things = root / "manifests/things.yaml"
    before, after = things.read_text().rsplit("size: 3", 1)
    things.write_text(f"{before}siez: 3{after}")
    rules(root, condition="resource.spec.size == 3 && resource.spec.color == 'grey'")
    assert held(house) == {str(STARTED): "PolicyDenied"}
    rules(root, condition="resource.spec.size == 4")
    assert held(house) == {}


def test_the_shard_of_who_asks_uses_the_yes_up_whosever_engine_it_is(house: House) -> None:
    mine = next(Shard(number, 2) for number in (1, 2) if Shard(number, 2).holds(OTHER))
    there = next(name for name in map(str, range(9)) if not mine.holds(Ref("Project", None, name)))
    foreign = Ref("Engine", "p", "other", f"start@{there}.w")
    assert (asker_of(STARTED), asker_of(foreign)) == (Ref("Project", None, "p"), Ref("Project", None, there))
    assert asker_of(OTHER) is None
    house.store.rulings.approve([Approval(ref, "reacts 1", "ada", house.now(), "") for ref in (STARTED, foreign)])
    carry_out(propose(replace(whole(house), shard=mine), house), house)
    assert house.store.rulings.approvals().keys() == {foreign}


def test_who_is_asked_for_a_yes_sees_the_reaction(root: Path, house: House, asking: Asking) -> None:
    rules(root, "requireApproval")
    asking.wanted = [START]
    proposal = propose(whole(house), house)
    rows = chosen_text(only(proposal, frozenset({STARTED})), width=100).splitlines()
    assert rows[0] == "1 waiting for approval:"
    assert rows[2].split() == ["!", "engine/p/other#start@w", "manifests/things.yaml:1"]
    assert rows[3].strip().startswith("widget/p/w calls for it (weight drifted); it needs a yes: ")
    assert "1 waiting for approval, 4 unchanged.\nPolicies: 1 waiting for approval." in plan_text(proposal, width=100)


@pytest.mark.parametrize(("action", "said"), [("run", "is not started"), ("rollback", "is not rolled back")])
def test_an_order_that_a_rule_denies_fails_with_the_rule_and_one_of_somebody_else_is_done(
    root: Path, house: House, engine: Engine, action: Any, said: str
) -> None:
    """As the API queues them, carried out by the loop."""
    rules(root, condition="action.by == 'eve'")
    doors = house.store.doors
    refused, done_ = (doors.order(OTHER, action, by, {"reason": "slow"}) for by in ("eve", "ada"))
    carry_out_orders(house, lambda: read(whole(house), house.kinds, house.settings, house.store.inventory(), ""))
    first, second = (doors.order_of(each.number) for each in (refused, done_))
    assert first is not None
    assert second is not None
    assert first.state == "failed"
    assert f"{OTHER} {said}: rule by-hand (policies/rules.yaml:2): engines are started by people" in first.result
    assert (second.state, len(engine.calls)) == ("done", 1)
