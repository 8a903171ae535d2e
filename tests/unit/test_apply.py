"""Carrying out a plan, over the fake tool and a journal that remembers the order of what it was told."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply import ATTEMPTS
from reconciler.controller import Context
from reconciler.errors import Conflict, StoreError, Terminal, Transient
from reconciler.model import (
    Adopt,
    Blocked,
    Create,
    Done,
    Failed,
    Keep,
    Outcome,
    Present,
    Result,
    Unknown,
    Update,
)
from reconciler.registry import Kinds
from reconciler.testing import WidgetController, fake_kinds, make_resource
from reconciler.testing.widget import KIND
from reconciler.verify import verify
from tests.unit.bench import Bench, create, delete, error, widget
from tests.unit.widgets import HERE, ref


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- journal -------------------------------------------------------------------------------------------------------


def test_a_create_is_journalled_around_the_call(bench: Bench) -> None:
    bench.run(create("a"))
    assert bench.journal.lines == ["check", "intend create a", "before create", "after create", "created a", "record done a"]
    assert bench.journal.inventory[ref("a")].external_id == "1"
    assert bench.journal.inventory[ref("a")].applied["size"] == 1


def test_a_delete_is_forgotten_after_the_call(bench: Bench) -> None:
    bench.put("a", installation=HERE, ref="widget/p/a")
    bench.run(delete("a"))
    assert [each for each in bench.journal.lines if "list" not in each] == [
        "check",
        "intend delete a",
        "before delete",
        "after delete",
        "forget a",
    ]


def test_what_the_tool_refused_is_no_open_intent(bench: Bench) -> None:
    bench.tool.fail("create", Terminal("no"))
    bench.run(create("a"))
    assert bench.journal.lines[-2:] == ["abandon a", "failed a"]


def test_what_may_have_happened_stays_an_open_intent(bench: Bench) -> None:
    bench.tool.fail("create", Transient("no answer", retry_after=0, maybe_done=True), times=99)
    bench.run(create("a"))
    assert "abandon a" not in bench.journal.lines


def test_a_store_that_fails_after_the_call_is_a_failure(bench: Bench) -> None:
    bench.journal.full = True
    assert isinstance(error(bench.run(create("a"))["a"]), StoreError)
    assert bench.names == ["a"]


def test_no_write_without_the_lease(bench: Bench) -> None:
    bench.journal.lost = True
    assert isinstance(error(bench.run(create("a"))["a"]), StoreError)
    assert (bench.names, bench.ctx.wire.writes) == ([], [])  # type: ignore[attr-defined]


def test_the_lease_is_asked_for_again_before_each_try(bench: Bench) -> None:
    bench.tool.fail("create", Transient("busy", retry_after=0))
    tries: list[int] = []

    def lose(moment: str, method: str) -> None:
        tries.append(1)
        bench.journal.lost = True

    bench.tool.hook = lose
    assert isinstance(error(bench.run(create("a"))["a"]), StoreError)
    assert (len(tries), bench.names) == (1, [])


# --- retries -------------------------------------------------------------------------------------------------------


def test_what_may_pass_is_tried_again(bench: Bench) -> None:
    bench.tool.fail("create", Transient("busy", retry_after=0), times=2)
    result = bench.run(create("a"))["a"]
    assert isinstance(result.outcome, Done)
    assert result.attempts == 3
    assert [each.text for each in bench.events if each.kind == "retry"] == ["trying again: busy", "trying again: busy"]


def test_it_gives_up_after_a_few_tries(bench: Bench) -> None:
    bench.tool.fail("create", Transient("busy", retry_after=0), times=99)
    result = bench.run(create("a"))["a"]
    assert (result.attempts, str(error(result))) == (ATTEMPTS, "busy")


def test_waits_grow_when_the_tool_names_none(bench: Bench) -> None:
    at: list[float] = []
    bench.tool.hook = lambda moment, method: at.append(time.monotonic()) if moment == "before" else None
    bench.tool.fail("create", Transient("busy"), times=2)
    bench.run(create("a"))
    first, second = at[1] - at[0], at[2] - at[1]
    assert first >= 0.2
    assert second > first


@pytest.mark.parametrize("trouble", [Terminal("no"), Conflict("taken"), ValueError("a defect")])
def test_what_will_fail_again_is_tried_once(bench: Bench, trouble: Exception) -> None:
    bench.tool.fail("create", trouble)
    result = bench.run(create("a"))["a"]
    assert (error(result), result.attempts) == (trouble, 1)


def test_a_failed_outcome_is_a_failure_like_an_exception(bench: Bench) -> None:
    class Tells(WidgetController):
        def apply(self, action: Any, ctx: Context) -> Outcome:
            return Failed(Terminal("told"))

    bench.kinds = Kinds({"Widget": Tells(bench.tool)})
    assert str(error(bench.run(create("a"))["a"])) == "told"


def test_a_lost_answer_makes_no_twin(bench: Bench) -> None:
    bench.tool.lose_answer("create")
    result = bench.run(create("a"))["a"]
    assert isinstance(result.outcome, Done)
    assert bench.names == ["a"]


# --- adopt and update ----------------------------------------------------------------------------------------------


def test_taking_our_own_object_into_the_inventory_calls_no_tool(bench: Bench) -> None:
    _, seen = bench.put("a", installation=HERE, ref="widget/p/a")
    result = bench.run(Adopt(widget("a"), seen, ()))["a"]
    assert isinstance(result.outcome, Done)
    assert bench.ctx.wire.calls == []  # type: ignore[attr-defined]
    assert bench.journal.inventory[ref("a")].external_id == seen.external_id


def test_taking_over_an_unmarked_object_writes_our_mark(bench: Bench) -> None:
    _, seen = bench.put("a")
    bench.run(Adopt(widget("a"), seen, ()))
    assert bench.tool.named("p/a")[0].labels["ref"] == "widget/p/a"
    assert "intend adopt a" in bench.journal.lines


def test_an_update_whose_inputs_turn_out_to_be_the_same_calls_no_tool(bench: Bench) -> None:
    thing, seen = bench.put("top", installation=HERE, ref="widget/p/top")
    seen = replace(seen, fields={**seen.fields, "parts": {"base": "old"}})
    bench.journal.inventory[ref("base")] = replace(delete("base").owned, outputs={"serial": "old"})
    resource = widget("top", "base")
    result = bench.run(Update(resource, seen, fake_kinds(bench.tool).controller("Widget").diff(resource, seen)))["top"]
    assert isinstance(result.outcome, Done)
    assert result.action.changes == ()
    assert bench.tool.named("p/top")[0] == thing


def test_keep_and_blocked_are_passed_through(bench: Bench) -> None:
    results = bench.run(Keep(ref("a")), Blocked(ref("b"), "Why", "because"))
    assert [each.outcome for each in results.values()] == [None, None]
    assert bench.journal.lines == []


# --- looking again -------------------------------------------------------------------------------------------------


def look(bench: Bench, results: Iterable[Result]) -> dict[str, Result]:
    return {each.action.ref.name: each for each in verify(results, bench.ctx, bench.kinds, bench.events.append)}


def test_a_good_write_leaves_nothing_over(bench: Bench) -> None:
    results = look(bench, bench.run(create("a"), create("b")).values())
    assert all(isinstance(each.observation, Present) and each.left_over == () for each in results.values())
    assert len([each for each in bench.ctx.wire.calls if each.method == "list"]) == 1  # type: ignore[attr-defined]


def test_what_still_differs_is_named(bench: Bench) -> None:
    results = bench.run(create("a"))
    bench.tool.edit("1", fields={"size": 7, "color": "grey", "tags": {}, "parts": {}})
    assert [each.path for each in look(bench, results.values())["a"].left_over] == ["spec.size"]


def test_an_ignored_field_is_not_left_over(bench: Bench) -> None:
    rule = {"path": "spec.size", "reason": "sized by hand"}
    resource = make_resource(KIND, "a", project="p", lifecycle={"ignore": [rule]})
    results = bench.run(Create(resource))
    bench.tool.edit("1", fields={"size": 7, "color": "grey", "tags": {}, "parts": {}})
    assert look(bench, results.values())["a"].left_over == ()


@pytest.mark.parametrize("trouble", [Transient("down", retry_after=0), Terminal("no"), KeyError("a defect")])
def test_a_tool_that_cannot_be_read_again_raises_nothing(bench: Bench, trouble: Exception) -> None:
    results = bench.run(create("a"))
    bench.tool.fail("list", trouble, times=99)
    result = look(bench, results.values())["a"]
    assert isinstance(result.outcome, Done)
    assert isinstance(result.observation, Unknown)


@pytest.mark.parametrize("noted", [False, True])
def test_what_needed_no_write_is_looked_at_again_only_when_something_was_noted_about_it(bench: Bench, noted: bool) -> None:
    results = bench.run(create("a"), create("b"))
    written = next(each for each in results.values() if each.action.ref.name == "a")
    kept = Result(Keep(ref("b")), None)
    again = verify([written, kept], bench.ctx, bench.kinds, bench.events.append, [widget("b")] if noted else [])
    looked = {each.action.ref.name: each for each in again}
    assert isinstance(looked["a"].observation, Present)
    assert isinstance(looked["b"].observation, Present) is noted
    assert looked["b"].left_over == ()
