"""How commands write: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from typing import TextIO

from reconciler.report.show import clean, clean_lines
from reconciler.secret import masked


def say(text: str) -> None:
    """Write a result. A reader that went away (`| head`) ends the program quietly, in `start`.

    What the terminal's encoding cannot hold is written as an escape."""
    _write(sys.stdout, text if text.endswith("\n") else f"{text}\n")


def tell(text: str) -> None:
    """Write something beside the result."""
    _write(sys.stderr, f"{text}\n")


def complain(message: str, hint: str = "") -> None:
    """An error, and what to do next."""
    tell(f"error: {clean_lines(message)}")
    if hint:
        tell(f"  {clean(hint)}")


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed by whoever started us
        return
    encoding, text = stream.encoding or "utf-8", masked(text)
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
