"""On what a run was made: the tags of its context."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from reconciler.hardware.detector import detect

CONTEXT = "mlops.context."
"""Tags of a run that say where it ran."""


def context_tags(python: Path) -> dict[str, str]:
    """Chip, system, versions and environment. What cannot be found out is not told. `python` is the environment's interpreter."""
    machine = detect()
    found = {
        "chip": machine.chip,
        "os": machine.system,
        "machine": machine.name,
        "python": platform.python_version(),
        "environment": python.parent.parent.name,
        "mlx": _version(python, "mlx"),
    }
    return {f"{CONTEXT}{name}": text for name, text in found.items() if text}


def _version(python: Path, package: str) -> str:
    """Of a package in the program's environment, read from its metadata without starting that interpreter."""
    folders = [str(each) for each in (python.parent.parent / "lib").glob("python*/site-packages")]
    return next((each.version for each in metadata.distributions(name=package, path=folders)), "")
