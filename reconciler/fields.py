"""Which fields a schema has at a place, for "did you mean" and "belongs in"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel


def pattern_of(text: Any) -> str:
    """The pattern that a constrained text type demands; empty when it demands none."""
    return next((each.pattern for each in get_args(text)[1:] if getattr(each, "pattern", None)), "")


def fields_at(model: type[BaseModel], steps: Sequence[str | int]) -> frozenset[str]:
    """The fields (camelCase) of the mapping that `steps` lead to; of every branch where it is a union."""
    return frozenset(info.alias or name for each in _models(model, steps) for name, info in each.model_fields.items())


def description_of(model: type[BaseModel], steps: Sequence[str | int]) -> str:
    """The first sentence of a field's documentation (of the list's, for an entry of one), as a hint; empty when it has none."""
    while steps and isinstance(steps[-1], int):
        steps = steps[:-1]
    for each in _models(model, steps[:-1]):
        for name, info in each.model_fields.items():
            if (info.alias or name) == steps[-1] and info.description:
                return info.description.split("\n")[0].split(". ")[0].rstrip(".")
    return ""


def homes_of(model: type[BaseModel], name: str, path: str = "spec") -> list[str]:
    """Dotted paths of the mappings below `model` that have a field `name`; the nearest first."""
    found = [(path.count("."), path) for path in _homes(model, name, path)]
    return [path for _, path in sorted(found)]


def _models(of: Any, steps: Sequence[str | int]) -> Iterator[type[BaseModel]]:
    if isinstance(of, type) and issubclass(of, BaseModel):
        if not steps:
            yield of
            return
        for name, info in of.model_fields.items():
            if (info.alias or name) == steps[0]:
                yield from _models(info.annotation, steps[1:])
        return
    for below, gone in _inside(of):
        if gone <= len(steps):
            yield from _models(below, steps[gone:])


def _homes(of: Any, name: str, path: str) -> Iterator[str]:
    if isinstance(of, type) and issubclass(of, BaseModel):
        for field, info in of.model_fields.items():
            alias = info.alias or field
            if alias == name:
                yield path
            yield from _homes(info.annotation, name, f"{path}.{alias}")
        return
    for below, gone in _inside(of):
        yield from _homes(below, name, f"{path}[]" if gone else path)


def _inside(of: Any) -> Iterator[tuple[Any, int]]:
    """The types that a type is made of, with how many steps (a key or an index) lead into each."""
    origin, arguments = get_origin(of), get_args(of)
    if origin is Annotated:
        yield arguments[0], 0
    elif origin in (Union, UnionType):
        yield from ((each, 0) for each in arguments)
    elif origin in (list, tuple, frozenset):
        yield arguments[0], 1
    elif origin is dict:
        yield arguments[1], 1
