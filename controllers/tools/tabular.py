"""What a table's file says of itself: columns and rows, and what kind of change lies between two states of it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from reconciler.errors import Terminal

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONGEST_CELL = 1 << 27
"""Bytes of one cell; the csv module refuses above 128 KiB otherwise, which embeddings exceed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The shape of a table."""

    columns: tuple[str, ...]
    rows: int


def facts(path: Path, name: str) -> Facts | None:
    """Shape of a CSV, TSV (also `.gz`) or Parquet file, by the suffix of `name`; None for what is no table.

    Raises Terminal when the file is not what its suffix says, or when Parquet cannot be read here."""
    plain = name.removesuffix(".gz")
    suffix = Path(plain).suffix.lower()
    if path.is_dir() or suffix not in (*_DELIMITERS, ".parquet"):
        return None
    try:
        return _parquet(path) if suffix == ".parquet" else _separated(path, _DELIMITERS[suffix], packed=plain != name)
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError) as error:
        raise Terminal(f"{path} cannot be read as {suffix[1:].upper()}: {error}") from error


def table_rows(path: Path, name: str) -> Iterator[Sequence[str]]:
    """The rows of a CSV, TSV (also `.gz`) or Parquet file as text, without the head. Raises what `facts` raises."""
    plain = name.removesuffix(".gz")
    suffix = Path(plain).suffix.lower()
    if suffix == ".parquet":
        parquet = import_module("pyarrow.parquet")
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                columns = [each.to_pylist() for each in batch.columns]
                yield from (["" if cell is None else str(cell) for cell in row] for row in zip(*columns, strict=True))
        return
    csv.field_size_limit(_LONGEST_CELL)
    with gzip.open(path, "rb") if plain != name else path.open("rb") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), delimiter=_DELIMITERS[suffix])
        next(rows, ())
        yield from (row for row in rows if row)


def _separated(path: Path, delimiter: str, packed: bool) -> Facts:
    csv.field_size_limit(_LONGEST_CELL)
    with gzip.open(path, "rb") if packed else path.open("rb") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), delimiter=delimiter)
        columns = tuple(next(rows, ()))
        return Facts(columns, sum(1 for row in rows if row))


def _parquet(path: Path) -> Facts:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise Terminal("Parquet cannot be read here", hint="install pyarrow, or leave `expect` out") from None
    try:
        with parquet.ParquetFile(path) as file:
            return Facts(tuple(file.schema_arrow.names), file.metadata.num_rows)
    except arrow.ArrowInvalid as error:
        raise Terminal(f"{path} cannot be read as PARQUET: {str(error).splitlines()[0]}") from error


def begins_with(path: Path, size: int, md5: str) -> bool:
    """True when the first `size` bytes are what `md5` names: the file was only appended to."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, 1 << 20))):
            digest.update(piece)
            size -= len(piece)
    return size == 0 and digest.hexdigest() == md5


def table_change(old: Facts, new: Facts, grown: bool) -> tuple[str, str]:
    """(type, words) of a change: `append`, `rows`, `schema-additive` or `schema-breaking`. `grown`: the old bytes are its beginning."""
    more = new.rows - old.rows
    rows = f"{more:+,} row{'' if abs(more) == 1 else 's'}"
    added = [each for each in new.columns if each not in old.columns]
    gone = [each for each in old.columns if each not in new.columns]
    if gone:
        return "schema-breaking", f"{rows}, column {', '.join(map(repr, gone[:3]))} gone (schema-breaking)"
    if added:
        return "schema-additive", f"{rows}, column {', '.join(map(repr, added[:3]))} new (schema-additive)"
    if grown:
        return "append", f"{rows}, schema same (append)"
    return "rows", f"{rows}, schema same, rows changed"


def folder_change(old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """(type, words) of a change between two listings of (path, digest): `append` when files were only added."""
    before, after = dict(old), dict(new)
    added, gone = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    other = sum(before[name] != after[name] for name in before.keys() & after.keys())
    words = ", ".join(
        text for count, text in ((added, f"+{added:,} files"), (gone, f"-{gone:,} files"), (other, f"{other:,} files changed")) if count
    )
    return ("append", f"{words} (append)") if added and not gone and not other else ("files", words or "same files")
