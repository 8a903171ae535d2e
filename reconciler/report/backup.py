"""Backups and restores as text and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.model.units import KIB, MIB, memory
from reconciler.report.json import FORMAT_VERSION
from reconciler.report.show import clean, count, rfc3339, since, took

if TYPE_CHECKING:
    from reconciler.platform.data import Kept
    from reconciler.state.archive import Contents
    from reconciler.state.backup import Restored

_NOUNS = {
    "inventory": "resource",
    "audit": "history entry",
    "journal": "unfinished create",
    "suspensions": "suspension",
    "leases": "lease",
    "queue": "waiting run",
    "learned": "learned estimate",
    "alerts": "alert",
    "deliveries": "message",
    "silences": "silence",
}
"""Tables that people ask about, in this order; the JSON has all."""
_ALWAYS = (
    ("manifests", "git keeps them"),
    ("secrets", "the variables and files that the manifests name"),
)


def backup_text(file: Path, size: int, contents: Contents, kept: Sequence[Kept], seconds: float, here: str = "") -> str:
    """What is in the file, what is not, and what to do with it. `size` in bytes; `here`: a beginning of paths that goes without saying."""
    name = _path(str(file), here)
    head = f"Backed up {_name(contents)}: {_counted(contents)} in {name} ({_size(size)}, {took(seconds)})."
    left_out = _left_out("Not in it, because it is not in the Store:", kept, here)
    return "\n".join([head, "", *left_out, "", f"Next: keep it on another disk; `reconcile platform restore {name}` brings it back."])


def restored_text(done: Restored, revision: str, kept: Sequence[Kept], now: datetime, seconds: float, here: str = "") -> str:
    """What the Store is now, what it was, and what was not touched. `revision`: of the schema that it has now."""
    contents = done.contents
    moment = f"{since(contents.at, now)} ago ({rfc3339(contents.at)})"
    lines = [f"Restored {_name(contents)} as it was {moment}: {_counted(contents)} ({took(seconds)})."]
    if contents.revision != revision:
        lines.append(f"Its schema was {clean(contents.revision)} and is {revision} now.")
    if done.aside is not None:
        lines.append(f"What was here before is in {_path(str(done.aside), here)}.")
    left_out = _left_out("Not in a backup, and as it was before:", kept, here)
    step = "Next: `reconcile --dry-run` shows how the tools differ from it; `reconcile` goes on from there."
    return "\n".join([*lines, "", *left_out, "", step])


def backup_json(file: Path, size: int, contents: Contents, kept: Sequence[Kept], seconds: float) -> str:
    """The same for programs."""
    return _text("backup", file=str(file), bytes=size, **_value(contents, kept), seconds=round(seconds, 3))


def restored_json(done: Restored, kept: Sequence[Kept], seconds: float) -> str:
    """The same for programs."""
    before = None if done.aside is None else str(done.aside)
    return _text("restore", before=before, **_value(done.contents, kept), seconds=round(seconds, 3))


def _value(contents: Contents, kept: Sequence[Kept]) -> dict[str, Any]:
    return {
        "installation": contents.installation,
        "at": rfc3339(contents.at),
        "program": contents.program,
        "schema": contents.revision,
        "rows": {name: each.rows for name, each in sorted(contents.tables.items())},
        "notIncluded": [{"where": each.where, "what": each.what} for each in kept],
    }


def _name(contents: Contents) -> str:
    return clean(contents.installation) or "an installation without a name yet"


def _counted(contents: Contents) -> str:
    rows: Mapping[str, int] = {name: each.rows for name, each in contents.tables.items()}
    told = [count(rows[name], noun).replace("entrys", "entries") for name, noun in _NOUNS.items() if rows.get(name)]
    return ", ".join(told) or "nothing yet"


def _left_out(head: str, kept: Sequence[Kept], here: str) -> list[str]:
    rows = [*((_path(each.where, here), each.what) for each in kept), *_ALWAYS]
    size = max(len(where) for where, _ in rows)
    return [head, *(f"  {where:<{size}}  {what}" for where, what in rows)]


def _path(path: str, here: str) -> str:
    return clean(path.removeprefix(here))


def _size(size: int) -> str:
    return memory(size) if size >= MIB else f"{max(1, round(size / KIB))} KiB"


def _text(kind: str, **body: Any) -> str:
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": kind, **body}, indent=2, ensure_ascii=True)
