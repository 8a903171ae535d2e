"""How another interpreter than ours finds this program's own packages, and nothing else that lies beside them: there are other versions of
everything."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

PACKAGES = ("reconciler", "schemas")


def linked(place: Path) -> Path:
    """A folder for PYTHONPATH, with a link to each of our packages; `place` is made. Safe to repeat, and from several processes at once."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        where, link = next(iter(found.submodule_search_locations or ()), "") if found else "", place / name
        if where and (not link.is_symlink() or link.readlink() != Path(where)):
            staged = place / f".{name}-{os.getpid()}"
            staged.unlink(missing_ok=True)
            staged.symlink_to(where)
            staged.replace(link)
    return place
