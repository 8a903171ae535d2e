"""The contract suite: what every controller must do, as pytest classes that a kind's own test module subclasses.

::

    from reconciler.testing import make_context, make_resource
    from reconciler.testing.contract import ReplaceContract, ToolContract

    class TestBucket(ToolContract, ReplaceContract):
        @pytest.fixture
        def controller(self): return BucketController()

        @pytest.fixture
        def ctx(self, tmp_path, bucket_server):  # the real tool, running locally
            return make_context(tmp_path, services=bucket_server)

        def make(self, name): return make_resource(KIND, name, {"region": "north"})
        def changed(self, resource): ...
        def drift(self, ctx, resource, seen): ...

`ControllerContract` is for every kind. Add those that fit: `ManyContract` (there is more than one), `ReplaceContract` (a field cannot
change in place), `exporting.ExportContract` (it can be imported), `moving.MovesContract` (it can be renamed), `ToolContract` (the things
are in a tool behind a connection), `OwnershipContract` (people can make things there too), `LostAnswerContract` (a request can be carried
out although its answer gets lost). Every class says which methods it needs.

Each test uses names of its own, so that one running tool can serve all of them. The verbs are called as the engine calls them:
with a fresh client for each pass, and after a simulated crash with everything forgotten that a controller keeps in its process."""

from __future__ import annotations

import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from reconciler.controller import Context, Controller
from reconciler.errors import Conflict, ReconcilerError, Transient
from reconciler.model import JSON, Absent, Create, Done, Health, Mark, Present, Resource, Unknown, Update
from reconciler.testing.steps import Kind, Pass

_numbers = itertools.count(1)


class ControllerContract(ABC):
    """What every controller does.

    Needs the fixtures `controller` (the controller under test) and `ctx` (a Context with the real tool behind it),
    and the methods `make`, `changed` and `drift`."""

    ready_seconds = 60.0
    """Longest wait for what the tool has accepted to become ready."""

    @abstractmethod
    def make(self, name: str) -> Resource[Any]:
        """A desired resource of this name (a DNS label that no other test uses)."""

    @abstractmethod
    def changed(self, resource: Resource[Any]) -> Resource[Any]:
        """The same resource with at least one field changed that can change in place."""

    @abstractmethod
    def drift(self, ctx: Context, resource: Resource[Any], seen: Present) -> str:
        """Change one field of the real thing by hand, past the controller; returns the path at which the diff must show it."""

    @pytest.fixture
    def name(self) -> str:
        """A name that was not used before, in this run or in another against the same tool."""
        return f"c{os.getpid():x}-{time.time_ns() // 1_000_000:x}-{next(_numbers)}"

    @pytest.fixture
    def engine(self, controller: Kind, ctx: Context) -> Pass:
        return Pass(controller, ctx, self.ready_seconds)

    def test_it_has_the_five_verbs(self, controller: Kind) -> None:
        assert isinstance(controller, Controller)
        assert controller.info.name

    def test_what_was_never_made_is_absent(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        assert engine.look(resource) == {resource.ref: Absent()}

    def test_create(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        outcome = engine.done(engine.controller.apply(Create(resource), engine.fresh()))
        seen = engine.ready(resource)
        assert engine.diff(resource) == (), "what was read after an apply must be as desired"
        assert seen.mark is not None, "everything that we make carries our mark"
        assert (seen.mark.installation, seen.mark.ref) == (engine.ctx.installation, str(resource.ref))
        if isinstance(outcome, Done):
            assert (seen.external_id, seen.outputs) == (outcome.external_id, outcome.outputs)

    def test_health(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        assert engine.controller.health(resource, engine.create(resource)).health is Health.HEALTHY

    def test_a_pass_over_what_is_as_desired_writes_nothing(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        watched, calls = engine.recorded()
        assert watched.diff(resource) == ()
        assert [each for each in calls if each.write] == []

    def test_observe_and_diff_change_nothing(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        before = engine.see(resource)
        engine.diff(self.changed(resource))
        assert engine.see(resource) == before

    def test_drift_by_hand_is_shown_where_it_is_and_put_right(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        path = self.drift(engine.ctx, resource, engine.create(resource))
        assert [each.path for each in engine.diff(resource)] == [path]
        engine.update(resource)
        assert engine.diff(resource) == ()

    def test_update(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        first = engine.create(resource)
        wanted = self.changed(resource)
        changes = engine.update(wanted)
        assert changes
        assert not any(each.forces_replace for each in changes)
        assert engine.diff(wanted) == ()
        assert engine.see(wanted).external_id == first.external_id

    def test_an_update_can_be_taken_back(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        engine.update(self.changed(resource))
        assert engine.update(replace(resource, last=self._applied(engine, self.changed(resource))))
        assert engine.diff(resource) == ()

    def test_an_update_can_be_repeated(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        wanted = self.changed(resource)
        action = Update(wanted, seen, engine.diff(wanted))
        for _ in range(2):  # the second one after a crash that nobody noted
            engine.done(engine.controller.apply(action, engine.fresh()))
        engine.ready(wanted)
        assert engine.diff(wanted) == ()

    def test_delete(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        engine.delete(resource, seen.external_id)
        assert engine.is_gone(resource)

    def test_deleting_what_is_gone_is_success(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        seen = engine.create(resource)
        engine.delete(resource, seen.external_id)
        engine.delete(resource, seen.external_id)
        assert engine.is_gone(resource)

    def test_what_was_deleted_can_come_back(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.delete(resource, engine.create(resource).external_id)
        if isinstance(engine.look(resource)[resource.ref], Absent):
            engine.create(resource)
        else:
            engine.update(resource, adopt=True)
        assert engine.diff(resource) == ()
        assert not engine.is_gone(resource)

    def test_a_create_repeated_after_a_crash(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        action = Create(resource)
        first = engine.done(engine.controller.apply(action, engine.crashing().fresh()))
        second = engine.done(engine.controller.apply(action, engine.fresh()))
        seen = engine.ready(resource)
        if isinstance(first, Done) and isinstance(second, Done):
            assert first.external_id == second.external_id == seen.external_id
        assert engine.diff(resource) == ()

    @staticmethod
    def _applied(engine: Pass, resource: Resource[Any]) -> Mapping[str, JSON] | None:
        show = getattr(engine.controller, "desired", None)
        return show(resource) if show else None


class ManyContract(ControllerContract):
    """For kinds of which there is more than one; part of `ToolContract`."""

    def test_one_does_not_touch_another(self, engine: Pass, name: str) -> None:
        one, other = self.make(f"{name}-a"), self.make(f"{name}-b")
        seen = engine.create(one)
        before = engine.create(other)
        engine.update(self.changed(one))
        engine.delete(one, seen.external_id)
        after = engine.see(other)
        assert (after.external_id, after.fields, after.mark) == (before.external_id, before.fields, before.mark)


class ReplaceContract(ControllerContract):
    """For kinds with a field that cannot change in place.

    Needs `other_form`."""

    @abstractmethod
    def other_form(self, resource: Resource[Any]) -> Resource[Any]:
        """The same resource with an immutable field changed."""

    def test_an_immutable_change_is_told_as_such(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        engine.create(resource)
        assert any(each.forces_replace for each in engine.diff(self.other_form(resource)))

    def test_replace(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        first = engine.create(resource)
        wanted = self.other_form(resource)
        second = engine.replace(wanted)
        assert second.external_id != first.external_id
        assert engine.diff(wanted) == ()
        assert second.mark is not None
        assert second.mark.ref == str(resource.ref)


class ToolContract(ManyContract):
    """For kinds whose things are in a tool behind a connection.

    Needs `down`, `twins` and `stranger`."""

    most_calls = 6
    """Calls that one look at 20 resources may take: pages, not resources."""

    @abstractmethod
    def down(self, ctx: Context) -> AbstractContextManager[Context]:
        """While the block runs, its Context cannot reach the tool."""

    @abstractmethod
    def twins(self, ctx: Context, resource: Resource[Any]) -> int:
        """How many things of the resource's name the tool really holds, deleted ones not counted. Past the controller."""

    @abstractmethod
    def stranger(self, ctx: Context, name: str) -> Iterator[Any]:
        """A generator: makes a thing of this name by hand, that is nobody's, then yields all that can be told of it, again and again."""

    def test_out_of_reach_is_never_absent(self, engine: Pass, name: str) -> None:
        there, not_there = self.make(f"{name}-a"), self.make(f"{name}-b")
        engine.create(there)
        many = [self.make(f"{name}-{number}") for number in range(8)]
        with self.down(engine.ctx) as ctx:
            broken = replace(engine, ctx=ctx)
            for asked in ([there, not_there], [there, not_there, *many]):
                try:
                    seen = broken.look(*asked)
                except Transient:
                    continue
                assert all(isinstance(seen.get(each.ref, Unknown("")), Unknown) for each in asked)
        assert isinstance(engine.look(there)[there.ref], Present)

    def test_out_of_reach_may_pass(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        with self.down(engine.ctx) as ctx, pytest.raises(Transient):
            replace(engine, ctx=ctx).create(resource)
        engine.create(resource)
        assert self.twins(engine.ctx, resource) == 1

    def test_a_look_at_many_takes_few_calls(self, engine: Pass, name: str) -> None:
        watched, calls = engine.recorded()
        seen = watched.look(*(self.make(f"{name}-{number}") for number in range(20)))
        assert len([each for each in seen.values() if isinstance(each, Absent)]) == 20
        assert len(calls) <= self.most_calls
        assert [each for each in calls if each.write] == []

    def test_every_write_is_told_to_the_wire_log(self, engine: Pass, name: str) -> None:
        watched, calls = engine.recorded()
        resource = self.make(name)
        seen = watched.create(resource)
        created = [each for each in calls if each.write]
        watched.update(self.changed(resource))
        updated = [each for each in calls if each.write]
        watched.delete(resource, seen.external_id)
        assert 0 < len(created) < len(updated) < len([each for each in calls if each.write])

    def test_a_repeated_create_makes_no_twin(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        for each in (engine.crashing(), engine.crashing(), engine):
            each.done(each.controller.apply(Create(resource), each.fresh()))
        assert self.twins(engine.ctx, resource) == 1

    def test_our_things_are_found_again_by_their_marks(self, engine: Pass, name: str) -> None:
        """An empty Store and other manifests: what we made is told as ours all the same."""
        lost = self.make(f"{name}-lost")
        engine.create(lost)
        seen = engine.look(*(self.make(f"{name}-{number}") for number in range(8))).get(lost.ref)
        assert isinstance(seen, Present)
        assert seen.mark is not None
        assert seen.mark.installation == engine.ctx.installation

    def test_what_is_nobodys_is_not_ours_and_never_touched(self, engine: Pass, name: str) -> None:
        stranger = self.stranger(engine.ctx, f"{name}-stranger")
        before = next(stranger)
        resource = self.make(name)
        seen = engine.create(resource)
        engine.update(self.changed(resource))
        engine.delete(resource, seen.external_id)
        known = {each.ref for each in (resource, *(self.make(f"{name}-{number}") for number in range(8)))}
        told = engine.look(resource, *(self.make(f"{name}-{number}") for number in range(8)))
        assert not [ref for ref in told if ref not in known and "stranger" in ref.name]
        assert next(stranger) == before


class OwnershipContract(ControllerContract):
    """For kinds whose tool lets people make things too.

    Needs `by_hand`."""

    @abstractmethod
    def by_hand(self, ctx: Context, resource: Resource[Any]) -> str:
        """Make a thing of the resource's name by hand, without a mark; returns its external id."""

    def test_what_people_made_carries_no_mark_of_ours(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        made = self.by_hand(engine.ctx, resource)
        seen = engine.see(resource)
        assert seen.external_id == made
        assert seen.mark is None or seen.mark.installation != engine.ctx.installation

    def test_a_create_over_what_people_made_is_a_conflict(self, engine: Pass, name: str) -> None:
        """It appeared between the look and the write."""
        resource = self.make(name)
        self.by_hand(engine.ctx, resource)
        before = engine.see(resource)
        with pytest.raises(Conflict):
            engine.create(resource)
        assert engine.see(resource) == before

    def test_adoption_marks_it_and_keeps_it(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        made = self.by_hand(engine.ctx, resource)
        engine.update(resource, adopt=True)
        seen = engine.see(resource)
        assert seen.external_id == made
        assert seen.mark is not None
        assert replace(seen.mark, digest="") == Mark(engine.ctx.installation, str(resource.ref))
        assert engine.diff(resource) == ()

    def test_what_is_not_ours_any_more_is_not_deleted(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        made = self.by_hand(engine.ctx, resource)
        with pytest.raises(ReconcilerError):
            engine.delete(resource, made)
        assert not engine.is_gone(resource)


class LostAnswerContract(ControllerContract):
    """For kinds whose tool is asked over a network, where the request can arrive and the answer not.

    Needs `losing`."""

    @abstractmethod
    def losing(self, ctx: Context) -> AbstractContextManager[Context]:
        """While the block runs, the first write through its Context is carried out, and its answer gets lost."""

    @abstractmethod
    def twins(self, ctx: Context, resource: Resource[Any]) -> int:
        """See `ToolContract.twins`."""

    def test_a_create_whose_answer_was_lost_makes_no_twin(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        with self.losing(engine.ctx) as ctx:
            losing = replace(engine, ctx=ctx)
            with pytest.raises(Transient) as lost:
                losing.create(resource)
            assert lost.value.maybe_done, "the engine has to know that it may have happened"
            losing.create(resource)
        assert self.twins(engine.ctx, resource) == 1
        assert engine.diff(resource) == ()

    def test_a_create_whose_answer_was_lost_is_found_by_the_next_pass(self, engine: Pass, name: str) -> None:
        resource = self.make(name)
        with self.losing(engine.ctx) as ctx, pytest.raises(Transient):
            replace(engine, ctx=ctx).create(resource)
        seen = engine.see(resource)
        assert seen.mark is not None
        assert engine.diff(resource) == ()
