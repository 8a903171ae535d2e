"""The line and column of a field, found by reading its file again: only ever done when there is something to say about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import yaml

from reconciler.model import JSON, NOWHERE, Location, Patch
from reconciler.source.yamltext import Fault, compose, decode

Steps: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the document down to a field; an index may be written as a text."""


class Places:
    """Finds fields in files; each file is read at most once, however many of its fields are asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._trees: dict[str, dict[int, yaml.Node]] = {}

    def at(self, document: Location, steps: Steps, *, key: bool = False) -> Location:
        """The place of a value, or of its key; the nearest place above it when it is not written at all.

        `document` is the place of the document as `load` gave it."""
        found = self._find(document, steps)
        if found is None:
            return document
        name, value, reached = found
        if reached < len(steps) or key or not isinstance(value, yaml.ScalarNode):
            value = name or value
        return Location(document.file, value.start_mark.line + 1, value.start_mark.column + 1)

    def spoken(self, document: Location, patches: Sequence[Patch], steps: Steps) -> Location:
        """The document that says what stands at `steps`: the last of the patches that says something of it, else the manifest's own.

        Of what is not written at all: the one that says most of what is above it, the manifest's own before a patch."""
        for each in reversed(patches):
            if _reach(each.body, steps) == len(steps):
                return each.location
        furthest = max(patches, key=lambda each: _reach(each.body, steps), default=None)
        if furthest is None:
            return document
        own = self._find(document, steps)
        return furthest.location if own is None or _reach(furthest.body, steps) > own[2] else document

    def both(self, document: Location, patches: Sequence[Patch], steps: Steps, *, key: bool = False) -> tuple[Location, Location]:
        """(the place of a value in the document that says it, the place that this patches; NOWHERE when it is the manifest's own)."""
        speaks = self.spoken(document, patches, steps)
        at = self.at(speaks, steps, key=key)
        return at, NOWHERE if speaks == document else self.at(document, steps)

    def written(self, document: Location, steps: Steps) -> str | None:
        """The text of a scalar as it stands in the file, before YAML gave it a meaning; None when it is not there."""
        found = self._find(document, steps)
        if found is None or found[2] < len(steps) or not isinstance(found[1], yaml.ScalarNode):
            return None
        text: str = found[1].value
        return text

    def _find(self, document: Location, steps: Steps) -> tuple[yaml.Node | None, yaml.Node, int] | None:
        """(key, value, how many steps could be gone)."""
        node = self._tree(document.file).get(document.line)
        if node is None:
            return None
        name: yaml.Node | None = None
        for gone, step in enumerate(steps):
            below = _step(node, step)
            if below is None:
                return name, node, gone
            name, node = below
        return name, node, len(steps)

    def _tree(self, file: str) -> dict[int, yaml.Node]:
        if file not in self._trees:
            try:
                nodes = compose(decode((self.root / file).read_bytes()))
            except (OSError, Fault):  # changed or gone since it was loaded: the document's own place must do
                nodes = []
            self._trees[file] = {each.start_mark.line + 1: each for each in nodes}
        return self._trees[file]


def _reach(value: JSON, steps: Steps) -> int:
    """How many of the steps can be gone; all of them, where a patch puts something else in the place of what they lead through."""
    for gone, step in enumerate(steps):
        if not isinstance(value, Mapping):
            return len(steps)
        if str(step) not in value:
            return gone
        value = value[str(step)]
    return len(steps)


def _step(node: yaml.Node, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode):
        number = int(step) if isinstance(step, int) or step.isdecimal() else len(node.value)
        return (None, node.value[number]) if number < len(node.value) else None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == step:
            return key, value
    for key, value in node.value:
        if key.tag.endswith(":merge"):
            for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if (found := _step(each, step)) is not None:
                    return found
    return None
