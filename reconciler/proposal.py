"""What the corridor gives: what would be done, and what was done. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reconciler.admit import Admission
from reconciler.controller import Context
from reconciler.impact import Impact
from reconciler.model import Diagnostic, Observation, Owned, Plan, Ref, Resource, Result, Source, Status
from reconciler.policy import Policy
from reconciler.selection import Selection

if TYPE_CHECKING:
    from reconciler.replay import Replay


@dataclass(frozen=True)
class Proposal:
    """What would be done, with everything that it was decided from."""

    plan: Plan
    resources: Mapping[Ref, Resource[Any]]
    observations: Mapping[Ref, Observation]
    inventory: Mapping[Ref, Owned]
    sources: tuple[Source, ...]
    diagnostics: tuple[Diagnostic, ...]
    orphans: tuple[Ref, ...]
    """Objects in the tools that carry our mark, are in no manifest and were not in the inventory."""
    tools: Mapping[str, str]
    """Tool -> `ok`, or why it could not be read."""
    seconds: float
    calls: int
    """Calls to tools that it took."""
    applied_revision: str
    """Revision of the root source at the last complete apply; empty = never."""
    context: Context | None
    """None: no Platform is declared, so nothing could be looked at."""
    selection: Selection = field(default_factory=Selection)
    lease: int = 0
    """The last writer's lease when this was proposed; another one since makes the plan stale."""
    refused: frozenset[Ref] = frozenset()
    """Named by a manifest that is wrong: their last good state stays."""
    admission: Admission | None = None
    """What was decided about what asks for room; None: nothing does."""
    policy: Policy | None = None
    """What the plan was made under."""
    looked: datetime | None = None
    """When it began to look."""
    unread: frozenset[Ref] = frozenset()
    """Their children were not looked at: what was last said of them stands."""
    impact: Impact | None = None
    """What of it a change brings about; None: nobody asked."""
    replay: Replay | None = None
    """What its quotas would have meant; None: it changes none, or nobody asked."""
    declared: Mapping[Ref, Resource[Any]] = field(default_factory=dict)
    """All that the manifests say, filtered or not."""


@dataclass(frozen=True)
class Report:
    """What was done."""

    proposal: Proposal
    results: tuple[Result, ...]
    statuses: tuple[Status, ...]
    seconds: float
    interrupted: bool = False
