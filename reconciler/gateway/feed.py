"""`POST /feedback/PROJECT/NAME`: labels for predictions that were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.gateway.problems import Problem, unavailable

MOST_LABELS = 10_000
"""In one request."""
MOST_BYTES = 4 << 20
LONGEST_ID = 300
"""Characters."""


def labels_of(value: Any) -> Sequence[Mapping[str, Any]]:
    """The labels. Raises Problem 422."""
    labels = value.get("labels") if isinstance(value, dict) else None
    if not isinstance(labels, list) or len(value) > 1:
        raise _wrong("labels", 'send {"labels": [{"id": ..., "label": ...}]} and nothing else')
    if not 1 <= len(labels) <= MOST_LABELS:
        raise _wrong("labels", f"has {len(labels)} entries; 1 to {MOST_LABELS} are allowed")
    for number, each in enumerate(labels):
        if not isinstance(each, dict) or each.keys() != {"id", "label"}:
            raise _wrong(f"labels[{number}]", "has exactly `id` and `label`")
        if not isinstance(each["id"], str) or not 1 <= len(each["id"]) <= LONGEST_ID:
            raise _wrong(f"labels[{number}].id", f"is a text of 1 to {LONGEST_ID} characters, as the answer to the prediction gave it")
    return labels


def taken(count: int, of: int) -> dict[str, int]:
    """The answer. Raises Problem 503 when they could not be taken."""
    if count < of:
        raise unavailable("too many labels wait to be written", 5.0)
    return {"labels": count}


def _wrong(path: str, message: str) -> Problem:
    return Problem(422, f"{path} {message}", errors=[{"path": path, "message": message}])


SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["labels"],
    "additionalProperties": False,
    "properties": {
        "labels": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_LABELS,
            "items": {
                "type": "object",
                "required": ["id", "label"],
                "additionalProperties": False,
                "properties": {"id": {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}, "label": {}},
            },
        }
    },
}
"""Of the body, for /openapi.json."""
