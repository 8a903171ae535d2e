"""Whether a changed bar asks for more or for less. Pure."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from reconciler.diff import covers
from reconciler.model import JSON, Change, Diff
from schemas.base import AtLeast, AtMost, Spec, duration_value, marked, quantity_value

LOOSENED, TIGHTENED = "loosened", "tightened"


def judged(changes: Diff, spec: type[Spec]) -> Diff:
    """`changes`, those of a bar with the note that says which way it went; a bar that is taken away is loosened."""
    floors, ceilings = marked(spec, AtLeast), marked(spec, AtMost)
    return tuple(replace(each, note=_way(each, floors, ceilings) or each.note) for each in changes)


def _way(change: Change, floors: frozenset[str], ceilings: frozenset[str]) -> str:
    up = covers(floors, change.path)
    if not up and not covers(ceilings, change.path):
        return ""
    if change.want is None or change.have is None:
        return LOOSENED if change.want is None else TIGHTENED
    have, want = _number(change.have), _number(change.want)
    if have is None or want is None or have == want:
        return ""
    return TIGHTENED if (want > have) == up else LOOSENED


def _number(value: JSON) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        with suppress(ValueError):
            return float(quantity_value(value))
        with suppress(ValueError):
            return duration_value(value).total_seconds()
    return None
