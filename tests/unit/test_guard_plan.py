"""What rules say, as actions: what is denied is blocked with all that stands on it, what needs a yes waits like everything that does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.approval import Asked, Want, digest_for, gone, spent, with_rules
from reconciler.guard.facts import foreseen
from reconciler.guard.values import BROKEN, DENIED, Finding, GuardRule, Ruled
from reconciler.model import Blocked, Change, Create, Delete, Keep, Location, Ref, Replace, Update
from reconciler.state import Approval
from tests.unit.widgets import BIG, NOW, RED, decide, inventory, owned, ref, shown, there, widget

RULE = GuardRule("no", Location("policies/a.yaml", 3), "deny", "true", "too much")
A, B = widget("a"), widget("b", "a")
MINE = owned("a", digest=A.digest)
OLD = owned("a", digest="what was applied before")


def ruled(*refs: Ref, **more: Any) -> Ruled:
    return Ruled.of(tuple(Finding(replace(RULE, **more), each) for each in refs))


def only(found: Any, name: str) -> Any:
    return next(each for each in found.actions if each.ref.name == name)


@pytest.mark.parametrize(
    ("seen", "diff", "owns", "class_"),
    [
        ({}, (), [], Create),
        ({"a": there("a")}, (BIG,), [MINE], Update),
        ({"a": there("a")}, (), [OLD], Update),
    ],
    ids=["create", "change", "what does not show in the tool yet"],
)
def test_what_is_denied_is_blocked_and_says_by_which_rule(seen: Any, diff: Any, owns: Any, class_: type) -> None:
    found = only(decide([A], seen, {"a": diff}, owns, ruled=ruled(A.ref)), "a")
    assert isinstance(found, Blocked)
    assert (found.reason, type(found.wanted)) == (DENIED, class_)
    assert found.why == "rule no (policies/a.yaml:3): too much"
    assert found.location == A.location


def test_what_nothing_is_asked_for_stays_as_it_is() -> None:
    assert isinstance(only(decide([A], {"a": there("a")}, {"a": ()}, [MINE]), "a"), Keep)


def test_what_cannot_be_judged_is_told_apart() -> None:
    broken = Ruled.of((Finding(RULE, A.ref, "Key not found"),))
    found = only(decide([A], ruled=broken), "a")
    assert (found.reason, found.why) == (BROKEN, "rule no (policies/a.yaml:3): cannot be judged: Key not found")
    assert "correct the rule at policies/a.yaml:3" in found.next


def test_a_warning_stops_nothing() -> None:
    said = ruled(A.ref, effect="warn")
    assert isinstance(only(decide([A], ruled=said), "a"), Create)
    assert [str(each) for each in said.warnings] == ["rule no (policies/a.yaml:3): too much"]
    assert Ruled.of((Finding(replace(RULE, effect="warn"), A.ref, "broken"),)).denied == {}


def test_what_stands_on_it_is_blocked_as_ever_and_the_rest_goes_on() -> None:
    found = decide([A, B, widget("c")], ruled=ruled(A.ref))
    assert shown(found) == {"a": DENIED, "b": "DependencyBlocked", "c": "Create"}
    assert found.after[ref("c")] == ()
    there_already = decide([A, B], {"a": there("a")}, {"a": (BIG,)}, [MINE], ruled=ruled(A.ref))
    assert shown(there_already) == {"a": DENIED, "b": "Create"}, "what stands goes on"


def test_deletions_and_replacements() -> None:
    assert shown(decide([], {}, {}, [MINE], ruled=ruled(A.ref))) == {"a": DENIED}
    assert shown(decide([A], {"a": there("a")}, {"a": (RED,)}, [replace(MINE, prune="auto")], ruled=ruled(A.ref))) == {"a": DENIED}
    used = decide([], {}, {}, [MINE, owned("b", "a")], ruled=ruled(B.ref))
    assert shown(used) == {"b": DENIED, "a": "InUse"}, "what is kept keeps what it uses"
    wants_a_yes = decide([], {}, {}, [replace(MINE, prune="confirm")], ruled=ruled(A.ref))
    assert shown(wants_a_yes) == {"a": DENIED}
    assert wants_a_yes.confirmation == "", "nobody is asked for a yes to what is denied"


def test_a_yes_on_the_command_line_is_no_way_around() -> None:
    mine = replace(MINE, prune="confirm")
    yes_to_it = frozenset({str(A.ref)})
    assert shown(decide([], {}, {}, [mine], ruled=ruled(A.ref), confirmed=yes_to_it)) == {"a": DENIED}
    assert shown(decide([A], {"a": there("a")}, {"a": (BIG,)}, [MINE], ruled=ruled(A.ref), confirmed=yes_to_it)) == {"a": DENIED}


def test_children_go_with_the_resource_that_they_come_of() -> None:
    child = replace(A, ref=replace(A.ref, key="1"))
    said = ruled(A.ref)
    held = said.hold(Create(child), child.ref)
    assert held is not None
    assert (held.reason, held.why) == (DENIED, "it comes of widget/p/a, of which rule no (policies/a.yaml:3): too much")
    assert replace(said, standing=frozenset({child.ref})).hold(Create(child), child.ref) is None, "it holds a lease"
    let_go = Delete(replace(MINE, ref=child.ref))
    assert replace(said, standing=frozenset({child.ref})).hold(let_go, child.ref) is not None
    assert replace(said, asking=frozenset({"Widget"})).hold(Create(child), child.ref) is None
    own = ruled(child.ref)
    assert own.hold(Create(A), A.ref) is None
    assert replace(own, standing=frozenset({child.ref})).hold(Create(child), child.ref) is not None, "a rule about the child itself"


def test_what_waits_for_a_person_or_does_not_show_yet_is_judged_before_anybody_is_asked() -> None:
    mine = replace(MINE, prune="confirm")
    waits = decide([], {}, {}, [mine])
    assert [type(each) for each in foreseen(waits, {}, {}, inventory(mine))] == [Delete]
    seen = {A.ref: there("a")}
    hidden = decide([A], {"a": there("a")}, {"a": ()}, [OLD])
    assert [type(each) for each in foreseen(hidden, {A.ref: A}, seen, inventory(OLD))] == [Update]
    nothing = decide([A], {"a": there("a")}, {"a": ()}, [MINE])
    assert foreseen(nothing, {A.ref: A}, seen, inventory(MINE)) == ()
    others = decide([A], {"a": replace(there("a"), mark=None)}, {"a": (BIG,)}, [])
    assert foreseen(others, {A.ref: A}, seen, {}) == (), "what nobody asks for a yes to"


# --- approval ---


def yes(digest: str, actor: str = "ann") -> dict[Ref, Approval]:
    return {A.ref: Approval(A.ref, digest, actor, NOW, "abc Ada")}


def wants(digest: str, owners: frozenset[str] | None = None) -> dict[Ref, Want]:
    return {A.ref: Want(digest, "rule no (policies/a.yaml:3): too much", owners)}


def test_what_a_rule_wants_a_yes_to_waits_until_one_of_the_owners_said_it() -> None:
    asked = with_rules(Asked(), wants(A.digest, frozenset({"ada", "bob"})), part=False)
    found = only(decide([A], asked=asked), "a")
    assert (found.reason, type(found.wanted)) == ("AwaitingApproval", Create)
    assert found.why == "it needs a yes of ada, bob: rule no (policies/a.yaml:3): too much"
    assert found.next == f"reconcile approve project/p --plan-digest {asked.digests['p']}"

    def after(said: dict[Ref, Approval], owners: frozenset[str] | None = frozenset({"ada"})) -> str:
        return shown(decide([A], asked=with_rules(Asked(said=said), wants(A.digest, owners), part=False)))["a"]

    assert after(yes(A.digest, "ada")) == "Create"
    assert after(yes(A.digest, "eve")) == "AwaitingApproval", "somebody else's yes"
    assert after(yes("another state", "ada")) == "AwaitingApproval"
    assert after(yes(A.digest, "eve"), None) == "Create"
    assert after(yes(A.digest, "ada"), frozenset()) == "AwaitingApproval", "nobody may"
    assert with_rules(Asked(), wants(A.digest), part=True).digests == {}, "a part of the manifests does not show all that waits"


def test_two_rules_want_the_yes_of_somebody_who_may_say_both() -> None:
    one, two, anybody = (wants("d", who)[A.ref] for who in (frozenset({"ada", "bob"}), frozenset({"bob", "cyd"}), None))
    assert one.and_(two).owners == {"bob"}
    assert one.and_(anybody).owners == anybody.and_(one).owners == {"ada", "bob"}
    assert "nobody can say it" in one.and_(replace(two, owners=frozenset({"cyd"}))).told


def test_a_digest_names_the_state_that_is_asked_for_or_else_exactly_the_changes() -> None:
    new = Update(A, there("a"), (BIG,))
    assert digest_for(new, inventory(OLD)) == digest_for(Create(A), {}) == A.digest, "what a project wants a yes to"
    drift = digest_for(new, inventory(MINE))
    assert drift.startswith("does ")
    assert drift == digest_for(replace(new, changes=(replace(BIG, have=7),)), inventory(MINE)), "from wherever it came"
    assert drift != digest_for(replace(new, changes=(replace(BIG, want=7),)), inventory(MINE))
    assert drift != digest_for(Replace(A, there("a"), (BIG,)), inventory(MINE))
    secret = Change("spec.key", "canary", "canary", secret=True)
    assert digest_for(replace(new, changes=(secret,)), inventory(MINE)).startswith("does ")
    assert digest_for(Delete(MINE), inventory(MINE)) == gone(MINE)
    child = replace(A, ref=replace(A.ref, key="1"))
    assert digest_for(Create(child), inventory(MINE)).startswith("does ")


def test_a_yes_to_changes_holds_as_long_as_they_are_asked_for() -> None:
    said = yes("does something")
    assert spent({A.ref: A}, inventory(MINE), said) == list(said.values())
    assert spent({A.ref: A}, inventory(MINE), said, (), wants("does something")) == []
    assert spent({A.ref: A}, inventory(MINE), said, (), wants("does another thing")) == list(said.values())
    assert spent({A.ref: A}, inventory(MINE), said, [A.ref]) == []
