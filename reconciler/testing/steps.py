"""One resource as the engine handles it, step by step and without policy: what the contract suite drives a controller with."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from reconciler.controller import Call, Context, Controller, Moves
from reconciler.model import (
    JSON,
    Absent,
    Create,
    Diff,
    Done,
    Failed,
    Health,
    Observation,
    Outcome,
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Started,
    Unknown,
    Update,
)

Kind: TypeAlias = Controller[Any]


@dataclass(frozen=True)
class Pass:
    """The engine's side of one resource, without policy: each method is one step of a pass, with a fresh client."""

    controller: Kind
    ctx: Context
    ready_seconds: float = 60.0

    def look(self, *resources: Resource[Any]) -> Mapping[Ref, Observation]:
        """Observe all of them."""
        return self.controller.observe(resources, self.fresh())

    def see(self, resource: Resource[Any]) -> Present:
        """Observe one that must be there."""
        seen = self.look(resource)[resource.ref]
        assert isinstance(seen, Present), f"expected {resource.ref} to be there, and observe says {seen}"
        return seen

    def diff(self, resource: Resource[Any]) -> Diff:
        """What differs now."""
        return self.controller.diff(resource, self.see(resource))

    def create(self, resource: Resource[Any]) -> Present:
        """Create it, wait until it is ready, and give what is there then."""
        self.done(self.controller.apply(Create(resource), self.fresh()))
        return self.ready(resource)

    def update(self, resource: Resource[Any], *, adopt: bool = False) -> Diff:
        """Apply what differs; returns it."""
        seen = self.see(resource)
        changes = self.controller.diff(resource, seen)
        self.done(self.controller.apply(Update(resource, seen, changes, adopt=adopt), self.fresh()))
        self.ready(resource)
        return changes

    def replace(self, resource: Resource[Any]) -> Present:
        """Delete and create again."""
        seen = self.see(resource)
        self.done(self.controller.apply(Replace(resource, seen, self.controller.diff(resource, seen)), self.fresh()))
        return self.ready(resource)

    def move(self, resource: Resource[Any], external_id: str, renamed: Resource[Any]) -> str:
        """Give it another name, with nothing but what the inventory would hold; returns its id under the new one."""
        assert isinstance(self.controller, Moves)
        outcome = self.done(self.controller.move(owned_as(resource, external_id), renamed, self.fresh()))
        assert isinstance(outcome, Done)
        return outcome.external_id

    def delete(self, resource: Resource[Any], external_id: str) -> None:
        """Remove it with nothing but what the inventory would hold."""
        self.done(self.controller.delete(owned_as(resource, external_id), self.fresh()))

    def ready(self, resource: Resource[Any]) -> Present:
        """Wait until the tool has finished what it has accepted."""
        deadline = time.monotonic() + self.ready_seconds
        while (seen := self.see(resource)) and self.controller.health(resource, seen).health is Health.PROGRESSING:
            assert time.monotonic() < deadline, f"{resource.ref} did not become ready in {self.ready_seconds} s"
            time.sleep(0.2)
        return seen

    def is_gone(self, resource: Resource[Any]) -> bool:
        """True when it is absent, or what is left of it is told as missing (a tool that keeps deleted things in a trash)."""
        match self.look(resource)[resource.ref]:
            case Absent():
                return True
            case Present() as seen:
                return self.controller.health(resource, seen).health is Health.MISSING
            case Unknown(reason):
                raise AssertionError(reason)

    def crashing(self) -> Pass:
        """A pass that dies before its notebooks are saved."""
        return replace(self, ctx=replace(self.ctx, memo=_Forgetful(self.ctx.memo)))

    def recorded(self) -> tuple[Pass, list[Call]]:
        """The same pass with every call to the tool written to a list."""
        calls: list[Call] = []
        return replace(self, ctx=replace(self.ctx, wire=calls.append)), calls

    def done(self, outcome: Outcome) -> Done | Started:
        """The outcome, unless it is a failure: then its error is raised."""
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    def fresh(self) -> Context:
        """The Context of a new pass: no client is left from the one before."""
        return replace(self.ctx, clients={})


class _Forgetful:
    """Notebooks whose changes never reach the Store."""

    def __init__(self, saved: Any) -> None:
        self._saved = saved
        self._pages: dict[Ref, MutableMapping[str, JSON]] = {}

    def __call__(self, ref: Ref) -> MutableMapping[str, JSON]:
        return self._pages.setdefault(ref, copy.deepcopy(dict(self._saved(ref))))


def owned_as(resource: Resource[Any], external_id: str) -> Owned:
    """What the inventory would hold of it."""
    return Owned(resource.ref, external_id, resource.source, resource.digest, {}, resource.prune)
