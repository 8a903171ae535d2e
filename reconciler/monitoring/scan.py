"""The row groups of a log that may hold rows of a time, without reading what lies outside of it.

Three filters, each cheaper than the next: the folder of the day, the name of the part (it begins when its first rows were flushed), and the
statistics of `time` in the file's footer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.gateway.parquet import ended, folder

if TYPE_CHECKING:
    import pyarrow as pa

DAY = 86400.0
LATE = 600.0
"""Seconds that a row may have waited before its part began: many times what the gateway lets one wait."""
BATCH = 8192
"""Rows that are decoded at once."""
_NAME = re.compile(r"part-(\d{8}T\d{6}\.\d{6})-")


@dataclass(frozen=True, slots=True)
class Group:
    """One row group of a part; `first` and `last` are microseconds of its rows' times."""

    path: Path
    number: int
    rows: int
    first: int
    last: int


def groups(root: Path, project: str, name: str, start: float, end: float, told: list[str]) -> Iterator[Group]:
    """Those that may hold rows with start <= time < end (Unix seconds), the parts that began first before the others.

    `told` gets a line for each part that cannot be read. Raises UsageError for what is not the name of a deployment."""
    low, high = micros(start), micros(end) if end != float("inf") else None
    for day in sorted(folder(root, project, name).glob("date=*")):
        if not _may_hold(day, start, end):
            continue
        for part in sorted(day.glob("part-*.parquet")):
            if _began(part) - LATE >= end:
                continue
            for group in _groups(part, told):
                if group.last >= low and (high is None or group.first < high):
                    yield group


def batches(group: Group, columns: Sequence[str], told: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a group, a few at a time; only the columns that are there. What was swept away meanwhile has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with group.path.open("rb") as file:
            opened = pq.ParquetFile(file, pre_buffer=False)
            wanted = [each for each in columns if each in opened.schema_arrow.names]
            yield from opened.iter_batches(BATCH, row_groups=[group.number], columns=wanted, use_threads=False)
    except FileNotFoundError:
        return
    except (pa.ArrowException, OSError, EOFError) as error:
        told.append(f"{group.path.name} cannot be read: {error}")


def micros(seconds: float) -> int:
    """As the log counts them."""
    return round(seconds * 1e6)


def column(batch: pa.RecordBatch, name: str) -> Any:
    """The column as an array; nulls where the part has none of that name."""
    import pyarrow as pa

    return batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows)


def _may_hold(day: Path, start: float, end: float) -> bool:
    """A row lies in the folder of the day in which it was given to the writer, a moment after its own time."""
    try:
        last = ended(day)
    except ValueError:
        return False
    return last > start and last - DAY - LATE < end


def _began(part: Path) -> float:
    found = _NAME.match(part.name)
    return datetime.strptime(found[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC).timestamp() if found else 0.0


def _groups(part: Path, told: list[str]) -> Iterator[Group]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with part.open("rb") as file:
            opened = pq.ParquetFile(file, pre_buffer=False)
            place = opened.schema_arrow.names.index("time")
            for number in range(opened.num_row_groups):
                found = opened.metadata.row_group(number)
                first, last = _span(found.column(place).statistics)
                yield Group(part, number, found.num_rows, first, last)
    except FileNotFoundError:
        return  # its time was over meanwhile
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        told.append(f"{part.name} cannot be read: {error}")


def _span(statistics: Any) -> tuple[int, int]:
    if statistics is None or not statistics.has_min_max:
        return 0, 1 << 62
    low, high = (each.timestamp() for each in (statistics.min, statistics.max))
    return micros(low), micros(high)
