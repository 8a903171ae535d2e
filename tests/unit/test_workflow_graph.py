"""What becomes of the order of a workflow's tasks, in a plan's words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controllers.workflows import telling
from reconciler.model import Present
from reconciler.testing.context import make_resource
from schemas.workflow import KIND


def task(name: str, *needs: str, command: str = "a.py") -> dict[str, Any]:
    return {"name": name, "command": command, "needs": list(needs)}


LINE = {"tasks": [task("load"), task("train", "load"), task("publish", "train")]}
TEMPLATE = {"template": "training", "training": {"dataset": "d", "experiment": "e"}}


def notes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Of the changes that lead from one spec, as it was applied, to another."""
    applied = telling.fields(make_resource(KIND, "flow", before, project="p"))  # type: ignore[arg-type]
    raw = {"want": "x", "delivered": "old", "read": True, "lost": False, "paused": False, "fired": {}, "pool": None}
    found = telling.changes(replace(make_resource(KIND, "flow", after, project="p"), last=applied), Present("p.flow", {}, raw=raw))
    return [each.note for each in found]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({"tasks": [task("load"), task("check", "load"), task("train", "check", "load"), task("publish", "train")]},
         ["+ check after load; train after check, load (was load)", "", ""]),
        ({"tasks": [task("load"), task("train", "load")]}, ["- publish", ""]),
        ({"tasks": [task("load"), task("train", "load", command="b.py"), task("publish", "train")]}, ["same order of tasks"]),
        ({"tasks": [*LINE["tasks"], task("tidy")]}, ["+ tidy at the beginning"]),
        ({"tasks": [task("load"), task("train"), task("publish", "train")]}, ["train at the beginning (was load)"]),
        ({**LINE, "schedule": "0 5 * * *"}, [""]),
    ],
)  # fmt: skip
def test_tasks_of_ones_own(after: dict[str, Any], told: list[str]) -> None:
    assert notes(LINE, after) == told


def test_what_a_template_brings_counts() -> None:
    found = notes(TEMPLATE, {**TEMPLATE, "training": {**TEMPLATE["training"], "model": "m"}})
    assert found == ["+ evaluate after train; + promote after evaluate"]


def test_many_are_counted() -> None:
    more = {"tasks": [*LINE["tasks"], *(task(f"t{number}") for number in range(11))]}
    assert notes(LINE, more)[0].endswith("+ t7 at the beginning; 3 more tasks")


def test_what_another_version_applied_is_compared_without_words_on_order() -> None:
    applied = {"tasks": {"load": {"unheard": "of"}}}
    raw = {"want": "x", "delivered": "old", "read": True, "lost": False, "paused": False, "fired": {}, "pool": None}
    found = telling.changes(replace(make_resource(KIND, "flow", LINE, project="p"), last=applied), Present("p.flow", {}, raw=raw))
    assert found
    assert not any(each.note for each in found)
