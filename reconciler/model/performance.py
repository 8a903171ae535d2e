"""What techniques give and take: finished runs side by side, where they can be compared, and what each project has spent. Pure.

Runs are compared when they are judged by the same metric and goal, read the same data (by digest) and ran on the same processor: only then
do values, seconds, joules and bytes of one mean what they mean of the other. That programs work out a metric alike is the user's to see to.

What an experiment declares as its `techniques` counts as one technique, a combination: what it gives cannot be divided among its parts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, TypeAlias

from reconciler.model.names import Ref
from reconciler.model.ranking import Fell, Ranked, Ranking

Measure: TypeAlias = Literal["value", "seconds", "joules", "memory"]
MEASURES: tuple[Measure, ...] = ("value", "seconds", "joules", "memory")
JOULES_PER_WATT_HOUR = 3600.0
GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Spent:
    """What the runs of one project took, failed ones too."""

    project: str
    finished: int = 0
    failed: int = 0
    timed: int = 0
    """Runs whose length is known; `seconds` is of them."""
    seconds: float | None = None
    metered: int = 0
    """Runs whose energy was metered; `joules` is of them, and nothing is made up for the others."""
    joules: float | None = None
    meters: tuple[str, ...] = ()
    """What metered it: `sensors`, `simulated`; `not told` where a run does not say."""
    peak_memory: int | None = None
    """Bytes of the run that used the most."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One technique in a comparison. All of `best` is of one and the same run: a trade-off that was really made."""

    technique: str
    """Joined by ` + `; empty = none is declared."""
    experiments: tuple[Ref, ...]
    best: Ranked
    runs: int
    """With a value."""
    seconds: float | None
    """Median of its runs that were timed."""
    joules: float | None
    """Median of its runs that were metered."""
    pareto: bool = False
    """No other technique is at least as good in all that is judged, and better in something."""
    ids: tuple[str, ...] = ()
    """All of its runs, in the tracking server."""

    @property
    def value(self) -> float:
        assert self.best.value is not None
        return self.best.value


@dataclass(frozen=True, slots=True)
class Comparison:
    """Techniques that can be compared, the best first."""

    metric: str
    goal: Literal["maximize", "minimize"]
    data: tuple[tuple[str, str], ...]
    """(name, digest) of what the runs read; by digest, whatever projects call it."""
    hardware: str
    """Empty = no run told it."""
    entries: tuple[Entry, ...]
    judged: tuple[Measure, ...]
    """Measures that every one has, which the Pareto marks go by."""

    def per(self, entry: Entry, measure: Measure) -> float | None:
        """Value of the best run per second, watt-hour or GiB of it. None where more is not better, the value is below 0, or nothing was
        measured: a ratio would then rank nothing."""
        cost = amount(entry.best, measure)
        if self.goal == "minimize" or entry.value < 0 or not cost or measure == "value":
            return None
        return entry.value / (cost / {"joules": JOULES_PER_WATT_HOUR, "memory": GIB, "seconds": 1.0}[measure])


@dataclass(frozen=True)
class Entered:
    """A comparison as a run of a tracking server."""

    name: str
    digest: str
    """Of all that it says: the same comparison is entered once."""
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    table: str
    """Name of the one of `files` that holds `columns` and `data`."""


@dataclass(frozen=True, slots=True)
class Performance:
    """The whole."""

    projects: tuple[Spent, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    """Of at least two techniques each."""
    alone: tuple[Comparison, ...] = ()
    """Nothing to compare these with: one technique only."""
    without: tuple[Ref, ...] = field(default=())
    """Experiments with finished runs that no value ranks."""


def amount(run: Ranked, measure: Measure) -> float | None:
    """What a run gave or took: the metric's unit, seconds, joules, bytes. None = not known."""
    found = {"value": run.value, "seconds": run.seconds, "joules": run.joules, "memory": run.peak_memory}[measure]
    return float(found) if found is not None and math.isfinite(found) else None


def performance(boards: Iterable[Ranking]) -> Performance:
    """Of all these experiments."""
    known = sorted(boards, key=lambda each: each.ref)
    found = _comparisons(known)
    ranked = {ref for each in found for entry in each.entries for ref in entry.experiments}
    return Performance(
        tuple(_spent(known)),
        tuple(each for each in found if len(each.entries) > 1),
        tuple(each for each in found if len(each.entries) == 1),
        tuple(each.ref for each in known if each.runs and each.ref not in ranked),
    )


def _spent(boards: Sequence[Ranking]) -> Iterable[Spent]:
    for project in sorted({each.ref.owner for each in boards}):
        mine = [each for each in boards if each.ref.owner == project]
        finished, failed = [run for each in mine for run in each.runs], [run for each in mine for run in each.failed]
        runs: list[Ranked | Fell] = [*finished, *failed]
        seconds = [each.seconds for each in runs if each.seconds is not None]
        joules = [each.joules for each in runs if each.joules is not None]
        meters = tuple(sorted({each.meter or "not told" for each in runs if each.joules is not None}))
        peak = max((each.peak_memory for each in runs if each.peak_memory is not None), default=None)
        yield Spent(project, len(finished), len(failed), len(seconds), _sum(seconds), len(joules), _sum(joules), meters, peak)


def _sum(found: Sequence[float]) -> float | None:
    return math.fsum(found) if found else None


def _comparisons(boards: Sequence[Ranking]) -> list[Comparison]:
    groups: dict[tuple[str, str, tuple[str, ...], str], list[tuple[Ranking, Ranked]]] = defaultdict(list)
    for board in boards:
        for run in board.runs:
            if board.metric and amount(run, "value") is not None:
                digests = tuple(sorted(set(run.data.values())))
                # Without a digest nobody knows what was read: then it is the experiment's own, and like nothing else.
                groups[board.metric, board.goal, digests or (f"{board.ref}",), run.hardware].append((board, run))
    return [_comparison(*groups[key]) for key in sorted(groups)]


def _comparison(*found: tuple[Ranking, Ranked]) -> Comparison:
    board, run = found[0]
    sign = 1.0 if board.goal == "minimize" else -1.0
    by_technique: dict[str, list[tuple[Ranking, Ranked]]] = defaultdict(list)
    for each in found:
        by_technique[" + ".join(sorted(set(each[0].techniques)))].append(each)
    entries = sorted(
        (_entry(name, some, sign) for name, some in by_technique.items()), key=lambda each: (sign * each.value, each.technique)
    )
    judged = tuple(each for each in MEASURES if all(amount(entry.best, each) is not None for entry in entries))
    marked = tuple(_marked(each, entries, judged, sign) for each in entries)
    names = dict(sorted((digest, name) for name, digest in run.data.items()))
    data = tuple(sorted((name, digest) for digest, name in names.items()))
    return Comparison(board.metric, board.goal, data, run.hardware, marked, judged)


def _entry(technique: str, found: Sequence[tuple[Ranking, Ranked]], sign: float) -> Entry:
    def order(run: Ranked) -> tuple[float, float, str]:
        # of equal values the one that took less time
        return sign * (run.value or 0.0), run.seconds if run.seconds is not None else math.inf, run.id

    runs = sorted((run for _, run in found), key=order)
    return Entry(
        technique,
        tuple(sorted({board.ref for board, _ in found})),
        runs[0],
        len(runs),
        _median(runs, lambda each: each.seconds),
        _median(runs, lambda each: each.joules),
        ids=tuple(sorted(each.id for each in runs)),
    )


def _median(runs: Sequence[Ranked], of: Callable[[Ranked], float | None]) -> float | None:
    found = [value for each in runs if (value := of(each)) is not None]
    return median(found) if found else None


def _marked(entry: Entry, all_: Sequence[Entry], judged: Sequence[Measure], sign: float) -> Entry:
    mine = _costs(entry, judged, sign)
    beaten = any(_dominates(_costs(each, judged, sign), mine) for each in all_)
    return Entry(entry.technique, entry.experiments, entry.best, entry.runs, entry.seconds, entry.joules, pareto=not beaten, ids=entry.ids)


def _costs(entry: Entry, judged: Sequence[Measure], sign: float) -> list[float]:
    """Less is better in each."""
    found = [(each, amount(entry.best, each)) for each in judged]
    return [(sign if name == "value" else 1.0) * value for name, value in found if value is not None]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """At least as good everywhere and better somewhere: equal ones do not dominate each other."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
