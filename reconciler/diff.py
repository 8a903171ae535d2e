"""What differs between desired and actual: three-way, over plain nested values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reconciler.model import Change, Diff, Fields
from schemas.base import IgnoreRule


def compare(
    want: Fields,
    have: Fields,
    last: Fields | None = None,
    *,
    immutable: frozenset[str] = frozenset(),
    secret: frozenset[str] = frozenset(),
    prefix: str = "spec",
) -> Diff:
    """Changes that turn `have` into `want`, sorted by path.

    `want` holds what we desire, defaults included; a key that is not in it is not ours, unless `last` (what we applied
    before) holds it: then it is removed. Mappings are compared key by key, everything else as one value.
    `immutable` and `secret` are dotted paths as `schemas.base.marked` gives them."""
    changes = list(_walk(want, have, last or {}, prefix))
    return tuple(
        Change(path, old, new, forces_replace=covers(immutable, path), secret=covers(secret, path))
        for path, old, new in sorted(changes, key=lambda each: each[0])
    )


def _walk(want: Fields, have: Fields, last: Fields, path: str) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for key in want.keys() | (last.keys() & have.keys()):
        below = f"{path}.{key}"
        desired, actual, before = want.get(key), have.get(key), last.get(key)
        if desired == actual:
            continue
        if isinstance(desired, Mapping) and isinstance(actual, Mapping):
            found += _walk(desired, actual, before if isinstance(before, Mapping) else {}, below)
        elif key not in want and isinstance(before, Mapping) and isinstance(actual, Mapping):
            found += _walk({}, actual, before, below)  # what others put beside ours stays
        elif isinstance(desired, Mapping) and actual is None:
            found += _walk(desired, {}, {}, below)
        else:
            found.append((below, actual, desired))
    return found


def without_ignored(changes: Diff, rules: tuple[IgnoreRule, ...], now: datetime) -> Diff:
    """`changes` less those that a rule in force leaves to somebody else. One rule governs detection and correction alike."""
    live = [rule.path for rule in rules if rule.until is None or rule.until > now]
    return tuple(each for each in changes if not any(each.path == path or each.path.startswith(path + ".") for path in live))


def covers(patterns: frozenset[str], path: str) -> bool:
    """Whether a dotted path is one of `patterns`, or below one; `*` stands for any part."""
    if not patterns:
        return False
    parts = path.split(".")
    return any(_matches(pattern.split("."), parts) for pattern in patterns)


def _matches(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) <= len(parts) and all(a in ("*", b) for a, b in zip(pattern, parts, strict=False))
