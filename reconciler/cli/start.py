"""Runs a command and turns everything that it raises into a message and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from reconciler.cli.exit import Exit

if TYPE_CHECKING:
    from typer._click import Command
    from typer._click.exceptions import ClickException

    from reconciler.errors import ReconcilerError


def start() -> None:
    """Parse the command line, run the command, end the process."""
    from reconciler.cli.app import build
    from reconciler.errors import ReconcilerError

    # A pass makes many long-lived values and hardly any cycles: collecting less often saves a tenth of its CPU time.
    gc.set_threshold(100_000, 50, 50)
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    try:
        sys.exit(_run(build()))
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


def _run(command: Command) -> int:
    """The exit code of a command. A misspelt option is an error as any other: 2, which its kind ends with elsewhere, means changes here."""
    from typer import Abort
    from typer._click.exceptions import ClickException

    try:
        code = command.main(prog_name="reconcile", standalone_mode=False)
    except ClickException as error:
        return _misused(error)
    except Abort:
        from reconciler.cli.output import tell

        tell("Nothing was done.")
        return Exit.ERROR
    return code if isinstance(code, int) else Exit.OK


_HABITS = {"plan": "`reconcile --dry-run`", "apply": "`reconcile`", "sync": "`reconcile`", "drift": "`reconcile diff`"}
"""Commands of other tools of this sort, and what they are called here."""


def _misused(error: ClickException) -> Exit:
    from typer._click.exceptions import NoArgsIsHelpError

    from reconciler.cli.output import complain, say
    from reconciler.report.json import error_json

    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return Exit.ERROR
    said = error.format_message().replace("Value error, ", "")
    said = f"{said[:1].lower()}{said[1:]}"
    ctx = getattr(error, "ctx", None)
    hint = f"`{ctx.command_path if ctx else 'reconcile'} --help` tells how it is used"
    for habit, ours in _HABITS.items():
        if said.startswith(f"no such command '{habit}'"):
            said, hint = f"no such command '{habit}'.", f"write {ours}"
    if wants_json(sys.argv):
        say(error_json(said, hint))
    else:
        complain(said, hint)
    return Exit.ERROR


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
