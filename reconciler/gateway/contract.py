"""What one application accepts and answers: its schemas, compiled once for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastjsonschema

from reconciler.gateway.body import too_deep
from reconciler.gateway.problems import Problem
from reconciler.model.serving import Registration
from reconciler.model.values import JSON, canonical

MOST_TOLD = 5
"""Mistakes that a refusal names."""
_log = logging.getLogger("reconciler.gateway")

Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Contract:
    """Of one application. `check` is None where anything is accepted."""

    input: Mapping[str, JSON]
    output: Mapping[str, JSON]
    example: Sequence[JSON]
    check: Check | None

    @classmethod
    def of(cls, registration: Registration) -> Contract:
        schema = registration.input
        return cls(schema, registration.output, registration.example, compiled(canonical(schema)) if schema else None)

    def mistake(self, instance: Any, place: str) -> Mapping[str, str] | None:
        """What is wrong with one instance, `{"path", "message"}`; None when it is right. `place` is what it is called."""
        if self.check is None:
            return None
        try:
            self.check(instance)
        except fastjsonschema.JsonSchemaValueException as error:
            path = _path(place, error.path[1:])
            what = error.message.removeprefix(str(error.name)).strip() if error.name else error.message
            return {"path": path, "message": what[:300]}
        except RecursionError:
            raise too_deep() from None
        return None

    def demand(self, instances: Sequence[Any]) -> None:
        """Raises Problem 422 with the first mistakes."""
        if self.check is None:
            return
        found = []
        for number, each in enumerate(instances):
            wrong = self.mistake(each, f"instances[{number}]")
            if wrong is not None:
                found.append(wrong)
                if len(found) == MOST_TOLD:
                    break
        if found:
            raise Problem(422, f"{found[0]['path']} {found[0]['message']}", errors=found)


@lru_cache(maxsize=256)
def compiled(schema: str) -> Check | None:
    """A check of values against a schema (as canonical JSON text). A schema that cannot be used checks nothing: the model then judges
    by itself, and the log says why. References to other documents are refused: nothing is fetched for what a model's file says."""
    import json

    try:
        check: Check = fastjsonschema.compile(json.loads(schema), handlers=_CLOSED, use_default=False)
    except Exception as error:  # the generator fails in many ways on what is no schema, a pattern that is no pattern among them
        _log.warning("an input schema cannot be used, instances are not checked: %s: %s", type(error).__name__, error)
        return None
    return check


class _Closed(dict[str, Callable[[str], Any]]):
    """Handlers for every scheme that there is."""

    def __contains__(self, scheme: object) -> bool:
        return True

    def __missing__(self, scheme: str) -> Callable[[str], Any]:
        return _refuse


def _refuse(uri: str) -> Any:
    raise ValueError(f"refers to another document: {uri}")


_CLOSED = _Closed()


def _path(place: str, parts: Sequence[Any]) -> str:
    return place + "".join(f"[{each}]" if isinstance(each, int) or str(each).isdigit() else f".{each}" for each in parts)
