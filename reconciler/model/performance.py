"""What was spent by project and by technique, and which technique gives the best result where results can be compared. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from statistics import median
from typing import Literal

from reconciler.model.names import Ref
from reconciler.model.ranking import Ranked, Ranking


@dataclass(frozen=True, slots=True)
class Spent:
    """By some finished runs. What was not measured is not made up: each sum says of how many runs it is."""

    runs: int
    seconds: float | None
    """Of all runs that tell it; None = of none."""
    timed: int
    joules: float | None
    metered: int
    """Runs whose energy a sensor measured."""
    peak_memory: int | None
    """Bytes, of the largest run."""
    typical_seconds: float | None
    """Of one run, the median."""
    typical_joules: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a combination of techniques reached in a contest."""

    techniques: tuple[str, ...]
    """By name; empty = experiments that declare none, which others are held against."""
    experiment: Ref
    """Of the best run."""
    best: Ranked
    runs: int
    """That have a value of the metric."""
    undominated: bool
    """No other entry is at least as good in value, time, energy and memory and better in one of them; what either lacks does not count."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Results that can be compared: the same metric, direction and data."""

    metric: str
    goal: Literal["maximize", "minimize"]
    data: tuple[str, ...]
    """Datasets as `project/name`."""
    entries: tuple[Entry, ...]
    """The best first."""


@dataclass(frozen=True, slots=True)
class Performance:
    """Of the finished runs of some experiments."""

    projects: Mapping[str, Spent]
    techniques: Mapping[str, Spent]
    """A run counts for each technique of its experiment: these sums overlap."""
    contests: tuple[Contest, ...]
    """Those with more than one entry first; then by metric and data."""


def performance(rankings: Iterable[Ranking]) -> Performance:
    """Sums and contests of these experiments."""
    boards = sorted(rankings, key=lambda each: each.ref)
    projects: dict[str, list[Ranked]] = defaultdict(list)
    techniques: dict[str, list[Ranked]] = defaultdict(list)
    grouped: dict[tuple[str, str, tuple[str, ...]], list[Ranking]] = defaultdict(list)
    for board in boards:
        projects[board.ref.owner] += board.runs
        for name in dict.fromkeys(board.techniques):
            techniques[name] += board.runs
        if board.metric:
            grouped[board.metric, board.goal, tuple(sorted(board.data))].append(board)
    contests = [found for key, some in grouped.items() if (found := _contest(key, some)).entries]
    return Performance(
        {name: spent(runs) for name, runs in sorted(projects.items()) if runs},
        {name: spent(runs) for name, runs in sorted(techniques.items()) if runs},
        tuple(sorted(contests, key=lambda each: (len(each.entries) < 2, each.metric, each.data))),
    )


def spent(runs: Sequence[Ranked]) -> Spent:
    """By these."""
    seconds = [each.seconds for each in runs if each.seconds is not None]
    joules = [each.joules for each in runs if each.joules is not None]
    peaks = [each.peak_memory for each in runs if each.peak_memory is not None]
    return Spent(
        runs=len(runs),
        seconds=sum(seconds) if seconds else None,
        timed=len(seconds),
        joules=sum(joules) if joules else None,
        metered=len(joules),
        peak_memory=max(peaks, default=None),
        typical_seconds=median(seconds) if seconds else None,
        typical_joules=median(joules) if joules else None,
    )


def _contest(key: tuple[str, str, tuple[str, ...]], boards: Sequence[Ranking]) -> Contest:
    metric, _, data = key
    goal = boards[0].goal
    by: dict[tuple[str, ...], list[tuple[Ref, Ranked]]] = defaultdict(list)
    for board in boards:
        by[tuple(sorted(set(board.techniques)))] += [(board.ref, run) for run in board.runs if run.value is not None]
    best = {name: min(some, key=lambda each: _order(each[1], goal)) for name, some in by.items() if some}
    entries = [
        Entry(name, ref, run, len(by[name]), not any(_dominates(other, run, goal) for _, other in best.values()))
        for name, (ref, run) in best.items()
    ]
    return Contest(metric, goal, data, tuple(sorted(entries, key=lambda each: _order(each.best, goal))))


def _order(run: Ranked, goal: str) -> tuple[float, float, str]:
    """The better value first; of equal ones the quicker run."""
    value = run.value or 0.0
    return (-value if goal == "maximize" else value, run.seconds if run.seconds is not None else float("inf"), str(run.ref))


def _dominates(one: Ranked, other: Ranked, goal: str) -> bool:
    """Pareto dominance over what both tell."""
    sign = -1.0 if goal == "maximize" else 1.0
    pairs = [(sign * (one.value or 0.0), sign * (other.value or 0.0))]
    costs = ((one.seconds, other.seconds), (one.joules, other.joules), (one.peak_memory, other.peak_memory))
    pairs += [(float(a), float(b)) for a, b in costs if a is not None and b is not None]
    return all(starmap(float.__le__, pairs)) and any(starmap(float.__lt__, pairs))
