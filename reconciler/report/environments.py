"""What environments have differently, field by field: as text for people, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reconciler.diff import compare
from reconciler.model import Diagnostic, Diff, Glyph, Ref, Resource
from reconciler.report.json import FORMAT_VERSION, changes_value, diagnostic_value, location_value, ref_value
from reconciler.report.rows import Row
from reconciler.report.show import clean, count
from reconciler.report.text import diagnostics_text, rows_lines
from schemas.base import Secret, marked

Says = Callable[[Resource[Any], str], str]
"""A resource and a dotted path -> the place of the document that says what stands there; empty where it is not worth telling."""
_VERBS = {"update": "changed", "create": "added", "delete": "removed"}


@dataclass(frozen=True)
class Environment:
    """One environment, beside the manifests without patches."""

    name: str
    rows: tuple[Row, ...]
    diagnostics: tuple[Diagnostic, ...]
    """That the manifests alone do not have."""
    current: bool = False
    """The installation is of it."""

    @property
    def errors(self) -> int:
        return sum(each.severity == "error" for each in self.diagnostics)


def differing(
    have: Mapping[Ref, Resource[Any]], want: Mapping[Ref, Resource[Any]], says: Says, names: tuple[str, str] = ("", "")
) -> tuple[Row, ...]:
    """What turns the one reading of the manifests into the other, by name. `names` are those of the two, told of what only one has."""
    found: list[Row] = []
    for ref in sorted(have.keys() | want.keys(), key=str):
        one, other = have.get(ref), want.get(ref)
        shown = other or one
        assert shown is not None
        patches = tuple(each.location for each in shown.patches)
        if one is None:
            found.append(Row("create", Glyph.CREATE, ref, shown.location, (), f"only in {names[1]}" if names[1] else "", patches=patches))
        elif other is None:
            found.append(Row("delete", Glyph.DELETE, ref, shown.location, (), f"only in {names[0]}" if names[0] else "", patches=patches))
        elif changes := _changes(one, other, says):
            found.append(Row("update", Glyph.UPDATE, ref, shown.location, changes))
    return tuple(found)


def _changes(one: Resource[Any], other: Resource[Any], says: Says) -> Diff:
    if one.digest == other.digest:
        return ()
    old, new = (each.spec.model_dump(mode="json") for each in (one, other))
    spec = compare(new, old, old, secret=marked(type(other.spec), Secret))
    old, new = (each.lifecycle.model_dump(mode="json") for each in (one, other))
    lifecycle = compare(new, old, old, prefix="lifecycle")
    labels = compare(dict(other.labels), dict(one.labels), dict(one.labels), prefix="metadata.labels")
    return tuple(replace(each, note=says(other, each.path)) for each in (*labels, *lifecycle, *spec))


def environments_text(found: Sequence[Environment], *, wrong: int, color: bool, width: int) -> str:
    """What each environment patches. `wrong` is how many errors the manifests have without patches."""
    if not found:
        return (
            "There are no environments: no folder overlays/NAME beside the manifests or among them.\n"
            "Next: write a patch into manifests/overlays/NAME/, and `reconcile validate --env NAME`."
        )
    current = next((each.name for each in found if each.current), "")
    lines = [f"{count(len(found), 'environment')}{f'; this installation is of {clean(current)}' if current else ''}."]
    for each in found:
        lines += ["", f"{clean(each.name)}: {_summary(each)}", *rows_lines(each.rows, color=color, width=width)]
        if each.diagnostics:
            lines.append(diagnostics_text(each.diagnostics, color=color))
    if wrong:
        lines += ["", f"The manifests have {count(wrong, 'error')} without any environment: `reconcile validate` tells."]
    names = " ".join(clean(each.name) for each in found[:2]) if len(found) > 1 else f"base {clean(found[0].name)}"
    lines += ["", f"Next: `reconcile envs {names}` shows what differs between two; `reconcile --env NAME --dry-run` what would be done."]
    return "\n".join(lines)


def _summary(each: Environment) -> str:
    verbs = [row.verb for row in each.rows]
    told = [f"changes {count(verbs.count('update'), 'resource')}"] if "update" in verbs else []
    told += [f"adds {count(verbs.count('create'), 'resource')}"] if "create" in verbs else []
    told += [f"leaves out {count(verbs.count('delete'), 'resource')}"] if "delete" in verbs else []
    told += [count(each.errors, "error")] if each.errors else []
    return ", ".join(told) or "changes nothing"


def promotion_text(one: Environment, other: Environment, rows: Sequence[Row], resources: int, *, color: bool, width: int) -> str:
    """What is other in `other` than in `one`, as a plan that turns the one into the other."""
    names = f"{clean(one.name)} to {clean(other.name)}"
    if not rows:
        lines = [f"From {names}: no differences in {count(resources, 'resource')}."]
    else:
        differ = f"{len(rows):,} of {count(resources, 'resource')} {'differs' if len(rows) == 1 else 'differ'}"
        lines = [f"From {names}: {differ}.", "", *rows_lines(rows, color=color, width=width)]
    for each in (one, other):
        if each.errors:
            lines += ["", f"{clean(each.name)} has {count(each.errors, 'error')}, and what is wrong is not compared:"]
            lines.append(diagnostics_text(each.diagnostics, color=color))
    target = other.name if other.name != "base" else one.name
    return "\n".join([*lines, "", f"Next: `reconcile --env {target} --dry-run` shows what would be done about it in the tools."])


def environments_json(found: Sequence[Environment]) -> str:
    """The same for programs."""
    return _text({"environments": [_value(each) for each in found]})


def promotion_json(one: Environment, other: Environment, rows: Sequence[Row]) -> str:
    """The same for programs."""
    wrong = [diagnostic_value(each) for each in dict.fromkeys((*one.diagnostics, *other.diagnostics))]
    return _text({"from": one.name, "to": other.name, "resources": [_row(each) for each in rows], "diagnostics": wrong})


def _value(each: Environment) -> dict[str, Any]:
    wrong = [diagnostic_value(one) for one in each.diagnostics]
    return {"name": each.name, "current": each.current, "resources": [_row(row) for row in each.rows], "diagnostics": wrong}


def _row(each: Row) -> dict[str, Any]:
    return {
        "change": _VERBS[each.verb],
        **ref_value(each.ref),
        "location": location_value(each.location),
        "changes": changes_value(each.changes),
    }


def _text(body: Mapping[str, Any]) -> str:
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": "environments", **body}, indent=2, ensure_ascii=True, default=str)
