"""Evaluation data as a model's input, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.errors import Terminal
from reconciler.model.serving import ANSWERS, Descriptor
from reconciler.model.values import JSON
from reconciler.serving.metrics import Value, measure

BATCH = 256
"""Instances in one call."""


@dataclass(frozen=True, slots=True)
class Table:
    """Instances with the truth about each."""

    instances: list[JSON] = field(default_factory=list)
    truth: list[Value] = field(default_factory=list)


def read(path: Path, target: str, described: Descriptor) -> Table:
    """The CSV or Parquet file as the model's input; rows without a truth are left out. Raises Terminal that says what does not fit."""
    found = Table()
    shape: Callable[[Mapping[str, JSON]], JSON] | None = None
    for row in _rows(path):
        if shape is None:
            if target not in row:
                raise Terminal(f"the evaluation data has no column {target}", hint=f"it has {', '.join(row)}")
            shape = _shape([name for name in row if name != target], described)
        if row[target] is not None:
            found.instances.append(shape(row))
            found.truth.append(row[target])
    return found


def score(table: Table, target: str, predict: Callable[[list[JSON]], list[JSON]]) -> Mapping[str, float]:
    """All metrics that the data allows. Raises what the model raises, and Terminal for answers that cannot be compared."""
    predicted: list[Value] = []
    for start in range(0, len(table.instances), BATCH):
        predicted += [_answer(each, target) for each in predict(table.instances[start : start + BATCH])]
    return measure(table.truth, predicted)


def _rows(path: Path) -> Iterator[Mapping[str, JSON]]:
    """Each row by column, as plain values. Raises Terminal for what is no table."""
    import pyarrow
    from pyarrow import csv, parquet

    try:
        if path.suffix.lower() == ".parquet":
            batches: Iterator[Any] = parquet.ParquetFile(path).iter_batches(BATCH * 16)
        elif path.suffix.lower() == ".csv":
            batches = iter(csv.read_csv(path).to_batches(BATCH * 16))
        else:
            raise Terminal(f"evaluation data is a CSV or Parquet file, not {path.name}")
        for batch in batches:
            yield from ({name: _plain(value) for name, value in row.items()} for row in batch.to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise Terminal(f"the evaluation data cannot be read: {error}") from error


def _plain(value: Any) -> JSON:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _shape(columns: Sequence[str], described: Descriptor) -> Callable[[Mapping[str, JSON]], JSON]:
    """A function from a row to an instance: an object with the fields of the input schema, or an array of all columns as they stand."""
    example = described.example[0] if described.example else None
    fields: Mapping[str, JSON] = described.input.get("properties") or ({name: {} for name in example} if isinstance(example, dict) else {})
    if fields:
        required = described.input.get("required", list(fields) if not described.input else [])
        if missing := [name for name in required if name not in columns]:
            raise Terminal(
                f"the evaluation data has no column {missing[0]}", hint=f"the model's input has it; the data has {', '.join(columns)}"
            )
        kinds = {name: schema.get("type") if isinstance(schema, dict) else None for name, schema in fields.items() if name in columns}
        return lambda row: {name: _cast(row[name], kind) for name, kind in kinds.items()}
    return lambda row: [row[name] for name in columns]


def _cast(value: JSON, kind: JSON) -> JSON:
    """A table's own types are guesses where it is a CSV: a column of postal codes looks like numbers."""
    if kind == "string" and value is not None and not isinstance(value, str):
        return str(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _answer(predicted: JSON, target: str) -> Value:
    """Of an object the field that is called like the target, or else the one that names the answer."""
    if isinstance(predicted, dict):
        predicted = next((predicted[name] for name in (target, *ANSWERS) if name in predicted), None)
    if isinstance(predicted, list) and len(predicted) == 1:
        predicted = predicted[0]
    if not isinstance(predicted, (bool, int, float, str)):
        raise Terminal(f"the model's answers cannot be compared with {target}: they are neither numbers nor texts")
    return predicted
