"""Where a diffusion model spends its effort: which times it trains on, and which times it stops at while drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class UniformTimes:
    """Every time equally often."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Times and the weight of each in the loss."""
        return rng.integers(self.steps, size=count), np.ones(count)

    def learn(self, times: Ints, losses: Floats) -> None:
        """Nothing to remember."""


class AdaptiveTimes:
    """Times in proportion to the root of their mean squared loss (importance sampling; Nichol and Dhariwal 2021, section 3.3).

    The weights undo the bias: the expected loss is the one of `UniformTimes`, with less variance. Neighbouring times share a bin."""

    def __init__(self, steps: int, bins: int = 20, decay: float = 0.98) -> None:
        self.bin_of = np.arange(steps) * bins // steps
        self.decay = decay
        self.squares = np.ones(bins)

    def probabilities(self) -> Floats:
        """Of each time; a tenth is spread evenly so that no time is forgotten."""
        root = np.sqrt(self.squares)[self.bin_of]
        return 0.9 * root / root.sum() + 0.1 / len(root)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Times and the weight of each in the loss."""
        share = self.probabilities()
        times = rng.choice(len(share), size=count, p=share)
        return times, 1 / (len(share) * share[times])

    def learn(self, times: Ints, losses: Floats) -> None:
        """Remembers what the loss was at these times."""
        bins = self.bin_of[times]
        for each in np.unique(bins):
            self.squares[each] = self.decay * self.squares[each] + (1 - self.decay) * float(np.mean(losses[bins == each] ** 2))


def uniform_stops(steps: int, count: int) -> Ints:
    """`count` times at equal distances from the noisiest to the clearest."""
    return np.linspace(steps - 1, 0, count).round().astype(np.int64)


def candidates(steps: int, count: int) -> list[Ints]:
    """Ways to place `count` stops: equal distances, or closer together where little noise is left, with and without the last time."""
    found = [uniform_stops(steps, count)]
    for power in (0.8, 1.0, 1.25, 1.6, 2.0, 2.5):
        for progress in (np.arange(count) / count, np.linspace(0, 1, count)):
            found.append(np.unique(((1 - progress) ** power * (steps - 1)).round().astype(np.int64))[::-1])
    return found


def best_stops(options: Sequence[Ints], quality: Callable[[Ints], float]) -> Ints:
    """The option with the smallest value of `quality`; the first of equals."""
    return min(options, key=quality)
