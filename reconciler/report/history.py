"""The audit log as text for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.applied import APPLY, BEFORE, number_of
from reconciler.report.show import clean, count, rfc3339, shorten, since, wrap

if TYPE_CHECKING:
    from reconciler.state import AuditEntry


_NOT_TOLD = ("seconds", APPLY, BEFORE)
"""Of the detail of a line: for programs, or in its first line already."""


def history_text(entries: Sequence[AuditEntry], now: datetime, *, width: int = 100) -> str:
    """One line per entry, what changed below it; the newest first as given."""
    if not entries:
        return "Nothing is recorded.\nNext: `reconcile` writes down everything that it does."
    lines = [f"{count(len(entries), 'entry').replace('entrys', 'entries')}, the newest {since(entries[0].at, now)} ago.", ""]
    for each in entries:
        lines += _entry(each, width)
    return "\n".join(lines)


def _entry(each: AuditEntry, width: int) -> list[str]:
    result = "" if each.result == "done" else f"  {each.result}"
    name = clean(str(each.ref)) if each.ref else "the installation"
    revision = f" @ {clean(each.revision)}" if each.revision else ""
    apply = f", apply {number}" if (number := number_of(each)) else ""
    head = f"{rfc3339(each.at)}  {each.glyph or ' '} {clean(each.action):<9} {name}{result}   by {clean(each.actor)}{revision}{apply}"
    return [head, *(line for key, value in _named(each) for line in _detail(key, value, width))]


def _named(each: AuditEntry) -> Iterator[tuple[str, object]]:
    """What is told of an entry; its outputs (a dataset's digest) one by one, under their own names."""
    for key, value in each.detail.items():
        if key == "outputs" and isinstance(value, Mapping):
            yield from sorted(value.items())
        elif key not in _NOT_TOLD:
            yield key, value


def _detail(key: str, value: object, width: int) -> list[str]:
    if value in ("", None, [], {}):
        return []
    if isinstance(value, list):
        value = ", ".join(str(each).removeprefix("spec.") for each in value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return wrap(f"{clean(key)}: {clean(shorten(text, 400))}", width, "      ")
