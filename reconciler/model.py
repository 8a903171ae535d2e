"""The values that flow through the corridor. All frozen; no I/O; imports the envelope's types only.

::

    Manifest -> Resource -> Observation -> Diff -> Action -> Plan -> Result -> Status
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from schemas.base import Lifecycle, PrunePolicy, Spec

JSON: TypeAlias = Any
"""A value that JSON can hold."""
Fields: TypeAlias = Mapping[str, JSON]
"""A resource as nested plain values; the keys are the manifest's own (camelCase), so that paths read as in the YAML."""
Outputs: TypeAlias = Mapping[str, str]
"""What a resource offers to those that reference it, such as a dataset's digest."""
S = TypeVar("S", bound=Spec, covariant=True)

KNOWN_AFTER_APPLY = "(known after apply)"
"""Stands for an input that does not exist yet; the only kind of unknown that a plan may hold."""


# --- names and places ----------------------------------------------------------------------------------------------


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

    def __str__(self) -> str:
        head = f"{self.location}  {self.ref}" if self.ref else str(self.location)
        what = f"{self.path}: {self.message}" if self.path else self.message
        return "\n  ".join([head, what, *([self.hint] if self.hint else [])])


# --- desired -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Manifest:
    """One YAML document as it was read: syntax is right, meaning is not checked yet."""

    source: str
    location: Location
    data: Mapping[str, JSON]
    index: int = 0
    """Which document of the file, from 0."""


@dataclass(frozen=True)
class Resource(Generic[S]):
    """One desired resource: a manifest that passed its schema. `bind` fills `inputs` and `last`."""

    ref: Ref
    spec: S
    lifecycle: Lifecycle
    labels: Mapping[str, str]
    location: Location
    source: str
    digest: str
    """Of the manifest's meaning: equal for equal specs, whatever the layout of the file."""
    prune: PrunePolicy
    """`lifecycle.prune`, or the kind's default."""
    root: Path = Path()
    """The folder that the resource's paths are relative to: its project's, confined to it."""
    references: tuple[Ref, ...] = ()
    """What it names and therefore comes after."""
    requires: tuple[Ref, ...] = ()
    """What must be there without being named in the spec: its Project, and the Platform."""
    inputs: Mapping[Ref, Outputs] = field(default_factory=dict)
    """Outputs of `references`; a value may be KNOWN_AFTER_APPLY."""
    last: Fields | None = None
    """Fields at the last apply (inventory); None = never applied or not known."""


@dataclass(frozen=True, slots=True)
class Source:
    """What one place of manifests gave in this pass."""

    name: str
    revision: str
    """Commit, `+dirty` when the tree has changes, or empty outside git."""
    complete: bool
    """Everything was read and parsed: only then may something that is missing here be deleted."""
    files: int
    documents: int
    why_incomplete: str = ""


# --- actual --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """What we write on every object in a tool to know it again."""

    installation: str
    ref: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """A complete listing did not hold it."""


@dataclass(frozen=True, slots=True)
class Present:
    """It is there."""

    external_id: str
    fields: Fields
    outputs: Outputs = field(default_factory=dict)
    mark: Mark | None = None
    """None: it carries no installation's mark."""
    recheck_at: datetime | None = None
    """When to look again, when something is still settling or starting."""
    raw: Mapping[str, JSON] = field(default_factory=dict)
    """More of what the tool said; for health and for people, never compared."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Could not look. Leads to no action."""

    reason: str
    """A sentence: what was asked and what came back."""


Observation: TypeAlias = Absent | Present | Unknown


@dataclass(frozen=True, slots=True)
class Owned:
    """An inventory entry: what we created or adopted, with all that is needed to delete it when the manifest is gone."""

    ref: Ref
    external_id: str
    source: str
    digest: str
    applied: Fields
    prune: PrunePolicy
    """Remembered here, so that deleting the manifest and its protection in one commit does not slip through."""
    outputs: Outputs = field(default_factory=dict)
    references: tuple[Ref, ...] = ()
    location: Location = Location("")
    suspended: bool = False


# --- difference ----------------------------------------------------------------------------------------------------


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


class Health(IntEnum):
    """Ordered by badness: a parent is as healthy as its worst child."""

    HEALTHY = 0
    SUSPENDED = 1
    PROGRESSING = 2
    UNKNOWN = 3
    MISSING = 4
    DEGRADED = 5

    def __str__(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How an object is, and why, in words that do not change from pass to pass."""

    health: Health
    message: str = ""
    reason: str = ""
    """CamelCase; empty = the health's own name."""


# --- actions -------------------------------------------------------------------------------------------------------


class Glyph(StrEnum):
    """One sign for each action, the same in text, tests and code."""

    CREATE = "+"
    UPDATE = "~"
    REPLACE = "±"
    DELETE = "-"
    ADOPT = "»"
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
    wanted: Create | Update | Replace | Delete | Adopt | None = None
    """What would be done otherwise."""
    location: Location = Location("")
    glyph: Glyph = Glyph.BLOCKED

    @property
    def unknown(self) -> bool:
        """True when the tool could not be read, as opposed to a decision against it."""
        return self.reason == "ToolUnreachable"


Write: TypeAlias = Create | Update | Replace | Delete | Adopt
Action: TypeAlias = Create | Update | Replace | Delete | Adopt | Keep | Blocked


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, in an order in which it can be done."""

    actions: tuple[Action, ...]
    after: Mapping[Ref, tuple[Ref, ...]] = field(default_factory=dict)
    """For each Ref the Refs whose action must have succeeded first."""
    confirmation: str = ""
    """Digest of exactly the deletions that wait for a yes; empty = none waits."""

    @property
    def writes(self) -> tuple[Write, ...]:
        return tuple(each for each in self.actions if not isinstance(each, Keep | Blocked))


# --- results -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """The tool has accepted it."""

    external_id: str
    outputs: Outputs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Started:
    """Long work goes on outside; look again at `recheck_at`."""

    token: str
    recheck_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    error: Exception


Outcome: TypeAlias = Done | Started | Failed


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one action."""

    action: Action
    outcome: Outcome | None
    """None: nothing was tried (Keep, Blocked, or stopped before its turn)."""
    observation: Observation | None = None
    """After the write."""
    left_over: Diff = ()
    """Still differs after a successful write: a defect of the controller or of the tool, reported by name."""
    attempts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement about a resource. `message` holds no timestamp and no counter, so that it does not flap."""

    type: Literal["Ready", "Synced", "Stalled", "Admitted", "Compatible"]
    status: bool | None
    """None = not known."""
    reason: str
    message: str = ""
    since: datetime | None = None
    """When `status` last changed; filled by the Store."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a resource stands after a pass."""

    ref: Ref
    health: Health
    conditions: tuple[Condition, ...]
    observed_digest: str = ""
    location: Location = Location("")
    message: str = ""
    """The most telling reason, for the WHY column."""

    @property
    def ready(self) -> bool:
        return any(each.type == "Ready" and each.status is True for each in self.conditions)


# --- canonical form ------------------------------------------------------------------------------------------------


def canonical(value: JSON) -> str:
    """One text for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def digest_of(value: JSON) -> str:
    """SHA-256 over the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def ref_names(refs: Sequence[Ref], most: int = 3) -> str:
    """The first few of `refs` for a message, with how many more there are."""
    shown = ", ".join(str(each) for each in refs[:most])
    return shown if len(refs) <= most else f"{shown} and {len(refs) - most} more"


def output(outputs: Outputs, name: str) -> str:
    """One output by name; KNOWN_AFTER_APPLY when it does not exist yet, empty when there is none of that name."""
    return outputs.get(name, outputs.get("*", ""))
