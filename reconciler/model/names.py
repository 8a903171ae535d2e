"""Names of resources, places in manifests, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The name of one resource, or of a child of one: the only thing that a work item carries.

    Written `kind/project/name`, `kind/name` for kinds of the whole installation, `...#key` for a child."""

    kind: str
    project: str | None
    name: str
    key: str = ""
    """Of a child; empty for the resource itself."""

    def __str__(self) -> str:
        parts = [self.kind.lower(), self.name] if self.project is None else [self.kind.lower(), self.project, self.name]
        return "/".join(parts) + (f"#{self.key}" if self.key else "")

    @classmethod
    def parse(cls, text: str, kinds: Iterable[str]) -> Ref | None:
        """The Ref that `str` wrote; None when it is not one or its kind is not among `kinds` (written `Experiment`)."""
        head, _, key = text.partition("#")
        parts = head.split("/")
        kind = {each.lower(): each for each in kinds}.get(parts[0])
        if kind is None or not 2 <= len(parts) <= 3 or not all(parts):
            return None
        return cls(kind, parts[1] if len(parts) == 3 else None, parts[-1], key)

    @property
    def path(self) -> str:
        """`project/name`: the name that the resource has in a tool."""
        return self.name if self.project is None else f"{self.project}/{self.name}"

    @property
    def owner(self) -> str:
        """The project that the resource belongs to; for a Project itself its own name; empty for the installation's."""
        if self.project is not None:
            return self.project
        return self.name if self.kind == "Project" else ""


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a manifest. Lines and columns count from 1; 0 = not known."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


NOWHERE = Location("")
"""For what no manifest names."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong with a manifest or a source, told as a sentence with a place."""

    location: Location
    message: str
    path: str = ""
    """Field, dotted (`spec.runs.resources.memory`)."""
    ref: Ref | None = None
    hint: str = ""
    """What is allowed, or the likely meaning."""
    severity: Literal["error", "warning"] = "error"
    reason: str = "Invalid"
    """CamelCase word for programs."""
    over: Location = NOWHERE
    """Where a patch of an environment is wrong: the place in the manifest that it changes."""

    def __str__(self) -> str:
        head = f"{self.location}  {self.ref}" if self.ref else str(self.location)
        what = f"{self.path}: {self.message}" if self.path else self.message
        patched = [f"it patches {self.over}"] if self.over.file else []
        return "\n  ".join([head, what, *([self.hint] if self.hint else []), *patched])


def ref_names(refs: Sequence[Ref], most: int = 3) -> str:
    """The first few of `refs` for a message, with how many more there are."""
    shown = ", ".join(str(each) for each in refs[:most])
    return shown if len(refs) <= most else f"{shown} and {len(refs) - most} more"
