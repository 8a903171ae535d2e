"""How commands write: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys

from reconciler.report.show import clean, clean_lines


def say(text: str) -> None:
    """Write a result. A reader that went away (`| head`) ends the program quietly, in `start`."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Write something beside the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def complain(message: str, hint: str = "") -> None:
    """An error, and what to do next."""
    tell(f"error: {clean_lines(message)}")
    if hint:
        tell(f"  {clean(hint)}")
