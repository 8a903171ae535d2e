"""Instances, answers and rows of files as columns. Pure.

An object becomes one column for each field, an object within it `outer.inner`. An array of few numbers becomes a column for each place
(`field.0`; `f0` where the instance itself is the array), one of many numbers is an embedding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.model.values import JSON

if TYPE_CHECKING:
    import numpy as np

MOST_PLACES = 20
"""An array of more numbers is an embedding."""
MOST_COLUMNS = 2000
"""Names beyond these are not looked at: an object that is used as a map has one for each key."""
DEEPEST = 20
"""Levels of objects within objects; what is below is not looked at."""
EMBEDDED = 500
"""Rows whose embeddings are kept, spread over all: a classifier needs no more, and the picture of more takes minutes."""
LARGEST = 1e150
"""A number whose square is one too; what is larger cannot be calculated with."""
WHOLE = "instance"
"""Name of the column of an instance that is neither an object nor an array of few numbers."""


@dataclass
class Columns:
    """Values by column, in the order of the rows; None = missing. A column that ends early is missing from there on."""

    expected: int = 0
    """Rows that will come, about; 0 = not known."""
    places: Sequence[str] = ()
    """What the places of an array of this length are called; the columns of a table that a model is evaluated on stand in that order."""
    values: dict[str, list[JSON]] = field(default_factory=dict)
    vectors: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Embeddings, of some of the rows."""
    rows: int = 0
    odd: Counter[str] = field(default_factory=Counter)
    """What could not be made into columns, in words -> rows."""
    dropped: set[str] = field(default_factory=set)
    """Fields that are left out, in words."""
    shapes: Counter[str] = field(default_factory=Counter)
    """`object`, `array of 12`, `value` -> rows."""

    def add(self, found: JSON) -> None:
        """One row."""
        if isinstance(found, dict):
            self.shapes["object"] += 1
            for name, value in flat(found):
                self._put(name, value)
        elif isinstance(found, list):
            self.shapes[f"array of {len(found)}"] += 1
            if found and len(found) == len(self.places):
                for name, value in zip(self.places, found, strict=True):
                    self._put(name, value)
            else:
                self._array("", found)
        else:
            self.shapes["value"] += 1
            self._put(self.places[0] if len(self.places) == 1 else WHOLE, found)
        self.rows += 1

    def skip(self, why: str) -> None:
        """A row that has nothing to be made into columns."""
        self.odd[why] += 1
        self.rows += 1

    def _put(self, name: str, value: JSON) -> None:
        if isinstance(value, list):
            return self._array(name, value)
        column = self.values.get(name)
        if column is None:
            if len(self.values) >= MOST_COLUMNS:
                self.dropped.add(f"fields beyond the first {MOST_COLUMNS:,}")
                return None
            column = self.values[name] = []
        if len(column) < self.rows:
            column.extend([None] * (self.rows - len(column)))
        if len(column) == self.rows:  # else the row has the name twice: as a field, and as a path
            column.append(value)
        return None

    def _array(self, name: str, found: Sequence[JSON]) -> None:
        if not found or not all(each is None or isinstance(each, int | float) for each in found):
            if found:
                self.dropped.add(f"{name or WHOLE}: an array of something else than numbers")
            return
        if len(found) <= MOST_PLACES:
            for place, value in enumerate(found):
                self._put(f"{name}.{place}" if name else f"f{place}", value)
        elif self.rows % max(1, -(-self.expected // EMBEDDED)) == 0:
            self._vector(name or WHOLE, found)

    def _vector(self, name: str, found: Sequence[JSON]) -> None:
        import numpy as np

        kept = self.vectors.setdefault(name, [])
        if len(kept) >= EMBEDDED:
            return
        if kept and len(kept[0]) != len(found):
            self.dropped.add(f"{name}: arrays of changing length")
            return
        kept.append(np.array([number(each) for each in found], dtype="float32"))


def flat(found: Mapping[str, JSON], before: str = "", depth: int = 0) -> Iterator[tuple[str, JSON]]:
    """The fields of an object and of the objects within it, each with its path."""
    for name, value in found.items():
        if isinstance(value, dict):
            if depth < DEEPEST:
                yield from flat(value, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}", value


def number(found: Any) -> float:
    """As a number; NaN for what is none, or is none that can be calculated with."""
    try:
        value = float(found)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return value if abs(value) <= LARGEST else math.nan
