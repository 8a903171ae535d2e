"""Programs of our own that run outside of the reconciler's process: which interpreter runs them, and how it finds our packages."""

from __future__ import annotations

import sys

from reconciler.controller import Context
from reconciler.ownpackages import linked


def worker(ctx: Context) -> str:
    """The Python program that looks at data: the one that has Evidently."""
    return ctx.platform.evidently.interpreter or sys.executable


def import_path(ctx: Context, interpreter: str) -> str:
    """PYTHONPATH with which `interpreter` finds our packages; empty when it is ours, which finds them anyway."""
    return "" if interpreter == sys.executable else str(linked(ctx.state_dir.resolve() / "code"))
