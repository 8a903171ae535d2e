"""A CSV or Parquet file as one side of the comparison, sampled while it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.errors import Terminal
from reconciler.model.monitoring import Source
from reconciler.model.serving import ANSWERS
from reconciler.monitoring.instances import Columns
from reconciler.monitoring.scan import BATCH
from reconciler.monitoring.side import ABSENT, Side
from reconciler.monitoring.window import sample

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_NULLS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""How a missing number is spelled."""


def read(source: Source, target: str, inputs: Sequence[str], most: int, key: str, *, has_truth: bool) -> Side:
    """`most` rows of the file, spread over it. `target` is the truth; a column that is called like an answer (`prediction`, ...) and is
    none of `inputs` is what a model said.

    Raises Terminal for what cannot be read, and with `has_truth` for a target that is not there."""
    path = Path(source.path)
    if not path.is_file():
        raise Terminal(f"{source.path} is not a file", hint="a dataset that is held against predictions is one CSV or Parquet file")
    import pyarrow as pa

    try:
        whole = _length(path)
        table = _taken(path, sample(whole, most, key))
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise Terminal(f"{path.name} cannot be read: {error}") from None
    if has_truth and target and target not in table.column_names:
        raise Terminal(f"{path.name} has no column {target}", hint=f"`target` is the truth; it has {', '.join(table.column_names[:20])}")
    target = target if target in table.column_names else ""
    side = Side(Columns(table.num_rows), whole=whole, named=True, start=source.start, end=source.end)
    answer = next((name for name in ANSWERS if name in table.column_names and name != target and name not in inputs), "")
    names = [name for name in table.column_names if name not in (target, answer)]
    for batch in table.to_batches(BATCH):
        for row in zip(*([_plain(each) for each in batch.column(name).to_pylist()] for name in names), strict=True):
            side.inputs.add(dict(zip(names, row, strict=True)))
        if not names:
            side.inputs.rows += batch.num_rows
        for name, kept in ((target, side.truths), (answer, side.answers)):
            kept += [ABSENT if each is None else _plain(each) for each in batch.column(name).to_pylist()] if name else []
    return side


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if value is None or isinstance(value, bool | int | float | str | list):
        return value
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _length(path: Path) -> int:
    """Rows in the file."""
    import pyarrow.parquet as pq

    if _is_parquet(path):
        return int(pq.read_metadata(path).num_rows)
    return sum(batch.num_rows for batch in _batches(path))


def _taken(path: Path, chosen: np.ndarray | None) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    kept, before = [], 0
    for batch in _batches(path):
        if chosen is not None:
            here = chosen[np.searchsorted(chosen, before) : np.searchsorted(chosen, before + batch.num_rows)] - before
            before += batch.num_rows
            batch = batch.take(here)
        kept.append(batch)
    table = pa.Table.from_batches(kept) if kept else pa.table({})
    return table if _is_parquet(path) else _typed(table)


def _is_parquet(path: Path) -> bool:
    """By how it begins: in DVC's cache files have no ending. Source: Parquet file format, magic number `PAR1`."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """All columns of a CSV are text here: what a column holds is decided when all of its values are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    if _is_parquet(path):
        with path.open("rb") as file:
            yield from pq.ParquetFile(file, pre_buffer=False).iter_batches(BATCH, use_threads=False)
        return
    with csv.open_csv(path) as opened:
        names = opened.schema.names
    texts = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""])
    with csv.open_csv(path, convert_options=texts) as opened:
        yield from opened


def _typed(table: pa.Table) -> pa.Table:
    """Whole numbers, else numbers, else truth values, else texts: the first that all values of a column are. Among texts `NA` is one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, name in enumerate(table.column_names):
        texts = table.column(place)
        values = pc.if_else(pc.is_in(texts, pa.array(_NULLS)), pa.scalar(None, pa.string()), texts)
        for kind in (pa.int64(), pa.float64(), pa.bool_()):
            with suppress(pa.ArrowInvalid):
                table = table.set_column(place, name, values.cast(kind))
                break
    return table
