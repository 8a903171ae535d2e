"""Runs a command and turns everything that it raises into a message and an exit code."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from reconciler.cli.exit import Exit

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError


def start() -> None:
    """Parse the command line, run the command, end the process."""
    from reconciler.cli.app import build
    from reconciler.errors import ReconcilerError

    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    try:
        build()(prog_name="reconcile")
    except ReconcilerError as error:
        sys.exit(_failed(error))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output is gone; nothing more can be said, and Python's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    except Exception as error:
        if verbose:
            raise
        sys.exit(_defect(error))


def _failed(error: ReconcilerError) -> Exit:
    from reconciler.cli.output import complain, say
    from reconciler.errors import InvalidManifest

    if wants_json(sys.argv):
        from reconciler.report.json import error_json

        say(error_json(error.message, error.hint))
    elif isinstance(error, InvalidManifest):
        from reconciler.report.text import diagnostics_text

        say(diagnostics_text(error.diagnostics))
    else:
        complain(error.message, error.hint)
    return Exit.ERROR


def _defect(error: Exception) -> Exit:
    from reconciler.cli.output import complain

    complain(f"{type(error).__name__}: {error}", "this is a defect of the reconciler: run it again with -v for the place, and report it")
    return Exit.ERROR


def wants_json(argv: list[str]) -> bool:
    """Whether a program reads the output."""
    pairs = pairwise(argv)
    return "-ojson" in argv or "--output=json" in argv or any(flag in ("-o", "--output") and what == "json" for flag, what in pairs)
