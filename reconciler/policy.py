"""Everything besides desired and actual that a decision depends on. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.approval import Asked
from reconciler.guard.values import Ruled
from reconciler.model import Attribution, Blocked, Diff, Ref, Source
from reconciler.moves import Moves
from reconciler.shard import Shard


@dataclass(frozen=True)
class Policy:
    """Everything besides desired and actual that a decision depends on."""

    installation: str
    now: datetime
    sources: Sequence[Source]
    kinds: frozenset[str] | None = None
    """Kinds that are loaded; None = all that are met."""
    partial: bool = False
    """Only a part of the manifests was looked at: it says nothing about the rest, and nothing is pruned."""
    shard: Shard | None = None
    """With `partial`: the part is whole in itself, so that it is pruned."""
    refused: frozenset[Ref] = frozenset()
    """Named by a manifest that is wrong: last good state stays, nothing is pruned."""
    blocked: Mapping[Ref, Blocked] = field(default_factory=dict)
    """Found by resolve."""
    suspended: Mapping[Ref, str] = field(default_factory=dict)
    """Ref -> why, from `reconcile suspend`; a Project's entry covers the project, the Platform's everything."""
    closed: Mapping[str, str] = field(default_factory=dict)
    """Project -> why nothing of it may be changed at this time."""
    asked: Asked = field(default_factory=Asked)
    """What manifests newly ask for in projects that want a yes to it."""
    ruled: Ruled = field(default_factory=Ruled)
    """What the rules in force say of what would be done (`reconciler/guard`)."""
    moves: Moves = field(default_factory=Moves)
    """What goes by another name in its tool, and is to have its manifest's."""
    part: bool = False
    """Not every manifest was read: what is missing may be declared all the same."""
    confirmed: frozenset[str] = frozenset()
    """Digests of deletion sets, or Refs, that somebody said yes to."""
    recent_deletions: Sequence[Ref] = ()
    """Within the last 24 hours deleted without a confirmation, or replaced."""
    unfinished: frozenset[Ref] = frozenset()
    """Begun by an earlier pass that was cut short (journal)."""
    settling: Mapping[Ref, str] = field(default_factory=dict)
    """Ref -> why nothing is done about it yet although something goes on (the observation names a time to look again)."""
    released: Mapping[str, str] = field(default_factory=dict)
    """Kind -> what becomes of a child of it that is not wanted any more, in words."""
    put_back: Mapping[Ref, Sequence[tuple[datetime, Sequence[str]]]] = field(default_factory=dict)
    """When which fields were taken back to what their manifest says, lately: who does that again and again is not alone."""
    attributed: Mapping[Ref, Attribution] = field(default_factory=dict)
    """Who changed what has drifted, as far as its tool tells."""
    preview: Mapping[Ref, Diff] = field(default_factory=dict)
    """What a Create would set, for showing."""
