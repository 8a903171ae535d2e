"""Plain values and their canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

JSON: TypeAlias = Any
"""A value that JSON can hold."""
Fields: TypeAlias = Mapping[str, JSON]
"""A resource as nested plain values; the keys are the manifest's own (camelCase), so that paths read as in the YAML."""
Outputs: TypeAlias = Mapping[str, str]
"""What a resource offers to those that reference it, such as a dataset's digest."""

KNOWN_AFTER_APPLY = "(known after apply)"
"""Stands for an input that does not exist yet; the only kind of unknown that a plan may hold."""


def canonical(value: JSON) -> str:
    """One text for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def digest_of(value: JSON) -> str:
    """SHA-256 over the canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def output(outputs: Outputs, name: str) -> str:
    """One output by name; KNOWN_AFTER_APPLY when it does not exist yet, empty when there is none of that name."""
    return outputs.get(name, outputs.get("*", ""))
