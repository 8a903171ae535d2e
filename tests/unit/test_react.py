"""What one resource calls for is carried out on another one: once, told, and never at the cost of the pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.controller import Context, Reaction, Reacts
from reconciler.errors import Terminal, Transient
from reconciler.events import Event
from reconciler.model import JSON, Ref, Resource
from reconciler.react import react
from reconciler.registry import Kinds
from reconciler.testing import make_context, make_resource
from reconciler.testing.fake import FakeTool
from reconciler.testing.kinds import fake_kinds
from reconciler.testing.widget import KIND, WidgetController
from schemas.base import KindInfo

OTHER = Ref("Engine", "demo", "other")
START = Reaction("run engine/demo/other", "start", OTHER, "because", "breach-1", {"why": "x"})
BACK = Reaction("rollback engine/demo/other", "roll_back", OTHER, "because", "breach-1")


class Asking(WidgetController):
    """A Widget that asks for something until it is done."""

    def __init__(self, tool: FakeTool, *wanted: Reaction) -> None:
        super().__init__(tool)
        self.wanted = list(wanted)
        self.told: list[tuple[str, str, bool]] = []

    def reactions(self, resource: Resource[Any], ctx: Context) -> list[Reaction]:
        return list(self.wanted)

    def reacted(self, resource: Resource[Any], reaction: Reaction, said: str, ctx: Context, *, carried_out: bool) -> None:
        self.wanted.remove(reaction)
        self.told.append((reaction.key, said, carried_out))


class Engine(WidgetController):
    """Can be started and rolled back, unless `error` says otherwise."""

    info = KindInfo(name="Engine", spec=KIND.spec, scope="project", prune="auto", summary="An engine.")

    def __init__(self, tool: FakeTool, error: Exception | None = None) -> None:
        super().__init__(tool)
        self.error = error
        self.calls: list[tuple[Any, ...]] = []

    def start(self, ref: Ref, ctx: Context, conf: Mapping[str, JSON], by: str, run: str = "") -> str:
        return self._called("start", ref, dict(conf), by, run)

    def ended(self, ref: Ref, run: str, ctx: Context) -> Mapping[str, JSON] | None:
        return None

    def roll_back(self, ref: Ref, ctx: Context, why: str, by: str) -> str:
        return self._called("roll_back", ref, why, by)

    def _called(self, *call: Any) -> str:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return str(call[-1])


def pass_(tmp_path: Path, asking: Asking, *others: Any) -> tuple[list[str], list[Event]]:
    resource, events = make_resource(KIND, "w"), list[Event]()
    kinds = fake_kinds(FakeTool(), *others)
    kinds = Kinds({**kinds.controllers, KIND.name: asking})
    done = react({resource.ref: resource}, [resource.ref], make_context(tmp_path), kinds, events.append)
    return [each.said for each in done], events


def test_both_verbs_are_carried_out_and_noted_once(tmp_path: Path) -> None:
    asking, engine = Asking(FakeTool(), START, BACK), Engine(FakeTool())
    assert isinstance(asking, Reacts)
    said, events = pass_(tmp_path, asking, engine)
    assert engine.calls == [
        ("start", OTHER, {"why": "x"}, "widget/demo/w", "breach-1"),
        ("roll_back", OTHER, "because", "widget/demo/w"),
    ]
    assert said == ["started engine/demo/other, run breach-1", "rolled back engine/demo/other: widget/demo/w"]
    assert [carried_out for _, _, carried_out in asking.told] == [True, True]
    assert [each.text for each in events] == [f"widget/demo/w: {each}" for each in said]
    assert pass_(tmp_path, asking, engine) == ([], [])


def test_what_cannot_be_done_yet_is_asked_for_again(tmp_path: Path) -> None:
    asking = Asking(FakeTool(), START)
    for error in (Transient("Airflow is down"), ValueError("a defect")):
        assert pass_(tmp_path, asking, Engine(FakeTool(), error)) == ([], [])
    assert asking.told == []
    assert pass_(tmp_path, asking, Engine(FakeTool()))[0] == ["started engine/demo/other, run breach-1"]


def test_what_can_never_be_done_is_told_once_and_is_no_success(tmp_path: Path) -> None:
    asking = Asking(FakeTool(), BACK)
    [said], _ = pass_(tmp_path, asking, Engine(FakeTool(), Terminal("there is no earlier revision")))
    assert said == "engine/demo/other could not be rolled back: there is no earlier revision"
    assert asking.told == [(BACK.key, said, False)]


@pytest.mark.parametrize("wanted", [START, BACK])
def test_a_kind_that_cannot_do_it_or_is_not_there_is_told(tmp_path: Path, wanted: Reaction) -> None:
    [said], _ = pass_(tmp_path, Asking(FakeTool(), wanted))
    assert "nothing of kind Engine can be" in said


def test_what_is_refused_by_who_asks_reaches_nobody(tmp_path: Path) -> None:
    asking, engine = Asking(FakeTool(), Reaction("k", "start", OTHER, "w", "i", refused="not now: it is older")), Engine(FakeTool())
    assert pass_(tmp_path, asking, engine)[0] == ["not now: it is older"]
    assert engine.calls == []
    assert asking.told == [("k", "not now: it is older", False)]
