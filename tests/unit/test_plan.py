"""The decision for each resource: every row of the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.bind import UNKNOWN_OUTPUTS, Bound
from reconciler.model import (
    KNOWN_AFTER_APPLY,
    Absent,
    Adopt,
    Blocked,
    Change,
    Create,
    Delete,
    Keep,
    Mark,
    Ref,
    Replace,
    Unknown,
    Update,
)
from reconciler.plan import digest, plan
from tests.unit.widgets import BIG, HERE, NOW, RED, decide, inventory, mark, owned, policy, ref, shown, there, widget

A = widget("a")
THEIRS = there("a", mark=Mark("elsewhere", str(ref("a"))))
UNMARKED = there("a", mark=None)
MINE = owned("a")


def one(*arguments: Any, **rules: Any) -> Any:
    (action,) = decide(*arguments, **rules).actions
    return action


# --- what is seen decides ------------------------------------------------------------------------------------------


def test_absent_is_created_and_shows_what_it_will_get() -> None:
    action = one([A], preview={A.ref: (BIG,)})
    assert isinstance(action, Create)
    assert (action.changes, action.why) == ((BIG,), "")


def test_absent_though_owned_was_deleted_outside() -> None:
    assert "outside" in one([A], {}, {}, [MINE]).why


def test_unknown_leads_to_no_action() -> None:
    for owns in ([], [MINE]):
        action = one([A], {"a": Unknown("no answer")}, {}, owns)
        assert isinstance(action, Blocked)
        assert (action.reason, action.why, action.unknown) == ("ToolUnreachable", "no answer", True)


def test_what_was_not_looked_at_is_not_created() -> None:
    found = plan(Bound({A.ref: A}, {}), {}, {}, policy())
    assert shown(found) == {"a": "ToolUnreachable"}


def test_what_resolve_blocked_stays_blocked() -> None:
    held = Blocked(A.ref, "DependencyInvalid", "needs something that is wrong")
    assert one([A], {"a": there("a")}, {"a": (BIG,)}, [MINE], blocked={A.ref: held}) is held


def test_what_resolve_blocked_outside_the_selection_is_told_too() -> None:
    held = Blocked(ref("other"), "DependencyInvalid", "why")
    assert held in decide([A], blocked={held.ref: held}).actions


def test_a_controller_that_could_not_compare_blocks_its_resource() -> None:
    found = plan(Bound({A.ref: A}, {}, {A.ref: "KeyError"}), {A.ref: there("a")}, inventory(MINE), policy())
    assert shown(found) == {"a": "ControllerFailed"}


# --- present: ownership --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [(), (BIG,)], ids=["same", "differs"])
@pytest.mark.parametrize(
    ("seen", "owns", "adopt", "expected"),
    [
        (there("a"), [MINE], False, {(): Keep, (BIG,): Update}),
        (there("a"), [], False, {(): Adopt, (BIG,): Adopt}),
        (there("a"), [replace(MINE, external_id="another")], False, {(): Adopt, (BIG,): Adopt}),
        (UNMARKED, [], False, {(): "NotOurs", (BIG,): "NotOurs"}),
        (UNMARKED, [], True, {(): Adopt, (BIG,): Adopt}),
        (UNMARKED, [MINE], False, {(): Update, (BIG,): Update}),
        (UNMARKED, [replace(MINE, external_id="another")], False, {(): "NotOurs", (BIG,): "NotOurs"}),
        (THEIRS, [], False, {(): "NotOurs", (BIG,): "NotOurs"}),
        (THEIRS, [MINE], False, {(): "NotOurs", (BIG,): "NotOurs"}),
        (THEIRS, [], True, {(): Adopt, (BIG,): Adopt}),
        (there("a", mark=mark("b")), [MINE], False, {(): "NotOurs", (BIG,): "NotOurs"}),
        (there("a", mark=Mark("", "unmanaged:p")), [], False, {(): Adopt, (BIG,): Adopt}),
        (there("a", mark=Mark(HERE, "unmanaged:p")), [], False, {(): Adopt, (BIG,): Adopt}),
        (there("a", mark=Mark("elsewhere", "unmanaged:p")), [], False, {(): "NotOurs", (BIG,): "NotOurs"}),
        (there("a", mark=Mark(HERE, "unmanaged:q")), [], False, {(): "NotOurs", (BIG,): "NotOurs"}),
    ],
    ids=[
        "ours and known",
        "ours, Store forgot",
        "ours, another object than recorded",
        "unmarked",
        "unmarked, adopt",
        "mark was removed",
        "unmarked, another object than recorded",
        "theirs",
        "theirs now",
        "theirs, adopt",
        "marked for another Ref",
        "made by code of the project",
        "made by code of the project here",
        "made by code elsewhere",
        "made by code of another project",
    ],
)
def test_ownership(seen: Any, owns: Any, adopt: bool, expected: Any, changes: Any) -> None:
    action = one([widget("a", adopt=adopt)], {"a": seen}, {"a": changes}, owns)
    wanted = expected[changes]
    if isinstance(wanted, str):
        assert isinstance(action, Blocked)
        assert action.reason == wanted
        assert "adopt: true" in action.next
        assert isinstance(action.wanted, Adopt)
    else:
        assert type(action) is wanted


def test_a_removed_mark_is_written_again_and_shown() -> None:
    action = one([A], {"a": UNMARKED}, {"a": (BIG,)}, [MINE])
    assert action.adopt
    assert [each.path for each in action.changes] == ["metadata.mark", "spec.size"]


def test_an_adoption_carries_the_changes_with_it() -> None:
    assert one([A], {"a": there("a")}, {"a": (BIG,)}).changes == (BIG,)


# --- present: fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("until", "expected"), [(None, Keep), (timedelta(days=1), Keep), (timedelta(days=-1), Update)])
def test_an_ignored_field_is_neither_shown_nor_corrected_until_the_rule_ends(until: timedelta | None, expected: type) -> None:
    rule = {"path": "spec.size", "reason": "sized by hand", "until": NOW + until if until else None}
    assert type(one([widget("a", ignore=[rule])], {"a": there("a")}, {"a": (BIG,)}, [MINE])) is expected


@pytest.mark.parametrize(
    ("prune", "confirmed", "expected"),
    [
        ("auto", (), Replace),
        ("confirm", (), "ImmutableField"),
        ("never", (), "ImmutableField"),
        ("confirm", ("widget/p/a",), Replace),
        ("confirm", ("widget/p/b",), "ImmutableField"),
    ],
)
def test_replacement_needs_a_yes_where_data_may_go(prune: Any, confirmed: tuple[str, ...], expected: Any) -> None:
    action = one([A], {"a": there("a")}, {"a": (RED, BIG)}, [owned("a", prune=prune)], confirmed=frozenset(confirmed))
    if expected is Replace:
        assert isinstance(action, Replace)
        assert "spec.color" in action.why
    else:
        assert isinstance(action, Blocked)
        assert action.reason == expected
        assert "--confirm widget/p/a" in action.next
        assert isinstance(action.wanted, Replace)


def test_a_replacement_of_what_the_store_forgot_can_be_confirmed() -> None:
    assert shown(decide([A], {"a": there("a")}, {"a": (RED,)})) == {"a": "ImmutableField"}
    assert shown(decide([A], {"a": there("a")}, {"a": (RED,)}, confirmed=frozenset({"widget/p/a"}))) == {"a": "Replace"}


def test_an_ignored_immutable_field_asks_for_nothing() -> None:
    held = widget("a", ignore=[{"path": "spec.color", "reason": "painted by hand"}])
    found = decide([held], {"a": there("a")}, {"a": (RED,)}, [owned("a", prune="confirm")])
    assert (shown(found), found.confirmation) == ({"a": "Keep"}, "")


def test_what_is_settling_waits_and_what_differs_already_is_done() -> None:
    still = {ref("a"): "its bytes are still changing"}
    action = one([A], {"a": there("a")}, {}, [MINE], settling=still)
    assert isinstance(action, Blocked)
    assert (action.reason, action.why, action.wanted) == ("Settling", "its bytes are still changing", None)
    assert isinstance(one([A], {"a": there("a")}, {"a": (BIG,)}, [MINE], settling=still), Update)
    behind = decide([A, widget("top", "a")], {"a": there("a")}, {}, [MINE], settling=still)
    assert shown(behind) == {"a": "Settling", "top": "Create"}


# --- what people said ----------------------------------------------------------------------------------------------

WRITES: list[Any] = [
    ({}, {}, [], Create),
    ({"a": there("a")}, {"a": (BIG,)}, [MINE], Update),
    ({"a": there("a")}, {"a": (RED,)}, [MINE], Replace),
    ({"a": there("a")}, {}, [], Adopt),
]


@pytest.mark.parametrize(("seen", "diffs", "owns", "kind"), WRITES, ids=[each[3].__name__ for each in WRITES])
@pytest.mark.parametrize(
    ("lifecycle", "rules", "reason"),
    [
        ({"mode": "observe"}, {}, "ObserveOnly"),
        ({"suspend": True}, {}, "Suspended"),
        ({}, {"suspended": {ref("a"): "by ann"}}, "Suspended"),
        ({}, {"suspended": {Ref("Project", None, "p"): ""}}, "Suspended"),
        ({}, {"suspended": {Ref("Project", None, "q"): ""}}, None),
        ({}, {"suspended": {Ref("Platform", None, "all"): "moving house"}}, "Suspended"),
        ({}, {"closed": {"p": "deny `0 9 * * *` for 8h is on"}}, "OutsideWindow"),
        ({}, {"closed": {"p": "deny"}, "confirmed": frozenset({str(ref("a"))})}, None),
        ({}, {"closed": {"q": "deny"}}, None),
    ],
    ids=[
        "observe",
        "suspend in the manifest",
        "suspended by hand",
        "project suspended",
        "another project suspended",
        "everything suspended",
        "outside of its window",
        "outside of its window, confirmed",
        "outside of another's window",
    ],
)
def test_no_write_against_what_people_said(seen: Any, diffs: Any, owns: Any, kind: type, lifecycle: Any, rules: Any, reason: Any) -> None:
    action = one([widget("a", **lifecycle)], seen, diffs, owns, **rules)
    if reason is None:
        assert isinstance(action, kind)
    else:
        assert (action.reason, type(action.wanted)) == (reason, kind)


def test_what_is_as_desired_is_kept_even_when_suspended() -> None:
    for lifecycle in ({"mode": "observe"}, {"suspend": True}):
        assert isinstance(one([widget("a", **lifecycle)], {"a": there("a")}, {}, [MINE]), Keep)


# --- what comes before ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "owns", "lifecycle", "expected"),
    [
        ({"base": Unknown("down")}, [], {}, "DependencyBlocked"),
        ({"base": there("base", mark=None)}, [], {}, "Create"),
        ({}, [], {"suspend": True}, "DependencyBlocked"),
        ({}, [], {}, "Create"),
        ({"base": there("base")}, [owned("base")], {}, "Create"),
    ],
    ids=["not readable", "not ours, but there", "suspended and not there", "created in this pass", "there"],
)
def test_behind_a_dependency(seen: Any, owns: Any, lifecycle: Any, expected: str) -> None:
    found = decide([widget("base", **lifecycle), widget("top", "base"), widget("far", "top"), widget("free")], seen, {}, owns)
    told = shown(found)
    assert (told["top"], told["far"], told["free"]) == (expected, expected, "Create")


def test_new_work_waits_while_what_it_reads_is_not_fit() -> None:
    """What looks after it, and what stands, does not: else nothing could ever mend it."""
    unfit = there("base", unfit="column 'y' is missing")
    run = replace(widget("top", "base"), ref=replace(ref("top"), key="run-1"))

    def plan_of(seen: Any) -> Any:
        bound = Bound({each.ref: each for each in (widget("base"), widget("top", "base"), run)}, {run.ref: ()})
        return {each.ref: each for each in plan(bound, {ref("base"): unfit, **seen}, inventory(owned("base")), policy()).actions}

    found = plan_of({ref("top"): Absent(), run.ref: Absent()})
    assert isinstance(found[ref("top")], Create), "it is no work that reads anything"
    held = found[run.ref]
    assert (held.reason, type(held.wanted)) == ("DependencyUnhealthy", Create)
    assert "widget/p/base is not fit to be read: column 'y' is missing" in held.why
    stands = replace(there("top"), mark=Mark(HERE, str(run.ref)))
    assert isinstance(plan_of({ref("top"): there("top"), run.ref: stands})[run.ref], Keep), "it runs already"


def test_what_is_as_desired_does_not_wait_for_its_dependency() -> None:
    found = decide([widget("base"), widget("top", "base")], {"base": Unknown("down"), "top": there("top")}, {}, [owned("top")])
    assert shown(found)["top"] == "Keep"


def test_a_requirement_counts_like_a_reference() -> None:
    project = Ref("Project", None, "p")
    blocked = {project: Blocked(project, "NotOurs", "why")}
    top = widget("top", requires=[project])
    assert one([top]).reason == "DependencyMissing"
    assert shown(decide([top], owns=[replace(owned("x"), ref=project)], partial=True)) == {"top": "Create"}
    held = decide([replace(top, requires=())], blocked=blocked)
    assert shown(held) == {"top": "Create", "p": "NotOurs"}


def test_a_dependency_outside_the_selection_must_exist() -> None:
    top = widget("top", "base")
    assert one([top], partial=True).reason == "DependencyMissing"
    assert isinstance(one([top], {}, {}, [owned("base")], partial=True), Create)


def test_order_is_kept_for_apply() -> None:
    found = decide([widget("base"), widget("top", "base")])
    assert found.after == {ref("base"): (), ref("top"): (ref("base"),)}
    kept = decide([widget("base"), widget("top", "base")], {"base": there("base")}, {}, [owned("base")])
    assert kept.after == {ref("top"): ()}


@pytest.mark.parametrize(
    ("base", "expected"),
    [({"mode": "observe"}, "Keep"), ({"suspend": True}, "Keep"), ({}, "Update")],
    ids=["observed", "suspended", "written"],
)
def test_inputs_that_nobody_will_bring_are_not_planned_for(base: Any, expected: str) -> None:
    late = Change("spec.parts.base", "s-1", KNOWN_AFTER_APPLY)
    top = replace(widget("top", "base"), inputs={ref("base"): UNKNOWN_OUTPUTS})
    seen = {"base": there("base"), "top": there("top")}
    moved = (Change("spec.version", "1", KNOWN_AFTER_APPLY),)
    found = decide([widget("base", **base), top], seen, {"base": moved, "top": (late,)}, [owned("base"), owned("top")])
    assert shown(found)["top"] == expected
    own = decide([widget("base", **base), top], seen, {"base": moved, "top": (late, BIG)}, [owned("base"), owned("top")])
    assert shown(own)["top"] == "Update"


def test_deletes_come_last_and_against_the_dependencies() -> None:
    found = decide([A], {}, {}, [owned("base"), owned("top", "base")])
    assert shown(found) == {"a": "Create", "top": "Delete", "base": "Delete"}
    assert list(shown(found)) == ["a", "top", "base"]
    assert found.after[ref("base")] == (ref("top"),)
    assert next(each for each in found.writes if isinstance(each, Delete)).ref == ref("top")


# --- names for a plan ----------------------------------------------------------------------------------------------


def test_the_digest_names_exactly_these_actions() -> None:
    first = decide([A, widget("b")])
    assert digest(first.actions) == digest(decide([A, widget("b")]).actions)
    others = (decide([A]), decide([A, widget("c")]), decide([A, widget("b")], {"a": there("a")}, {}, [MINE]))
    assert len({digest(each.actions) for each in (first, *others)}) == 4


def test_absent_and_present_are_never_confused() -> None:
    """A wall against the worst mistake: nothing but a complete listing makes a create."""
    for seen in (Unknown(""), there("a"), UNMARKED, THEIRS):
        assert not isinstance(one([A], {"a": seen}), Create)
    assert isinstance(one([A], {"a": Absent()}), Create)
