"""What the loop knows and no Store keeps, for whoever reads beside it: the plan of its last whole pass."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.proposal import Proposal


@dataclass(frozen=True, slots=True)
class Planned:
    """What one whole pass was about to do. Frozen, like all that it holds."""

    proposal: Proposal
    at: datetime
    number: int
    """Of the pass since this process began; the first is 1."""


class Board:
    """Written by the loop's thread, read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Planned | None = None

    def pin(self, proposal: Proposal, at: datetime) -> None:
        """A whole pass has ended."""
        with self._lock:
            number = self._last.number + 1 if self._last is not None else 1
            self._last = Planned(proposal, at, number)

    @property
    def last(self) -> Planned | None:
        """Of the last whole pass; None = this process has made none, because it has just begun or another one leads."""
        with self._lock:
            return self._last
