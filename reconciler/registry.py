"""Which kinds exist: the entry-point group `mlops_reconciler.kinds`, name -> controller class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from reconciler.controller import Controller, Expands
from reconciler.model import Ref
from schemas.base import KindInfo

GROUP = "mlops_reconciler.kinds"


@dataclass(frozen=True)
class Kinds:
    """The kinds of this pass: `controllers` by kind; `broken` holds why a plugin could not be loaded, and is a condition, not a crash."""

    controllers: Mapping[str, Controller[Any]]
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> Mapping[str, KindInfo]:
        return {name: each.info for name, each in self.controllers.items()}

    def controller(self, kind: str) -> Controller[Any]:
        """The controller of a kind. Raises KeyError for a kind that is not registered."""
        return self.controllers[kind]

    def of(self, ref: Ref) -> Controller[Any]:
        """The controller that looks after `ref`: for a child the one that its kind names for its children."""
        return self.child_of(ref.kind) if ref.key else self.controllers[ref.kind]

    def child_of(self, kind: str) -> Controller[Any]:
        """The controller of what the resources of `kind` stand for."""
        controller = self.controllers[kind]
        assert isinstance(controller, Expands)  # nobody else makes Refs with a key
        return controller.child

    def canonical(self, text: str) -> str | None:
        """`experiment`, `Experiment`, `experiments` -> `Experiment`; None when there is no such kind."""
        folded = {name.lower(): name for name in self.controllers}
        return folded.get(text.lower()) or folded.get(text.lower().removesuffix("s"))

    def nearest(self, text: str) -> str | None:
        """The kind that was probably meant."""
        folded = {name.lower(): name for name in self.controllers}
        close = get_close_matches(text.lower(), folded, n=1)
        return folded[close[0]] if close else None


def discover() -> Kinds:
    """Load every registered kind. A broken plugin lands in `broken`."""
    controllers: dict[str, Controller[Any]] = {}
    broken: dict[str, str] = {}
    for point in _points():
        try:
            controller = point.load()()
            if not isinstance(controller, Controller):
                raise TypeError("does not have the five verbs of reconciler.controller.Controller")
            controllers[controller.info.name] = controller
        except Exception as error:  # a plugin may fail in any way; the others go on
            broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
    return Kinds(controllers, broken)


def _points() -> Iterator[EntryPoint]:
    yield from sorted(entry_points(group=GROUP), key=lambda each: each.name)
