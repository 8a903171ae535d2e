"""The Widget kind as the engine sees it, for tests of everything that is not about one tool."""

from __future__ import annotations

from reconciler.controller import Controller
from reconciler.registry import Kinds
from reconciler.testing.fake import FakeTool
from reconciler.testing.widget import WidgetController
from schemas.base import Spec


def fake_kinds(tool: FakeTool, *others: Controller[Spec]) -> Kinds:
    """Kinds with a Widget over `tool`, and `others` beside it: what `registry.discover` would find if these were installed."""
    controllers: dict[str, Controller[Spec]] = {each.info.name: each for each in others}
    widget = WidgetController(tool)
    return Kinds({widget.info.name: widget, **controllers})
