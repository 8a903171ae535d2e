"""For authors of kinds: the contract suite that every controller passes, and honest fakes to test against.

::

    contract.py   test classes; subclass those that fit your kind (needs pytest)
    exporting.py  the same for kinds that can be imported
    steps.py      a resource taken through a pass step by step, without an engine
    context.py    a Context and Resources without an engine and without a Store
    services.py   shared services without processes
    fake.py       a small tool with pages, marks, soft delete, outages and lost answers; in memory or in a file
    widget.py     the kind that looks after that tool: an example of a complete controller
    kinds.py      the Widget kind as the engine sees it

Nothing here is imported by the reconciler itself."""

from __future__ import annotations

from reconciler.testing.context import Notebook, Recorder, make_context, make_resource
from reconciler.testing.fake import FakeTool, FileShelf, MemoryShelf, Thing
from reconciler.testing.kinds import fake_kinds
from reconciler.testing.services import FakeServices, NoServices, ServicesAt
from reconciler.testing.widget import WidgetController, WidgetSpec

__all__ = [
    "FakeServices",
    "FakeTool",
    "FileShelf",
    "MemoryShelf",
    "NoServices",
    "Notebook",
    "Recorder",
    "ServicesAt",
    "Thing",
    "WidgetController",
    "WidgetSpec",
    "fake_kinds",
    "make_context",
    "make_resource",
]
