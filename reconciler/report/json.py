"""Proposals, reports, statuses and history as JSON for programs: versioned (`formatVersion`), stable, RFC 3339 times.

The formats are described in docs/reference/plan-json.md; a field is added without a new version, never renamed or removed. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reconciler.model import (
    Change,
    Condition,
    Diagnostic,
    Diff,
    Done,
    Failed,
    Health,
    Location,
    Owned,
    Ref,
    Result,
    Source,
    Started,
    Status,
)
from reconciler.report.rows import Row, errors, installation, plan_digest, reused, row, rows, totals
from reconciler.report.show import clean, rfc3339

if TYPE_CHECKING:
    from reconciler.loop import Proposal, Report
    from reconciler.report.cost import Cost
    from reconciler.state import AuditEntry

FORMAT_VERSION = 1


def plan_json(proposal: Proposal, *, all_: bool = False, at: datetime | None = None) -> str:
    """The plan; `all_` lists unchanged resources too, `at` is the time of the plan."""
    return _text("plan", plan_value(proposal, all_=all_, at=at))


def report_json(report: Report, *, all_: bool = False, at: datetime | None = None) -> str:
    """The plan, what became of each action, and where everything stands."""
    return _text(
        "report",
        {
            "at": rfc3339(at),
            "interrupted": report.interrupted,
            "seconds": round(report.seconds, 3),
            "plan": plan_value(report.proposal, all_=all_, at=at),
            "results": [result_value(each) for each in report.results if all_ or each.outcome is not None or each.left_over],
            "statuses": [status_value(each) for each in sorted(report.statuses, key=lambda each: str(each.ref))],
        },
    )


def status_json(
    statuses: Iterable[Status], *, about: Mapping[str, Any], inventory: Mapping[Ref, Owned] | None = None, at: datetime | None = None
) -> str:
    """Every status with its conditions, and what the inventory knows; `about` says of which installation and revision they are."""
    owned = inventory or {}
    found = sorted(statuses, key=lambda each: str(each.ref))
    counted = {str(health): sum(each.health == health for each in found) for health in Health}
    resources = [status_value(each, owned.get(each.ref)) for each in found]
    return _text("status", {"at": rfc3339(at), **about, "totals": counted, "resources": resources})


def history_json(entries: Iterable[AuditEntry]) -> str:
    """Audit entries, the newest first as given."""
    return _text("history", {"entries": [history_value(each) for each in entries]})


def diagnostics_json(diagnostics: Sequence[Diagnostic], *, resources: int, sources: Sequence[Source] = (), env: str = "") -> str:
    """What `reconcile validate` found."""
    return _text(
        "validation",
        {
            "valid": not any(each.severity == "error" for each in diagnostics),
            "environment": env or None,
            "resources": resources,
            "sources": [source_value(each) for each in sources],
            "diagnostics": [diagnostic_value(each) for each in diagnostics],
        },
    )


def error_json(message: str, hint: str = "") -> str:
    """An error that stopped the command."""
    return _text("error", {"message": message, "hint": hint})


def _text(kind: str, body: Mapping[str, Any]) -> str:
    told = {"formatVersion": FORMAT_VERSION, "kind": kind, **body}
    return json.dumps(finite(told), indent=2, ensure_ascii=True, default=str)


def finite(value: Any) -> Any:
    """The value with null for numbers that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def plan_value(proposal: Proposal, *, all_: bool, at: datetime | None) -> dict[str, Any]:
    """The plan as plain values."""
    found = rows(proposal)
    counted, expected = totals(found), _costs(proposal)
    return {
        "at": rfc3339(at),
        "outcome": _outcome(proposal),
        "digest": plan_digest(proposal),
        "installation": installation(proposal),
        "environment": proposal.selection.env or None,
        "appliedRevision": proposal.applied_revision,
        "sources": [source_value(each) for each in proposal.sources],
        "tools": {tool: {"ok": said == "ok", "message": "" if said == "ok" else said} for tool, said in sorted(proposal.tools.items())},
        "totals": counted,
        "confirmation": proposal.plan.confirmation,
        "approvals": _approvals(proposal),
        "policies": _policies(proposal),
        "actions": [
            {**row_value(each, proposal.plan.after.get(each.ref, ())), **_admission(each, proposal, expected)}
            for each in found
            if all_ or each.shown
        ],
        "admission": _compute(proposal),
        "against": _against(proposal),
        "quotas": _quotas(proposal),
        "orphans": [str(each) for each in proposal.orphans],
        "diagnostics": [diagnostic_value(each) for each in proposal.diagnostics],
        "measured": {"seconds": round(proposal.seconds, 3), "calls": proposal.calls},
    }


def _costs(proposal: Proposal) -> Mapping[Ref, Cost]:
    if proposal.admission is None or not proposal.admission.asked:
        return {}
    from reconciler.report.cost import costs

    return costs(proposal.admission)


def _against(proposal: Proposal) -> dict[str, Any] | None:
    """What of the plan a change brings about; None when nobody asked."""
    if proposal.impact is None:
        return None
    from reconciler.report.against import against_value

    return against_value(proposal.impact)


def _quotas(proposal: Proposal) -> dict[str, Any] | None:
    """What its quotas would have meant; None where it changes none."""
    if proposal.replay is None:
        return None
    from reconciler.report.replay import replay_value

    return replay_value(proposal.replay)


def _approvals(proposal: Proposal) -> list[dict[str, Any]]:
    """What waits for a yes, by project."""
    asked = proposal.policy.asked if proposal.policy is not None else None
    if asked is None:
        return []
    projects = sorted({ref.owner for ref in asked.waiting})
    waiting = {project: sorted(str(ref) for ref in asked.waiting if ref.owner == project) for project in projects}
    return [{"project": project, "digest": asked.digests.get(project, ""), "refs": refs} for project, refs in waiting.items()]


def _policies(proposal: Proposal) -> list[dict[str, Any]]:
    """What the rules in force say of it."""
    if proposal.policy is None or not proposal.policy.ruled.findings:
        return []
    from reconciler.report.policy import findings_value

    return findings_value(proposal.policy.ruled.findings)


def _admission(each: Row, proposal: Proposal, costs_: Mapping[Ref, Cost]) -> dict[str, Any]:
    """Whether what needs room would start now, and otherwise when and why; what it is expected to take."""
    if proposal.admission is None or each.ref not in proposal.admission.verdicts:
        return {}
    from reconciler.report.admission import verdict_value
    from reconciler.report.cost import cost_value

    said = verdict_value(proposal.admission.verdicts[each.ref])
    told = {"admission": {key: value for key, value in said.items() if key not in ("ref", "delays")}}
    return told | ({"cost": cost_value(cost)} if (cost := costs_.get(each.ref)) else {})


def _compute(proposal: Proposal) -> dict[str, Any] | None:
    """What the runs of this plan ask for together; None when it starts none."""
    admission = proposal.admission
    if admission is None or not admission.asked:
        return None
    return {
        "runs": len(admission.asked),
        "reused": sum(reused(proposal).values()),
        "seconds": round(sum(each.seconds or 0.0 for each in admission.asked)),
        "largestMemory": max(each.amounts.memory for each in admission.asked),
        "warnings": list(admission.decision.warnings),
        "delays": [{"ref": str(ref), "seconds": round(seconds)} for ref, seconds in sorted(admission.delays.items())],
    }


def _outcome(proposal: Proposal) -> str:
    counted = totals(rows(proposal))
    if errors(proposal):
        return "errors"
    if counted["unknown"]:
        return "unknown"
    if proposal.plan.writes:
        return "changes"
    return "held" if counted["blocked"] else "noChanges"


def row_value(each: Row, after: Sequence[Ref] = ()) -> dict[str, Any]:
    """One action."""
    return {
        "action": each.verb,
        **ref_value(each.ref),
        "location": location_value(each.location),
        "patches": [location_value(at) for at in each.patches],
        "why": each.why,
        "reason": each.reason,
        "next": each.next,
        "wanted": each.wanted,
        "irreversible": each.irreversible,
        "changes": changes_value(each.changes),
        "after": [str(ref) for ref in after],
    }


def ref_value(ref: Ref) -> dict[str, Any]:
    """A Ref written out and in its parts."""
    return {"ref": str(ref), "kind": ref.kind, "project": ref.project, "name": ref.name, "key": ref.key or None}


def changes_value(changes: Diff) -> list[dict[str, Any]]:
    """Changes; the two sides of a secret are left out."""
    return [_change(each) for each in changes]


def _change(each: Change) -> dict[str, Any]:
    sides = {} if each.secret else {"have": each.have, "want": each.want}
    return {"path": each.path, **sides, "forcesReplace": each.forces_replace, "secret": each.secret, "note": each.note}


def location_value(at: Location) -> dict[str, Any] | None:
    """File, line and column; None where no manifest is known."""
    return {"file": at.file, "line": at.line or None, "column": at.column or None} if at.file else None


def source_value(each: Source) -> dict[str, Any]:
    """What one source of manifests gave."""
    return {
        "name": each.name,
        "revision": each.revision,
        "complete": each.complete,
        "whyIncomplete": each.why_incomplete,
        "files": each.files,
        "documents": each.documents,
    }


def diagnostic_value(each: Diagnostic) -> dict[str, Any]:
    """One mistake in a manifest."""
    return {
        "severity": each.severity,
        "reason": each.reason,
        "message": each.message,
        "path": each.path,
        "hint": each.hint,
        "ref": str(each.ref) if each.ref else None,
        "location": location_value(each.location),
        "over": location_value(each.over),
    }


def result_value(each: Result) -> dict[str, Any]:
    """What became of one action."""
    told = row(each.action)
    state, more = _outcome_of(each)
    return {
        "ref": str(told.ref),
        "action": told.verb,
        "outcome": state,
        **more,
        "leftOver": changes_value(each.left_over),
        "attempts": each.attempts,
        "seconds": round(each.seconds, 3),
    }


def _outcome_of(each: Result) -> tuple[str, dict[str, Any]]:
    match each.outcome:
        case Done(external_id, outputs):
            return "done", {"externalId": external_id, "outputs": dict(outputs)}
        case Started(token, recheck_at):
            return "started", {"token": token, "recheckAt": rfc3339(recheck_at)}
        case Failed(error):
            return "failed", {"error": clean(str(error)) or type(error).__name__, "errorType": type(error).__name__}
        case None:
            return "notTried", {}


def status_value(each: Status, owned: Owned | None = None) -> dict[str, Any]:
    """Where one resource stands, and what the inventory knows of it."""
    return {
        **ref_value(each.ref),
        "ready": each.ready,
        "health": str(each.health),
        "message": each.message,
        "observedDigest": each.observed_digest,
        "externalId": owned.external_id if owned else None,
        "source": owned.source if owned else None,
        "outputs": dict(owned.outputs) if owned else {},
        "location": location_value(each.location),
        "conditions": [_condition(condition) for condition in each.conditions],
    }


def _condition(each: Condition) -> dict[str, Any]:
    word = {True: "True", False: "False", None: "Unknown"}[each.status]
    return {"type": each.type, "status": word, "reason": each.reason, "message": each.message, "since": rfc3339(each.since)}


def history_value(each: AuditEntry) -> dict[str, Any]:
    """One entry of the audit log."""
    return {
        "at": rfc3339(each.at),
        "actor": each.actor,
        "ref": str(each.ref) if each.ref else None,
        "action": each.action,
        "result": each.result,
        "revision": each.revision,
        "location": str(each.location) if each.location else None,
        "detail": dict(each.detail),
    }


def services_json(report: Mapping[str, Mapping[str, Any]]) -> str:
    """The shared services; `report` is `reconciler.controller.Services.report`."""
    return _text("services", {"services": {name: dict(each) for name, each in sorted(report.items())}})
