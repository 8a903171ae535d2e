"""Rules over real passes: real Store, real files, real CEL, widgets in a fake tool."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.house import House
from reconciler.loop import Proposal, Report, carry_out, propose
from reconciler.model import Blocked, Ref
from reconciler.selection import Selection
from reconciler.state import Approval
from reconciler.testing import FakeTool
from reconciler.watch import run_forever
from tests.contract.crash_child import house_in, tool_in

PLATFORM = """apiVersion: reconciler.mlops/v1
kind: Platform
metadata: {name: here}
spec:
  installation: here
  policy: {rules: [policies/*.yaml]}
---
apiVersion: reconciler.mlops/v1
kind: Project
metadata: {name: p}
spec: {path: code, owners: [ada]}
"""
SMALL = """rules:
  - name: small
    kinds: [Widget]
    deny: resource.spec.size > 8
    message: larger than eight
"""


def widget(name: str, size: int, parts: str = "[]") -> str:
    head = f"apiVersion: reconciler.mlops/v1\nkind: Widget\nmetadata: {{name: {name}, project: p}}\n"
    return f"{head}spec: {{size: {size}, parts: {parts}}}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("manifests", "code", "policies"):
        (tmp_path / name).mkdir()
    (tmp_path / "manifests/platform.yaml").write_text(PLATFORM)
    rules(tmp_path, SMALL)
    return tmp_path


@pytest.fixture
def tool(root: Path) -> FakeTool:
    return tool_in(root)


@pytest.fixture
def house(root: Path, tool: FakeTool) -> House:
    return house_in(root, tool)


def rules(root: Path, text: str) -> None:
    (root / "policies/rules.yaml").write_text(text)


def declare(root: Path, *widgets: str) -> None:
    (root / "manifests/widgets.yaml").write_text("---\n".join(widgets))


def whole(house: House) -> Selection:
    return Selection(paths=(house.settings.root / "manifests",))


def planned(house: House) -> dict[str, str]:
    """Name -> what a plan would do with each widget: the action's class, or the reason of a Blocked."""
    return _shown(propose(whole(house), house))


def _shown(proposal: Proposal) -> dict[str, str]:
    found = [each for each in proposal.plan.actions if each.ref.kind == "Widget"]
    return {each.ref.name: each.reason if isinstance(each, Blocked) else type(each).__name__ for each in found}


def done(house: House) -> Report:
    return carry_out(propose(whole(house), house), house)


def sizes(tool: FakeTool) -> dict[str, int]:
    """What is in the tool."""
    return {each.name.removeprefix("p/"): int(each.fields["size"]) for each in tool.things() if each.stage == "active"}


def test_a_pass_does_what_is_allowed_and_nothing_of_what_is_denied(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, widget("fine", 3), widget("large", 9), widget("above", 1, "[large]"))
    assert planned(house) == {"fine": "Create", "large": "PolicyDenied", "above": "DependencyBlocked"}
    report = done(house)
    assert sizes(tool) == {"fine": 3}
    [status] = [each for each in report.statuses if each.ref.name == "large"]
    assert not status.ready
    assert "rule small (policies/rules.yaml:2): larger than eight" in status.message
    declare(root, widget("fine", 12), widget("large", 8), widget("above", 1, "[large]"))
    done(house)
    assert sizes(tool) == {"fine": 3, "large": 8, "above": 1}, "an update is denied as well, and what was denied goes once it is small"


def test_a_plan_that_was_made_under_a_rule_carries_it(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, widget("large", 9))
    proposal = propose(whole(house), house)
    rules(root, "rules: []\n")
    carry_out(proposal, house)
    assert sizes(tool) == {}


def test_the_loop_is_under_the_same_rules(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, widget("fine", 3), widget("large", 9))
    stop, seen = threading.Event(), list[Report]()

    def on_report(report: Report) -> None:
        seen.append(report)
        if len(seen) == 1:
            declare(root, widget("fine", 4), widget("large", 10))
        elif sizes(tool).get("fine") == 4:
            stop.set()

    threading.Timer(60, stop.set).start()
    run_forever(whole(house), house, every=1.0, stop=stop, on_report=on_report, on_trouble=lambda *_: None)
    assert sizes(tool) == {"fine": 4}
    assert len(seen) > 1


def test_filters_and_parts_are_no_way_around(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, widget("fine", 3))
    done(house)
    declare(root, widget("fine", 9))
    for part in (
        Selection(paths=(root / "manifests/widgets.yaml",)),
        replace(whole(house), kinds=frozenset({"Widget"})),
        replace(whole(house), refs=frozenset({Ref("Widget", "p", "fine")})),
    ):
        carry_out(propose(part, house), house)
    assert sizes(tool) == {"fine": 3}, "the rules of the Platform that was applied"


def test_a_broken_rule_holds_back_all_that_it_would_be_about(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, widget("fine", 3))
    rules(root, SMALL.replace("size > 8", "siez > 8"))
    report = done(house)
    [told] = [each.action for each in report.results if each.action.ref.name == "fine"]
    assert isinstance(told, Blocked)
    assert (told.reason, told.why) == (
        "PolicyBroken",
        'rule small (policies/rules.yaml:2): cannot be judged: Key not found in map : "siez"',
    )
    (root / "policies/rules.yaml").unlink()
    assert set(planned(house).values()) == {"PolicyBroken"}
    assert sizes(tool) == {}


def test_what_a_removed_rule_held_goes_on_with_the_next_pass(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, widget("large", 9))
    done(house)
    rules(root, "rules: []\n")
    done(house)
    assert sizes(tool) == {"large": 9}


def test_a_pass_without_writes_reads_no_rules(root: Path, house: House) -> None:
    declare(root, widget("fine", 3))
    done(house)
    rules(root, "this is no file of rules")
    assert planned(house) == {"fine": "Keep"}


def test_deletions_are_judged_together_with_those_that_wait(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, *(widget(f"w{number}", 1) for number in range(8)))
    done(house)
    rules(root, SMALL + "  - {name: few, over: plan, verbs: [delete], deny: plan.totals.delete > 2, message: more than two go}\n")
    declare(root, widget("w0", 1))
    assert set(planned(house).values()) == {"Keep", "PolicyDenied"}, "more than the budget, which would ask for a yes"
    declare(root, *(widget(f"w{number}", 1) for number in range(6)))
    done(house)
    assert len(sizes(tool)) == 6


def test_what_would_go_once_something_else_is_denied_is_judged_too(root: Path, house: House, tool: FakeTool) -> None:
    """Denied deletions do not count against the budget: the rest is under it then, and nobody has judged that yet."""
    declare(root, *(widget(f"w{number}", 1) for number in range(8)))
    done(house)
    rules(root, "rules:\n  - {name: keep, kinds: [Widget], verbs: [delete], deny: 'action.name != \"w7\"', message: stays}\n")
    declare(root, widget("w0", 1))
    done(house)
    assert sizes(tool).keys() == {f"w{number}" for number in range(7)}


ASKS = SMALL.replace("deny:", "requireApproval:") + "    owners: [project]\n"


def say_yes(house: House, actor: str) -> None:
    proposal = propose(whole(house), house)
    assert proposal.policy is not None
    given = [Approval(ref, digest, actor, house.now(), "") for ref, digest in proposal.policy.asked.waiting.items()]
    house.store.rulings.approve(given)


def test_a_rule_asks_the_owners_of_the_project(root: Path, house: House, tool: FakeTool) -> None:
    rules(root, ASKS)
    declare(root, widget("large", 9), widget("fine", 1))
    done(house)
    assert sizes(tool) == {"fine": 1}
    say_yes(house, "eve")
    assert planned(house)["large"] == "AwaitingApproval", "not one of the owners"
    say_yes(house, "ada")
    done(house)
    assert sizes(tool) == {"fine": 1, "large": 9}
    declare(root, widget("large", 10), widget("fine", 1))
    done(house)
    assert sizes(tool)["large"] == 9, "a yes to one state is none to the next"
    done(house)
    assert house.store.rulings.approvals() == {}, "it was carried out"


def test_a_correction_under_such_a_rule_waits_as_well(root: Path, house: House, tool: FakeTool) -> None:
    declare(root, widget("large", 8))
    done(house)
    rules(root, ASKS.replace("resource.spec.size > 8", "action.changes.exists(c, c.path == 'spec.size')"))
    [thing] = tool.things()
    tool.edit(thing.id, fields={**thing.fields, "size": 5})
    assert planned(house) == {"large": "AwaitingApproval"}
    say_yes(house, "ada")
    done(house)
    assert sizes(tool) == {"large": 8}


def test_a_rule_sees_what_has_changed_since_the_manifest_was_carried_out(root: Path, house: House, tool: FakeTool) -> None:
    grows = "resource.changes.exists(c, c.path == 'spec.size' && c.wantNumber > c.haveNumber)"
    rules(root, SMALL.replace("resource.spec.size > 8", f'"{grows}"'))
    declare(root, widget("one", 3))
    done(house)
    declare(root, widget("one", 2))
    done(house)
    assert sizes(tool) == {"one": 2}
    declare(root, widget("one", 4))
    done(house)
    assert sizes(tool) == {"one": 2}
    assert planned(house) == {"one": "PolicyDenied"}, "what was denied is not what was carried out"
