"""The loop over a tool that can be slow, down and changed by hand: what is urgent comes first, and what fails holds nothing up."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reconciler.errors import ReconcilerError, Transient
from reconciler.loop import Report
from reconciler.selection import Selection
from reconciler.testing import FakeTool, Recorder
from reconciler.watch import pause_after, run_forever
from tests.contract.crash_child import house_in

HEAD = "apiVersion: reconciler.mlops/v1\n"
PATIENCE = 30.0


class Loop:
    """One installation of widgets, watched."""

    def __init__(self, root: Path, platform: str = "") -> None:
        self.root, self.tool = root, FakeTool()
        self.reports: list[Report] = []
        self.troubles: list[ReconcilerError] = []
        self.write("platform", f"kind: Platform\nmetadata: {{name: x}}\nspec: {{installation: loop{platform}}}\n")
        self.write("project", "kind: Project\nmetadata: {name: p}\nspec: {path: code}\n")
        (root / "code").mkdir()

    def write(self, name: str, text: str) -> None:
        (self.root / "manifests").mkdir(exist_ok=True)
        (self.root / "manifests" / f"{name}.yaml").write_text(HEAD + text)

    def widget(self, name: str, spec: str = "") -> None:
        self.write(name, f"kind: Widget\nmetadata: {{name: {name}, project: p}}\nspec: {{{spec}}}\n")

    @contextmanager
    def running(self, every: float, parallelism: int = 8, env: str = "") -> Iterator[None]:
        house = house_in(self.root, self.tool)
        house = replace(house, settings=house.settings.model_copy(update={"parallelism": parallelism}))
        stop = threading.Event()
        thread = threading.Thread(
            target=run_forever,
            args=(Selection((self.root / "manifests",), env=env), house),
            kwargs={
                "every": every,
                "stop": stop,
                "on_report": self.reports.append,
                "on_trouble": lambda error, _: self.troubles.append(error),
            },
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)
            house.store.close()
        assert not thread.is_alive()
        assert self.troubles == []

    def sizes(self) -> dict[str, object]:
        return {each.name.removeprefix("p/"): each.fields["size"] for each in self.tool.things() if each.stage == "active"}


def until(told: Callable[[], bool], what: str) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not told():
        assert time.monotonic() - began < PATIENCE, f"not seen: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def names(report: Report) -> set[str]:
    """What a pass looked at; empty = everything."""
    return {ref.name for ref in report.proposal.selection.refs}


def by_hand(loop: Loop, name: str, size: int) -> None:
    thing = next(each for each in loop.tool.things() if each.name == f"p/{name}")
    loop.tool.update(Recorder(), thing.id, {**thing.fields, "size": size}, thing.labels)


def test_a_kind_is_looked_at_as_often_as_the_platform_says(tmp_path: Path) -> None:
    loop = Loop(tmp_path, ", poll: {Widget: 1s}")
    loop.widget("one")
    with loop.running(every=3600):
        until(lambda: loop.sizes() == {"one": 1}, "made")
        until(lambda: len(loop.reports) >= 2, "the pass after it")
        whole = sum(not each.proposal.selection.partial for each in loop.reports)
        by_hand(loop, "one", 7)
        until(lambda: loop.sizes() == {"one": 1}, "put back")
        assert sum(not each.proposal.selection.partial for each in loop.reports) == whole, "nothing else was looked at for it"


def test_what_fails_is_tried_again_alone_and_holds_nothing_up(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.tool.fail("create", Transient("busy", retry_after=0), times=4)  # all tries of the first pass
    loop.widget("first")
    with loop.running(every=3600):
        until(lambda: bool(loop.reports), "the first pass")
        assert loop.sizes() == {}
        loop.widget("second")
        assert until(lambda: "second" in loop.sizes(), "the other one") < 4
        assert "first" not in loop.sizes(), "its time has not come"
        until(lambda: "first" in loop.sizes(), "tried again, although nothing was saved and no look was due")
        until(lambda: any(names(each) == {"first"} for each in loop.reports), "by a pass over it alone")


def test_what_a_pass_that_gave_way_did_not_come_to_follows_at_once(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.widget("first")
    with loop.running(every=3600, parallelism=1):
        until(lambda: "first" in loop.sizes(), "made")
        loop.tool.latency = 0.1
        loop.write("other", "kind: Project\nmetadata: {name: q}\nspec: {path: other}\n")
        (tmp_path / "other").mkdir()
        for number in range(20):
            loop.widget(f"w{number:02d}")
        until(lambda: len(loop.sizes()) > 5, "the backlog has begun")
        loop.widget("w19")  # the same once more: nothing is new, and the pass has given way all the same
        assert until(lambda: len(loop.sizes()) == 21, "the rest") < 15, "it does not wait as a pass that costs so much would"


def test_a_save_does_not_wait_for_a_long_pass(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.widget("zz")
    with loop.running(every=3600, parallelism=1):
        until(lambda: loop.sizes() == {"zz": 1}, "made")
        loop.tool.latency = 0.1
        # A project of its own makes it a whole pass.
        loop.write("other", "kind: Project\nmetadata: {name: q}\nspec: {path: other}\n")
        (tmp_path / "other").mkdir()
        for number in range(60):
            loop.widget(f"w{number:02d}")
        until(lambda: len(loop.sizes()) > 5, "the backlog has begun")
        loop.widget("zz", "size: 9")
        until(lambda: loop.sizes()["zz"] == 9, "what was saved later")
        assert len(loop.sizes()) < 50, "long before the backlog was done"
        until(lambda: len(loop.sizes()) == 61, "and the backlog is done after it")
    assert not [each for each in loop.reports[-1].statuses if not each.ready]


def test_a_save_cuts_the_pause_after_a_failure_short_once(tmp_path: Path) -> None:
    """It was cut short again and again: a thousand tries within seconds, a log as long, and then the end of the loop."""
    loop, stop, told = Loop(tmp_path), threading.Event(), list[float]()
    house = house_in(tmp_path, loop.tool)
    thread = threading.Thread(
        target=run_forever,
        args=(Selection((tmp_path / "manifests",)), house),
        kwargs={"every": 60.0, "stop": stop, "on_report": loop.reports.append, "on_trouble": lambda _, pause: told.append(pause)},
    )
    thread.start()
    try:
        until(lambda: bool(loop.reports), "the first pass")
        runs = house.settings.state / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        runs.write_text("no folder: it cannot be listed, as without file descriptors")
        until(lambda: len(told) >= 2, "two failures")
        loop.widget("a")
        until(lambda: len(told) >= 3, "a try for what was saved")
        time.sleep(2.0)
        assert told == [1.0, 2.0, 4.0], "the third pause is not over yet"
    finally:
        stop.set()
        thread.join(PATIENCE)
        house.store.close()
    assert not thread.is_alive()


def test_passes_may_fail_for_days() -> None:
    assert [pause_after(each) for each in (1, 2, 7, 1025, 10**6)] == [1.0, 2.0, 60.0, 60.0, 60.0]
