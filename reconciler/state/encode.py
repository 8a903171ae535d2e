"""Values to rows and back. Pure.

JSON is kept as text with ASCII escapes, so that every text that Python can hold survives in both databases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from reconciler.errors import StoreError
from reconciler.model import JSON, Condition, Fields, Health, Location, Owned, Ref, Status
from reconciler.state.records import AuditEntry

Row = Mapping[str, Any]
"""Column name to value, as a statement takes it."""


def to_text(value: JSON, of: Ref | None = None) -> str:
    """Raises StoreError when `value` holds something that JSON cannot."""
    try:
        return json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"cannot keep a value of {of or 'the installation'}: {error}") from error


def from_text(text: str) -> Any:
    """The value again. Raises ValueError when the text is damaged."""
    return json.loads(text)


def ref_row(ref: Ref) -> dict[str, Any]:
    return {"kind": ref.kind, "project": ref.project or "", "name": ref.name, "key": ref.key}


def ref_from(kind: str, project: str, name: str, key: str) -> Ref:
    return Ref(kind, project or None, name, key)


def owned_row(owned: Owned) -> Row:
    return {
        **ref_row(owned.ref),
        "external_id": owned.external_id,
        "source": owned.source,
        "digest": owned.digest,
        "prune": owned.prune,
        "applied": to_text(dict(owned.applied), owned.ref),
        "outputs": to_text(dict(owned.outputs), owned.ref),
        "refs": to_text([[each.kind, each.project, each.name, each.key] for each in owned.references], owned.ref),
        "location": location_text(owned.location),
    }


def declared_row(owned: Owned) -> Row:
    return {**ref_row(owned.ref), "declared": to_text(dict(owned.declared), owned.ref)}


def declared_from(row: Sequence[Any]) -> tuple[Ref, Fields]:
    return ref_from(*row[:4]), from_text(row[4])


def owned_from(row: Sequence[Any]) -> Owned:
    kind, project, name, key, external_id, source, digest, prune, applied, outputs, refs, location = row
    return Owned(
        ref=ref_from(kind, project, name, key),
        external_id=external_id,
        source=source,
        digest=digest,
        applied=from_text(applied),
        prune=prune,
        outputs={} if outputs == "{}" else from_text(outputs),
        references=() if refs == "[]" else tuple(Ref(*parts) for parts in from_text(refs)),
        location=location_from(location),
    )


def status_row(status: Status) -> Row:
    conditions = [_condition(each) for each in status.conditions]
    return {
        **ref_row(status.ref),
        "health": int(status.health),
        "observed_digest": status.observed_digest,
        "message": status.message,
        "location": location_text(status.location),
        "conditions": to_text(conditions, status.ref),
    }


def status_from(row: Sequence[Any]) -> Status:
    kind, project, name, key, health, observed_digest, message, location, conditions = row
    return Status(
        ref=ref_from(kind, project, name, key),
        health=Health(health),
        conditions=_conditions_from(conditions),
        observed_digest=observed_digest,
        location=location_from(location),
        message=message,
    )


def audit_row(entry: AuditEntry) -> Row:
    return {
        **(ref_row(entry.ref) if entry.ref else dict.fromkeys(("kind", "project", "name", "key"), "")),
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "result": entry.result,
        "glyph": entry.glyph,
        "revision": entry.revision,
        "location": location_text(entry.location),
        "detail": to_text(dict(entry.detail), entry.ref),
    }


def audit_from(row: Sequence[Any]) -> AuditEntry:
    _, at, kind, project, name, key, actor, action, result, glyph, revision, location, detail = row
    return AuditEntry(
        at=at,
        actor=actor,
        ref=ref_from(kind, project, name, key) if kind else None,
        action=action,
        result=result,
        glyph=glyph,
        detail=from_text(detail),
        revision=revision,
        location=location_from(location),
    )


@lru_cache(maxsize=4096)
def _conditions_from(text: str) -> tuple[Condition, ...]:
    """Cached: after a pass thousands of resources say the same since the same moment."""
    return tuple(_condition_from(*parts) for parts in from_text(text))


def _condition(one: Condition) -> list[JSON]:
    kept: list[JSON] = [one.type, one.status, one.reason, one.message, one.since.isoformat() if one.since else None]
    return [*kept, one.severity] if one.severity else kept


def _condition_from(type_: Any, status: bool | None, reason: str, message: str, since: str | None, severity: str = "") -> Condition:
    return Condition(type_, status, reason, message, datetime.fromisoformat(since) if since else None, severity)


def location_text(location: Location) -> str:
    """As JSON: a file's name need not be valid Unicode."""
    return to_text([location.file, location.line, location.column])


def location_from(text: str) -> Location:
    return Location(*from_text(text))
