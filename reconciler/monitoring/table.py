"""The two sides side by side: the same columns of the same kinds, as Evidently wants them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model.values import JSON
from reconciler.monitoring.instances import Columns, number
from reconciler.monitoring.kinds import Kind, kind_of, looks_like_id
from reconciler.monitoring.side import Side, spelled

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TRUTHS = ("target", "label", "labels", "y", "class", "truth", "outcome")
"""Columns that no instance has and that are called so are the truth, where nothing says which one is."""


@dataclass
class Table:
    """What can be compared. `normal` and `seen` have the columns of `kinds`, but those that are embeddings."""

    normal: pd.DataFrame
    seen: pd.DataFrame
    kinds: Mapping[str, Kind]
    missing: tuple[str, ...] = ()
    """Columns of the reference that no instance of the window has."""
    wrong: Mapping[str, int] = field(default_factory=dict)
    """Column -> values of the window that are no numbers, where the reference has numbers."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """Column -> those of them that no number could be made of."""
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Embeddings: the reference's and the window's."""
    notes: tuple[str, ...] = ()
    """In words, what was left out."""

    def of(self, *kinds: Kind) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind in kinds]


def inputs(normal: Side, seen: Side, expected: Sequence[str], target: str) -> Table:
    """The instances of both sides. Of a reference that is data, the columns that are inputs."""
    had, has = dict(normal.inputs.values), dict(seen.inputs.values)
    notes = [*_notes(seen.inputs)]
    if normal.named and not seen.named:
        left = _no_inputs(had, has, expected, target)
        had = {name: each for name, each in had.items() if name not in left}
        if unexplained := [name for name in left if not expected and name in TRUTHS]:
            notes.append(f"{', '.join(unexplained)} taken for the truth")
    table = compared(had, has, normal.rows, seen.rows)
    table.notes = (*notes, *table.notes)
    table.vectors, gone = _vectors(normal.inputs, seen.inputs)
    table.kinds = {**table.kinds, **dict.fromkeys(table.vectors, "embedding")}
    table.missing = (*table.missing, *gone)
    return table


def compared(had: Mapping[str, list[JSON]], has: Mapping[str, list[JSON]], rows_then: int, rows_now: int) -> Table:
    """Columns as they were and as they are."""
    import pandas as pd

    kinds: dict[str, Kind] = {}
    missing, notes, wrong, unread = [], [], {}, {}
    normal, seen = {}, {}
    for name, values in had.items():
        now = has.get(name)
        kind = kind_of(name, values, now or ())
        if kind in ("time", "id", "empty"):
            notes.append(f"{name} is not compared: {_WHY[kind]}")
        elif now is None:
            missing.append(name)
        else:
            kinds[name] = kind
            normal[name], seen[name] = _series(values, kind, rows_then), _series(now, kind, rows_now)
            if kind == "number":
                others = [each for each in now if isinstance(each, str | bool)]
                wrong[name], unread[name] = len(others), sum(math.isnan(number(each)) for each in others)
    if more := [name for name in has if name not in had]:
        notes.append(f"not in the reference: {_few(more)}")
    return Table(
        pd.DataFrame(normal, index=range(rows_then)),
        pd.DataFrame(seen, index=range(rows_now)),
        kinds,
        tuple(missing),
        {name: each for name, each in wrong.items() if each},
        {name: each for name, each in unread.items() if each},
        notes=tuple(notes),
    )


_WHY = {"time": "it is a time", "id": "it names its row", "empty": "the reference has no value"}


def _series(values: Sequence[JSON], kind: Kind, rows: int) -> pd.Series:
    """A column as long as there are rows."""
    import numpy as np
    import pandas as pd

    if kind == "number":
        found = np.full(rows, np.nan)
        found[: len(values)] = [number(each) for each in values]
        return pd.Series(found)
    names: dict[JSON, str] = {}
    texts = [None if each is None else names.setdefault((type(each), each), _text(each)) for each in values]
    return pd.Series([*texts, *[None] * (rows - len(texts))], dtype=object)


def _text(value: JSON) -> str:
    """As a category: a table without quotes does not tell 3 from "3"."""
    return value if isinstance(value, str) else spelled(value)


def _no_inputs(had: Mapping[str, object], has: Mapping[str, object], expected: Sequence[str], target: str) -> set[str]:
    if expected:
        return {name for name in had if name not in expected and name.partition(".")[0] not in expected}
    unseen = [name for name in had if name not in has]
    return {name for name in unseen if looks_like_id(name) or (not target and name.lower() in TRUTHS)}


def _vectors(normal: Columns, seen: Columns) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    import numpy as np

    found, gone = {}, []
    for name, vectors in normal.vectors.items():
        now = seen.vectors.get(name)
        if now is None or len(now[0]) != len(vectors[0]):
            gone.append(name)
            continue
        found[name] = (np.nan_to_num(np.stack(vectors)), np.nan_to_num(np.stack(now)))
    return found, gone


def _notes(columns: Columns) -> Iterable[str]:
    for why, rows in columns.odd.items():
        yield f"{why}: {rows:,} of {columns.rows:,} rows"
    yield from sorted(columns.dropped)
    if len(columns.shapes) > 1:
        (shape, most), rows = columns.shapes.most_common(1)[0], columns.shapes.total()
        yield f"{rows - most:,} of {rows:,} instances are not as the others ({shape})"


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
