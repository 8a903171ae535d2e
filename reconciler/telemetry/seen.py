"""What the loop knows of the last passes, kept small: what a scrape tells of it needs no tool, no Store and no pass."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.admission.scene import quotas_of
from reconciler.admission.values import Node, Quota
from reconciler.drift import by_hand
from reconciler.model import Blocked, Done, Failed, Ref, Result, Started, Update
from reconciler.report.watch import acted

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.loop import Report


def is_whole(report: Report) -> bool:
    """Whether the pass looked at everything."""
    return report.proposal.policy is not None and not report.proposal.policy.partial


def outcome(report: Report) -> str:
    """What became of a pass, in one of a few words: see `catalogue.PASSES`."""
    if report.interrupted:
        return "interrupted"
    if any(isinstance(each.outcome, Failed) and acted(each) for each in report.results):
        return "failed"
    return "unread" if any(said != "ok" for said in report.proposal.tools.values()) else "ok"


def refused(status: str) -> bool:
    """Whether a call's status is one of HTTP that says no."""
    return len(status) == 3 and status.isdecimal() and status >= "400"


def drifts(report: Report) -> Iterable[tuple[Ref, bool]]:
    """Each Ref of the pass that somebody had changed in its tool, with whether it was put back."""
    inventory = report.proposal.inventory
    for each in report.results:
        action = each.action.wanted if isinstance(each.action, Blocked) else each.action
        if isinstance(action, Update) and by_hand(action.changes, inventory.get(action.ref)):
            yield action.ref, _put_back(each)


def _put_back(result: Result) -> bool:
    return isinstance(result.outcome, Done | Started) and not result.left_over


@dataclass
class Seen:
    """Times are monotonic seconds. Written by the loop's thread, read by others: every value is replaced, none is changed in place."""

    clock: Callable[[], float] = time.monotonic
    whole: float | None = None
    """End of the last whole pass that got to its end and could read every tool."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Tool -> `ok`, or why it could not be read the last time."""
    read: Mapping[str, float] = field(default_factory=dict)
    """Tool -> when it was read the last time without trouble."""
    drifted: frozenset[Ref] = frozenset()
    mistakes: Mapping[str, int] = field(default_factory=dict)
    """By severity."""
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    margin: float = 0.0
    """The Platform's `estimateMargin`."""
    nodes: tuple[Node, ...] = ()
    """As the last decision saw them."""
    sampled: datetime | None = None
    """When that was."""

    def note(self, report: Report) -> None:
        """A pass has ended."""
        now, proposal = self.clock(), report.proposal
        self.tools = {**self.tools, **proposal.tools}
        self.read = {**self.read, **{tool: now for tool, said in proposal.tools.items() if said == "ok"}}
        found = dict(drifts(report))
        still = {ref for ref, back in found.items() if not back}
        if is_whole(report):
            self.drifted = frozenset(still)
            self.mistakes = Counter(each.severity for each in proposal.diagnostics)
            self.quotas = quotas_of(proposal.resources.values(), proposal.inventory)
            if not report.interrupted and all(said == "ok" for said in proposal.tools.values()):
                self.whole = now
        else:
            self.drifted = self.drifted - {each.action.ref for each in report.results} | still
        if proposal.context is not None:
            self.margin = proposal.context.platform.admission.margin
        if proposal.admission is not None:
            taken = proposal.admission.snapshot
            self.nodes, self.sampled = taken.nodes, taken.now
