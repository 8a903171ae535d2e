"""What a simulation counts, and the figures that it ends in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.admission.lengths import quantile
from reconciler.admission.simulate.plant import Plant
from reconciler.admission.simulate.scenario import Scenario, Work
from reconciler.admission.values import Level
from reconciler.model.demand import RESOURCES, Amounts

HIGH = 7
"""Priority from which work counts as high."""
JUDGED = 0.75
"""Turnaround counts work submitted in this first part of the time; what has not finished counts with its time so far."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Work that ran to its end. Seconds from the beginning."""

    work: Work
    submitted: float
    begun: float
    ended: float

    @property
    def stretch(self) -> float:
        """How much longer it ran than on a machine of its own."""
        return (self.ended - self.begun) / self.work.seconds

    @property
    def turnaround(self) -> float:
        """Wait and run together, in units of its length."""
        return (self.ended - self.submitted) / self.work.seconds


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of a plot."""

    at: float
    temperature: float | None
    level: Level | None
    frequency: float
    watts: float
    running: int
    waiting: int
    memory: float
    """Bytes in use by work, in truth."""


@dataclass(frozen=True, slots=True)
class ProjectOutcome:
    """What one project got."""

    submitted: int
    finished: int
    rejected: int
    wait_p50: float
    """Seconds."""
    wait_p95: float
    share: float
    """Dominant share of the machine over the whole time, not weighted."""


@dataclass(frozen=True)
class Outcome:
    """The figures of one policy in one scenario."""

    policy: str
    seconds: float
    submitted: int
    finished: int
    rejected: int
    work_hours: float
    """Progress made by finished and unfinished work, in hours of an unthrottled run; what pre-emption lost is taken off."""
    hot: float
    """Share of the time in which the machine was at its throttle point, or slowed down after it."""
    serious: float
    """Share of the time in which the filtered level was serious or worse."""
    overshoot: float
    """Degrees above the throttle point, at most."""
    overcommitted: float
    """Seconds in which more memory was in use than there is."""
    gates_per_hour: float
    """Changes of the filtered level, pauses and resumptions."""
    flips_per_hour: float
    """Changes of the level as the raw sensor has it."""
    preemptions: int
    stretch_p95: float | None
    """Of high priority."""
    turnaround_p95: float | None
    """Of high priority."""
    jain: float
    """Jain's index of the weighted dominant shares."""
    utilisation: Mapping[str, float]
    """Mean share of each resource that is given away of what may be."""
    energy: float
    """Joules."""
    projects: Mapping[str, ProjectOutcome]
    points: tuple[Point, ...]

    @property
    def scarcest(self) -> str:
        """The resource of which most is in use."""
        return max(self.utilisation, key=lambda name: self.utilisation[name], default="memory")


@dataclass
class Account:
    """Adds up while the simulation runs."""

    scenario: Scenario
    preemptions: int = 0
    gates: int = 0
    lost: float = 0.0
    """Seconds of progress that pre-emption threw away."""
    done: list[Finished] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._hot = self._serious = self._over = self._energy = self._progress = 0.0
        self._peak = 0.0
        self._held: dict[str, Amounts] = defaultdict(Amounts)
        self._since: dict[str, float] = defaultdict(float)
        self._used: dict[str, list[float]] = defaultdict(lambda: [0.0] * 4)
        self._submitted: dict[str, int] = defaultdict(int)
        self._rejected: dict[str, int] = defaultdict(int)
        self._waits: dict[str, list[float]] = defaultdict(list)

    def submitted(self, project: str) -> None:
        self._submitted[project] += 1

    def rejected(self, project: str) -> None:
        self._rejected[project] += 1

    def waited(self, project: str, seconds: float) -> None:
        self._waits[project].append(seconds)

    def holds(self, project: str, amounts: Amounts, sign: int, now: float) -> None:
        """From now on the project holds so much more (+1) or less (-1)."""
        self._settle(project, now)
        held = self._held[project]
        self._held[project] = held.plus(amounts) if sign > 0 else held.minus(amounts)

    def passed(self, step: float, progress: float, plant: Plant, swaps: bool, level: Level | None) -> None:
        """So many seconds went by; `progress` is that of all running work together."""
        self._progress += progress
        self._energy += step * plant.watts
        self._over += step * swaps
        if level is not None:
            self._hot += step * plant.hot
            self._serious += step * (level >= Level.SERIOUS)
            self._peak = max(self._peak, plant.die)

    def outcome(self, policy: str, now: float, unfinished: Sequence[tuple[Work, float | None]], plant: Plant) -> Outcome:
        """The figures at the end. `unfinished` is work with the moment at which it began, or None."""
        for project in list(self._held):
            self._settle(project, now)
        for work, begun in unfinished:
            if begun is None:
                self._waits[work.project].append(now - work.at)
        hours, high = now / 3600, [each for each in self.done if each.work.priority >= HIGH]
        turnarounds = list(self._turnarounds(high, unfinished, now))
        shares = self._shares(now)
        weights = {name: quota.weight for name, quota in self.scenario.quotas.items()}
        return Outcome(
            policy=policy,
            seconds=now,
            submitted=sum(self._submitted.values()),
            finished=len(self.done),
            rejected=sum(self._rejected.values()),
            work_hours=(self._progress - self.lost) / 3600,
            hot=self._hot / now,
            serious=self._serious / now,
            overshoot=max(0.0, self._peak - plant.spec.trip),
            overcommitted=self._over,
            gates_per_hour=self.gates / hours,
            flips_per_hour=plant.flips / hours,
            preemptions=self.preemptions,
            stretch_p95=quantile([each.stretch for each in high], 0.95) if high else None,
            turnaround_p95=quantile(turnarounds, 0.95) if turnarounds else None,
            jain=jain([share / weights.get(name, 1.0) for name, share in shares.items()]),
            utilisation=self._utilisation(now),
            energy=self._energy,
            projects={name: self._project(name, shares[name]) for name in sorted(self._submitted)},
            points=tuple(self.points),
        )

    def _turnarounds(self, high: Iterable[Finished], unfinished: Iterable[tuple[Work, float | None]], now: float) -> Iterable[float]:
        for each in high:
            if each.submitted <= JUDGED * now:
                yield each.turnaround
        for work, _ in unfinished:
            if work.priority >= HIGH and work.at <= JUDGED * now:
                yield (now - work.at) / work.seconds

    def _project(self, name: str, share: float) -> ProjectOutcome:
        waits = self._waits[name] or [0.0]
        finished = sum(1 for each in self.done if each.work.project == name)
        return ProjectOutcome(self._submitted[name], finished, self._rejected[name], quantile(waits, 0.5), quantile(waits, 0.95), share)

    def _settle(self, project: str, now: float) -> None:
        span, self._since[project] = now - self._since[project], now
        used, held = self._used[project], self._held[project]
        for at in range(4):
            used[at] += span * held[at]

    def _shares(self, now: float) -> dict[str, float]:
        room = self._room()
        return {
            name: max((self._used[name][at] / (now * limit) for at, limit in room.items()), default=0.0) for name in sorted(self._submitted)
        }

    def _utilisation(self, now: float) -> dict[str, float]:
        return {RESOURCES[at]: sum(used[at] for used in self._used.values()) / (now * limit) for at, limit in self._room().items()}

    def _room(self) -> dict[int, int]:
        """What may be given away, by the resource's place in Amounts."""
        capacity, reserve = self.scenario.capacity, self.scenario.reserve
        return {at: limit - reserve[at] for at, limit in enumerate(capacity) if limit}


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index (sum x)^2 / (n sum x^2): 1 = all alike, 1/n = one has everything."""
    squares = sum(each * each for each in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
