"""What standing reservations leave to work that asks for a standing reservation itself."""

from __future__ import annotations

from dataclasses import replace

from reconciler.admission.standing import room
from reconciler.admission.values import Lease
from reconciler.model import Ref
from tests.unit.admission_world import amounts, lease, limits, mac, quota, snapshot

SEARCH, OTHER = Ref("Deployment", "a", "search"), Ref("Deployment", "a", "other")


def serving(owner: Ref, memory: float, slot: int = 0) -> Lease:
    return replace(lease("x", owner.owner, memory), ref=replace(owner, key=f"12345678-{slot}"), work="serving", seconds=None)


def test_work_that_ends_takes_no_standing_room() -> None:
    taken = snapshot(nodes=(mac(8),), leases=(lease("run", "a", 6),))
    assert room(taken, SEARCH).memory == room(snapshot(nodes=(mac(8),)), SEARCH).memory


def test_what_others_serve_is_taken_off_and_what_it_serves_itself_is_not() -> None:
    whole = room(snapshot(nodes=(mac(8),)), SEARCH).memory
    assert whole is not None
    taken = snapshot(
        nodes=(mac(8),),
        leases=(
            serving(SEARCH, 2),
            serving(OTHER, 3),
        ),
    )
    assert room(taken, SEARCH).memory == whole - amounts(3).memory


def test_the_quota_bounds_it_with_what_may_be_borrowed_beside_what_the_cohort_serves() -> None:
    quotas = (quota("a", 2, borrowing=1), quota("b", 2))
    assert room(snapshot(nodes=(mac(64),), quotas=quotas), SEARCH).memory == limits(3).memory
    theirs = serving(Ref("Deployment", "b", "big"), 2)
    assert room(snapshot(nodes=(mac(64),), quotas=quotas, leases=(theirs,)), SEARCH).memory == limits(2).memory


def test_a_resource_that_nothing_bounds_is_told_as_unbounded() -> None:
    assert room(snapshot(nodes=(mac(8),)), SEARCH).watts is None
