"""What can go wrong in a project's code, and what the client says when it goes on without a tool.

::

    ClientError
    ├── NotConfigured     no installation, project or address is found here
    ├── Unavailable       a tool gave no answer, after all retries; the same call may succeed later
    ├── Refused           a tool understood and said no; the same call will fail again
    └── NotAsked          what was asked for is not possible in this state, such as a log without a run
    MLOpsWarning          the client goes on without a tool; shown once for each tool
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


class ClientError(Exception):
    """Base of all that the client raises on purpose. The first argument says what happened; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class NotConfigured(ClientError):
    """There is no installation here, or it knows no such project, or an address is missing."""


class Unavailable(ClientError):
    """No answer, or the tool is in trouble. `maybe_done`: the request may have been carried out all the same."""

    def __init__(self, message: str, *, hint: str = "", maybe_done: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.maybe_done = maybe_done


class Refused(ClientError):
    """The tool understood the request and refused it. `code` is the tool's own word for it."""

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class NotAsked(ClientError):
    """Not possible now: no run is active, one is active already, a name is missing."""


class MLOpsWarning(UserWarning):
    """The client goes on without something, and says so once."""


def warn(text: str) -> None:
    """Show an MLOpsWarning at the line of the project's code that called the client."""
    here, frame, level = str(Path(__file__).parent), sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, MLOpsWarning, stacklevel=level)
