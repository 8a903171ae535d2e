"""The contract suite over the fake: the suite tests the fake, and the fake the suite."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.controller import Context
from reconciler.errors import Conflict, Rejected, Transient
from reconciler.model import Absent, Create, Present, Resource
from reconciler.testing import FakeTool, FileShelf, MemoryShelf, Recorder, WidgetController, make_context, make_resource
from reconciler.testing.contract import LostAnswerContract, OwnershipContract, Pass, ReplaceContract, ToolContract
from reconciler.testing.exporting import ExportContract
from reconciler.testing.moving import MovesContract
from reconciler.testing.widget import KIND


class TestWidget(ExportContract, MovesContract, LostAnswerContract, OwnershipContract, ToolContract, ReplaceContract):
    """In memory and in a file."""

    @pytest.fixture(params=["memory", "file"])
    def tool(self, request: pytest.FixtureRequest, tmp_path: Path) -> FakeTool:
        return FakeTool(MemoryShelf() if request.param == "memory" else FileShelf(tmp_path / "things.json"), page_size=5)

    @pytest.fixture
    def controller(self, tool: FakeTool) -> WidgetController:
        self._tool = tool
        return WidgetController(tool)

    @pytest.fixture
    def ctx(self, tmp_path: Path) -> Context:
        return make_context(tmp_path)

    def make(self, name: str) -> Resource[Any]:
        return make_resource(KIND, name, {"size": 2, "tags": {"team": "nlp"}})

    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        return make_resource(KIND, resource.ref.name, {"size": 3, "tags": {"owner": "ann"}})

    def other_form(self, resource: Resource[Any]) -> Resource[Any]:
        return make_resource(KIND, resource.ref.name, {"size": 2, "color": "red"})

    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        self._tool.edit(seen.external_id, fields={**seen.fields, "size": 9})
        return "spec.size"

    @contextmanager
    def down(self, ctx: Context) -> Iterator[Context]:
        self._tool.down = True
        yield ctx
        self._tool.down = False

    def twins(self, ctx: Context, resource: Resource[Any]) -> int:
        return len(self._tool.named(resource.ref.path))

    def stranger(self, ctx: Context, name: str) -> Iterator[Any]:
        thing = self._tool.create(Recorder(), f"demo/{name}", {"size": 1}, {})
        while True:
            yield self._tool.named(thing.name)

    def by_hand(self, ctx: Context, resource: Resource[Any]) -> str:
        return self._tool.create(Recorder(), resource.ref.path, {"size": 1, "color": "grey"}, {"owner": "bob"}).id

    @contextmanager
    def losing(self, ctx: Context) -> Iterator[Context]:
        self._tool.lose_answer("create")
        yield ctx

    # --- what the fake itself promises ---

    def test_a_failed_page_hides_nothing(self, engine: Pass, tool: FakeTool, name: str) -> None:
        for number in range(12):
            engine.create(self.make(f"{name}-{number}"))
        reads = iter([None, None, Transient("no answer", retry_after=0)])

        def third(moment: str, method: str) -> None:
            if (moment, method) == ("before", "list") and (error := next(reads, None)):
                raise error

        tool.hook = third
        with pytest.raises(Transient):
            engine.look(self.make(f"{name}-11"))

    def test_renamed_by_hand_is_drift_and_makes_no_twin(self, engine: Pass, tool: FakeTool, name: str) -> None:
        resource = self.make(name)
        made = engine.create(resource)
        tool.edit(made.external_id, name="demo/another-name")
        assert [each.path for each in engine.update(resource)] == ["metadata.name"]
        assert (engine.see(resource).external_id, len(tool.things())) == (made.external_id, 1)

    def test_a_deleted_name_stays_reserved(self, tool: FakeTool) -> None:
        thing = tool.create(Recorder(), "demo/a", {}, {})
        tool.delete(Recorder(), thing.id)
        with pytest.raises(Conflict):
            tool.create(Recorder(), "demo/a", {}, {})
        with pytest.raises(Rejected):
            tool.delete(Recorder(), thing.id)
        tool.rename(Recorder(), tool.restore(Recorder(), thing.id).id, "demo/b")
        assert tool.create(Recorder(), "demo/a", {}, {}).id != thing.id

    def test_somebody_elses_thing_in_the_trash_is_a_conflict(self, engine: Pass, tool: FakeTool, name: str) -> None:
        resource = self.make(name)
        tool.delete(Recorder(), self.by_hand(engine.ctx, resource))
        assert engine.look(resource)[resource.ref] == Absent()
        with pytest.raises(Conflict):
            engine.create(resource)

    def test_every_call_is_on_the_wire_with_its_end(self, tool: FakeTool) -> None:
        wire = Recorder()
        tool.fail("list", Transient("busy"))
        with pytest.raises(Transient):
            tool.page(wire)
        tool.create(wire, "demo/a", {}, {})
        assert [(each.method, each.write, each.status) for each in wire.calls] == [("list", False, "failed"), ("create", True, "ok")]
        assert len(wire.writes) == 1
        wire.clear()
        assert wire.calls == []

    def test_what_is_busy_becomes_ready(self, engine: Pass, tool: FakeTool, name: str) -> None:
        resource = make_resource(KIND, name, {"slow": True})
        threading.Timer(0.1, tool.finish, [resource.ref.path]).start()
        assert not engine.create(resource).raw["busy"]


def test_a_thing_outlives_the_process_that_made_it(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from reconciler.testing import FakeTool, FileShelf, Recorder\n"
        "tool = FakeTool(FileShelf(Path(sys.argv[1])))\n"
        "tool.hook = lambda moment, method: os.kill(os.getpid(), signal.SIGKILL) if moment == 'after' else None\n"
        "tool.create(Recorder(), 'demo/a', {'size': 1}, {})\n"
    )
    path = tmp_path / "things.json"
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    assert [each.name for each in FakeTool(FileShelf(path)).things()] == ["demo/a"]


def test_two_processes_worth_of_writers_lose_nothing(tmp_path: Path) -> None:
    tools = [FakeTool(FileShelf(tmp_path / "things.json")) for _ in range(3)]

    def fill(number: int) -> None:
        for each in range(10):
            tools[number].create(Recorder(), f"demo/{number}-{each}", {}, {})

    threads = [threading.Thread(target=fill, args=[number]) for number in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({each.id for each in tools[0].things()}) == 30


def test_the_mark_is_set_in_the_request_that_creates(tmp_path: Path) -> None:
    """A process killed right after the create leaves nothing that cannot be told to be ours."""
    tool, ctx = FakeTool(), make_context(tmp_path)
    resource = make_resource(KIND, "a")
    seen: list[Any] = []
    tool.hook = lambda moment, method: seen.append(tool.things()[0].labels) if (moment, method) == ("after", "create") else None
    WidgetController(tool).apply(Create(replace(resource)), ctx)
    assert seen[0]["ref"] == "widget/demo/a"
