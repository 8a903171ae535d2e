"""How good forecasts are: each measured run is foretold from those before it, as admission would have, and held against what it took. Pure.

Only what had something to go by is judged: a length from two earlier runs on, a peak from one on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import exp, log
from statistics import median

from reconciler.admission.lengths import lengths_of
from reconciler.admission.memory import learn, margin_after
from reconciler.model import Learned


@dataclass(frozen=True)
class Foretold:
    """One figure of one run: `low` to `high` was foretold, `middle` the likeliest; seconds or bytes. Of memory `low` is 0 and `high`
    what was charged."""

    low: float
    middle: float
    high: float
    actual: float

    @property
    def held(self) -> bool:
        """Whether the interval held it."""
        return self.low <= self.actual <= self.high

    @property
    def off(self) -> float:
        """By how much the middle was off, as a factor of at least 1."""
        return max(self.actual, self.middle) / min(self.actual, self.middle)


@dataclass(frozen=True)
class Backtest:
    """Of one template of work, the oldest first."""

    lengths: tuple[Foretold, ...] = ()
    memory: tuple[Foretold, ...] = ()


@dataclass(frozen=True)
class Score:
    """Of several forecasts. `held` of `runs` were in their interval; `off` is the middle factor; both need at least one run."""

    runs: int = 0
    held: int = 0
    off: float = field(default=1.0)

    @property
    def share(self) -> float:
        return self.held / self.runs if self.runs else 0.0


def backtest(learned: Learned, margin: float) -> Backtest:
    """Every run that is remembered, foretold from those before it. `margin` is the Platform's `estimateMargin`."""
    lengths = tuple(_length(learned.lengths[:at], each) for at, each in enumerate(learned.lengths) if at > 1 and each > 0)
    memory = tuple(_memory(learned.peaks[:at], each, margin) for at, each in enumerate(learned.peaks) if at > 0)
    return Backtest(lengths, memory)


def _length(before: tuple[float, ...], actual: float) -> Foretold:
    told = lengths_of(None, Learned(runs=len(before), lengths=before))
    low, high = told.interval()
    return Foretold(low, told.middle, high, actual)


def _memory(before: tuple[int, ...], actual: int, margin: float) -> Foretold:
    known = Learned()
    for peak in before:
        known = learn(known, peak, 0.0, None, overran=False)
    known = replace(known, peaks=before)
    return Foretold(0.0, known.memory, known.memory * (1 + margin_after(known, margin)), actual)


def score(found: Iterable[Foretold]) -> Score:
    """All of them together."""
    judged = list(found)
    offs = [log(each.off) for each in judged if each.actual > 0 and each.middle > 0]
    return Score(len(judged), sum(each.held for each in judged), exp(median(offs)) if offs else 1.0)


def backtests(learned: Mapping[str, Learned], margin: float) -> dict[str, Backtest]:
    """By template; those of which nothing can be judged are left out."""
    found = {template: backtest(each, margin) for template, each in sorted(learned.items())}
    return {template: each for template, each in found.items() if each.lengths or each.memory}
