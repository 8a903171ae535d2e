"""The program `reconcile`. Importing this is light: each command loads what it needs when it runs."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script; ends the process with one of the exit codes of `reconciler.cli.exit`."""
    from reconciler.cli.start import start

    start()
