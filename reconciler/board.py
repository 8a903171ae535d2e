"""What passes between the loop and whoever answers beside it: the plan of its last whole pass, and that somebody wants one now."""

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
    """Safe to use from several threads. Plans come from the loop's alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Planned | None = None
        self._asked = threading.Event()

    def ask(self) -> None:
        """Somebody gave an order: a whole pass now, however much of the time passes have taken lately."""
        self._asked.set()

    def asked(self) -> bool:
        """Whether somebody did since this said so the last time."""
        asked = self._asked.is_set()
        self._asked.clear()
        return asked

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
