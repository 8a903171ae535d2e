"""What would let work start now: each change is read back from its text, made, and decided again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.admission.decide import decide
from reconciler.admission.memory import learn
from reconciler.admission.remedy import NOT_ADVISED, remedies
from reconciler.admission.values import Heat, Level, Quota, Remedy, Snapshot, Window
from reconciler.admission.whatif import largest, quantity, smallest, written_as
from reconciler.model import Learned, Limits, Ref
from reconciler.model.demand import RESOURCES, units
from tests.unit.admission_world import NOW, G, amounts, item, lease, limits, mac, quota, ref, snapshot

MIB = 1 << 20


def carried_out(taken: Snapshot, who: Ref, change: str, margin: float = 0.15) -> Snapshot:
    """The snapshot after what `change` tells a person to write."""
    waiting = next(each for each in taken.queue if each.ref == who)
    quotas = dict(taken.quotas)
    words = change.split()
    if words[0] == "priority":
        waiting = replace(waiting, priority=int(words[-1]))
    elif words[0].startswith("resources."):
        name = words[0].removeprefix("resources.")
        value = units(name, words[-1])
        if name == "memory":
            value = -(-round(value * (1 + margin)) // MIB) * MIB
        waiting = replace(waiting, amounts=waiting.amounts._replace(**{name: value}))
    elif change.startswith("quota without its window"):
        text = change.partition("`")[2].rstrip("`")
        left = tuple(each for each in quotas[who.owner].windows if text and f"{'allow' if each.allow else 'deny'} {each.cron}" != text)
        quotas[who.owner] = replace(quotas[who.owner], windows=left)
    elif words[0] == "quota":
        for each in change.removeprefix("quota ").split(" and "):
            quotas[who.owner] = with_field(quotas[who.owner], each)
    elif words[0] == "project":
        quotas[who.owner] = replace(quotas[who.owner], active=True)
    elif words[0] == "free":
        freed = units("memory", words[1])
        nodes = tuple(replace(each, outside=each.outside._replace(memory=max(0, each.outside.memory - freed))) for each in taken.nodes)
        return replace(taken, nodes=nodes)
    else:
        raise AssertionError(f"nobody could carry out: {change}")
    queue = tuple(waiting if each.ref == who else each for each in taken.queue)
    return replace(taken, queue=queue, quotas=quotas)


def with_field(given: Quota, change: str) -> Quota:
    field, _, value = change.partition(" ")
    value = value.split()[-1]
    if field == "maxRunning":
        return replace(given, max_running=int(value))
    block, name = field.split(".")
    of = {"nominal": "nominal", "borrowingLimit": "borrowing"}[block]
    have: Limits = getattr(given, of)
    return replace(given, **{of: have._replace(**{name: units(name, value)})})  # type: ignore[arg-type]


def starts(taken: Snapshot, who: Ref) -> bool:
    decision = decide(taken)
    return any(each.ref == who for each in decision.grants) or any(each.preemptor == who for each in decision.preemptions)


def found(taken: Snapshot, name: str, project: str = "a", measured: Learned | None = None, **more: int | None) -> dict[str, Remedy]:
    """The remedies by their first word or field; every one that is said to work does."""
    who = ref(name, project)
    told = remedies(taken, who, measured, **more)  # type: ignore[arg-type]
    for each in told:
        if each.works:
            changed = carried_out(taken, who, each.change, 0.0 if measured else 0.15)
            never = decide(taken).explain(who).reason.never
            assert starts(changed, who) or (never and not decide(changed).explain(who).reason.never), each
    return {" ".join(each.change.split()[:2]) if each.change.startswith("quota") else each.change.split()[0]: each for each in told}


def test_more_quota_or_a_smaller_request() -> None:
    leases = (lease("now", memory=8, preemptible=False),)
    taken = snapshot(item("next", memory=6), leases=leases, quotas=(quota("a", 10, cohort=""),), nodes=(mac(64),))
    told = found(taken, "next")
    raised = told["quota nominal.memory"]
    assert raised.change == "quota nominal.memory 10Gi -> 14Gi"
    assert raised.effect == "takes 4Gi of the machine that no quota gives to anyone"
    smaller = told["resources.memory"]
    assert units("memory", smaller.change.split()[-1]) * 1.15 == pytest.approx(2 * G, rel=0.02)
    assert "ended when it stays above" in smaller.effect
    assert not told["priority"].works, "room is what it lacks"


def test_the_smallest_value_is_told() -> None:
    """One step below it, it would still wait."""
    taken = snapshot(item("next", memory=6.3), leases=(lease("now", memory=8),), quotas=(quota("a", 10, cohort=""),), nodes=(mac(64),))
    told = found(taken, "next")["quota nominal.memory"]
    value = units("memory", told.change.split()[-1])
    below = replace(taken.quotas["a"], nominal=Limits(memory=value - G // 2))
    assert not starts(replace(taken, quotas={"a": below}), ref("next"))


def test_a_promise_that_the_machine_cannot_keep_is_told() -> None:
    quotas = (quota("a", 6, cohort=""), quota("b", 10, cohort=""))
    taken = snapshot(item("next", memory=8), quotas=quotas, nodes=(mac(16),))
    assert found(taken, "next")["quota nominal.memory"].effect.startswith("all quotas together then promise 18Gi of 16Gi")


def test_both_resources_are_raised_together_where_both_are_short() -> None:
    taken = snapshot(item("next", memory=6, cpu=3), quotas=(quota("a", 4, cpu=2, cohort=""),), nodes=(mac(64, 8),))
    assert found(taken, "next")["quota nominal.memory"].change == "quota nominal.memory 4Gi -> 6Gi and nominal.cpu 2 -> 3"


def test_only_the_short_resource_is_raised() -> None:
    taken = snapshot(item("next", memory=6, cpu=1), quotas=(quota("a", 4, cpu=2, cohort=""),), nodes=(mac(64, 8),))
    assert found(taken, "next")["quota nominal.memory"].change == "quota nominal.memory 4Gi -> 6Gi"


def test_a_borrowing_limit_is_raised() -> None:
    taken = snapshot(item("next", memory=6), quotas=(quota("a", 4, borrowing=0), quota("b", 8)), nodes=(mac(64),))
    assert found(taken, "next")["quota borrowingLimit.memory"].change == "quota borrowingLimit.memory 0 -> 2Gi"


def test_priority_that_stops_somebody_says_whom_and_comes_last() -> None:
    taken = snapshot(
        item("next", memory=8, priority=5),
        leases=(lease("low", memory=8, priority=6, seconds=9000),),
        quotas=(quota("a", 10, cohort=""),),
        nodes=(mac(64),),
    )
    told = remedies(taken, ref("next"))
    works = [each for each in told if each.works]
    assert works[-1].change == "priority 5 -> 7"
    assert "would stop experiment/a/e#low" in works[-1].effect
    assert starts(carried_out(taken, ref("next"), works[-1].change), ref("next"))


def test_an_exempt_priority_starts_on_a_hot_machine() -> None:
    taken = snapshot(item("next", priority=4), nodes=(mac(heat=Heat(Level.SERIOUS, None, NOW)),))
    told = found(taken, "next")
    assert told["priority"].change == "priority 4 -> 7"
    assert set(told) == {"priority"}


def test_a_turn_is_gained_by_priority() -> None:
    taken = snapshot(item("first", memory=16, waited=100), item("next", memory=16, waited=50))
    told = found(taken, "next")
    assert told["priority"].change == "priority 5 -> 6"
    assert told["priority"].effect == "experiment/a/e#first would start later"


def test_a_request_below_the_measured_peak_is_not_advised() -> None:
    measured = Learned(runs=10, memory=5 * G, peaks=(5 * G,) * 10)
    taken = snapshot(item("next", memory=6), leases=(lease("now", memory=8),), quotas=(quota("a", 10, cohort=""),), nodes=(mac(64),))
    told = found(taken, "next", measured=measured, declared=6 * G)["resources.memory"]
    assert told.change == "resources.memory 6Gi -> 2Gi"
    assert not told.works
    assert told.effect == f"{NOT_ADVISED}: its measured peak is 5 GiB"


def test_a_request_above_the_measured_peak_may_shrink_to_it() -> None:
    measured: Learned | None = None
    for _ in range(40):
        measured = learn(measured, G, 60, None, False)
    taken = snapshot(item("next", memory=6), leases=(lease("now", memory=8),), quotas=(quota("a", 10, cohort=""),), nodes=(mac(64),))
    told = found(taken, "next", measured=measured, declared=6 * G)["resources.memory"]
    assert told.works
    assert told.change == "resources.memory 6Gi -> 2Gi"
    assert "its measured peak is 1 GiB" in told.effect


def test_what_can_never_start_is_told_the_number_to_change() -> None:
    taken = snapshot(item("huge", memory=100), leases=(lease("now", memory=10),), nodes=(mac(16),))
    told = found(taken, "huge", declared=0)
    assert told["resources.memory"].change.startswith("resources.memory unset -> 13.9Gi")
    assert "then it waits its turn" in told["resources.memory"].effect
    assert set(told) == {"resources.memory"}


def test_what_no_quota_can_hold_is_told_quota_and_request() -> None:
    taken = snapshot(item("big", memory=12), quotas=(quota("a", 4, cohort=""),), nodes=(mac(64),))
    told = found(taken, "big")
    assert told["quota nominal.memory"].change == "quota nominal.memory 4Gi -> 12Gi"
    assert told["resources.memory"].works


def test_a_window_a_switch_and_a_count() -> None:
    closed = replace(quota("a", 8), windows=(Window(False, "0 12 * * *", 3600), Window(False, "0 3 * * *", 3600)))
    assert set(found(snapshot(item("next"), quotas=(closed,)), "next")) == {"quota without"}
    twice = replace(quota("a", 8), windows=(Window(False, "0 12 * * *", 3600), Window(False, "30 11 * * *", 3600)))
    assert found(snapshot(item("next"), quotas=(twice,)), "next")["quota without"].change == "quota without its windows"
    assert set(found(snapshot(item("next"), quotas=(quota("a", 8, active=False),)), "next")) == {"project"}
    full = snapshot(item("next"), leases=(lease("x"), lease("y")), quotas=(quota("a", 8, max_running=1),))
    assert found(full, "next")["quota maxRunning"].change == "quota maxRunning 1 -> 3"


def test_memory_of_other_programs_can_be_freed() -> None:
    taken = snapshot(item("next", memory=10), nodes=(mac(16, outside=amounts(9)),))
    told = found(taken, "next")["free"]
    assert told.change == "free 3Gi of memory"
    assert "outside" in told.effect


def test_nothing_helps_a_retry_but_time() -> None:
    taken = snapshot(item("again", not_before=NOW + timedelta(seconds=60)))
    assert remedies(taken, ref("again")) == ()


def test_what_starts_now_needs_none_and_what_does_not_wait_is_unknown() -> None:
    taken = snapshot(item("now"))
    assert remedies(taken, ref("now")) == ()
    with pytest.raises(KeyError):
        remedies(taken, ref("elsewhere"))


@given(st.sampled_from(RESOURCES), st.integers(0, 1 << 44))
def test_a_quantity_is_read_back_as_what_was_tried(name: str, value: int) -> None:
    step = {"memory": MIB}.get(name, 100)
    whole = value // step * step if name == "memory" else value % 1_000_000 // step * step
    assert units(name, quantity(name, whole)) == whole
    if name == "memory":
        told = written_as(value)
        assert told <= value
        assert units(name, quantity(name, told)) == told


@given(st.integers(0, 64 * G), st.integers(1, 64 * G))
def test_the_search_finds_the_edge(low: int, more: int) -> None:
    edge = low + more
    value = smallest(low, edge + G, "memory", lambda each: each >= edge)
    assert edge <= value <= edge + G // 2
    most = largest(edge + G, "memory", lambda each: each <= edge)
    assert edge - 16 * MIB <= most <= edge


amount = st.integers(1, 24)
projects = st.sampled_from(["a", "b", "c"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(projects, amount, st.integers(1, 10)), min_size=1, max_size=6),
    st.lists(st.tuples(projects, amount, st.integers(1, 10)), max_size=4),
    st.lists(st.tuples(st.integers(0, 16), st.one_of(st.none(), st.integers(0, 8)), st.sampled_from(["", "team"])), min_size=3, max_size=3),
    st.sampled_from([Level.NOMINAL, Level.UNKNOWN, Level.SERIOUS, Level.CRITICAL]),
    st.integers(0, 8),
)
def test_whatever_is_said_to_work_works(
    waiting: list[tuple[str, int, int]],
    running: list[tuple[str, int, int]],
    shares: list[tuple[int, int | None, str]],
    heat: Level,
    outside: int,
) -> None:
    quotas = tuple(
        replace(quota(name, nominal, cohort=cohort), borrowing=limits(borrowing))
        for name, (nominal, borrowing, cohort) in zip("abc", shares, strict=True)
    )
    taken = snapshot(
        *(item(f"q{n}", name, size, priority=priority, waited=n) for n, (name, size, priority) in enumerate(waiting)),
        leases=tuple(lease(f"r{n}", name, size / 3, priority=priority, seconds=7200) for n, (name, size, priority) in enumerate(running)),
        quotas=quotas,
        nodes=(mac(20, heat=Heat(heat, None, NOW), outside=amounts(outside)),),
    )
    for each in taken.queue:
        found(taken, each.ref.key, each.ref.owner)
