"""Exit codes. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.loop import Proposal, Report


class Exit(IntEnum):
    """What the shell is told."""

    OK = 0
    """Done, or nothing to do."""
    ERROR = 1
    """Something failed, or a manifest is wrong."""
    CHANGES = 2
    """Changes are pending; only with --detailed-exitcode."""
    HELD = 3
    """Nothing failed, but something is held, blocked or unknown."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as shells expect."""


def of_proposal(proposal: Proposal, *, detailed: bool) -> Exit:
    """Of a dry run. What cannot be read or may not be done weighs more than changes that wait."""
    from reconciler.model import Blocked

    if any(each.severity == "error" for each in proposal.diagnostics):
        return Exit.ERROR
    unreadable = any(said != "ok" for said in proposal.tools.values())
    if unreadable or any(isinstance(each, Blocked) for each in proposal.plan.actions):
        return Exit.HELD
    return Exit.CHANGES if detailed and proposal.plan.writes else Exit.OK


def of_report(report: Report, *, wait: bool, detailed: bool) -> Exit:
    """Of a pass. What failed for good counts in every pass until it is put right; with `wait`, what is not Ready at the end counts too."""
    from reconciler.model import Blocked, Health
    from reconciler.report.done import failures, stalled

    if report.interrupted:
        return Exit.INTERRUPTED
    late = [each for each in report.statuses if wait and not each.ready]
    broken = [each for each in late if each.health is Health.DEGRADED]
    if failures(report) or broken or stalled(report) or any(each.severity == "error" for each in report.proposal.diagnostics):
        return Exit.ERROR
    if late or any(isinstance(each.action, Blocked) for each in report.results):
        return Exit.HELD
    return Exit.CHANGES if detailed and any(each.outcome is not None for each in report.results) else Exit.OK
