"""Differences that nobody declared: what the manifest asked for before and still asks for, and the tool does not say any more. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from reconciler.model import JSON, KNOWN_AFTER_APPLY, Change, Diff, Fields, Owned, Ref

if TYPE_CHECKING:
    from reconciler.state.records import AuditEntry

PutBack: TypeAlias = Mapping[Ref, Sequence[tuple[datetime, Sequence[str]]]]
"""Ref -> when which of its fields were put back."""
PREFIX = "spec."
PUT_BACK = "putBack"
"""In the audit log's detail: the fields that an update took back to what had been applied before."""
CHANGED_BY = "changed"
"""In the same: by whom and when, in words, as far as the tool tells."""
FIGHT, WITHIN = 3, timedelta(hours=1)
"""A field that was put back so often within this time is somebody else's too: it is left alone until nobody has written it for so long.
(Config Sync calls more than five updates a minute of an object a fight; here it is a field, and rarer: a loop looks every 30 s.)"""


def by_hand(changes: Diff, owned: Owned | None) -> Diff:
    """Those of `changes` that take a field back to what was applied last: since then, somebody changed it in the tool."""
    if owned is None:
        return ()
    return tuple(each for each in changes if each.path.startswith(PREFIX) and _was_applied(each, owned.applied))


def fought(changes: Diff, owned: Owned | None, put_back: Sequence[tuple[datetime, Sequence[str]]], now: datetime) -> Diff:
    """Those of `changes` over which two writers fight. `put_back` is when which fields of this resource were put back."""
    lately = [paths for at, paths in put_back if abs(now - at) < WITHIN]  # later than that: by a clock that was ahead
    return tuple(each for each in by_hand(changes, owned) if sum(each.path in paths for paths in lately) >= FIGHT)


def put_back(refs: Collection[Ref], entries: Iterable[AuditEntry]) -> PutBack:
    """When which fields of `refs` were put back, by the audit log."""
    found: dict[Ref, list[tuple[datetime, Sequence[str]]]] = defaultdict(list)
    for each in entries:
        paths = each.detail.get(PUT_BACK)
        if each.ref is not None and each.ref in refs and each.result != "failed" and isinstance(paths, list):
            found[each.ref].append((each.at, [str(path) for path in paths]))
    return found


def _was_applied(change: Change, applied: Fields) -> bool:
    """A field that was not set, and is not wanted, is ours no more than one that was. What becomes known only when it is applied (the next
    version of data) is news, not drift."""
    if change.want == KNOWN_AFTER_APPLY:
        return False
    values = list(_at(applied, change.path.removeprefix(PREFIX)))
    return change.want in values if values else change.want is None


def _at(fields: Any, path: str) -> Iterator[JSON]:
    """Values at a dotted path; a key may hold dots itself, so that there can be several."""
    if not isinstance(fields, Mapping):
        return
    for key, value in fields.items():
        if key == path:
            yield value
        elif path.startswith(f"{key}."):
            yield from _at(value, path.removeprefix(f"{key}."))
