"""Renaming: what is to move, what it is seen as meanwhile, and what the plan makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.bind import Bound
from reconciler.guard.facts import deed_of
from reconciler.guard.values import WRITES
from reconciler.house import Memos
from reconciler.model import (
    Absent,
    Action,
    Blocked,
    Change,
    Create,
    Delete,
    Keep,
    Move,
    Observation,
    Owned,
    Present,
    Ref,
    Resource,
    Unknown,
)
from reconciler.moves import as_moved, renamed, to_move
from reconciler.observe import Observed
from reconciler.plan import plan
from reconciler.resolve import Graph
from tests.unit.test_resolve import doc, graph, project
from tests.unit.widgets import BIG, HERE, RED, ROOT, inventory, mark, owned, policy, ref, there, widget

NEW, OLD = ref("new"), ref("old")
MOVED = widget("new", movedFrom="old")
CALLED = Change("metadata.name", "p/old", "p/new")


def planned(
    seen: dict[str, Observation],
    *owns: Owned,
    resources: tuple[Resource[Any], ...] = (MOVED,),
    changes: tuple[Change, ...] = (CALLED,),
    **rules: Any,
) -> dict[str, Action]:
    """What the corridor makes of it, from what was seen to the plan: by name."""
    declared = {each.ref: each for each in resources}
    known = inventory(*owns)
    looked = {**{each: Absent() for each in (NEW, OLD, *declared)}, **{ref(name): each for name, each in seen.items()}}
    observed, moves = to_move(Observed(looked, {}, {}), renamed(declared, known), declared, known, HERE)
    diffs = {NEW: changes} if isinstance(observed.seen.get(NEW), Present) else {}
    bound = Bound(declared, diffs)
    found = plan(bound, observed.seen, as_moved(known, moves), policy(moves=moves, **rules))
    return {each.ref.name: each for each in found.actions}


def test_what_goes_by_its_old_name_is_moved_and_nothing_of_it_is_deleted() -> None:
    found = planned({"old": there("old")}, owned("old", prune="confirm"))
    action = found["new"]
    assert isinstance(action, Move)
    assert (action.changes, action.why, action.owned.ref, action.glyph) == ((), "moved from widget/p/old", OLD, "→")
    assert found.keys() == {"new"}, "neither deleted nor asked about"


def test_the_fields_that_change_with_it_are_in_the_same_action() -> None:
    action = planned({"old": there("old")}, owned("old"), changes=(CALLED, BIG))["new"]
    assert isinstance(action, Move)
    assert action.changes == (BIG,)


def test_moves_count_towards_no_deletion_budget() -> None:
    names = [f"w{number}" for number in range(9)]
    declared = tuple(widget(f"{each}-now", movedFrom=each) for each in names)
    found = planned({each: there(each) for each in names}, *map(owned, names), resources=declared)
    assert {type(each) for each in found.values()} == {Move}


@pytest.mark.parametrize("marked", ["old", "new"])
def test_a_half_done_move_is_finished(marked: str) -> None:
    half = replace(there("new", mark=mark(marked)), external_id="id-old")
    assert isinstance(planned({"new": half}, owned("old"))["new"], Move)


def test_what_the_store_forgot_is_found_by_its_mark() -> None:
    assert isinstance(planned({"old": there("old")})["new"], Move)
    theirs = there("old", mark=mark("old", installation="elsewhere"))
    assert isinstance(planned({"old": theirs})["new"], Create)


def test_a_move_that_was_done_long_ago_says_nothing() -> None:
    assert planned({"new": there("new")}, owned("new"), changes=()) == {"new": Keep(NEW)}
    assert isinstance(planned({})["new"], Create), "another installation, that never had the old one"


def test_what_has_the_new_name_already_is_not_overwritten() -> None:
    for known in ([owned("old")], [owned("old"), owned("new")]):
        action = planned({"old": there("old"), "new": there("new", mark=None)}, *known)["new"]
        assert isinstance(action, Blocked)
        assert action.reason == "NameTaken"
        assert str(OLD) in action.why


def test_where_nothing_is_left_under_the_old_name_it_is_made_anew() -> None:
    found = planned({}, owned("old", prune="confirm"))
    assert isinstance(found["new"], Create)
    assert isinstance(found["old"], Blocked), "its entry goes as any other"


def test_nothing_moves_while_it_is_not_known_whether_the_old_one_is_still_declared() -> None:
    broken = replace(ROOT, complete=False, why_incomplete="m.yaml:3: no mapping")
    for rules in ({"sources": (broken,)}, {"part": True, "partial": True}):
        action = planned({"old": there("old")}, owned("old"), **rules)["new"]
        assert isinstance(action, Blocked)
        assert action.reason == "SourceIncomplete"
        assert isinstance(action.wanted, Move)


def test_what_cannot_be_read_is_neither_moved_nor_deleted() -> None:
    found = planned({"old": Unknown("no answer")}, owned("old"))
    assert found.keys() == {"new"}
    assert isinstance(found["new"], Blocked)
    assert found["new"].unknown


def test_a_field_that_cannot_change_in_place_waits_until_it_has_moved() -> None:
    action = planned({"old": there("old")}, owned("old"), changes=(CALLED, RED), confirmed=frozenset({str(NEW)}))["new"]
    assert isinstance(action, Blocked)
    assert (action.reason, "spec.color" in action.why) == ("ImmutableField", True)


def test_what_is_suspended_under_its_old_name_stays() -> None:
    action = planned({"old": there("old")}, owned("old"), suspended={OLD: "hands off"})["new"]
    assert isinstance(action, Blocked)
    assert (action.reason, action.why) == ("Suspended", "hands off")


def test_what_depends_on_it_waits_for_the_move_and_is_held_with_it() -> None:
    user = widget("user", "new")
    found = planned({"old": there("old")}, owned("old"), resources=(MOVED, user))
    assert isinstance(found["user"], Create)
    found = planned({"old": there("old")}, owned("old"), resources=(MOVED, user), suspended={NEW: "not now"})
    assert isinstance(found["user"], Blocked)
    assert found["user"].reason == "DependencyBlocked"


def test_the_inventory_as_moved_names_nothing_by_its_old_name() -> None:
    known = inventory(owned("old"), owned("user", "old"))
    declared = {NEW: MOVED}
    _, moves = to_move(Observed({NEW: Absent(), OLD: there("old")}, {}, {}), renamed(declared, known), declared, known, HERE)
    after = as_moved(known, moves)
    assert after.keys() == {NEW, ref("user")}
    assert after[ref("user")].references == (NEW,)
    assert (after[NEW].ref, after[NEW].external_id) == (NEW, "id-old")


def test_a_deletion_that_goes_with_it_still_comes_in_order() -> None:
    found = planned({"old": there("old"), "user": there("user")}, owned("old"), owned("user", "old"))
    assert isinstance(found["user"], Delete)
    assert isinstance(found["new"], Move)


def test_notes_are_found_under_the_old_name_until_it_has_moved() -> None:
    child = replace(OLD, key="a")
    memos = Memos({OLD: {"settled": "x"}, child: {"n": 1}})
    page = memos.through({NEW: OLD})
    assert page(NEW) == {"settled": "x"}
    assert page(replace(NEW, key="a")) == {"n": 1}
    memos.move(OLD, NEW)
    assert memos(NEW) == {"settled": "x"}
    assert OLD not in memos.loaded
    assert memos(replace(NEW, key="a")) == {"n": 1}


def test_rules_see_a_move_as_a_write_that_loses_nothing() -> None:
    action = planned({"old": there("old")}, owned("old", prune="confirm"), changes=(CALLED, BIG))["new"]
    assert isinstance(action, Move)
    deed = deed_of(action, {NEW: owned("new")}, {NEW: MOVED})
    assert (deed.verb, deed.irreversible, deed.manifest_changed) == ("move", False, True)
    assert [each["path"] for each in deed.changes] == ["spec.size"]
    assert deed.verb in WRITES


# --- what may be said ----------------------------------------------------------------------------------------------


def moved(kind: str, name: str, old: str) -> str:
    return doc(kind, name, "nominal: {cpu: 1}" if kind == "ResourceQuota" else "").replace(
        "spec:", f"lifecycle: {{movedFrom: {old}}}\nspec:"
    )


def told(found: Graph) -> str:
    """The one mistake, and where it is."""
    (only,) = [each for each in found.diagnostics if each.path == "lifecycle.movedFrom"]
    assert only.location.file == "root/m.yaml"
    assert only.location.line
    return str(only)


def test_a_name_of_before_is_no_mistake(tmp_path: Path) -> None:
    assert graph(tmp_path, project(), moved("Experiment", "b", "a")).refused == frozenset()


def test_the_old_one_is_not_declared_beside_it(tmp_path: Path) -> None:
    found = graph(tmp_path, project(), doc("Experiment", "a"), moved("Experiment", "b", "a"))
    text = told(found)
    assert "experiment/p/a (root/m.yaml:" in text
    assert found.refused == {Ref("Experiment", "p", "b")}


def test_a_chain_names_the_link_that_counts(tmp_path: Path) -> None:
    text = told(graph(tmp_path, project(), moved("Experiment", "b", "a"), moved("Experiment", "c", "b")))
    assert "experiment/p/b" in text
    assert "only the last one counts" in text


def test_two_cannot_have_been_the_same(tmp_path: Path) -> None:
    found = graph(tmp_path, project(), moved("Experiment", "b", "a"), moved("Experiment", "c", "a"))
    assert found.refused == {Ref("Experiment", "p", "b"), Ref("Experiment", "p", "c")}
    assert all("says that it was called 'a', too" in each.message for each in found.diagnostics if each.path)


def test_nothing_moves_from_itself(tmp_path: Path) -> None:
    assert "is its name now" in told(graph(tmp_path, project(), moved("Experiment", "a", "a")))


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        ("Workflow", "tasks: [{name: a, command: python a.py}]", "Airflow"),
        ("Deployment", "model: m", "address"),
        ("Monitor", "deployment: d", "reports"),
        ("Link", "", "does not know how"),
    ],
)
def test_a_kind_that_cannot_be_renamed_says_why_and_what_else_to_do(tmp_path: Path, kind: str, spec: str, why: str) -> None:
    text = told(graph(tmp_path, project(), doc(kind, "b", spec).replace("spec:", "lifecycle: {movedFrom: a}\nspec:")))
    assert f"the kind {kind} cannot be renamed: " in text
    assert why in text
