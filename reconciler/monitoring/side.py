"""What one side of the comparison is, as it was read: the window, or what is normal. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.gateway.joins import Mark, mark
from reconciler.model.values import JSON
from reconciler.monitoring.instances import Columns

ABSENT: Final = object()
"""In place of a label that has not come."""


@dataclass
class Side:
    """Rows that were looked at: `answers` and `truths` stand beside those of `inputs`."""

    inputs: Columns
    answers: list[JSON] = field(default_factory=list)
    """What the model said; empty where the source does not know."""
    truths: list[JSON] = field(default_factory=list)
    """What was right, ABSENT where that is not known; empty where the source knows of none."""
    whole: int = 0
    """Rows there were, before they were sampled."""
    start: float = 0.0
    end: float = 0.0
    revisions: Mapping[str, int] = field(default_factory=dict)
    named: bool = False
    """True: a table, whose columns have names of their own, whatever the form of the instances."""
    told: list[str] = field(default_factory=list)
    """What could not be read, in words."""

    @property
    def rows(self) -> int:
        """Looked at."""
        return self.inputs.rows

    @property
    def labels(self) -> int:
        return sum(each is not ABSENT for each in self.truths)


def spelled(value: JSON) -> str:
    """A label or a category as text. What `joins.mark` holds to be the same is the same here, and nothing else: 3 and 3.0, but not `true`
    and 1; a text that looks like a number or a truth value stands in quotes."""
    return _spelled(mark(value))


def _spelled(found: Mark) -> str:
    sort, value = found
    if sort == "bool":
        return "true" if value else "false"
    if sort == "null":
        return "null"
    if sort == "number":
        return f"{value:.15g}"
    text = str(value)
    return f'"{text}"' if _looks_other(text) else text


def _looks_other(text: str) -> bool:
    if text in ("true", "false", "null") or text.startswith('"'):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
