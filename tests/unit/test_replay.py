"""Changed quotas, and the recorded queue under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.admission.simulate.recorded import recorded
from reconciler.model import Change, Create, Delete, Keep, Owned, Plan, Present, Ref, Resource, Update
from reconciler.proposal import Proposal
from reconciler.replay import replay
from reconciler.report.replay import replay_lines, replay_value
from reconciler.state import AuditEntry
from reconciler.testing import make_context, make_resource
from schemas.platform import Admission
from schemas.resourcequota import KIND

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def ref(project: str, key: str = "a") -> Ref:
    return Ref("Experiment", project, "e", key)


def admit(at: float, who: Ref, waited: int = 0, memory: str = "1024Mi") -> AuditEntry:
    detail = {"node": "here", "waited_seconds": waited, "waited_for": "", "granted": {"memory": memory, "cpu": "1"}}
    return AuditEntry(NOON + timedelta(seconds=at), "loop", who, "admit", detail=detail)


def release(at: float, who: Ref, held: int, again: bool = False) -> AuditEntry:
    detail = {"held_seconds": held, "why": "", "job": "", **({"queued": "again"} if again else {})}
    return AuditEntry(NOON + timedelta(seconds=at), "loop", who, "release", detail=detail)


def test_what_was_admitted_is_a_line_from_when_it_was_submitted() -> None:
    found = recorded(
        [release(100, ref("p"), 70), admit(30, ref("p"), waited=30), admit(40, ref("q"), waited=20)], NOON + timedelta(seconds=100)
    )
    assert [(each.project, each.at, each.seconds, each.memory, each.cpu) for each in found] == [
        ("p", 0.0, 70.0, "1024Mi", "1"),
        ("q", 20.0, 60.0, "1024Mi", "1"),
    ]


def test_what_was_stopped_for_others_is_one_piece_and_what_ran_twice_is_two() -> None:
    stopped, twice = ref("p", "stopped"), ref("p", "twice")
    entries = [
        *(admit(0, stopped), release(50, stopped, 50, again=True), admit(80, stopped, waited=30), release(100, stopped, 20)),
        *(admit(10, twice), release(20, twice, 10), admit(200, twice), release(230, twice, 30)),
    ]
    assert [(each.at, each.seconds) for each in recorded(entries, NOON + timedelta(hours=1))] == [(0.0, 70.0), (10.0, 10.0), (200.0, 30.0)]


def test_other_lines_and_an_end_without_a_beginning_are_nothing() -> None:
    assert (
        recorded([AuditEntry(NOON, "ann", ref("p"), "create"), release(1, ref("p"), 1), AuditEntry(NOON, "ann", None, "backup")], NOON)
        == ()
    )


def test_what_waits_to_go_on_at_the_end_counts_as_far_as_it_ran() -> None:
    [found] = recorded([admit(0, ref("p")), release(50, ref("p"), 50, again=True)], NOON + timedelta(hours=1))
    assert found.seconds == pytest.approx(50.0)


# --- a plan that changes a quota -----------------------------------------------------------------------------------


@dataclass
class Audit:
    entries: Sequence[AuditEntry]

    def history(self, **_: Any) -> Sequence[AuditEntry]:
        return self.entries


@dataclass
class House:
    """The two things of it that are asked for."""

    store: Audit

    def now(self) -> datetime:
        return NOON + timedelta(hours=2)


def quota(project: str, memory: str) -> Resource[Any]:
    return make_resource(KIND, "share", {"nominal": {"memory": memory}, "cohort": "all"}, project=project)


def proposed(tmp_path: Path, before: Sequence[Resource[Any]], after: Sequence[Resource[Any]]) -> Proposal:
    """The plan that leads from the one set of quotas to the other."""
    owned = {each.ref: Owned(each.ref, "x", "root", "", each.spec.model_dump(mode="json"), "auto") for each in before}
    ctx = make_context(tmp_path)
    platform = ctx.platform.model_copy(
        update={"admission": Admission.model_validate({"capacity": {"memory": "16Gi"}, "memoryReserve": "0"})}
    )
    wanted = {each.ref: each for each in after}
    actions = [Update(each, Present("x", {}), (Change("spec.nominal", 1, 2),)) if each.ref in owned else Create(each) for each in after]
    actions += [Delete(each, "") for ref, each in owned.items() if ref not in wanted]
    return Proposal(Plan(tuple(actions), {}, ""), wanted, {}, owned, (), (), (), {}, 0.0, 0, "", replace(ctx, platform=platform))


def busy() -> list[AuditEntry]:
    """Four pieces of 4 GiB each that p submitted at once and one of q a minute later, which all ran at once for ten minutes."""
    pieces = [(0, ref("p", str(number))) for number in range(4)] + [(60, ref("q"))]
    return [entry for at, who in pieces for entry in (admit(at, who, memory="4096Mi"), release(at + 600, who, 600))]


def test_less_for_one_is_told_with_who_waits_longer(tmp_path: Path) -> None:
    before = [quota("p", "12Gi"), quota("q", "4Gi")]
    found = replay(proposed(tmp_path, before, [quota("p", "4Gi"), quota("q", "4Gi")]), House(Audit(busy()))).replay
    assert found is not None
    assert {name: (then.own.memory, now.own.memory) for name, (then, now) in found.shares.items()} == {
        "p": (12 << 30, 4 << 30),
        "q": (4 << 30, 4 << 30),
    }
    assert [each.most.memory for each in found.shares["q"]] == [16 << 30, 8 << 30]
    then, now = found.waits["p"]
    assert now.wait_p95 > then.wait_p95 + 500
    lines = replay_lines(found)
    assert "p: memory 12 GiB -> 4 GiB of its own, at most 16 GiB -> 8 GiB" in lines
    assert "q: memory at most 16 GiB -> 8 GiB" in lines
    assert "the queue of the last hours played again (5 pieces of work): p waits" in lines[-1]
    assert replay_value(found)["waits"]["p"]["after"]["waitP95"] == round(now.wait_p95, 1)


def test_work_that_never_fits_any_more_is_counted(tmp_path: Path) -> None:
    before, after = [quota("p", "12Gi"), quota("q", "4Gi")], [quota("p", "1Gi"), quota("q", "1Gi")]
    found = replay(proposed(tmp_path, before, after), House(Audit(busy()))).replay
    assert found is not None
    assert "p 4 of 4 would never have started (was 0)" in replay_lines(found)[-1]


def test_a_quota_that_goes_leaves_the_project_with_the_rest(tmp_path: Path) -> None:
    found = replay(proposed(tmp_path, [quota("p", "12Gi"), quota("q", "4Gi")], [quota("q", "4Gi")]), House(Audit([]))).replay
    assert found is not None
    assert found.shares["p"][1].own.memory is None
    assert replay_lines(found)[-1].startswith("no queue is recorded yet")


def test_a_plan_without_quotas_asks_nobody(tmp_path: Path) -> None:
    same = [quota("p", "12Gi")]
    proposal = proposed(tmp_path, same, same)
    proposal = replace(proposal, plan=replace(proposal.plan, actions=(Keep(same[0].ref),)))
    assert replay(proposal, House(Audit(busy()))) is proposal
