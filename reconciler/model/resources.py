"""Desired and actual: what manifests say and what the tools hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from reconciler.model.names import NOWHERE, Location, Ref
from reconciler.model.values import JSON, Fields, Outputs
from schemas.base import Lifecycle, PrunePolicy, Spec

S = TypeVar("S", bound=Spec, covariant=True)


@dataclass(frozen=True, slots=True)
class Patch:
    """One document of an environment's overlay: what it has differently (RFC 7386, JSON Merge Patch)."""

    location: Location
    body: Mapping[str, JSON]
    """Less what says whom it is for; null removes."""
    content: str = ""
    """Digest of the bytes of its file; empty = not known."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One YAML document as it was read: syntax is right, meaning is not checked yet."""

    source: str
    location: Location
    data: Mapping[str, JSON]
    index: int = 0
    """Which document of the file, from 0."""
    content: str = ""
    """Digest of the bytes of the file; empty = not known."""
    patches: tuple[Patch, ...] = ()
    """Of the environment, in `data` already; what is last in effect stands last."""


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
    patches: tuple[Patch, ...] = ()
    """Of the environment, over the manifest in `location`."""

    @property
    def declared(self) -> Fields:
        """What its manifest says, as `Owned.declared` keeps it."""
        spec, lifecycle = (each.model_dump(mode="json", exclude_defaults=True) for each in (self.spec, self.lifecycle))
        return {"spec": spec, "lifecycle": lifecycle, "labels": dict(self.labels)}


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
    """When to look again, when something is still on its way."""
    settling: bool = False
    """True: what it is cannot be said before `recheck_at`, because it is changing; nothing that reads it starts until then."""
    unfit: str = ""
    """Why no new work may start that reads it, in words; empty = it may. What stands goes on, and so does what looks after it."""
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
    location: Location = NOWHERE
    declared: Fields = field(default_factory=dict, compare=False)
    """What its manifest says: `spec`, `lifecycle` and `labels`, each without what is at its default. The Store keeps it beside the
    entry, and gives it back for `reconcile import` only: empty = not read, or not known."""
