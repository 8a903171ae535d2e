"""Pages about work: from what the API tells to markup."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from reconciler.dashboard.pages import alerts, audit, lineage, plan, queue
from reconciler.dashboard.reader import Refused

EVIL = "<script>alert(1)</script>"
AT = "2026-03-01T12:00:00Z"


def acted(**more: Any) -> dict[str, Any]:
    base = {"ref": "dataset/p/d", "project": "p", "name": "d", "action": "update", "wanted": None, "reason": "", "irreversible": False}
    rest: dict[str, Any] = {"location": {"file": "m.yaml", "line": 3}, "patches": [], "why": "", "changes": [], "after": [], "next": ""}
    return base | rest | more


def change(**more: Any) -> dict[str, Any]:
    return {"path": "spec.size", "have": 1, "want": EVIL, "secret": False, "forcesReplace": False, "note": ""} | more


# --- plan ----------------------------------------------------------------------------------------------------------


def test_an_action_tells_what_changes_and_where() -> None:
    shown = plan.action(acted(changes=[change(), change(path="spec.password", secret=True, have="canary", want="canary")]))
    assert "m.yaml:3" in shown
    assert '<del class="remove">1</del>' in shown
    assert EVIL not in shown
    assert "&lt;script&gt;" in shown
    assert "canary" not in shown


@pytest.mark.parametrize(("verb", "words"), [("delete", "is deleted"), ("replace", "is deleted and made anew")])
def test_what_is_lost_is_marked_before_a_yes(verb: str, words: str) -> None:
    assert words in plan.action(acted(action=verb))
    assert words in plan.listed([acted(action="blocked", wanted=verb)], ["dataset/p/d"])
    item = {"actions": [acted(action="blocked", wanted=verb)], "digest": "abc"}
    assert "1 of it deletes something" in plan.summary(item)


def test_a_plan_is_told_for_one_project_or_all() -> None:
    found = [acted(), acted(ref="dataset/q/d", project="q")]
    assert "dataset/q/d" not in plan.actions(found, "p")
    assert "dataset/q/d" in plan.actions(found, "")
    assert "everything is as its manifest says" in plan.actions([], "")


def test_a_yes_that_came_too_late_says_so() -> None:
    assert "not as it was when you looked" in plan.refusal(Refused(409, "other things wait"))
    assert plan.refusal(Refused(403, "no role")) == "Not approved: no role"


# --- queue ---------------------------------------------------------------------------------------------------------


def waiting(**more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"ref": "experiment/p/e#a", "project": "p", "position": 1, "amounts": {"memory": 2**30, "cpu": 1, "gpu": 0}}
    rest = {"waitedSeconds": 90, "admitted": False, "reason": "WaitingForQuota", "message": EVIL, "blockers": [], "expected": None}
    return base | rest | more


def test_what_waits_tells_what_is_in_the_way_and_what_never_starts_comes_last() -> None:
    blocked = waiting(blockers=[f"experiment/p/b#{number}" for number in range(5)])
    never = waiting(ref="experiment/p/never#a", reason="ExceedsMachine", position=0)
    shown = queue.waits({"waiting": [never, blocked], "aside": []})
    assert shown.index("experiment/p/e#a") < shown.index("experiment/p/never#a")
    assert "and 2 more" in shown
    assert EVIL not in shown
    assert "1.0 GiB" in shown
    assert "1.5 min" in shown
    assert "never" in queue.starts(never)
    assert "with the next pass" in queue.starts(waiting(admitted=True))
    assert "there is room" in queue.waits({"waiting": [], "aside": []})


# --- lineage -------------------------------------------------------------------------------------------------------


def node(ref: str, health: str = "Healthy", message: str = "") -> dict[str, Any]:
    kind, project, name = ref.split("/")
    below = {"total": 0, "totals": {}}
    told = {"ref": ref, "kind": kind.capitalize(), "project": project, "name": name, "health": health, "ready": health == "Healthy"}
    return told | {"message": message, "below": below}


def chain() -> dict[str, Any]:
    refs = ["dataset/p/d", "experiment/p/e", "model/p/m"]
    edges = [{"from": one, "to": other, "how": "uses"} for one, other in itertools.pairwise(refs)]
    return {"nodes": [node(refs[0]), node(refs[1], "Degraded", EVIL), node(refs[2])], "edges": edges, "total": 3}


def test_a_tree_and_a_drawing_tell_the_same() -> None:
    value = chain()
    shown, edges = lineage.drawn(value)
    options = lineage.options(shown, edges)["series"][0]
    assert {each["name"] for each in options["data"]} >= {each["ref"] for each in value["nodes"]}
    assert [(each["source"], each["target"]) for each in options["links"]] == [(each["from"], each["to"]) for each in value["edges"]]
    tree = lineage.tree(value)
    for each in value["nodes"]:
        assert tree.count(f">{each['ref']}</a>") == 1
    assert EVIL not in tree
    assert "Nothing is here yet" in lineage.tree({"nodes": [], "edges": [], "total": 0})
    assert "7 more" in lineage.head({**value, "total": 10})


def test_a_circle_is_told_once() -> None:
    value = chain()
    value["edges"].append({"from": "model/p/m", "to": "dataset/p/d", "how": "uses"})
    tree = lineage.tree(value)
    for each in value["nodes"]:
        assert each["ref"] in tree


# --- alerts and audit ----------------------------------------------------------------------------------------------


def test_alerts_tell_the_worst_first_and_who_was_told() -> None:
    def fires(severity: str, ref: str, ended: str | None = None) -> dict[str, Any]:
        told = {"ops": "delivered"} if severity == "critical" else {}
        return {
            "id": ref,
            "ref": ref,
            "severity": severity,
            "since": AT,
            "ended": ended,
            "reason": "R",
            "message": EVIL,
            "told": told,
            "location": "",
        }

    found = [fires("warning", "dataset/p/w"), fires("critical", "dataset/p/c"), fires("info", "dataset/p/over", AT)]
    shown = alerts.page({"alerts": found, "silences": [], "deliveries": [], "reports": []})
    assert shown.index("dataset/p/c") < shown.index("dataset/p/w") < shown.index("dataset/p/over")
    assert "ops (delivered)" in shown
    assert "nobody: no AlertPolicy routes it" in shown
    assert EVIL not in shown
    assert "Nothing fires" in alerts.page({"alerts": [], "silences": [], "deliveries": [], "reports": []})


def test_the_log_is_told_in_pages() -> None:
    entry = {
        "number": 7,
        "at": AT,
        "actor": EVIL,
        "action": "suspend",
        "ref": None,
        "result": "failed",
        "revision": "a" * 40,
        "location": None,
    }
    value = {"items": [entry | {"detail": {"reason": EVIL}}], "next": 7}
    shown = audit.page(value, "p", "")
    assert EVIL not in shown
    assert "the installation" in shown
    assert 'href="/dashboard/audit?project=p&amp;before=7"' in shown
    assert "Newest" not in shown
    assert "Newest" in audit.page(value, "p", "9")
    assert "There is nothing older." in audit.page({"items": [], "next": None}, "", "9")
