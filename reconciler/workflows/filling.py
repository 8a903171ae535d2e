"""Placeholders in what a task asks for. Standard library only: tests and the dag-processor need no Airflow for it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

PLACEHOLDER = re.compile(r"\$\{([a-zA-Z][a-zA-Z0-9_.-]*)\}")
"""`${interval.end}`; a dollar sign before anything else is a dollar sign."""


def filled(work: Any, values: Mapping[str, Any], pull: Any) -> Any:
    """`work` with each `${...}` in its texts replaced; one that stands alone keeps its type.

    Raises KeyError that names what is not there."""
    if isinstance(work, Mapping):
        return {key: filled(each, values, pull) for key, each in work.items()}
    if isinstance(work, list | tuple):
        return [filled(each, values, pull) for each in work]
    if not isinstance(work, str):
        return work
    if (alone := PLACEHOLDER.fullmatch(work)) is not None:
        return _value(alone[1], values, pull)
    return PLACEHOLDER.sub(lambda found: str(_value(found[1], values, pull)), work)


def _value(name: str, values: Mapping[str, Any], pull: Any) -> Any:
    if name in values:
        return values[name]
    kind, _, rest = name.partition(".")
    task, _, output = rest.rpartition(".")
    found = pull(task, output) if kind == "tasks" and task else None
    if isinstance(found, str) and output != "out":
        with contextlib.suppress(ValueError):
            found = json.loads(found)  # what a trigger has pushed comes back as JSON text: Airflow 3.3 encodes it twice
    if found is None:
        raise KeyError(f"${{{name}}} has no value in this run")
    return found
