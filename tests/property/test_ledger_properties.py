"""Whatever is granted, stopped and released, and wherever the process dies: no lease and no waiting work is lost or there twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reconciler.errors import StoreError
from reconciler.state import open_store
from tests.property.ledger_world import NOON, REFS, VERBS, Op, World, drawn, read

REPOSITORY = Path(__file__).parents[2]


def check(told: World, known: World) -> None:
    """The Store tells exactly what is known; nothing both waits and runs; the audit log has a line for each lease that came and went."""
    assert (told.queue, told.leases) == (known.queue, known.leases)
    assert (told.learned, told.past) == (known.learned, known.past)
    assert told.lines == known.lines
    assert not told.queue.keys() & told.leases.keys()
    for ref in REFS:
        assert told.lines[ref, "admit"] - told.lines[ref, "release"] == (ref in told.leases)


class Ledger(RuleBasedStateMachine):
    """A Store in a file, and what it should hold."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.copies = 0
        self.path = self.folder / "0" / "s.db"
        self.store = open_store(self.path)
        self.world = World()
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def op(self, verb: str, ref: int) -> Op:
        self.number += 1
        return Op(verb, REFS[ref], self.number)

    @rule(verb=st.sampled_from(VERBS), ref=st.integers(0, len(REFS) - 1))
    def operation(self, verb: str, ref: int) -> None:
        op = self.op(verb, ref)
        op.play(self.store, self.world)
        self.world = op.after(self.world)

    @rule(verb=st.sampled_from(VERBS), ref=st.integers(0, len(REFS) - 1), statement=st.integers(1, 8))
    def dies_in_the_middle(self, verb: str, ref: int, statement: int) -> None:
        """The files as they were on disk before the n-th statement of the operation, opened anew: as after `kill -9` at that point."""
        op = self.op(verb, ref)
        seen = Counter[str]()
        copy = self.folder / str(self.copies + 1) / "s.db"

        def watch(*_: object) -> None:
            seen["statements"] += 1
            if seen["statements"] == statement:
                shutil.copytree(self.path.parent, copy.parent)

        sa.event.listen(sa.Engine, "before_cursor_execute", watch)
        try:
            op.play(self.store, self.world)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", watch)
        if seen["statements"] < statement:
            self.world = op.after(self.world)
            return
        self.copies += 1
        self.store.close()
        self.path, self.store = copy, open_store(copy)
        assert self.store.damage() == ()

    @rule()
    def dies_in_between(self) -> None:
        self.store.close()
        self.store = open_store(self.path)

    @rule(ref=st.integers(0, len(REFS) - 1))
    def is_granted_twice(self, ref: int) -> None:
        if held := self.world.leases.get(REFS[ref]):
            with pytest.raises(StoreError, match="has a lease"):
                self.store.work.grant([held.lease])

    @rule()
    def is_told_again_what_waited_before_the_grants(self) -> None:
        """A pass that read the queue before a grant does not bring back what runs by now."""
        stale = [each.waiting() for each in self.world.leases.values()]
        self.store.work.put_queue([*self.world.queue.values(), *stale])

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        check(read(self.store), self.world)


Ledger.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestLedger = Ledger.TestCase


@pytest.mark.full
class TestLedgerLong(Ledger.TestCase):
    settings = settings(max_examples=400, stateful_step_count=50, deadline=None)


def killed_rounds(path: Path, rounds: int) -> int:
    """Play in a process that is killed after a while, again and again; how many operations were done in all."""
    with open_store(path) as store:
        world = read(store)
    done = 0
    for seed in range(1, rounds + 1):
        asked = [sys.executable, "-m", "tests.property.ledger_world", str(path), str(seed)]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(asked, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.013 * (seed * 7 % 17))
            os.kill(child.pid, signal.SIGKILL)
            promised = len(child.stdout.read().splitlines())
        for number in range(promised):
            world = drawn(seed, number).after(world)
        with open_store(path) as store:
            assert store.damage() == ()
            told = read(store)
        # The operation under way was done in whole or not at all.
        following = drawn(seed, promised).after(world)
        if told != world:
            world, promised = following, promised + 1
        check(told, world)
        done += promised
    return done


def test_a_process_that_is_killed_leaves_each_operation_whole(tmp_path: Path) -> None:
    assert killed_rounds(tmp_path / "s.db", 8) > 100


@pytest.mark.full
def test_a_process_that_is_killed_often_leaves_each_operation_whole(tmp_path: Path) -> None:
    assert killed_rounds(tmp_path / "s.db", 150) > 5000


def test_the_world_that_is_compared_with_is_busy() -> None:
    """The drawn operations do reach every state that the checks above are about."""
    world, most = World(), 0
    for number in range(2000):
        world = drawn(1, number).after(world)
        most = max(most, len(world.leases))
    assert all(world.lines[ref, "preempt"] and world.lines[ref, "release"] > 5 for ref in REFS)
    assert (most > 4, world.learned > 50) == (True, True)
    assert [each for each in world.queue.values() if each.item.preempted] or [
        each for each in world.leases.values() if each.lease.preempted
    ]
    assert world.past.project_started.keys() <= {"p0", "p1", "p2"}
    assert all(at > NOON for at in world.past.project_started.values())
