"""What may be deleted, and who must say yes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model import Blocked, Delete, Keep, Owned, Plan, Ref, Source
from reconciler.prune import BUDGET_COUNT, confirmation_of
from reconciler.shard import Shard
from tests.unit.widgets import RED, ROOT, decide, inventory, owned, policy, ref, shown, there, widget


def many(count: int, project: str = "p", first: int = 0, **more: Any) -> list[Owned]:
    return [owned(f"w{number:03}", project=project, **more) for number in range(first, first + count)]


def keep(entries: list[Owned]) -> dict[str, Any]:
    """What makes `entries` stay as they are: manifests that agree with the tool."""
    resources = [widget(each.ref.name, project=each.ref.project or "") for each in entries]
    return {"resources": resources, "seen": {each.ref.name: there(each.ref.name) for each in entries}}


def after(gone: list[Owned], stays: list[Owned] | None = None, **rules: Any) -> Plan:
    stays = stays or []
    kept = keep(stays)
    return decide(kept["resources"], kept["seen"], {}, [*stays, *gone], **rules)


def fate(found: Plan, name: str) -> str:
    return shown(found)[name]


def test_a_shard_deletes_its_own_alone_and_nothing_that_others_use() -> None:
    mine = Shard(1, 2)
    ones, twos = ([name for name in "abcdefgh" if Shard(number, 2).holds(Ref("Project", None, name))] for number in (1, 2))
    used, free, other = owned("used", project=ones[0]), owned("free", project=ones[0]), owned("w", project=twos[0])
    user = replace(owned("user", project=twos[1]), references=(used.ref,))
    found = decide([], {}, {}, [used, free, other, user], partial=True, shard=mine)
    assert shown(found) == {"used": "InUse", "free": "Delete"}
    assert decide([], {}, {}, [used, free], partial=True).actions == (), "a filter is no shard"


# --- policies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prune", "expected"), [("auto", "Delete"), ("confirm", "ConfirmDelete"), ("never", "Keep")])
def test_policy_when_the_manifest_is_gone(prune: Any, expected: str) -> None:
    assert fate(after([owned("a", prune=prune)]), "a") == expected


@pytest.mark.parametrize("yes", ["digest", "ref"])
def test_a_confirmed_deletion_goes_on(yes: str) -> None:
    entry = owned("a", prune="confirm")
    said = confirmation_of([entry]) if yes == "digest" else "widget/p/a"
    found = after([entry], confirmed=frozenset({said}))
    assert (fate(found, "a"), found.confirmation) == ("Delete", "")


def test_only_what_somebody_agreed_to_is_marked_as_confirmed() -> None:
    found = after([owned("a", prune="confirm"), owned("b")], confirmed=frozenset({"widget/p/a"}))
    assert {each.ref.name: each.confirmed for each in found.writes if isinstance(each, Delete)} == {"a": True, "b": False}


def test_never_stays_whatever_is_confirmed() -> None:
    assert fate(after([owned("a", prune="never")], confirmed=frozenset({"widget/p/a"})), "a") == "Keep"


def test_protection_is_remembered_when_manifest_and_flag_go_in_one_commit() -> None:
    """Nothing is left in the manifests that could protect it; the inventory still does."""
    found = after([owned("a", prune="never"), owned("b", prune="confirm")])
    assert shown(found) == {"a": "Keep", "b": "ConfirmDelete"}
    assert not found.writes


def test_a_suspended_resource_or_project_is_not_deleted() -> None:
    for holder in (ref("a"), Ref("Project", None, "p")):
        found = after([owned("a")], suspended={holder: "hands off"})
        (action,) = found.actions
        assert isinstance(action, Blocked)
        assert (action.reason, action.why) == ("Suspended", "hands off")
        assert str(holder) in action.next
    assert fate(after([owned("a")], suspended={Ref("Project", None, "q"): ""}), "a") == "Delete"


# --- sources -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        replace(ROOT, complete=False, why_incomplete="a.yaml cannot be parsed"),
        replace(ROOT, documents=0),
        replace(ROOT, name="elsewhere"),
    ],
    ids=["incomplete", "empty", "not read"],
)
@pytest.mark.parametrize("confirmed", [frozenset(), frozenset({"widget/p/a"})], ids=["", "confirmed"])
def test_a_source_that_did_not_come_whole_deletes_nothing(source: Source, confirmed: frozenset[str]) -> None:
    found = after([owned("a"), owned("b", prune="confirm")], sources=(source,), confirmed=confirmed)
    assert shown(found) == {"a": "SourceIncomplete", "b": "SourceIncomplete"}


def test_one_source_does_not_stop_the_other() -> None:
    broken = Source("team", "", complete=False, files=1, documents=1)
    found = after([owned("a"), owned("b", source="team")], sources=(ROOT, broken))
    assert shown(found) == {"a": "Delete", "b": "SourceIncomplete"}


def test_a_part_of_the_tree_never_deletes() -> None:
    assert not after([owned("a")], partial=True, confirmed=frozenset({"widget/p/a"})).actions


def test_what_a_wrong_manifest_names_is_not_gone() -> None:
    held = Blocked(ref("b"), "DependencyInvalid", "why")
    found = after([owned("a"), owned("b")], refused=frozenset({ref("a")}), blocked={held.ref: held})
    assert shown(found) == {"b": "DependencyInvalid"}


# --- budget --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "stays", "recent", "expected"),
    [
        (BUDGET_COUNT, 0, 0, "Delete"),
        (BUDGET_COUNT + 1, 0, 0, "SourceSuspect"),
        (BUDGET_COUNT + 1, 16, 0, "Delete"),
        (BUDGET_COUNT + 2, 16, 0, "SourceSuspect"),
        (20, 80, 0, "Delete"),
        (21, 79, 0, "SourceSuspect"),
        (99, 1, 0, "SourceSuspect"),
        (1, 0, 3, "SourceSuspect"),
        (1, 0, 2, "Delete"),
        (10, 80, 10, "Delete"),
        (11, 79, 10, "SourceSuspect"),
    ],
)
def test_budget_over_24_hours(gone: int, stays: int, recent: int, expected: str) -> None:
    entries, rest = many(gone), many(stays, first=500)
    found = after(entries, rest, recent_deletions=[ref(f"old{number}") for number in range(recent)])
    assert {fate(found, each.ref.name) for each in entries} == {expected}
    assert bool(found.confirmation) is (expected != "Delete")


def test_each_project_has_its_own_budget() -> None:
    gone = [*many(4, "small"), *many(2, "large", first=10)]
    stays = [*many(1, "small", first=100), *many(60, "large", first=200)]
    found = after(gone, stays)
    assert {fate(found, each.ref.name) for each in gone[:4]} == {"SourceSuspect"}
    assert {fate(found, each.ref.name) for each in gone[4:]} == {"Delete"}


def test_the_installation_has_a_budget_across_projects() -> None:
    gone = [owned(f"w{number}", project=f"p{number}") for number in range(4)]
    assert {fate(after(gone), each.ref.name) for each in gone} == {"SourceSuspect"}


def test_everything_over_budget_goes_on_when_confirmed() -> None:
    gone = many(30)
    asked = after(gone)
    assert not asked.writes
    assert len(after(gone, confirmed=frozenset({asked.confirmation})).writes) == 30


def test_replacements_count() -> None:
    """A field that cannot change in place, changed in all manifests at once, is as bad as all manifests gone."""
    entries = many(BUDGET_COUNT + 1)
    kept = keep(entries)
    diffs = {each.ref.name: (RED,) for each in entries}
    found = decide(kept["resources"], kept["seen"], diffs, entries)
    assert set(shown(found).values()) == {"ImmutableField"}
    assert set(shown(decide(kept["resources"], kept["seen"], diffs, entries, confirmed=frozenset({found.confirmation}))).values()) == {
        "Replace"
    }


# --- what exactly was agreed to ------------------------------------------------------------------------------------


def test_a_confirmation_names_exactly_one_set() -> None:
    a, b = owned("a", prune="confirm"), owned("b", prune="confirm")
    assert after([a]).confirmation != after([a, b]).confirmation
    assert confirmation_of([a, b]) == confirmation_of([b, a])
    assert confirmation_of([a]) != confirmation_of([replace(a, external_id="another")])


def test_one_more_object_asks_again() -> None:
    a, b = owned("a", prune="confirm"), owned("b", prune="confirm")
    said = frozenset({after([a]).confirmation})
    assert set(shown(after([a, b], confirmed=said)).values()) == {"ConfirmDelete"}


def test_what_is_printed_confirms_what_is_left() -> None:
    entries = [owned(name, prune="confirm") for name in "abc"]
    found = after(entries, confirmed=frozenset({"widget/p/a"}))
    assert shown(found) == {"a": "Delete", "b": "ConfirmDelete", "c": "ConfirmDelete"}
    held = [each for each in found.actions if isinstance(each, Blocked)]
    assert {each.next.rsplit(" ", 1)[1] for each in held} == {found.confirmation} == {confirmation_of(entries[1:])}


# --- in use --------------------------------------------------------------------------------------------------------


def test_what_a_manifest_still_references_stays() -> None:
    found = decide([widget("top", "base")], {"top": there("top")}, {}, [owned("base"), owned("top", "base")])
    assert shown(found) == {"top": "Keep", "base": "InUse"}


def test_what_a_held_deletion_references_stays() -> None:
    for prune, held in (("confirm", "ConfirmDelete"), ("never", "Keep")):
        found = after([owned("base"), owned("top", "base", prune=prune)])
        assert shown(found) == {"top": held, "base": "InUse"}


def test_what_an_incomplete_source_still_uses_stays() -> None:
    broken = Source("team", "", complete=False, files=1, documents=1)
    found = after([owned("base"), owned("top", "base", source="team")], sources=(ROOT, broken))
    assert shown(found)["base"] == "InUse"


def test_what_a_wrong_manifest_uses_stays() -> None:
    found = after([owned("base"), owned("top", "base")], refused=frozenset({ref("top")}))
    assert shown(found) == {"base": "InUse"}


def test_a_whole_chain_is_held_by_its_end() -> None:
    found = after([owned("base"), owned("middle", "base"), owned("top", "middle", prune="confirm")])
    assert shown(found) == {"top": "ConfirmDelete", "middle": "InUse", "base": "InUse"}


def test_users_go_before_what_they_use() -> None:
    gone = [owned("base"), owned("top", "middle"), owned("middle", "base")]
    order = [each.ref.name for each in after(gone).actions]
    assert order == ["top", "middle", "base"]
    assert all(isinstance(each, Delete) for each in after(gone).actions)


def test_a_cycle_in_the_inventory_is_still_deleted() -> None:
    found = after([owned("a", "b"), owned("b", "a")])
    assert len(found.actions) == 2


def test_a_kept_one_is_told() -> None:
    (action,) = after([owned("a", prune="never")]).actions
    assert isinstance(action, Keep)
    assert "never" in action.why


def test_nothing_is_asked_when_nothing_goes() -> None:
    assert after([], many(3)).confirmation == ""
    assert policy().confirmed == frozenset()
    assert inventory() == {}
