"""How long work takes: a log-normal length from what was declared and measured, and what is left of it after some time. Pure.

Lengths of batch jobs scatter by factors, not by seconds, and are never negative: a log-normal is a usual model of that
(Feitelson, Workload Modeling for Computer Systems). The scatter of a template with few runs is pulled towards what is usual."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, log, sqrt
from statistics import NormalDist, median

from reconciler.admission.memory import COVERED, DECAY
from reconciler.model import Learned

USUAL = 0.35
"""Scatter of runs of one template: four fifths lie within a factor of 1.6 around the middle."""
DECLARED = 0.5
"""Doubt about what people say that it takes: the middle lies within a factor of 1.9 of it. Users of batch systems rarely know better
(Mu'alem and Feitelson, 2001)."""
UNKNOWN = 1.1
"""Doubt where nobody knows anything: within a factor of 4 of what is typical here."""
TYPICAL = 600.0
"""Seconds, where no length at all is known."""
_PRIOR = 1
"""Runs that the usual scatter counts for."""
_FAR = 0.995
"""Beyond this part of the lengths the log-normal tells nothing about what is left."""
_STANDARD = NormalDist()


@dataclass(frozen=True, slots=True)
class Lengths:
    """A log-normal distribution of seconds. Standard deviations are those of the natural logarithm."""

    middle: float
    scatter: float
    """Of one run around the middle."""
    doubt: float = 0.0
    """Of the middle itself; all work of one sort shares this error."""

    def shifted(self, u: float) -> Lengths:
        """With the middle at the quantile `u` of where it may be, and no doubt left."""
        return Lengths(self.middle * exp(self.doubt * _normal(u)), self.scatter)

    def left(self, elapsed: float, u: float) -> float:
        """Seconds that are left after `elapsed`, at the quantile `u` (0 to 1, exclusive) of those that took at least so long.

        What has outlived nearly all that was expected is as likely to end in the next `elapsed` seconds as after them (Gott, 1993)."""
        if elapsed <= 0:
            return self.at(u)
        gone = _STANDARD.cdf((log(elapsed) - log(self.middle)) / self.scatter)
        if gone > _FAR:
            return elapsed * u / (1 - u)
        return max(0.0, self.at(gone + u * (1 - gone)) - elapsed)

    def interval(self) -> tuple[float, float]:
        """Seconds that should hold the next one as often as COVERED says, the doubt about the middle included."""
        factor = exp(sqrt(self.scatter**2 + self.doubt**2) * _normal(0.5 + COVERED / 2))
        return self.middle / factor, self.middle * factor

    def at(self, u: float) -> float:
        """The length that the part `u` of all does not exceed."""
        return self.middle * exp(self.scatter * _normal(u))


@lru_cache(maxsize=4096)
def _normal(u: float) -> float:
    return _STANDARD.inv_cdf(u)


def lengths_of(seconds: float | None, learned: Learned | None, typical: float = TYPICAL) -> Lengths:
    """The lengths to expect: those of at least two measured runs, newer ones weighing more; else around `seconds`, which somebody has
    declared; else around what is typical here."""
    seen = [each for each in learned.lengths if each > 0] if learned else []
    if len(seen) > 1:
        logs = [log(each) for each in seen]
        weights = [DECAY**age for age in reversed(range(len(logs)))]
        middle = sum(weight * each for weight, each in zip(weights, logs, strict=True)) / sum(weights)
        squares = sum((each - middle) ** 2 for each in logs)
        scatter = sqrt((_PRIOR * USUAL**2 + squares) / (_PRIOR + len(logs) - 1))
        heard = sum(weights) ** 2 / sum(weight**2 for weight in weights)
        return Lengths(exp(middle), scatter, scatter / sqrt(heard))
    if seconds is not None and seconds > 0:
        return Lengths(seconds, USUAL, DECLARED)
    return Lengths(typical, USUAL, UNKNOWN)


def typical_of(known: Iterable[float | None]) -> float:
    """The middle of the lengths that are known here."""
    found = [each for each in known if each is not None and each > 0]
    return median(found) if found else TYPICAL


def quantile(values: Collection[float], share: float) -> float:
    """The smallest of some values that at least `share` of them do not exceed, so always one that was seen. Raises ValueError for none."""
    if not values:
        raise ValueError("there is no quantile of nothing")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]
