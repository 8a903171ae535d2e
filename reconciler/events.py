"""What a pass tells while it works; the progress display reads it, nothing depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from reconciler.model import Ref


@dataclass(frozen=True, slots=True)
class Event:
    """One step of the work. `done` of `total` actions are finished (both 0 outside apply)."""

    kind: Literal["phase", "start", "done", "failed", "retry", "wait"]
    text: str
    ref: Ref | None = None
    done: int = 0
    total: int = 0
    at: float = field(default_factory=time.monotonic)


Listener: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that hears nothing."""
