"""The heat rule, the forecast, and the model that is learned; against a plant that is integrated second by second."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.admission.simulate.plant import Plant, PlantSpec
from reconciler.admission.thermal import fit, forecast, may_start, observed, running_watts
from reconciler.admission.values import Heat, Lease, Level, Node, Rules, ThermalModel
from reconciler.model import Ref
from reconciler.model.demand import UNLIMITED, Amounts

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MODEL = ThermalModel(resistance=0.05, tau=600.0, ambient=-1.0, fast=0.01)
"""Gives off 40 W at its limit, 38 W at 90 %."""
RULES = Rules(power_margin=0.0)


def node(level: Level = Level.NOMINAL, used: float | None = 0.0, model: ThermalModel | None = MODEL, watts: float | None = None) -> Node:
    return Node("mini", UNLIMITED, heat=Heat(level, used, NOW, watts, model))


@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize(
    ("level", "low", "high"),
    [
        (Level.UNKNOWN, True, True),
        (Level.NOMINAL, True, True),
        (Level.FAIR, True, True),
        (Level.SERIOUS, False, True),
        (Level.CRITICAL, False, False),
    ],
)
def test_what_a_level_alone_lets_start(level: Level, low: bool, high: bool, with_model: bool) -> None:
    at = node(level, model=MODEL if with_model else None)
    assert may_start(at, 0.0, 1.0, 6, 60.0, RULES)[0] is low
    assert may_start(at, 0.0, 1.0, 7, 60.0, RULES)[0] is high


def test_an_unknown_level_never_blocks_whatever_a_stale_model_says() -> None:
    assert may_start(node(Level.UNKNOWN, used=3.0), 500.0, 500.0, 1, None, RULES)[0]


@pytest.mark.parametrize(
    ("running", "item", "priority", "allowed"),
    [
        (30.0, 7.9, 5, True),
        (30.0, 8.2, 5, False),
        (30.0, 8.2, 7, True),
        (30.0, 9.3, 7, True),
        (30.0, 9.5, 7, False),
        (39.0, 0.0, 5, False),
        (39.0, 0.0, 7, True),
    ],
)
def test_long_work_starts_up_to_the_ceiling_and_exempt_work_nearly_up_to_the_limit(
    running: float, item: float, priority: int, allowed: bool
) -> None:
    """From rest, so that only the power counts: 38 W hold the ceiling of the usual work, 39.4 W that of the exempt priorities."""
    rules = replace(RULES, horizon=1e6)
    at = node(used=MODEL.ambient + MODEL.resistance * running - 1e-9 if running < 38 else 0.5)
    assert may_start(at, running, item, priority, None, rules)[0] is allowed


def test_a_cool_chassis_takes_a_burst_that_would_be_too_much_for_ever() -> None:
    at = node(used=0.0)
    assert may_start(at, 0.0, 60.0, 5, 120.0, RULES)[0]
    assert not may_start(at, 0.0, 60.0, 5, 600.0, RULES)[0]
    assert not may_start(at, 0.0, 60.0, 5, None, RULES)[0]


def test_what_is_already_too_hot_gets_nothing_even_if_it_would_cool_down() -> None:
    assert not may_start(node(Level.FAIR, used=0.95), 0.0, 0.1, 5, 3600.0, RULES)[0]


def test_a_declared_power_is_taken_with_its_margin() -> None:
    at = node(used=0.5)
    assert may_start(at, 30.0, 7.0, 5, None, replace(RULES, horizon=1e6))[0]
    assert not may_start(at, 30.0, 7.0, 5, None, replace(RULES, horizon=1e6, power_margin=0.15))[0]


def test_the_reason_says_what_is_in_the_way_and_does_not_flap() -> None:
    told = {may_start(node(used=used), watts, 20.0, 5, None, RULES)[1] for used, watts in ((0.5, 40.0), (0.61, 43.7))}
    assert told == {"mini would pass 90% of its thermal headroom; priority 7 and above may use the rest"}
    assert "critically hot" in may_start(node(Level.CRITICAL), 0, 0, 9, None, RULES)[1]
    assert "only priority 7 and above" in may_start(node(Level.SERIOUS), 0, 0, 5, None, RULES)[1]


@given(
    used=st.floats(0, 1.2),
    running=st.floats(0, 80),
    item=st.floats(0, 40),
    more=st.floats(0, 40),
    seconds=st.floats(1, 7200),
    priority=st.integers(1, 10),
)
def test_what_may_start_may_start_with_less_power_or_more_priority(
    used: float, running: float, item: float, more: float, seconds: float, priority: int
) -> None:
    at = node(used=used)
    if may_start(at, running, item + more, priority, seconds, RULES)[0]:
        assert may_start(at, running, item, priority, seconds, RULES)[0]
        assert may_start(at, running, item + more, 10, seconds, RULES)[0]


@pytest.mark.parametrize(("before", "more", "seconds"), [(10.0, 30.0, 300), (40.0, 0.0, 900), (20.0, 25.0, 1800), (48.0, 10.0, 240)])
def test_the_forecast_is_where_the_plant_gets_to(before: float, more: float, seconds: int) -> None:
    """A model that knows the plant's own constants, against the integrated plant, in hundredths of headroom."""
    spec = PlantSpec(sustained=60.0)
    plant = Plant(spec, Random(0))
    for _ in range(4 * 3600):
        plant.advance(before - spec.idle, 0.0, 1.0)
    rise = (spec.trip - spec.air) / spec.sustained / 30.0
    model = ThermalModel(rise, spec.chassis_tau, (spec.air - spec.trip + 30.0) / 30.0, fast=rise * spec.die_share)
    start = (plant.die - (spec.trip - 30.0)) / 30.0
    said = forecast(model, start, before, more, seconds)
    for _ in range(seconds):
        plant.advance(before + more - spec.idle, 0.0, 1.0)
    assert (plant.die - (spec.trip - 30.0)) / 30.0 == pytest.approx(said, abs=0.02)


def lease(name: str, watts: float, age: float, where: str = "mini", paused: bool = False) -> Lease:
    since = NOW - timedelta(seconds=age)
    return Lease(Ref("Experiment", "a", "e", name), "a", where, Amounts(0, 0, 0, round(1000 * watts)), 5, since, since, paused=paused)


def test_power_is_what_is_measured_and_what_started_after_the_measurement() -> None:
    leases = [lease("old", 10, 60), lease("new", 7, 2), lease("elsewhere", 50, 2, "other"), lease("halted", 30, 60, paused=True)]
    assert running_watts(node(watts=14.0), leases, NOW, RULES) == pytest.approx(21.0)
    assert running_watts(node(), leases, NOW, RULES) == pytest.approx(17.0)


# --- learning the model --------------------------------------------------------------------------------------------


def history(spec: PlantSpec, seconds: int, seed: int = 0, steady: bool = False, every: int = 10) -> list[tuple[float, float, float | None]]:
    """What sensors tell of a machine with changing load, one sample each `every` seconds."""
    random = Random(seed)
    plant = Plant(spec, random)
    found: list[tuple[float, float, float | None]] = []
    load = 0.6
    for second in range(seconds):
        if second % 420 == 0 and not steady:
            load = random.choice((0.3, 0.6, 0.8, 1.0))
        plant.advance(load * spec.sustained - spec.idle, 0.0, 1.0)
        used, watts, _ = plant.read()
        if second % every == 0:
            found.append((float(second), watts, used))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sustained", [20.0, 54.0])
def test_the_model_of_a_noisy_machine_is_found_in_hours(sustained: float, seed: int) -> None:
    model = fit(history(PlantSpec(sustained=sustained), 3 * 3600, seed))
    assert model is not None
    assert (1.0 - model.ambient) / model.resistance == pytest.approx(sustained, rel=0.08)
    assert model.tau == pytest.approx(540.0, rel=0.35)
    assert 0.1 < model.fast / model.resistance < 0.35


def test_a_machine_that_is_sampled_once_a_minute_is_found_too() -> None:
    model = fit(history(PlantSpec(), 6 * 3600, every=60))
    assert model is not None
    assert (1.0 - model.ambient) / model.resistance == pytest.approx(54.0, rel=0.08)


@pytest.mark.parametrize(
    "seen",
    [
        [],
        history(PlantSpec(), 900),
        history(PlantSpec(), 4 * 3600, steady=True),
        [(at, watts, None) for at, watts, _ in history(PlantSpec(), 4 * 3600)],
        [(at, 30.0, 0.0) for at in map(float, range(20000))],
    ],
    ids=["nothing", "too short", "too steady", "neither thermometer nor levels", "cold all the time"],
)
def test_no_model_is_better_than_a_guess(seen: list[tuple[float, float, float | None]]) -> None:
    assert fit(seen) is None


def test_a_gap_does_not_look_like_a_change() -> None:
    """The machine sleeps for an hour between two afternoons and comes back cold."""
    first = history(PlantSpec(), 2 * 3600, seed=1)
    second = [(at + 3 * 3600, watts, used) for at, watts, used in history(PlantSpec(), 2 * 3600, seed=2)]
    model = fit([*first, *second])
    assert model is not None
    assert (1.0 - model.ambient) / model.resistance == pytest.approx(54.0, rel=0.1)


def test_levels_alone_are_enough_to_learn_what_flows_off() -> None:
    spec = PlantSpec()
    told = history(spec, 8 * 3600, seed=3)
    crossings: list[tuple[float, Level]] = []
    level = Level.NOMINAL
    for at in range(6, len(told)):
        mean = sum(used or 0.0 for _, _, used in told[at - 6 : at]) / 6
        found = Level.SERIOUS if mean >= 1.0 else Level.FAIR if mean >= 2 / 3 else Level.NOMINAL
        if found is not level:
            crossings.append((told[at][0], found))
            level = found
    blind = [(at, watts, None) for at, watts, _ in told]
    model = fit(blind, crossings)
    assert model is not None
    assert (1.0 - model.ambient) / model.resistance == pytest.approx(spec.sustained, rel=0.1)
    late = [observed(model, blind[:at]) - (told[at][2] or 0.0) for at in range(500, len(told), 50) if (told[at][2] or 0.0) > 0.3]
    assert sum(abs(each) for each in late) / len(late) < 0.15
    assert fit(blind, crossings[:1]) is None
