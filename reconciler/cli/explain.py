"""`reconcile explain`: a kind or a field in words."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from reconciler.errors import UsageError
from reconciler.registry import discover
from reconciler.report.show import wrap
from reconciler.schema import Field, fields, find, walk
from schemas.base import KindInfo

if TYPE_CHECKING:
    from collections.abc import Sequence


def kind_named(text: str) -> KindInfo:
    """The kind that `text` means. Raises UsageError with the likely one."""
    kinds = discover()
    name = kinds.canonical(text)
    if name is None:
        near = kinds.nearest(text)
        hint = f"did you mean {near}?" if near else f"kinds are: {', '.join(sorted(kinds.kinds))}"
        if text in kinds.broken:
            hint = f"its plugin could not be loaded: {kinds.broken[text]}"
        raise UsageError(f"there is no kind '{text}'", hint=hint)
    return kinds.kinds[name]


def explain_text(text: str, width: int) -> str:
    """The kind with all its fields, or one field with those below it."""
    info, found = _asked(text)
    if found is None:
        return _kind_text(info, width)
    head = f"{info.name}  {found.path}  ({_type(found)})"
    lines = [
        head,
        *wrap(found.description or "No description.", width, "  "),
        *(line for each in found.markers for line in wrap(each, width, "  ")),
    ]
    return "\n".join([*lines, *([""] if found.fields else []), *_table(list(walk(found.fields)), width, found.path)])


def explain_json(text: str) -> str:
    """The same for programs."""
    info, found = _asked(text)
    shown = fields(info) if found is None else (found,)
    body = {
        "kind": info.name,
        "summary": info.summary,
        "scope": info.scope,
        "prune": info.prune,
        "fields": [asdict(each) for each in shown],
    }
    return json.dumps({"formatVersion": 1, **body}, indent=2)


def _asked(text: str) -> tuple[KindInfo, Field | None]:
    kind, _, path = text.partition(".")
    info = kind_named(kind)
    if not path:
        return info, None
    found = find(info, path)
    if found is None:
        from difflib import get_close_matches

        known = {each.path.removeprefix("spec."): each.path for each in walk(fields(info))}
        close = get_close_matches(path.removeprefix("spec."), known, n=1)
        hint = f"did you mean {info.name.lower()}.{close[0]}?" if close else f"`reconcile explain {info.name.lower()}` lists them"
        raise UsageError(f"{info.name} has no field '{path}'", hint=hint)
    return info, found


def _kind_text(info: KindInfo, width: int) -> str:
    scope = "belongs to a project" if info.scope == "project" else "belongs to the whole installation"
    held = {"auto": "deleted", "confirm": "deleted after a confirmation", "never": "kept"}[info.prune]
    lines = [info.name, *wrap(info.summary, width, "  "), *wrap(f"It {scope}. When its manifest is gone it is {held}.", width, "  ")]
    for part in reversed(fields(info)):
        needed = "" if part.required else " (optional)"
        lines += ["", f"{part.path}{needed}", *_table(list(walk(part.fields)), width, part.path)]
    return "\n".join(lines)


def _table(found: Sequence[Field], width: int, below: str) -> list[str]:
    names = [each.path.removeprefix(f"{below}.") for each in found]
    column = min(34, max((len(each) for each in names), default=0))
    lines: list[str] = []
    for name, each in zip(names, found, strict=True):
        lines.append(f"  {name:<{column}}  {_type(each)}")
        lines += wrap(" ".join([each.description, *(f"[{mark}]" for mark in each.markers)]).strip(), width, " " * (column + 6))
    return lines


def _type(each: Field) -> str:
    extra = ["required"] if each.required else [f"default {each.default}"] if each.default else []
    return ", ".join([each.type, *extra])
