"""Several loops side by side, each with some of the projects: whole within them, and without a say in the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import StalePlan, UsageError, WriterBusy
from reconciler.house import House
from reconciler.loop import Report, carry_out, propose
from reconciler.model import Blocked, Done, Ref, Result
from reconciler.selection import Selection
from reconciler.shard import Shard, shard_named
from reconciler.state import open_store
from reconciler.testing import FakeTool, FileShelf
from tests.contract.crash_child import house_in

HEAD = "apiVersion: reconciler.mlops/v1\n"
FIRST, SECOND = Shard(1, 2), Shard(2, 2)
NAMES = [f"p{number}" for number in range(8)]
ONES = [name for name in NAMES if FIRST.holds(Ref("Project", None, name))]
TWOS = [name for name in NAMES if SECOND.holds(Ref("Project", None, name))]


class Estate:
    """Eight projects with a few widgets each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "manifests").mkdir()
        (root / "manifests" / "platform.yaml").write_text(f"{HEAD}kind: Platform\nmetadata: {{name: x}}\nspec: {{installation: e}}\n")
        for name in NAMES:
            (root / "code" / name).mkdir(parents=True)
            self.write(name, "a", "b", "c")

    def write(self, project: str, *widgets: str, size: int = 1, uses: str = "") -> None:
        parts = f", parts: ['{uses}']" if uses else ""
        texts = [f"{HEAD}kind: Project\nmetadata: {{name: {project}}}\nspec: {{path: code/{project}, shares: []}}\n"]
        texts += [
            f"{HEAD}kind: Widget\nmetadata: {{name: {each}, project: {project}}}\nspec: {{size: {size}{parts}}}\n" for each in widgets
        ]
        (self.root / "manifests" / f"{project}.yaml").write_text("---\n".join(texts))

    def house(self, shard: Shard | None) -> House:
        return replace(house_in(self.root, FakeTool(FileShelf(self.root / "things.json"))), shard=shard)

    def selection(self, shard: Shard | None) -> Selection:
        return Selection((self.root / "manifests",), shard=shard)

    def one(self, house: House) -> Report:
        return carry_out(propose(self.selection(house.shard), house), house)

    def things(self) -> set[str]:
        tool = FakeTool(FileShelf(self.root / "things.json"))
        return {each.name for each in tool.things() if each.stage == "active"}


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    return Estate(tmp_path)


def wrote(report: Report) -> set[str]:
    """Projects in which a pass did something."""
    return {each.action.ref.owner for each in report.results if isinstance(each.outcome, Done)} - {""}


def by_reason(report: Report) -> dict[str, Result]:
    return {each.action.reason: each for each in report.results if isinstance(each.action, Blocked)}


def test_every_resource_is_in_exactly_one_shard() -> None:
    assert len(ONES) > 1
    assert len(TWOS) > 1
    refs = [Ref("Platform", None, "x"), Ref("AlertPolicy", None, "x"), *(Ref("Widget", f"q{number}", "w") for number in range(500))]
    for of in (1, 2, 3, 7):
        shards = [Shard(number, of) for number in range(1, of + 1)]
        assert all(sum(each.holds(ref) for each in shards) == 1 for ref in refs)
        assert all(any(each.holds(ref) for ref in refs) for each in shards), "none is empty"
    assert FIRST.holds(refs[0])
    assert FIRST.holds(Ref("Project", None, ONES[0])) == FIRST.holds(Ref("Widget", ONES[0], "w", "child"))


def test_two_shards_make_all_of_it_and_each_its_own(estate: Estate) -> None:
    one, two = estate.house(FIRST), estate.house(SECOND)
    assert wrote(estate.one(one)) == set(ONES)
    assert wrote(estate.one(two)) == set(TWOS)
    assert estate.things() == {f"{name}/{each}" for name in NAMES for each in "abc"}
    assert not wrote(estate.one(one)) | wrote(estate.one(two)), "a second pass has nothing to do"
    assert {each.owner for each in two.store.statuses()} == {*NAMES, ""}, "neither drops what the other said"
    assert propose(estate.selection(None), estate.house(None)).plan.writes == (), "and a look at everything agrees"


def test_a_shard_prunes_its_own_and_nothing_else(estate: Estate) -> None:
    one, two = estate.house(FIRST), estate.house(SECOND)
    estate.one(one)
    estate.one(two)
    estate.write(ONES[0], "a", "b")
    estate.write(TWOS[0], "a", "c")
    estate.one(two)
    gone = {f"{name}/{each}" for name in NAMES for each in "abc"} - estate.things()
    assert gone == {f"{TWOS[0]}/b"}
    estate.one(one)
    assert f"{ONES[0]}/c" not in estate.things()


def test_orphans_of_another_shard_are_left_to_it(estate: Estate) -> None:
    estate.one(estate.house(FIRST))
    (estate.root / "state" / "store.db").unlink()
    for name in ONES[1:]:
        estate.write(name, "a", "b", "c")
    estate.write(ONES[0], "a", "b")
    assert propose(estate.selection(SECOND), estate.house(SECOND)).orphans == ()
    assert propose(estate.selection(FIRST), estate.house(FIRST)).orphans == (Ref("Widget", ONES[0], "c"),)


def test_what_another_shard_wrote_does_not_make_a_plan_stale_but_a_whole_pass_does(estate: Estate) -> None:
    one, two = estate.house(FIRST), estate.house(SECOND)
    planned = propose(estate.selection(FIRST), one)
    estate.one(two)
    assert wrote(carry_out(planned, one)) == set(ONES)
    planned = propose(estate.selection(FIRST), one)
    everything = estate.house(None)
    estate.one(everything)
    with pytest.raises(StalePlan):
        carry_out(planned, one)
    planned = propose(estate.selection(None), everything)
    estate.one(two)
    with pytest.raises(StalePlan):
        carry_out(planned, everything)


def test_two_loops_of_one_shard_still_make_each_other_stale(estate: Estate) -> None:
    one, again = estate.house(FIRST), estate.house(FIRST)
    planned = propose(estate.selection(FIRST), one)
    estate.one(again)
    with pytest.raises(StalePlan):
        carry_out(planned, one)


@contextmanager
def leading(estate: Estate, number: int, of: int) -> Iterator[None]:
    with open_store(estate.root / "state" / "store.db", read_only=False) as store, store.leader("somebody", 9.0, number, of):
        yield


def test_each_shard_has_one_leader_and_all_divide_alike(estate: Estate) -> None:
    estate.one(estate.house(None))
    with leading(estate, 1, 2), leading(estate, 2, 2):
        with pytest.raises(WriterBusy, match="leads part 2 of 2 of this installation"), leading(estate, 2, 2):
            pass
        for number, of in ((1, 1), (1, 3), (3, 3)):
            with pytest.raises(WriterBusy, match="leads part 1 of 2 of this installation") as told, leading(estate, number, of):
                pass
            assert "the same number of parts" in str(told.value)
    with leading(estate, 1, 1), pytest.raises(WriterBusy, match=r"`somebody` .*leads this installation"), leading(estate, 1, 2):
        pass


def test_writing_takes_turns_among_all_shards(estate: Estate) -> None:
    one, two, inside, done = estate.house(FIRST), estate.house(SECOND), threading.Event(), threading.Event()

    def hold() -> None:
        with one.store.writer("one"):
            inside.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert inside.wait(20)
        with pytest.raises(WriterBusy):
            estate.one(two)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "1/0", "a/b", "1/100", "-1/3"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a shard"):
        shard_named(text)
    assert str(shard_named("2/3")) == "2/3"
