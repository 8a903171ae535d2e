"""How many replicas a load asks for, and how long fewer must have been enough."""

from __future__ import annotations

import pytest

from controllers.serving.scaling import Fewer, first, needed, note, wanted
from reconciler.model.serving import RouteStats
from schemas.deployment import Replicas

SPEC = Replicas.model_validate({"min": 1, "max": 4, "targetOngoing": 2.0, "scaleDownAfter": "60s"})
ZERO = Replicas.model_validate({"min": 0, "max": 2, "targetOngoing": 2.0, "scaleDownAfter": "60s"})


@pytest.mark.parametrize(("load", "replicas"), [(0.0, 1), (1.9, 1), (2.0, 1), (2.1, 2), (7.5, 4), (100.0, 4)])
def test_as_many_as_the_load_needs_within_the_bounds(load: float, replicas: int) -> None:
    assert needed(SPEC, RouteStats(load=load)) == replicas
    assert wanted(SPEC, 1, RouteStats(load=load), Fewer(), 0.0) == replicas  # more at once


def test_fewer_only_after_fewer_were_enough_for_so_long_and_as_many_as_that_time_needed_at_most() -> None:
    have, fewer = 4, Fewer()
    for second, load in ((0, 1.0), (20, 5.0), (40, 1.0)):
        stats = RouteStats(load=load)
        assert wanted(SPEC, have, stats, fewer, second + 1.0) == 4
        fewer = note(SPEC, have, stats, fewer, second + 1.0)
    assert fewer == Fewer(1.0, 3)
    assert wanted(SPEC, have, RouteStats(load=1.0), fewer, 60.0) == 4
    assert wanted(SPEC, have, RouteStats(load=1.0), fewer, 61.0) == 3


def test_a_load_that_needs_all_of_them_begins_the_time_anew() -> None:
    fewer = note(SPEC, 4, RouteStats(load=1.0), Fewer(), 10.0)
    assert note(SPEC, 4, RouteStats(load=8.0), fewer, 20.0) == Fewer()


def test_a_gateway_that_does_not_tell_changes_nothing() -> None:
    fewer = Fewer(5.0, 1)
    assert wanted(SPEC, 3, None, fewer, 1000.0) == 3
    assert note(SPEC, 3, None, fewer, 1000.0) == fewer


def test_new_bounds_hold_at_once() -> None:
    assert wanted(Replicas(min=2, max=3), 5, None, Fewer(), 0.0) == 3
    assert wanted(Replicas(min=2, max=3), 1, None, Fewer(), 0.0) == 2
    assert wanted(Replicas(min=3), 1, RouteStats(load=0.0), Fewer(), 0.0) == 3


def test_to_zero_when_nobody_asked_for_so_long_and_up_again_for_the_first_who_waits() -> None:
    assert wanted(ZERO, 1, RouteStats(idle=59.0), Fewer(), 0.0) == 1
    assert wanted(ZERO, 1, RouteStats(idle=61.0), Fewer(), 0.0) == 0
    assert wanted(ZERO, 0, RouteStats(idle=500.0), Fewer(), 0.0) == 0
    assert wanted(ZERO, 0, RouteStats(idle=0.1, waiting=1), Fewer(), 0.0) == 1
    assert wanted(ZERO, 0, RouteStats(idle=0.1, waiting=9, load=9.0), Fewer(), 0.0) == 2
    assert (first(ZERO), first(SPEC)) == (1, 1)
