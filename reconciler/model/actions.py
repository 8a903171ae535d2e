"""Differences, the closed set of actions that follows from them, and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from reconciler.model.names import NOWHERE, Location, Ref
from reconciler.model.resources import Owned, Present, Resource
from reconciler.model.values import JSON
from schemas.base import Spec


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs. `have` or `want` is None when the field is not there on that side."""

    path: str
    have: JSON
    want: JSON
    forces_replace: bool = False
    secret: bool = False
    """Printed as (changed), never as values."""
    note: str = ""
    """What it means, for people: `+1,204 rows, schema same (append)`."""


Diff: TypeAlias = tuple[Change, ...]
"""Empty = as desired."""


class Glyph(StrEnum):
    """One sign for each action, the same in text, tests and code."""

    CREATE = "+"
    UPDATE = "~"
    REPLACE = "±"
    DELETE = "-"
    ADOPT = "»"
    MOVE = "→"
    KEEP = "="
    BLOCKED = "!"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Create:
    resource: Resource[Spec]
    changes: Diff = ()
    """Every field that will be set (have is None)."""
    why: str = ""
    glyph: Glyph = Glyph.CREATE

    @property
    def ref(self) -> Ref:
        return self.resource.ref


@dataclass(frozen=True, slots=True)
class Update:
    resource: Resource[Spec]
    seen: Present
    changes: Diff
    why: str = ""
    adopt: bool = False
    """True: write our mark as well."""
    glyph: Glyph = Glyph.UPDATE

    @property
    def ref(self) -> Ref:
        return self.resource.ref


@dataclass(frozen=True, slots=True)
class Replace:
    """Delete and create again, because an immutable field changes."""

    resource: Resource[Spec]
    seen: Present
    changes: Diff
    why: str = ""
    glyph: Glyph = Glyph.REPLACE

    @property
    def ref(self) -> Ref:
        return self.resource.ref


@dataclass(frozen=True, slots=True)
class Delete:
    owned: Owned
    why: str = ""
    confirmed: bool = False
    """Somebody said yes to it: it does not count against the deletion budget."""
    glyph: Glyph = Glyph.DELETE

    @property
    def ref(self) -> Ref:
        return self.owned.ref


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take an existing object into the inventory; `changes` (often none) are applied with it."""

    resource: Resource[Spec]
    seen: Present
    changes: Diff
    why: str = ""
    glyph: Glyph = Glyph.ADOPT

    @property
    def ref(self) -> Ref:
        return self.resource.ref


@dataclass(frozen=True, slots=True)
class Move:
    """Give what is there under another name the name of its manifest; `changes` (often none) are applied with it."""

    resource: Resource[Spec]
    """Under its new name."""
    seen: Present
    changes: Diff
    owned: Owned
    """The inventory entry under the old name."""
    why: str = ""
    glyph: Glyph = Glyph.MOVE

    @property
    def ref(self) -> Ref:
        return self.resource.ref


@dataclass(frozen=True, slots=True)
class Keep:
    """As desired; nothing to do."""

    ref: Ref
    why: str = ""
    glyph: Glyph = Glyph.KEEP


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something should happen and may not. `reason` is CamelCase, `why` names the thing in the way, `next` says what to do."""

    ref: Ref
    reason: str
    why: str
    next: str = ""
    wanted: Create | Update | Replace | Delete | Adopt | Move | None = None
    """What would be done otherwise."""
    location: Location = NOWHERE
    held: bool = False
    """True: nothing is wrong, it waits for room; admission starts it by itself."""
    glyph: Glyph = Glyph.BLOCKED

    @property
    def unknown(self) -> bool:
        """True when the tool could not be read, as opposed to a decision against it."""
        return self.reason == "ToolUnreachable"


Write: TypeAlias = Create | Update | Replace | Delete | Adopt | Move
Action: TypeAlias = Write | Keep | Blocked


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, in an order in which it can be done."""

    actions: tuple[Action, ...]
    after: Mapping[Ref, tuple[Ref, ...]] = field(default_factory=dict)
    """For each Ref the Refs whose action must have succeeded first."""
    confirmation: str = ""
    """Digest of exactly the deletions that wait for a yes; empty = none waits."""
    unmatched: tuple[str, ...] = ()
    """What somebody said yes to and names nothing that waits."""

    @property
    def writes(self) -> tuple[Write, ...]:
        return tuple(each for each in self.actions if not isinstance(each, Keep | Blocked))
