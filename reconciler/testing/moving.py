"""The part of the contract suite for kinds that can be renamed; see `contract.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import Conflict
from reconciler.model import Absent, Resource
from reconciler.testing.contract import ControllerContract
from reconciler.testing.steps import Pass


class MovesContract(ControllerContract):
    """For kinds that can be renamed (`reconciler.controller.Moves`) and whose things are in a tool."""

    def under_another_name(self, resource: Resource[Any]) -> Resource[Any]:
        """The same manifest, but for its name."""
        return replace(resource, ref=replace(resource.ref, name=f"{resource.ref.name}-now"))

    def test_what_is_renamed_keeps_what_it_is(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        before, renamed = engine.create(resource), self.under_another_name(resource)
        found = engine.move(resource, before.external_id, renamed)
        seen = engine.see(renamed)
        assert seen.external_id == found
        assert seen.fields == before.fields
        assert seen.mark is not None
        assert (seen.mark.installation, seen.mark.ref) == (engine.ctx.installation, str(renamed.ref))
        assert engine.diff(renamed) == ()
        assert engine.look(resource)[resource.ref] == Absent()

    def test_a_move_can_be_repeated(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        before, renamed = engine.create(resource), self.under_another_name(resource)
        engine.move(resource, before.external_id, renamed)
        watched, calls = engine.recorded()
        watched.move(resource, before.external_id, renamed)
        assert [each for each in calls if each.write] == []
        assert engine.diff(renamed) == ()

    def test_both_names_can_be_asked_for_while_it_moves(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        renamed = self.under_another_name(resource)
        seen = engine.look(resource, renamed)
        assert seen[resource.ref] == engine.see(resource)
        assert seen[renamed.ref] == Absent()

    def test_a_name_that_is_taken_is_not_taken_away(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        before, renamed = engine.create(resource), self.under_another_name(resource)
        other = engine.create(renamed)
        with pytest.raises(Conflict):
            engine.move(resource, before.external_id, renamed)
        assert engine.see(renamed) == other
        assert engine.see(resource) == before
