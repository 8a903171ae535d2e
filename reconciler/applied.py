"""Which lines of the audit log belong together: an apply is all that was done while the manifests were at one revision.

One command makes several passes, and a loop goes on for days at one commit: what a person would take back is what a revision brought about.
Where a revision does not say what was read (outside git, or with changes that are not committed) each pass is an apply of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING

from reconciler.errors import UsageError
from reconciler.model import JSON
from reconciler.rules import ROOT_SOURCE
from reconciler.shard import Shard

if TYPE_CHECKING:
    from reconciler.state import AuditEntry, Store

APPLY, BEFORE, SOURCE = "apply", "before", "source"
"""In the detail of an audit line: the number of its apply, the revision of its source before that, and its source where that is not the
root."""
_STANDING, _COUNT = "applying", "applies"
_PAGE = 1000
"""Lines of the audit log that are read at first; ten times as many each time that is not enough."""
DIRTY = "+dirty"


class Applying:
    """The apply that a pass belongs to. Safe to use from many threads; for who holds the writer's lease."""

    def __init__(self, store: Store, revisions: Mapping[str, str], shard: Shard | None = None) -> None:
        self._store, self._revisions = store, dict(revisions)
        self._key = _STANDING if shard is None else f"{_STANDING} {shard}"
        self._lock = Lock()
        self._number, self._before = 0, dict[str, str]()

    def follow(self) -> None:
        """Note the revisions that the passes are at now, and which they were at before; writes only where they changed."""
        standing = json.loads(self._store.meta(self._key) or "{}")
        if standing.get("revisions") == self._revisions:
            self._before = standing["before"]
            self._number = standing["number"] if self._settled else 0
            return
        known = self._store.meta("applied_revision") or ""  # by a program that numbered no applies
        self._before = standing.get("revisions") or ({ROOT_SOURCE: known} if known != self._revisions.get(ROOT_SOURCE) else {})
        self._keep()

    def mark(self, source: str) -> Mapping[str, JSON]:
        """For the detail of a line about something of `source`. The first line of an apply gives it its number."""
        with self._lock:
            if not self._number:
                self._number = int(self._store.meta(_COUNT) or 0) + 1
                self._store.set_meta(_COUNT, str(self._number))
                self._keep()
        own = {} if source == ROOT_SOURCE else {SOURCE: source}
        return {APPLY: self._number, BEFORE: self._before.get(source, ""), **own}

    @property
    def _settled(self) -> bool:
        """Whether the root's revision says what was read."""
        root = self._revisions.get(ROOT_SOURCE, "")
        return bool(root) and not root.endswith(DIRTY)

    def _keep(self) -> None:
        standing = {"number": self._number, "revisions": self._revisions, "before": self._before}
        self._store.set_meta(self._key, json.dumps(standing))


@dataclass(frozen=True)
class Applied:
    """What was done in one apply."""

    number: int
    entries: tuple[AuditEntry, ...]
    """The oldest first; what failed is among them."""
    revision: str
    """Of the root source; empty outside git, and where nothing of the root was touched."""
    before: str
    """Revision of the root source before it; empty = not known."""

    @property
    def at(self) -> datetime:
        """When its last line was written."""
        return self.entries[-1].at

    @property
    def actor(self) -> str:
        return self.entries[-1].actor


def number_of(entry: AuditEntry) -> int:
    """The apply that a line belongs to; 0 = none."""
    found = entry.detail.get(APPLY, 0)
    return found if isinstance(found, int) else 0


def applied(store: Store, number: int | None = None) -> Applied | None:
    """An apply (None: the last one that did something in a tool); None when there is no such one."""
    limit = _PAGE
    while True:
        entries = store.history(limit=limit)
        wanted = number or next((number_of(each) for each in entries if number_of(each) and each.glyph and each.result != "failed"), 0)
        found = [each for each in entries if wanted and number_of(each) == wanted]
        if len(entries) < limit or 0 < _oldest(entries) < wanted:  # numbers are given in the order of each apply's first line
            return _of(wanted, found) if found else None
        limit *= 10


def must_be_known(found: Applied | None, number: int | None) -> Applied:
    """Raise UsageError where there is no such apply."""
    if found is not None:
        return found
    if number is None:
        raise UsageError("nothing was applied here yet", hint="`reconcile` applies what the manifests say, and writes down what it does")
    raise UsageError(f"there is no apply {number}", hint="`reconcile history` names the apply of each entry")


def numbers(store: Store) -> list[int]:
    """Of the newest applies, the last one first."""
    return list(dict.fromkeys(number_of(each) for each in store.history(limit=_PAGE) if number_of(each)))


def _oldest(entries: Sequence[AuditEntry]) -> int:
    """The apply of the oldest line that belongs to one, of lines that are newest first; 0 = none does."""
    return next((number for each in reversed(entries) if (number := number_of(each))), 0)


def _of(number: int, newest_first: Sequence[AuditEntry]) -> Applied:
    roots = [each for each in newest_first if SOURCE not in each.detail]
    revision, before = (roots[0].revision, str(roots[0].detail.get(BEFORE, ""))) if roots else ("", "")
    return Applied(number, tuple(reversed(newest_first)), revision, before)
