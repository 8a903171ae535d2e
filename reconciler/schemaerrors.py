"""pydantic's errors, one group for each field: of a union, only what the branch says that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Steps: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of a value down to a field."""


@dataclass(frozen=True)
class SchemaError:
    """One of pydantic's errors. `trail` holds the way to it; True marks a branch of a union, which is no field."""

    trail: tuple[tuple[bool, str | int], ...]
    type: str
    found: Any
    context: Mapping[str, Any]
    said: str

    @property
    def steps(self) -> Steps:
        return tuple(part for branch, part in self.trail if not branch)


def grouped(error: ValidationError, data: Any) -> list[list[SchemaError]]:
    """The errors about `data`, those of one field together."""
    return _condense([_trail(each, data) for each in error.errors(include_url=False)], 0)


def _trail(error: ErrorDetails, data: Any) -> SchemaError:
    trail: list[tuple[bool, str | int]] = []
    here, last = data, len(error["loc"]) - 1
    for number, part in enumerate(error["loc"]):
        known = part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int) and part < len(here)
        if known:
            here = here[part]
        absent = number == last and error["type"] in ("missing", "extra_forbidden")
        trail.append((not known and not absent, part))
    return SchemaError(tuple(trail), error["type"], error["input"], error.get("ctx", {}), error["msg"])


def _condense(errors: Iterable[SchemaError], at: int) -> list[list[SchemaError]]:
    """Errors of one field together; of a union, only those of the branch that was probably meant."""
    ended: list[SchemaError] = []
    fields: dict[str | int, list[SchemaError]] = {}
    branches: dict[str | int, list[SchemaError]] = {}
    for each in errors:
        if len(each.trail) == at:
            ended.append(each)
        else:
            branch, part = each.trail[at]
            (branches if branch else fields).setdefault(part, []).append(each)
    found = [ended] if ended else []
    for group in fields.values():
        found += _condense(group, at + 1)
    if branches:
        some = next(iter(branches.values()))[0]
        above = sum(not branch for branch, _ in some.trail[:at])
        found += _likeliest([_condense(group, at + 1) for group in branches.values()], above)
    return found


def _likeliest(branches: list[list[list[SchemaError]]], above: int) -> list[list[SchemaError]]:
    """The branch of a union whose shape fits best; when none does, all of them as one error of the field itself.

    `above`: how many steps lead to the union."""
    inside = [sum(len(group[0].steps) > above for group in branch) for branch in branches]
    fitting = [branch for branch, count in zip(branches, inside, strict=True) if count]
    if fitting:
        return min(fitting, key=lambda branch: (any(len(group[0].steps) == above for group in branch), len(branch)))
    return [[error for branch in branches for group in branch for error in group]]
