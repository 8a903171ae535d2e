"""What a model's folder says of itself."""

from __future__ import annotations

from pathlib import Path

from reconciler.errors import Terminal
from reconciler.model.descriptor import described
from reconciler.model.serving import Descriptor
from reconciler.serving.content import names

LARGEST = 4 << 20
"""Bytes of a text that describes a model."""


def read(folder: Path) -> Descriptor:
    """From mlops.json, or from what MLflow or scikit-learn usually write. Raises Terminal that says what is wrong and what is allowed."""
    return described(tuple(names(folder)), lambda name: text(folder / name))


def text(path: Path) -> str | None:
    """Text of a file; None when it is not there. Raises Terminal when it is too large or no UTF-8."""
    try:
        if path.stat().st_size > LARGEST:
            raise Terminal(f"{path.name} is larger than {LARGEST >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Terminal(f"{path.name} cannot be read: {error}") from error
