"""What can go wrong, and who may try again.

::

    ReconcilerError
    ├── Transient            the same call may succeed later; the engine retries it with backoff
    ├── Terminal             the same call will fail again; the engine waits for a new revision
    │   ├── Conflict         an object of that name exists and is not ours
    │   └── Rejected         the tool understood and refused
    ├── InvalidManifest      the manifests say something that cannot be carried out; holds diagnostics
    ├── StalePlan            somebody else wrote since the plan was made; make it again
    ├── StoreError           the Store cannot be read or written
    │   └── WriterBusy       another process is writing; it ends, or its lease runs out
    └── UsageError           the command line asks for something that does not exist
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model import Diagnostic


class ReconcilerError(Exception):
    """Base of everything that this program raises on purpose.

    The first argument says what happened, in one sentence; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Transient(ReconcilerError):
    """May succeed later. `retry_after` is in seconds; None leaves the wait to the engine's backoff.

    `maybe_done` is True when the request may have taken effect although no answer came (a time-out after sending)."""

    def __init__(self, message: str, *, retry_after: float | None = None, maybe_done: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.maybe_done = maybe_done


class Terminal(ReconcilerError):
    """Will fail again until the manifest or the tool changes."""


class Conflict(Terminal):
    """An object of the wanted name exists in the tool and does not carry this installation's mark."""


class Rejected(Terminal):
    """The tool understood the request and refused it."""


class InvalidManifest(ReconcilerError):
    """One or more manifests are wrong. `diagnostics` hold a place and a reason each."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(str(each) for each in diagnostics))
        self.diagnostics = tuple(diagnostics)


class StalePlan(ReconcilerError):
    """Somebody else carried out a pass between this plan and its turn to write."""


class StoreError(ReconcilerError):
    """The Store cannot be read or written (disk full, database away, made by a newer version)."""


class WriterBusy(StoreError):
    """Another process holds the lease for writing. Waiting helps: it ends its pass, or its lease runs out."""


class UsageError(ReconcilerError):
    """The command line names something that does not exist or does not fit together."""
