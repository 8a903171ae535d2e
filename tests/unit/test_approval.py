"""What waits for a yes: only what a manifest newly asks for, and exactly that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.approval import Asked, asked, gone, required, spent
from reconciler.model import Adopt, Blocked, Change, Create, Delete, Keep, Ref, Replace, Resource, Update
from reconciler.registry import discover
from reconciler.state import Approval
from reconciler.testing import make_resource
from schemas.project import KIND as PROJECT
from tests.unit.widgets import BIG, NOW, RED, ROOT, decide, inventory, owned, ref, there, widget

KINDS = discover()
HAND = Change("spec.size", 9, 2)


def project(approval: str = "required", name: str = "p") -> Resource[Any]:
    return make_resource(PROJECT, name, {"path": name, "sync": {"approval": approval}}, project=None)


def yes(digest: str, name: str = "a") -> dict[Ref, Approval]:
    return {ref(name): Approval(ref(name), digest, "ann", NOW, "abc Ada")}


def wanted(*resources: Resource[Any], owns: Any = (), said: Any = None, **more: Any) -> Asked:
    declared = {each.ref: each for each in (project(), *resources)}
    return asked(declared, inventory(*owns), said or {}, [ROOT], KINDS, **more)


A = widget("a")
MINE = owned("a", digest=A.digest, applied={"size": 2}, prune="confirm")
OLD = replace(MINE, digest="what was applied before")


def action(seen: Any, diff: Any, owns: Any, said: Any = None, **rules: Any) -> Any:
    """What becomes of the widget `a` in a project that wants a yes."""
    waits = wanted(A, owns=owns, said=said)
    (found,) = decide([A], seen, {"a": diff}, owns, asked=waits, **rules).actions
    return found


@pytest.mark.parametrize(
    ("seen", "diff", "owns", "class_"),
    [
        ({}, (), [], Create),
        ({"a": there("a")}, (BIG,), [OLD], Update),
        ({"a": there("a")}, (), [OLD], Update),
        ({"a": there("a")}, (RED,), [OLD], Replace),
        ({"a": there("a")}, (BIG,), [], Adopt),
    ],
    ids=["create", "change", "what does not show in the tool yet", "replace", "taken over and changed"],
)
def test_what_a_manifest_newly_asks_for_waits_and_is_shown(seen: Any, diff: Any, owns: Any, class_: type) -> None:
    found = action(seen, diff, owns)
    assert isinstance(found, Blocked)
    assert (found.reason, type(found.wanted)) == ("AwaitingApproval", class_)
    assert found.next == f"reconcile approve project/p --plan-digest {wanted(A, owns=owns).digests['p']}"
    after = action(seen, diff, owns, yes(A.digest))
    assert getattr(after, "reason", "") == ("ImmutableField" if class_ is Replace else "")
    assert isinstance(action(seen, diff, owns, yes("something else")), Blocked)


def test_what_was_approved_is_kept_as_it_is() -> None:
    assert isinstance(action({"a": there("a")}, (HAND,), [MINE]), Update)
    assert isinstance(action({}, (), [MINE]), Create), "somebody deleted it in the tool"
    assert isinstance(action({"a": there("a")}, (), [MINE]), Keep)
    assert action({"a": there("a")}, (RED,), [MINE]).reason == "ImmutableField"


def test_what_is_ours_already_is_found_again_without_a_yes() -> None:
    assert isinstance(action({"a": there("a")}, (), []), Adopt), "the Store was lost"


def test_a_replacement_is_confirmed_besides() -> None:
    said = yes(A.digest)
    assert isinstance(action({"a": there("a")}, (RED,), [OLD], said, confirmed=frozenset({str(A.ref)})), Replace)
    assert action({"a": there("a")}, (RED,), [OLD], confirmed=frozenset({str(A.ref)})).reason == "AwaitingApproval"


def test_a_deletion_waits_and_its_yes_is_the_only_one_that_is_asked_for() -> None:
    mine = replace(MINE, prune="confirm")
    (found,) = decide([], {}, {}, [mine], asked=wanted(owns=[mine])).actions
    assert isinstance(found, Blocked)
    assert (found.reason, type(found.wanted)) == ("AwaitingApproval", Delete)
    (after,) = decide([], {}, {}, [mine], asked=wanted(owns=[mine], said=yes(gone(mine)))).actions
    assert isinstance(after, Delete)
    assert after.confirmed
    (again,) = decide([], {}, {}, [mine], asked=wanted(owns=[mine], said=yes(A.digest))).actions
    assert isinstance(again, Blocked), "a yes to its manifest is none to its deletion"


def test_what_an_approved_one_stands_for_is_free_and_what_a_waiting_one_asks_for_is_not() -> None:
    child = replace(A, ref=replace(A.ref, key="1"))
    waits = wanted(A, owns=[OLD])
    held = waits.hold(Create(child), child.ref, ours=False)
    assert held is not None
    assert "it comes of widget/p/a" in held.why
    assert replace(waits, standing=frozenset({child.ref})).hold(Create(child), child.ref, ours=False) is None, "it holds a lease"
    let_go = Delete(replace(MINE, ref=child.ref))
    assert replace(waits, standing=frozenset({child.ref})).hold(let_go, child.ref, ours=True) is not None
    assert replace(waits, asking=frozenset({"Widget"})).hold(Create(child), child.ref, ours=False) is None
    assert wanted(A, owns=[MINE]).hold(Create(child), child.ref, ours=False) is None


def test_a_digest_names_exactly_what_waits() -> None:
    b = widget("b")
    one, two = wanted(A), wanted(A, b)
    assert one.digests["p"] != two.digests["p"]
    assert one.digests["p"] == wanted(A, b, said=yes(b.digest, "b")).digests["p"]
    assert wanted(A, part=True).digests == {}, "a part of the manifests does not show all that waits"
    assert wanted(owns=[MINE], part=True).waiting == {}


def test_who_asks_for_a_yes() -> None:
    assert required({}, {}) == set()
    assert required({each.ref: each for each in (project("automatic"), project(name="q"))}, {}) == {"q"}
    recorded = replace(owned("p"), ref=Ref("Project", None, "p"), applied={"sync": {"approval": "required"}})
    assert required({}, {recorded.ref: recorded}) == {"p"}, "removing the manifest of the project is no way around it"
    assert required({each.ref: each for each in (project("automatic"),)}, {recorded.ref: recorded}) == set()


def test_other_projects_and_the_projects_own_manifest_need_none() -> None:
    other = make_resource(PROJECT, "q", {"path": "q"}, project=None)
    there_ = widget("b", project="q")
    found = asked({each.ref: each for each in (project(), other, there_, A)}, {}, {}, [ROOT], KINDS)
    assert found.waiting.keys() == {A.ref}


def test_nothing_is_known_of_what_could_not_be_read() -> None:
    assert wanted(owns=[MINE], unread=[A.ref]).waiting == {}
    declared = {project().ref: project()}
    assert asked(declared, inventory(MINE), {}, [replace(ROOT, complete=False)], KINDS).waiting == {}


def test_a_yes_is_spent_when_it_was_carried_out_or_nobody_asks_for_it_any_more() -> None:
    def left(resource: Any, owns: Any, digest: str, unread: Any = ()) -> bool:
        declared = {resource.ref: resource} if resource else {}
        return not spent(declared, inventory(*owns), yes(digest), unread)

    assert left(A, [], A.digest)
    assert left(A, [OLD], A.digest)
    assert not left(A, [MINE], A.digest), "carried out"
    assert not left(replace(A, digest="another"), [OLD], A.digest)
    assert left(None, [MINE], gone(MINE))
    assert not left(None, [], gone(MINE)), "carried out"
    assert not left(A, [MINE], gone(MINE)), "it was taken back"
    assert left(None, [], A.digest, unread=[A.ref])


def test_a_window_holds_what_was_approved() -> None:
    closed = {"p": "not now"}
    assert action({}, (), [], closed=closed).reason == "AwaitingApproval"
    assert action({}, (), [], yes(A.digest), closed=closed).reason == "OutsideWindow"
