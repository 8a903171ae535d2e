"""What monitors have found, window by window: from their notebooks, and the results that lie in the state folder. Asks no tool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.model.monitoring import folder
from reconciler.report.show import rfc3339

if TYPE_CHECKING:
    from reconciler.model import JSON, Ref

MOST_COLUMNS = 20
"""Scores of columns that are told of a window, the highest first."""


def windows_of(state_dir: Path, ref: Ref, notes: Mapping[str, JSON], most: int) -> dict[str, Any]:
    """One monitor's: the windows that were judged, the oldest first, the last `most` of them; the breach that is open."""
    known = [each for each in notes.get("windows") or () if isinstance(each, Mapping)]
    where = folder(state_dir) / str(ref.project) / ref.name
    return {
        "windows": [_window(where, each) for each in known[-most:]],
        "breach": _breach(notes.get("episode")),
        "before": _breach(notes.get("before")),
        "said": str(notes.get("said") or ""),
    }


def _window(where: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    found = _result(where, str(told.get("key") or ""))
    checks = [each for each in found.get("checks") or () if isinstance(each, dict)]
    series = {str(name): each for name, each in (found.get("series") or {}).items() if isinstance(each, int | float)}
    drifted = next((each for each in checks if each.get("check") == "drift"), None)
    highest = sorted(series.items(), key=lambda each: (-each[1], each[0]))[:MOST_COLUMNS]
    return {
        "start": moment(told.get("start")),
        "end": moment(told.get("end")),
        "verdict": told.get("verdict") or "hold",
        "rows": told.get("rows") or 0,
        "labels": told.get("labels") or 0,
        "why": str(found.get("why") or ""),
        "driftedColumns": len(drifted.get("columns") or ()) if drifted is not None else None,
        "checks": [{name: each.get(name) for name in ("check", "verdict", "said")} for each in checks],
        "measured": {str(name): each for name, each in (found.get("measured") or {}).items() if isinstance(each, int | float)},
        "scores": dict(highest),
        "columns": len(series) or None,
        "report": str(found.get("snapshot") or "") or None,
    }


def _result(where: Path, key: str) -> Mapping[str, Any]:
    """What its worker wrote; nothing where that is gone by now."""
    path = where / f"{key}.json"
    if not key or "/" in key:
        return {}
    try:
        about = path.stat()
    except OSError:
        return {}
    return _read(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _read(path: Path, _changed: int, _size: int) -> Mapping[str, Any]:
    """Files are replaced as a whole."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _breach(raw: Any) -> dict[str, Any] | None:
    if not isinstance(raw, Mapping):
        return None
    return {
        "id": raw.get("id"),
        "since": moment(raw.get("since")),
        "ended": moment(raw.get("ended")),
        "failing": dict(raw.get("failing") or {}),
        "causes": list(raw.get("causes") or ()),
        "done": [str(each.get("said") or "") for each in (raw.get("acted") or {}).values() if isinstance(each, Mapping)],
        "suggestions": list(raw.get("suggestions") or ()),
    }


def moment(at: Any) -> str | None:
    """Unix seconds as RFC 3339; None = there are none."""
    if not isinstance(at, int | float) or at <= 0:
        return None
    try:
        return rfc3339(datetime.fromtimestamp(at, UTC))
    except (ValueError, OverflowError, OSError):
        return None
