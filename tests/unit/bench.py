"""A plan carried out over the fake tool, with a journal that remembers the order of what it was told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reconciler.apply import apply
from reconciler.bind import UNKNOWN_OUTPUTS
from reconciler.controller import Context
from reconciler.errors import StoreError
from reconciler.events import Event
from reconciler.model import (
    Blocked,
    Create,
    Delete,
    Failed,
    Keep,
    Mark,
    Owned,
    Plan,
    Present,
    Ref,
    Resource,
    Result,
    Write,
)
from reconciler.registry import Kinds
from reconciler.testing import FakeTool, Recorder, Thing, fake_kinds, make_context, make_resource
from reconciler.testing.widget import KIND
from tests.unit.widgets import HERE, ref


@dataclass
class Told:
    """A journal that remembers, in one list with what the tool saw."""

    lines: list[str] = field(default_factory=list)
    inventory: dict[Ref, Owned] = field(default_factory=dict)
    lost: bool = False
    full: bool = False

    def intend(self, ref: Ref, action: str, digest: str) -> None:
        self.lines.append(f"intend {action} {ref.name}")

    def created(self, ref: Ref, external_id: str) -> None:
        self.lines.append(f"created {ref.name}")

    def abandon(self, ref: Ref) -> None:
        self.lines.append(f"abandon {ref.name}")

    def record(self, owned: Owned, *, action: str, glyph: str, detail: Mapping[str, Any], result: Literal["done", "started"]) -> None:
        if self.full:
            raise StoreError("disk full")
        self.lines.append(f"record {result} {owned.ref.name}")
        self.inventory[owned.ref] = owned

    def forget(self, ref: Ref, *, action: str, glyph: str, detail: Mapping[str, Any]) -> None:
        self.lines.append(f"forget {ref.name}")
        self.inventory.pop(ref, None)

    def failed(self, ref: Ref, *, action: str, glyph: str, detail: Mapping[str, Any]) -> None:
        self.lines.append(f"failed {ref.name}")

    def check_writer(self) -> None:
        self.lines.append("check")
        if self.lost:
            raise StoreError("somebody else has taken over")


class Bench:
    """One installation of widgets."""

    def __init__(self, folder: Path) -> None:
        self.tool, self.journal, self.events = FakeTool(), Told(), list[Event]()
        self.kinds: Kinds = fake_kinds(self.tool)
        self.ctx: Context = make_context(folder, installation=HERE, wire=Recorder())
        self.tool.hook = lambda moment, method: self.journal.lines.append(f"{moment} {method}")

    def run(self, *writes: Write | Keep | Blocked, after: Any = None, stop: threading.Event | None = None, parallelism: int = 4) -> Any:
        order = {ref(name): tuple(map(ref, names)) for name, names in (after or {}).items()}
        plan = Plan(writes, order)
        results = apply(
            plan,
            self.ctx,
            self.kinds,
            self.journal,
            self.journal.inventory,
            tell=self.events.append,
            stop=stop,
            parallelism=parallelism,
        )
        assert [each.action.ref for each in results] == [each.ref for each in writes], "results come in the plan's order"
        return {each.action.ref.name: each for each in results}

    @property
    def names(self) -> list[str]:
        return [each.name.removeprefix("p/") for each in self.tool.things() if each.stage == "active"]

    def put(self, name: str, **labels: str) -> tuple[Thing, Present]:
        """A thing that is there already, with the Present that observe would give."""
        fields = {"size": 1, "color": "grey", "tags": {}, "parts": {}}
        thing = self.tool.create(Recorder(), f"p/{name}", fields, labels)
        mark = Mark(labels["installation"], labels["ref"]) if "ref" in labels else None
        self.journal.lines.clear()
        return thing, Present(thing.id, thing.fields, {"serial": f"{thing.id}-grey"}, mark, raw={"busy": False, "name": thing.name})


def widget(name: str, *uses: str, **spec: Any) -> Resource[Any]:
    references = [ref(each) for each in uses]
    inputs = dict.fromkeys(references, UNKNOWN_OUTPUTS)
    return make_resource(KIND, name, {**spec, "parts": list(uses)}, project="p", references=references, inputs=inputs)


def create(name: str, *uses: str, **spec: Any) -> Create:
    return Create(widget(name, *uses, **spec))


def delete(name: str, external_id: str = "1", *uses: str) -> Delete:
    return Delete(Owned(ref(name), external_id, "root", "d", {}, "auto", references=tuple(map(ref, uses))))


def error(result: Result) -> Exception:
    assert isinstance(result.outcome, Failed)
    return result.outcome.error
