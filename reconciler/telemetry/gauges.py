"""What is read off when a scrape asks: from memory, and from the Store in a few small queries. Never from a tool, nor from a sensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from reconciler.admission.backtest import Backtest, backtest, score
from reconciler.admission.values import Level, Node, Snapshot
from reconciler.errors import StoreError
from reconciler.hardware.detector import detect
from reconciler.model import Health, Learned
from reconciler.report.log import BAD
from reconciler.report.top import top_lines
from reconciler.telemetry import catalogue
from reconciler.telemetry.catalogue import Metric, most

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.pulse import Pulse
    from reconciler.state.readings import Reading
    from reconciler.telemetry.meters import Meters

Rows: TypeAlias = Iterable[tuple[tuple[str, ...], float]]
"""Values of labels, and of the sample."""
SEVERITIES, STATES = ("info", "warning", "critical"), ("queued", "sending", "failed")


@dataclass(eq=False)
class Gauges(Collector):
    """One for a process. Used by one thread at a time."""

    house: House
    pulse: Pulse
    meters: Meters
    took: float = 0.0
    """Seconds that the collection before this one took."""
    _judged: dict[str, tuple[Learned, Backtest]] = field(default_factory=dict)
    _begun: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self.house.now()

    def describe(self) -> Iterable[Family]:
        """Nothing: the registry need not collect to find out."""
        return ()

    def collect(self) -> Iterator[Family]:
        """All families. A standby tells of itself only, so that sums over several loops stay right."""
        leads = not self.pulse.leader
        yield _gauge(catalogue.BUILD, [((version("mlops-reconciler"),), 1.0)])
        yield _gauge(catalogue.LEADER, [((), float(leads))])
        yield _gauge(catalogue.STUCK, [((), float(bool(self.pulse.stuck())))])
        yield _gauge(catalogue.FAILED_PASSES, [((), float(self.pulse.failures))])
        yield _gauge(catalogue.COLLECT_SECONDS, [((), self.took)])
        if leads:
            yield from self._remembered()
            yield from self._hardware()
            yield from self._stored()
            yield from self.meters.waits.collect()
        else:
            self._begun = self.house.now()  # what another one admits meanwhile is its own

    # --- from memory ---

    def _remembered(self) -> Iterator[Family]:
        seen = self.meters.seen
        now = seen.clock()
        if seen.whole is not None:
            yield _gauge(catalogue.WHOLE_AGE, [((), now - seen.whole)])
        yield _gauge(catalogue.TOOL_UP, [((tool,), float(said == "ok")) for tool, said in seen.tools.items()])
        yield _gauge(catalogue.TOOL_AGE, [((tool,), now - at) for tool, at in seen.read.items()])
        yield _gauge(catalogue.CIRCUIT, [((tool,), float(is_open)) for tool, is_open in self.pulse.circuits().items()])
        yield _gauge(catalogue.DRIFTED, _counted(Counter(ref.kind for ref in seen.drifted)))
        yield _gauge(catalogue.MISTAKES, _counted({**_none("error", "warning"), **seen.mistakes}))

    def _hardware(self) -> Iterator[Family]:
        """This machine as its sampler saw it last; others as the last decision did."""
        seen, now = self.meters.seen, self.house.now()
        memory: list[tuple[tuple[str, ...], float]] = []
        heat: dict[str, tuple[float | None, Level, Level, float | None, datetime | None]] = {}
        for node in seen.nodes:
            heat[node.name] = (node.heat.used, node.heat.level, node.memory_level, node.heat.watts, seen.sampled)
            memory += [((node.name, "total"), float(node.capacity.memory))] if node.capacity.memory is not None else []
            memory += [((node.name, "available"), float(free))] if (free := _available(node)) is not None else []
        if (sample := self.house.sensors.last()) is not None:
            here = detect(self.house.settings.state).name
            heat[here] = (sample.heat.used, sample.heat.level, sample.memory_level, sample.watts, sample.at)
            memory = [each for each in memory if each[0][0] != here]
            memory += [((here, "total"), float(sample.memory_total)), ((here, "available"), float(sample.memory_available))]
        yield _gauge(catalogue.NODE_MEMORY, memory)
        yield _gauge(catalogue.NODE_HEAT, [((name,), used) for name, (used, *_) in heat.items() if used is not None])
        yield _gauge(catalogue.NODE_LEVEL, [((name,), float(level)) for name, (_, level, *_) in heat.items()])
        yield _gauge(catalogue.NODE_PRESSURE, [((name,), float(level)) for name, (_, _, level, *_) in heat.items()])
        yield _gauge(catalogue.NODE_WATTS, [((name,), watts) for name, (*_, watts, _) in heat.items() if watts is not None])
        ages = {name: (now - at).total_seconds() for name, (*_, at) in heat.items() if at is not None}
        yield _gauge(catalogue.NODE_AGE, _counted(ages))

    # --- from the Store ---

    def _stored(self) -> Iterator[Family]:
        store, now = self.house.store, self.house.now()
        try:
            reading, learned = store.readings.reading(), store.readings.learned()
            waits = store.readings.waits(self._begun)
        except StoreError:
            yield _gauge(catalogue.STORE_UP, [((), 0.0)])
            return
        yield _gauge(catalogue.STORE_UP, [((), 1.0)])
        for kind, seconds in waits:
            self.meters.waits.labels(kind).observe(seconds)
        yield from _resources(reading)
        yield from _queue(reading, now)
        yield from self._quotas(reading, now)
        yield from self._forecasts(learned)
        yield _gauge(catalogue.FIRING, _counted({**_none(*SEVERITIES), **reading.alerts}))
        yield _gauge(catalogue.DELIVERIES, _counted({**_none(*STATES), **reading.deliveries}))
        yield _gauge(catalogue.SUSPENDED, [((), float(reading.suspensions))])

    def _quotas(self, reading: Reading, now: datetime) -> Iterator[Family]:
        seen = self.meters.seen
        held = Counter(each.project for each in reading.leases)
        called = most(held)
        yield _gauge(catalogue.LEASES, _summed(((called[project],), number) for project, number in held.items()))
        lines = top_lines(Snapshot(now, seen.nodes, seen.quotas, tuple(reading.leases), ()))
        called = most(Counter({each.project: float(each.used) for each in lines}))
        figures = [
            (catalogue.QUOTA, [(each, each.nominal) for each in lines if each.nominal is not None]),
            (catalogue.QUOTA_USED, [(each, each.used) for each in lines]),
            (catalogue.QUOTA_BORROWED, [(each, each.borrowed) for each in lines]),
        ]
        for metric, told in figures:
            rows = (((called[line.project], line.resource), value / (1 if line.resource == "memory" else 1000)) for line, value in told)
            yield _gauge(metric, _summed(rows))

    def _forecasts(self, learned: Mapping[str, Learned]) -> Iterator[Family]:
        """All templates together; what has not changed is not judged again."""
        before, margin = self._judged, self.meters.seen.margin
        known = {name: before[name] for name, each in learned.items() if name in before and before[name][0] is each}
        self._judged = known | {name: (each, backtest(each, margin)) for name, each in learned.items() if name not in known}
        tested = [each for _, each in self._judged.values()]
        scores = {
            "length": score(one for each in tested for one in each.lengths),
            "memory": score(one for each in tested for one in each.memory),
        }
        yield _gauge(catalogue.JUDGED, [((figure,), float(each.runs)) for figure, each in scores.items()])
        yield _gauge(catalogue.HELD, [((figure,), each.share) for figure, each in scores.items() if each.runs])
        yield _gauge(catalogue.OFF, [((figure,), each.off) for figure, each in scores.items() if each.runs])


def _available(node: Node) -> int | None:
    """Of another machine: what its worker told, less what it keeps."""
    return node.free_of_us().memory


def _resources(reading: Reading) -> Iterator[Family]:
    own, below = Counter[tuple[str, Health]](), Counter[tuple[str, Health]]()
    unwell = Counter[str]()
    for (kind, project, health, child), number in reading.resources.items():
        (below if child else own)[kind, health] += number
        if not child and project:
            unwell[project] += number if health in BAD else 0
    for metric, found in ((catalogue.RESOURCES, own), (catalogue.CHILDREN, below)):
        kinds = sorted({kind for kind, _ in found})
        yield _gauge(metric, [((kind, str(health)), float(found[kind, health])) for kind in kinds for health in Health])
    called = most(unwell)
    yield _gauge(catalogue.UNWELL, _summed(((called[project],), number) for project, number in unwell.items()))


def _queue(reading: Reading, now: datetime) -> Iterator[Family]:
    lengths = Counter[str]()
    for each in reading.queue:
        lengths[each.project] += each.number
    called = most(lengths)
    yield _gauge(catalogue.QUEUE, _summed(((called[each.project], each.reason), float(each.number)) for each in reading.queue))
    oldest: dict[str, float] = {}
    for each in reading.queue:
        name = called[each.project]
        oldest[name] = max(oldest.get(name, 0.0), (now - each.since).total_seconds())
    yield _gauge(catalogue.OLDEST, _counted(oldest))


def _none(*names: str) -> dict[str, int]:
    """A series that is there before the first of its sort, so that its rise is seen."""
    return dict.fromkeys(names, 0)


def _counted(found: Mapping[str, float]) -> Rows:
    return [((name,), float(number)) for name, number in found.items()]


def _summed(rows: Rows) -> Rows:
    """Those of the same labels together."""
    found: dict[tuple[str, ...], float] = {}
    for labels, value in rows:
        found[labels] = found.get(labels, 0.0) + value
    return list(found.items())


def _gauge(metric: Metric, rows: Rows) -> Family:
    family = GaugeMetricFamily(metric.family, metric.help, labels=metric.labels)
    for labels, value in rows:
        family.add_metric(labels, value)
    return family
