"""What a recorded version contains, whether that is what its manifest expects, and what changed since. Reads files, never DVC."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from controllers.tools.columns import columns_change
from controllers.tools.dvc_cache import Cache
from controllers.tools.dvc_files import Entry, Snapshot, Version
from controllers.tools.tabular import Facts, begins_with, facts, folder_change, table_change
from schemas.dataset import Expect

COMPARED = 16 << 20
"""Bytes of a table up to which its columns are compared."""


def same(entry: Entry, seen: Snapshot) -> bool:
    """True when the bytes have the stat that they had when the version was recorded."""
    return entry.notes.get("stat") == seen.digest


def recorded_facts(entry: Entry) -> Facts | None:
    """Columns and rows of a recorded version; None when it is no table."""
    return Facts(tuple(json.loads(entry.notes["columns"])), int(entry.notes["rows"])) if "columns" in entry.notes else None


def fact_notes(place: Path) -> tuple[Facts | None, dict[str, str]]:
    """The shape of the table at `place`, also as notes for its entry."""
    shape = facts(place, place.name)
    return shape, {"columns": json.dumps(shape.columns), "rows": str(shape.rows)} if shape else {}


def change(before: Entry, place: Path, now: Version, cache: Cache, *, closely: bool = False) -> tuple[str, str]:
    """(type, words) of the change from a recorded version to the bytes at `place`; of a folder only when `cache` has both listings.
    `closely`: with what became of a table's columns."""
    if before.version.is_dir and now.is_dir and cache.has(before.version.md5) and cache.has(now.md5):
        return folder_change(cache.listing(before.version.md5), cache.listing(now.md5))
    old = recorded_facts(before)
    new = facts(place, place.name) if old else None
    if old and new:
        # Parquet is rewritten as a whole: rows are then all that can be compared.
        grown = new.rows >= old.rows if place.suffix == ".parquet" else begins_with(place, before.version.size, before.version.md5)
        kind, words = table_change(old, new, grown)
        return kind, "; ".join(filter(None, (words, _columns(before, old, place, new, cache, grown) if closely else "")))
    return "", f"{now.size - before.version.size:+,} bytes"


def _columns(before: Entry, old: Facts, place: Path, new: Facts, cache: Cache, grown: bool) -> str:
    """What became of the columns; empty where that cannot be told: it never stands in the way of a version."""
    if max(before.version.size, place.stat().st_size) > COMPARED:
        return ""
    kept = cache.path(before.version.md5)
    try:
        if kept.stat().st_size != before.version.size:
            return ""
        return columns_change(kept, old, place, new, place.name, grown=grown)
    except (OSError, ValueError, EOFError, csv.Error, ImportError):
        return ""


def unexpected(expect: Expect | None, shape: Facts | None) -> str:
    """Why the data is not what `expect` asks for; empty when it is."""
    if expect is None:
        return ""
    if shape is None:
        return "`expect` needs a CSV, TSV or Parquet file"
    if lacking := [each for each in expect.columns if each not in shape.columns]:
        return f"column '{lacking[0]}' is missing; there are {', '.join(shape.columns[:8])}"
    if expect.min_rows is not None and shape.rows < expect.min_rows:
        return f"{shape.rows:,} rows, expected at least {expect.min_rows:,}"
    return ""
