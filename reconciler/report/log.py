"""What a pass leaves in the log of the loop: each write, each condition that turned, each new mistake, and a line that sums it up. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.model import Blocked, Condition, Failed, Health, Ref, Result, Started, Status
from reconciler.report.watch import acted

if TYPE_CHECKING:
    from reconciler.loop import Report

BAD = (Health.DEGRADED, Health.MISSING, Health.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: how bad, what, and about what."""

    level: str
    event: str
    about: Mapping[str, Any]


@dataclass
class Account:
    """What was written already: every line says something that is news."""

    tool: Callable[[str], str]
    """Kind -> the tool that it lives in; empty = none."""
    statuses: dict[Ref, Status] = field(default_factory=dict)
    """Where everything stood before the next pass."""
    mistakes: frozenset[str] = frozenset()

    def entries(self, report: Report) -> list[Entry]:
        """The lines of this pass; what they say is remembered."""
        whole = report.proposal.policy is not None and not report.proposal.policy.partial
        found = [*self._writes(report), *self._mistakes(report, whole), *self._turned(report), _sum(report, whole)]
        self.statuses = ({} if whole else self.statuses) | {each.ref: each for each in report.statuses}
        return found

    def _writes(self, report: Report) -> Iterator[Entry]:
        for each in report.results:
            if not acted(each):
                continue
            failed = isinstance(each.outcome, Failed)
            yield Entry("warning" if failed else "info", "write", self._write(each, report))

    def _write(self, each: Result, report: Report) -> dict[str, Any]:
        ref = each.action.ref
        return {
            "ref": str(ref),
            "tool": self.tool(ref.kind),
            "action": type(each.action).__name__.lower(),
            "outcome": "failed" if isinstance(each.outcome, Failed) else "started" if isinstance(each.outcome, Started) else "done",
            "error": str(each.outcome.error) if isinstance(each.outcome, Failed) else "",
            "fields": [one.path for one in getattr(each.action, "changes", ())] or None,
            "duration": round(each.seconds, 3),
            "attempts": each.attempts,
            "revision": _revision(ref, report),
        }

    def _mistakes(self, report: Report, whole: bool) -> Iterator[Entry]:
        now = {f"{each.location} {each.path} {each.message}": each for each in report.proposal.diagnostics}
        for key, each in now.items():
            if key not in self.mistakes:
                about = {"at": str(each.location), "field": each.path, "message": each.message, "reason": each.reason}
                yield Entry("warning", "manifest", about | {"ref": str(each.ref) if each.ref is not None else ""})
        self.mistakes = frozenset(now) | (frozenset() if whole else self.mistakes)

    def _turned(self, report: Report) -> Iterator[Entry]:
        for status in report.statuses:
            before = self.statuses.get(status.ref)
            old = {each.type: each for each in before.conditions} if before is not None else {}
            new = {each.type: each for each in status.conditions}
            for name in sorted(old.keys() | new.keys()):
                if _essence(old.get(name)) != _essence(new.get(name)):
                    yield _turn(status, name, old.get(name), new.get(name))


def _turn(status: Status, name: str, old: Condition | None, new: Condition | None) -> Entry:
    bad = new is not None and ((name == "Ready" and not new.status and status.health in BAD) or (name == "Stalled" and new.status is True))
    about = {
        "ref": str(status.ref),
        "condition": name,
        "from": _word(old),
        "to": _word(new),
        "reason": new.reason if new is not None else "",
        "message": (new.message or status.message) if new is not None else "",
        "health": str(status.health),
    }
    return Entry("warning" if bad else "info", "condition", about)


def _essence(condition: Condition | None) -> tuple[object, str] | None:
    return None if condition is None else (condition.status, condition.reason)


def _word(condition: Condition | None) -> str:
    """As conditions are written elsewhere: True, False, Unknown; None where there is none."""
    return "None" if condition is None else "Unknown" if condition.status is None else str(condition.status)


def _revision(ref: Ref, report: Report) -> str:
    resource, owned = report.proposal.resources.get(ref), report.proposal.inventory.get(ref)
    source = resource.source if resource is not None else owned.source if owned is not None else "root"
    return next((each.revision for each in report.proposal.sources if each.name == source), "")


def _sum(report: Report, whole: bool) -> Entry:
    done = list(filter(acted, report.results))
    later = sum(isinstance(each.outcome, Failed) for each in report.results if not acted(each))
    blocked = [each.action for each in report.results if isinstance(each.action, Blocked)]
    failed = sum(isinstance(each.outcome, Failed) for each in done)
    away = {tool: said for tool, said in report.proposal.tools.items() if said != "ok"}
    about = {
        "whole": whole,
        "duration": round(report.seconds, 3),
        "resources": len(report.statuses),
        "ready": sum(each.ready for each in report.statuses),
        "writes": len(done) - failed,
        "failed": failed,
        "tried_later": later,
        "waiting": sum(each.held for each in blocked),
        "blocked": sum(not each.held for each in blocked),
        "calls": report.proposal.calls,
        "revision": ", ".join(each.revision for each in report.proposal.sources if each.revision),
        "unread": away or None,
        "interrupted": report.interrupted or None,
    }
    return Entry("warning" if failed or away else "info", "pass", about)
