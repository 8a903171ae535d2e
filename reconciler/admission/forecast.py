"""When waiting work is expected to start: the same `decide`, played forward over lengths drawn from what is known of them. Pure.

A forecast plays nine futures, nineteen where that is cheap, each with lengths of its own. The middle one is what is expected; between the
10th and 90th percentile of the futures lie four starts out of five, as far as the lengths are right: the futures and what will come are
exchangeable (Vovk et al., Algorithmic Learning in a Random World, 2005). The draws are seeded by name, so that a forecast repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from statistics import median

from reconciler.admission.ahead import Play
from reconciler.admission.decide import decide
from reconciler.admission.lengths import Lengths, lengths_of, quantile, typical_of
from reconciler.admission.order import Backlog
from reconciler.admission.values import Decision, Expected, Reason, Snapshot, Verdict
from reconciler.model import Learned, Ref

FUTURES, MORE_FUTURES = 9, 19
CHEAP = 60
"""Items and leases up to which more futures are played."""
LIMIT = 64
"""Items that are forecast when nobody says which."""
WORK = 120_000
"""Items and leases that all decisions of a forecast may look at together; a decision costs two or three microseconds for each."""
_STEPS = 150
"""Decisions in one future, at most."""
_KEPT = 1500
"""Items that are played with, at most: of each sort of a project's those that wait longest, two at least."""
_COOL, _COOL_SCATTER = 300.0, 0.8
"""Seconds that a hot chassis takes to cool (a time constant of 540 s was measured on a small one), within a factor of 2.8."""
_WIDE = 2.0
"""Beyond what was played, a start may come this many times earlier or later."""
NOTICED = 30.0
"""Seconds by which a start must move to be called delayed."""
_NO_FORECAST = (Reason.INACTIVE,)
"""What only a person ends."""


class _Lot:
    """What is drawn for one forecast."""

    def __init__(self, snapshot: Snapshot, learned: Mapping[Ref, Learned], futures: int) -> None:
        self.learned, self.futures = learned, futures
        self.typical = typical_of([*(each.seconds for each in snapshot.leases), *(each.seconds for each in snapshot.queue)])
        self._drawn: dict[str, list[float]] = {}

    def left(self, ref: Ref, seconds: float | None, elapsed: float, future: int) -> float:
        """Seconds that are left of it in one of the futures."""
        learned = self.learned.get(ref)
        sort = f"{learned.runs} {learned.seconds}" if learned else f"{ref.project}/{ref.name}"
        lengths = lengths_of(seconds, learned, self.typical).shifted(self._quantile(sort, future))
        return lengths.left(elapsed, self._quantile(str(ref), future))

    def _quantile(self, seed: str, future: int) -> float:
        """One number from each of as many equal parts of 0 to 1 as there are futures, in an order that belongs to `seed`:
        fewer futures tell as much as that many more independent draws (Latin hypercube, McKay et al., 1979)."""
        if seed not in self._drawn:
            random = Random(seed)
            parts = random.sample(range(self.futures), self.futures)
            self._drawn[seed] = [min(0.999, max(0.001, (part + random.random()) / self.futures)) for part in parts]
        return self._drawn[seed][future]


def forecast(
    snapshot: Snapshot,
    decision: Decision,
    refs: Sequence[Ref] | None = None,
    *,
    learned: Mapping[Ref, Learned] | None = None,
    limit: int = LIMIT,
) -> dict[Ref, Expected]:
    """When each of `refs` is expected to start after `decision`, which was made of `snapshot`; all that wait, at most `limit`,
    when None. What was granted, will never start, or waits for a person is not among the answers.

    `learned` holds what is known of the work behind a Ref. The cost is bounded: with thousands waiting fewer futures are played,
    less far, and what lies beyond is extrapolated from the rate of starts."""
    wanted = _wanted(snapshot, decision, refs, limit)
    if not wanted:
        return {}
    plays = _plays(snapshot, decision, wanted, learned or {})
    found: dict[Ref, Expected] = {}
    for ref, place in wanted.items():
        times = sorted(time for each in plays if (time := _start(each, ref, place)) is not None)
        if len(times) == len(plays):
            wide = _WIDE if any(ref not in each.starts for each in plays) else 1.0
            first, middle, last = quantile(times, 0.1), median(times), quantile(times, 0.9)
            at, earliest, latest = (snapshot.now + timedelta(seconds=each) for each in (middle, first / wide, last * wide))
            found[ref] = Expected(at, earliest, latest)
    return found


def explained(
    snapshot: Snapshot,
    decision: Decision,
    refs: Sequence[Ref] | None = None,
    *,
    learned: Mapping[Ref, Learned] | None = None,
    limit: int = LIMIT,
) -> dict[Ref, Verdict]:
    """The verdicts of `refs` (all that were in the queue, at most `limit`, when None) with their expected starts."""
    chosen = list(refs) if refs is not None else [each.ref for each in snapshot.queue][:limit]
    starts = forecast(snapshot, decision, chosen, learned=learned)
    return {ref: replace(decision.explain(ref), expected=starts.get(ref)) for ref in chosen}


def delayed(
    snapshot: Snapshot, without: Sequence[Ref], *, learned: Mapping[Ref, Learned] | None = None, limit: int = LIMIT
) -> dict[Ref, float]:
    """Whom the items `without` delay: Ref -> seconds by which it would start later than if they were not in the queue.

    Only what waits or would be granted now can be delayed; compared in the middle future, of at most `limit` items."""
    new = frozenset(without)
    before = replace(snapshot, queue=tuple(each for each in snapshot.queue if each.ref not in new))
    if not new or not before.queue:
        return {}
    others = [each.ref for each in before.queue][:limit]
    lot, steps = _Lot(snapshot, learned or {}, 1), _steps(snapshot, 2)
    early, late = (_middle(each, others, lot, steps) for each in (before, snapshot))
    behind = {ref: late.starts.get(ref, late.seconds) - start for ref, start in early.starts.items()}
    return {ref: behind[ref] for ref in others if behind.get(ref, 0.0) >= NOTICED}


def _wanted(snapshot: Snapshot, decision: Decision, refs: Sequence[Ref] | None, limit: int) -> dict[Ref, int]:
    """What is to be forecast, with its position."""
    granted = {each.ref for each in decision.grants}
    queued = [each.ref for each in snapshot.queue if each.ref not in granted]
    chosen: Iterable[Ref] = queued if refs is None else (ref for ref in refs if ref not in granted)
    verdicts = sorted((decision.explain(ref) for ref in chosen), key=lambda each: each.position)
    able = [each for each in verdicts if not each.reason.never and each.reason not in _NO_FORECAST]
    return {each.ref: each.position for each in able[: limit if refs is None else len(able)]}


def _plays(snapshot: Snapshot, decision: Decision, wanted: Iterable[Ref], learned: Mapping[Ref, Learned]) -> list[Play]:
    small = _fewer(snapshot)
    number = MORE_FUTURES if len(small.queue) + len(small.leases) <= CHEAP else FUTURES
    lot = _Lot(snapshot, learned, number)
    plays, backlog = [], Backlog.of(small.queue)
    for future in range(number):

        def draw(ref: Ref, seconds: float | None, elapsed: float, future: int = future) -> float:
            return lot.left(ref, seconds, elapsed, future)

        cool = Lengths(_COOL, _COOL_SCATTER).at((future + 1) / (number + 1))
        play = Play(small, decision, draw, cool, backlog)
        play.run(wanted, _steps(small, number))
        plays.append(play)
    return plays


def _middle(snapshot: Snapshot, wanted: Iterable[Ref], lot: _Lot, steps: int) -> Play:
    """The future in which everything takes as long as expected."""

    def draw(ref: Ref, seconds: float | None, elapsed: float) -> float:
        return lengths_of(seconds, lot.learned.get(ref), lot.typical).left(elapsed, 0.5)

    play = Play(snapshot, decide(snapshot), draw, _COOL)
    play.run(wanted, steps)
    return play


def _fewer(snapshot: Snapshot) -> Snapshot:
    """The snapshot without those that stand far behind others of their own sort: they change nothing soon."""
    if len(snapshot.queue) <= _KEPT:
        return snapshot
    groups = [group.items for shapes in Backlog.of(snapshot.queue).groups.values() for group in shapes.values()]
    most = max(2, _KEPT // len(groups))
    kept = {item.ref for items in groups for item in items[:most]}
    return replace(snapshot, queue=tuple(each for each in snapshot.queue if each.ref in kept))


def _steps(snapshot: Snapshot, futures: int) -> int:
    size = len(snapshot.queue) + len(snapshot.leases) + 1
    return max(2, min(_STEPS, WORK // (futures * size)))


def _start(play: Play, ref: Ref, place: int) -> float | None:
    """Seconds until the start; beyond the end of the play, as far as the rate of starts carries to its place in the queue."""
    if ref in play.starts:
        return play.starts[ref]
    if play.barred(ref):
        return None
    started = sum(time > 0 for time in play.starts.values())
    return max(play.seconds, place * play.seconds / started) if started else None
