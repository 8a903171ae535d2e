"""Files of rules under a loop whose clock is an hour: what is edited, added or replaced is acted on at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.house import House
from reconciler.loop import Report
from reconciler.testing import FakeTool
from reconciler.wakeups import FOLLOW
from reconciler.watch import run_forever
from tests.contract.crash_child import house_in, tool_in
from tests.contract.test_policy_pass import PLATFORM, SMALL, declare, sizes, whole, widget

HOUR, PATIENCE = 3600.0, 30.0
SETTLED = 4 * FOLLOW
"""Seconds after which a loop has acted on what was saved; what comes later has another cause."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("manifests", "code", "policies"):
        (tmp_path / name).mkdir()
    (tmp_path / "manifests/platform.yaml").write_text(PLATFORM)
    (tmp_path / "policies/rules.yaml").write_text(SMALL)
    declare(tmp_path, widget("fine", 3), widget("large", 9))
    return tmp_path


@pytest.fixture
def tool(root: Path) -> FakeTool:
    return tool_in(root)


@pytest.fixture
def house(root: Path, tool: FakeTool) -> House:
    return house_in(root, tool)


@contextmanager
def looping(house: House) -> Iterator[list[Report]]:
    stop, seen = threading.Event(), list[Report]()
    told = {"every": HOUR, "stop": stop, "on_report": seen.append, "on_trouble": lambda *_: None}
    thread = threading.Thread(target=run_forever, args=(whole(house), house), kwargs=told)
    thread.start()
    try:
        until(lambda: bool(seen))
        time.sleep(SETTLED)  # by now it knows of all that the first pass has found
        yield seen
    finally:
        stop.set()
        thread.join()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    assert done()


def test_an_edited_rule_holds_and_lets_go_at_once(root: Path, house: House, tool: FakeTool) -> None:
    with looping(house) as seen:
        assert sizes(tool) == {"fine": 3}
        (root / "policies/rules.yaml").write_text(SMALL.replace("> 8", "> 9"))
        until(lambda: sizes(tool) == {"fine": 3, "large": 9})
        before = len(seen)
        (root / "policies/more.yaml").write_text(SMALL.replace("name: small", "name: tiny").replace("> 8", "> 2"))
        until(lambda: len(seen) > before)
        declare(root, widget("fine", 4), widget("large", 9))
        until(lambda: any("rule tiny" in each.message for each in house.store.statuses().values()))
        assert sizes(tool) == {"fine": 3, "large": 9}


def test_a_file_in_the_root_is_watched_through_every_replacement(root: Path, house: House, tool: FakeTool) -> None:
    (root / "manifests/platform.yaml").write_text(PLATFORM.replace("policies/*.yaml", "rules.yaml"))
    (root / "rules.yaml").write_text(SMALL)
    with looping(house):
        for most, want in ((9, {"fine": 3, "large": 9}), (10, {"fine": 3, "large": 9, "more": 10})):
            declare(root, widget("fine", 3), widget("large", 9), widget("more", 10))
            until(lambda: Path(root / "rules.yaml").exists() and len(house.store.statuses()) == 5)
            time.sleep(SETTLED)  # what was declared is acted on: what comes next is the rule's doing
            (root / "rules.new").write_text(SMALL.replace("> 8", f"> {most}"))
            (root / "rules.new").replace(root / "rules.yaml")
            until(lambda want=want: sizes(tool) == want)  # type: ignore[misc]


def test_a_folder_that_the_platform_names_later_counts_from_the_moment_that_it_is_there(root: Path, house: House, tool: FakeTool) -> None:
    with looping(house) as seen:
        before = len(seen)
        (root / "manifests/platform.yaml").write_text(PLATFORM.replace("policies/", "later/"))
        until(lambda: len(seen) > before)
        time.sleep(SETTLED)
        assert sizes(tool) == {"fine": 3}, "what is named and not there holds everything"
        (root / "later").mkdir()
        (root / "later/rules.yaml").write_text("rules: []\n")
        until(lambda: sizes(tool) == {"fine": 3, "large": 9})
