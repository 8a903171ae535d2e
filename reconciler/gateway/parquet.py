"""Rows as Parquet files, and back: one folder for each deployment, one below it for each day (UTC)."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reconciler.errors import Terminal, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "real", "time"]
"""Of a column; `time` is given as Unix seconds."""
Row = tuple[Any, ...]
BATCH = 2000
"""Rows made into columns at once: Python runs nothing else meanwhile, so that more of them would be felt by requests."""
STAGED = ".part-"
"""How the name of a file begins that is not finished yet."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def folder(root: Path, project: str, name: str) -> Path:
    """Where the rows of one deployment are. Raises UsageError for what is not the name of one."""
    if not _NAME.fullmatch(project) or not _NAME.fullmatch(name):
        raise UsageError(f"'{project}/{name}' is not a deployment", hint="write project/name")
    return root / project / name


def read_parts(root: Path, columns: Mapping[str, Kind], project: str, name: str, since: datetime | None = None) -> pa.Table:
    """All rows of a deployment, the oldest first; with `since` only those of that time and later.

    Columns that older parts lack are null there; columns that are not known here are kept.
    Raises UsageError for what is not the name of a deployment, Terminal for a part that cannot be read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = [table(columns, [])]
    for part in _parts(folder(root, project, name), since):
        with contextlib.suppress(FileNotFoundError):  # its time was over meanwhile
            tables.append(load(part))
    found = pa.concat_tables(tables, promote_options="permissive")
    if since is not None:
        found = found.filter(pc.greater_equal(found["time"], pa.scalar(since.astimezone(UTC), pa.timestamp("us", "UTC"))))
    return found.sort_by("time")


def _parts(where: Path, since: datetime | None) -> Iterator[Path]:
    for day in sorted(where.glob("date=*")):
        with contextlib.suppress(ValueError):
            if since is None or ended(day) > since.timestamp():
                yield from sorted(day.glob("part-*.parquet"))


def load(path: Path) -> pa.Table:
    """One part. Raises FileNotFoundError, or Terminal when it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            return pq.ParquetFile(file).read(use_threads=False)
    except (pa.ArrowException, EOFError) as error:
        raise Terminal(f"{path} cannot be read: {error}", hint="move it away; the others are not affected") from None


def ended(day: Path) -> float:
    """Unix seconds of the end of a day's folder. Raises ValueError when it is not one."""
    started = date.fromisoformat(day.name.removeprefix("date="))
    return datetime(started.year, started.month, started.day, tzinfo=UTC).timestamp() + timedelta(days=1).total_seconds()


def table(columns: Mapping[str, Kind], rows: Sequence[Row]) -> pa.Table:
    """`rows` by columns."""
    import pyarrow as pa

    types = {"text": pa.string(), "real": pa.float64(), "time": pa.timestamp("us", "UTC")}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    batches = []
    for start in range(0, len(rows), BATCH):
        found = zip(*rows[start : start + BATCH], strict=True)
        batches.append(pa.record_batch([_column(kind, each) for kind, each in zip(columns.values(), found, strict=True)], schema=schema))
        time.sleep(0)  # whoever waits for the interpreter goes first
    return pa.Table.from_batches(batches, schema=schema)


def _column(kind: Kind, values: Sequence[Any]) -> pa.Array:
    """From its buffers: `pyarrow.array` would import pandas where it is installed, which is 45 MiB that nobody here needs."""
    import pyarrow as pa

    if kind == "text":
        texts = [each.encode("utf-8", "replace") for each in values]
        ends = array("i", accumulate(map(len, texts), initial=0))
        return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])
    if kind == "time":
        return pa.Array.from_buffers(
            pa.timestamp("us", "UTC"), len(values), [None, pa.py_buffer(array("q", [round(each * 1e6) for each in values]))]
        )
    return pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(array("d", values))])


def save(path: Path, table: pa.Table) -> None:
    """Write or replace a part, all or nothing, for its owner alone. Raises OSError."""
    import pyarrow.parquet as pq

    handle, staged = tempfile.mkstemp(prefix=STAGED, dir=path.parent)  # readers look for parts by their name; mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())  # what it replaces was on disk already
        Path(staged).replace(path)
    except BaseException:  # a full disk must not be filled with halves
        Path(staged).unlink(missing_ok=True)
        raise
