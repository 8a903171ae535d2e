"""Inputs, what was applied last, and what is not known before the apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.bind import UNKNOWN_OUTPUTS, Bound, bind
from reconciler.model import KNOWN_AFTER_APPLY, Absent, Change, Diff, Observation, Present, Resource, Unknown, output
from tests.unit.widgets import BIG, RED, inventory, owned, ref, there, widget

PAIR = (widget("base"), widget("top", "base"))


def bound(seen: Mapping[str, Observation], diffs: Mapping[str, Diff] | None = None, *owns: Any) -> Bound:
    def differ(resource: Resource[Any], present: Present) -> Diff:
        return (diffs or {}).get(resource.ref.name, ())

    return bind(PAIR, {ref(name): each for name, each in seen.items()}, inventory(*owns), differ)


def serial(found: Bound) -> str:
    return output(found.resources[ref("top")].inputs[ref("base")], "serial")


def test_what_is_there_gives_its_outputs() -> None:
    assert serial(bound({"base": there("base"), "top": there("top")})) == "s-base"


def test_a_change_that_does_not_move_outputs_keeps_them() -> None:
    assert serial(bound({"base": there("base")}, {"base": (BIG,)})) == "s-base"


def test_what_is_not_there_yet_is_known_after_the_apply() -> None:
    for seen in (Absent(), Unknown("down")):
        assert serial(bound({"base": seen})) == KNOWN_AFTER_APPLY


def test_a_replacement_moves_the_outputs() -> None:
    assert serial(bound({"base": there("base")}, {"base": (RED,)})) == KNOWN_AFTER_APPLY


def test_an_unknown_value_moves_the_outputs_down_the_whole_chain() -> None:
    told = bound({"base": there("base")}, {"base": (Change("spec.version", "1", KNOWN_AFTER_APPLY),)})
    assert serial(told) == KNOWN_AFTER_APPLY


def test_a_reference_outside_this_pass_has_what_was_recorded() -> None:
    top = widget("top", "base")

    def alone(*owns: Any) -> Mapping[str, str]:
        found = bind([top], {top.ref: there("top")}, inventory(*owns), lambda resource, seen: ())
        return found.resources[top.ref].inputs[ref("base")]

    assert alone(owned("base", outputs={"serial": "recorded"})) == {"serial": "recorded"}
    assert alone() == UNKNOWN_OUTPUTS


def test_last_is_what_the_inventory_says() -> None:
    found = bound({"base": there("base"), "top": there("top")}, None, owned("base", applied={"size": 3}))
    assert found.resources[ref("base")].last == {"size": 3}
    assert found.resources[ref("top")].last is None


def test_only_what_is_there_is_compared() -> None:
    assert bound({"base": Absent(), "top": there("top")}, {"base": (BIG,)}).diffs == {ref("top"): ()}


def test_a_controller_that_breaks_down_harms_its_own_resource_only() -> None:
    def differ(resource: Resource[Any], present: Present) -> Diff:
        if resource.ref.name == "base":
            raise KeyError("services")
        return (BIG,)

    found = bind(PAIR, {ref("base"): there("base"), ref("top"): there("top")}, {}, differ)
    assert "KeyError" in found.broken[ref("base")]
    assert found.diffs == {ref("top"): (BIG,)}
    assert serial(found) == KNOWN_AFTER_APPLY
