"""Fits the thermal model of a node to what its sensors told: recursive least squares, or level crossings. Pure.

With a thermometer, means over blocks of `BLOCK` seconds or more follow
    u[k+1] = a u[k] + fast w[k+1] + ((1 - a) slow - a fast) w[k] + (1 - a) ambient,    a = exp(-block / tau)
(a one-pole chassis plus a die that is always at rest), which is linear in its four coefficients. Without one, the model's own
answer to the measured power must reach the known headroom of a level whenever that level is entered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

from reconciler.admission.values import Level, ThermalModel

History: TypeAlias = Sequence[tuple[float, float, float | None]]
"""(seconds, watts, headroom used), oldest first."""
Crossings: TypeAlias = Sequence[tuple[float, Level]]
"""(seconds, level that was entered), oldest first."""

BLOCK = 60.0
"""Seconds: long against the die and the noise, short against the chassis."""
LEAST_BLOCKS = 30
"""Half an hour; less says nothing about a time constant of ten minutes."""
FORGET = 0.997
"""Weight of a block against the next: half after about four hours, so that a closed lid or a hot room is learned anew."""
LEAST_SWING = 0.1
"""Relative standard deviation of the power below which nothing can be told apart."""
SHORTEST, LONGEST = 60.0, 7200.0
"""Seconds: time constants that a chassis can have."""
ENTERED = {Level.FAIR: 2 / 3, Level.SERIOUS: 1.0}
"""Headroom used where a level begins: FAIR 10 of the scale's 30 degrees below SERIOUS (see hardware.scale)."""
ROOM = -4 / 3
"""Headroom used in a room of 25 degrees by a machine that throttles at 95: assumed where there is no thermometer."""
LEAST_SAMPLES = 4
"""In a block: with fewer the noise of the thermometer makes a chassis look faster and better cooled than it is."""
_LEAST_CROSSINGS = 3
_MOST_PAUSE = 3.0
"""Blocks: after a longer silence a new stretch begins."""


def fit(history: History, crossings: Crossings = ()) -> ThermalModel | None:
    """The model that explains the history best; None while it cannot be told (too short, too steady, implausible)."""
    if any(used is not None for _, _, used in history):
        return _from_temperature(history)
    return _from_crossings(history, crossings)


def observed(model: ThermalModel, history: History) -> float:
    """Headroom used at the end of the history by the model alone, for a node that tells levels only."""
    if not history:
        return model.ambient
    slow = model.resistance - model.fast
    state = model.ambient + slow * history[0][1]
    for (before, watts, _), (after, _, _) in pairwise(history):
        state += (model.ambient + slow * watts - state) * (1.0 - math.exp(-(after - before) / model.tau))
    return state + model.fast * history[-1][1]


# --- with a thermometer ----------------------------------------------------------------------------------------------


def _from_temperature(history: History) -> ThermalModel | None:
    block = _block(history)
    pairs = [pair for stretch in _stretches(history, block) for pair in pairwise(stretch)]
    if len(pairs) < LEAST_BLOCKS or not _swings([watts for (watts, _), _ in pairs]):
        return None
    scale = max(watts for pair in pairs for watts, _ in pair)
    found = [0.0] * 4
    spread = [[1e4 if row == column else 0.0 for column in range(4)] for row in range(4)]
    for (w0, u0), (w1, u1) in pairs:
        found, spread = _update(found, spread, (u0, w1 / scale, w0 / scale, 1.0), u1)
    return _model(block, found[0], found[1] / scale, found[2] / scale, found[3])


def _update(found: list[float], spread: list[list[float]], inputs: tuple[float, ...], told: float) -> tuple[list[float], list[list[float]]]:
    """One step of recursive least squares with exponential forgetting (Ljung, System Identification, 11.2)."""
    turned = [sum(each * value for each, value in zip(row, inputs, strict=True)) for row in spread]
    weight = FORGET + sum(value * each for value, each in zip(inputs, turned, strict=True))
    gain = [each / weight for each in turned]
    error = told - sum(value * each for value, each in zip(inputs, found, strict=True))
    better = [each + step * error for each, step in zip(found, gain, strict=True)]
    narrower = [
        [(have - step * other) / FORGET for have, other in zip(row, turned, strict=True)] for row, step in zip(spread, gain, strict=True)
    ]
    return better, narrower


def _model(block: float, kept: float, at_once: float, later: float, constant: float) -> ThermalModel | None:
    """From the coefficients of the difference equation; None where they describe no chassis."""
    if not math.exp(-block / SHORTEST) <= kept <= math.exp(-block / LONGEST):
        return None
    at_once = max(0.0, at_once)
    resistance = (later + kept * at_once) / (1.0 - kept) + at_once
    if resistance <= at_once:
        return None
    return ThermalModel(resistance, -block / math.log(kept), constant / (1.0 - kept), fast=at_once)


def _block(history: History) -> float:
    """Length of a block: longer where samples are sparse."""
    steps = sorted(after - before for (before, _, _), (after, _, _) in pairwise(history))
    return max(BLOCK, LEAST_SAMPLES * steps[len(steps) // 2]) if steps else BLOCK


def _stretches(history: History, length: float) -> Iterator[list[tuple[float, float]]]:
    """Means of (watts, used) over consecutive blocks, without a gap within one stretch."""
    stretch: list[tuple[float, float]] = []
    block: list[tuple[float, float]] = []
    begun = last = -math.inf
    for at, watts, used in history:
        if not used:  # zero is where the scale ends: it may be anything below
            continue
        if at - last > _MOST_PAUSE * length:
            yield stretch
            stretch, block, begun = [], [], at
        while at - begun >= length:
            if block:
                stretch.append(_mean(block))
            block, begun = [], begun + length
        block.append((watts, used))
        last = at
    yield stretch


def _mean(block: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(watts for watts, _ in block) / len(block), sum(used for _, used in block) / len(block)


def _swings(values: list[float]) -> bool:
    mean = sum(values) / len(values)
    return math.sqrt(sum((each - mean) ** 2 for each in values) / len(values)) >= LEAST_SWING * mean


# --- without one -----------------------------------------------------------------------------------------------------


def _from_crossings(history: History, crossings: Crossings) -> ThermalModel | None:
    """Only entries of a higher level count: what is filtered leaves a level late, by a minute and more."""
    before = [Level.NOMINAL, *(level for _, level in crossings)]
    rising = [(at, ENTERED[level] - ROOM) for (at, level), old in zip(crossings, before, strict=False) if level > old and level in ENTERED]
    if len(rising) < _LEAST_CROSSINGS or not history:
        return None
    best: tuple[float, ThermalModel] | None = None
    for step in range(25):
        tau = SHORTEST * (LONGEST / SHORTEST) ** (step / 24)
        answers = _answers(history, tau, [at for at, _ in rising])
        square = sum(answer * answer for answer in answers)
        if square <= 0.0:
            return None
        resistance = sum(answer * used for answer, (_, used) in zip(answers, rising, strict=True)) / square
        error = sum((resistance * answer - used) ** 2 for answer, (_, used) in zip(answers, rising, strict=True))
        if best is None or error < best[0]:
            best = (error, ThermalModel(resistance, tau, ROOM))
    return best[1] if best and best[0] / len(rising) <= 0.1**2 else None


def _answers(history: History, tau: float, moments: list[float]) -> list[float]:
    """The power as the chassis feels it (one pole) at each of the moments."""
    found: list[float] = []
    state = history[0][1]
    due = iter(moments)
    moment = next(due, math.inf)
    for (at, watts, _), (after, _, _) in pairwise(history):
        while moment <= at:
            found.append(state)
            moment = next(due, math.inf)
        state += (watts - state) * (1.0 - math.exp(-(after - at) / tau))
    while moment < math.inf:
        found.append(state)
        moment = next(due, math.inf)
    return found
