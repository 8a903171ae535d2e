"""Programs of our own that run outside of the reconciler's process: which interpreter runs them, and how it finds our packages."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from reconciler.controller import Context


def worker(ctx: Context) -> str:
    """The Python program that looks at data: the one that has Evidently."""
    return ctx.platform.evidently.interpreter or sys.executable


def import_path(ctx: Context, interpreter: str) -> str:
    """PYTHONPATH with which another interpreter than ours finds this program's own packages, and nothing else that lies beside them:
    it has other versions of everything. Empty when the interpreter is ours."""
    if interpreter == sys.executable:
        return ""
    place = ctx.state_dir.resolve() / "code"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("reconciler", "schemas"):
        found = importlib.util.find_spec(name)
        where = next(iter(found.submodule_search_locations or ()), "") if found else ""
        link = place / name
        if where and (not link.is_symlink() or link.readlink() != Path(where)):
            staged = place / f".{name}-{os.getpid()}"
            staged.unlink(missing_ok=True)
            staged.symlink_to(where)
            staged.replace(link)
    return str(place)
