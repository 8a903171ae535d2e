"""One pass in a process of its own, whose program is `main`, that kills itself at a named point.

WHERE is `store` or `tool`, MOMENT `before` or `after`, WHAT the call: `store before created` dies when the tool has answered and nothing
of it is written down. KINDS is `fake` (widgets in a file) or `real`. Only calls about widgets and experiments count."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from controllers.platform import PlatformController
from controllers.project import ProjectController
from reconciler.house import House, open_house
from reconciler.loop import Report, carry_out, propose
from reconciler.model import Owned, Ref
from reconciler.registry import Kinds, discover
from reconciler.selection import Selection
from reconciler.settings import Settings
from reconciler.testing import FakeTool, FileShelf, WidgetController

WATCHED = ("Widget", "Experiment")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingStore:
    """A real Store that ends this process before or after one of its calls."""

    def __init__(self, store: Any, moment: str, what: str) -> None:
        self._store, self._moment, self._what = store, moment, what

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name != self._what:
            return found

        def call(subject: Ref | Owned, *arguments: Any, **named: Any) -> Any:
            ref = subject.ref if isinstance(subject, Owned) else subject
            if ref.kind in WATCHED and self._moment == "before":
                die()
            answer = found(subject, *arguments, **named)
            if ref.kind in WATCHED:
                die()
            return answer

        return call


def tool_in(root: Path) -> FakeTool:
    """The tool whose things outlive the process."""
    return FakeTool(FileShelf(root / "things.json"))


def house_in(root: Path, tool: FakeTool | None) -> House:
    """The installation, one write at a time; with `tool` its kinds are the fake's, without it all that are installed."""
    settings = Settings(root=root, state_dir=root / "state", parallelism=1)
    if tool is None:
        return open_house(settings, actor="test", kinds=discover())
    kinds: Any = {"Platform": PlatformController(), "Project": ProjectController(), "Widget": WidgetController(tool)}
    return open_house(settings, actor="test", kinds=Kinds(kinds))


def one_pass(house: House, *confirmed: str) -> Report:
    """Propose and carry out, over the whole tree."""
    selection = Selection(paths=(house.settings.root / "manifests",), confirmed=frozenset(confirmed))
    return carry_out(propose(selection, house), house)


def dying_hook(moment: str, what: str) -> Callable[[Any, str], None]:
    """For `FakeTool.hook`."""

    def hook(now: Any, method: str) -> None:
        if (now, method) == (moment, what):
            die()

    return hook


def main(root: Path, kinds: str, where: str, moment: str, what: str, *confirmed: str) -> None:
    tool = tool_in(root) if kinds == "fake" else None
    house = house_in(root, tool)
    if where == "tool" and tool is not None:
        tool.hook = dying_hook(moment, what)
    else:
        house = replace(house, store=DyingStore(house.store, moment, what))
    one_pass(house, *confirmed)
