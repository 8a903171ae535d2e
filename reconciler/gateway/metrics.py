"""What Prometheus reads, made from the counters when it asks, so that requests pay nothing for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.gateway.core import Gateway
from reconciler.gateway.counts import Histogram
from reconciler.model.serving import BOUNDS

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(gateway: Gateway) -> bytes:
    """All metrics as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(gateway))
    return generate_latest(registry)


class _Counts(Collector):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterable[Metric]:
        yield from self._requests()
        yield from self._routes()
        yield from self._apps()
        yield from self._logs()

    def _requests(self) -> Iterator[Metric]:
        asked = CounterMetricFamily("mlops_gateway_requests", "Answers to predictions.", labels=("route", "version", "status"))
        took = HistogramMetricFamily("mlops_gateway_seconds", "Whole requests for predictions.", labels=("route",))
        for path, count in self._gateway.counts.routes.items():
            for (version, status), number in count.statuses.items():
                asked.add_metric((path, version, str(status)), number)
            took.add_metric((path,), _buckets(count.latency), count.latency.total)
        refused = CounterMetricFamily("mlops_gateway_other_requests", "Answers that belong to no route.", labels=("status",))
        for code, number in self._gateway.counts.refused.items():
            refused.add_metric((str(code),), number)
        yield from (asked, took, refused)

    def _routes(self) -> Iterator[Metric]:
        ongoing = GaugeMetricFamily("mlops_gateway_ongoing", "Requests that replicas work on.", labels=("route",))
        waiting = GaugeMetricFamily("mlops_gateway_waiting", "Requests that wait for a replica.", labels=("route",))
        for path in self._gateway.table.routes:
            count = self._gateway.counts.route(path)
            ongoing.add_metric((path,), count.ongoing)
            waiting.add_metric((path,), count.waiting)
        yield from (ongoing, waiting)

    def _apps(self) -> Iterator[Metric]:
        labels = ("route", "version", "revision")
        ready = GaugeMetricFamily("mlops_gateway_ready_replicas", "Replicas that requests are sent to.", labels=labels)
        weight = GaugeMetricFamily("mlops_gateway_weight_percent", "Share of the requests.", labels=labels)
        errors = CounterMetricFamily("mlops_gateway_errors", "Failures of replicas: 5xx, time-outs, broken connections.", labels=labels)
        took = HistogramMetricFamily("mlops_gateway_replica_seconds", "What replicas took.", labels=labels)
        for path, route in self._gateway.table.routes.items():
            for each in route.targets:
                values = (path, each.version, each.digest[:8])
                count = self._gateway.counts.app(each.app)
                ready.add_metric(values, len(self._gateway.replicas.ready(each.app)))
                weight.add_metric(values, each.weight)
                errors.add_metric(values, count.errors)
                took.add_metric(values, _buckets(count.latency), count.latency.total)
        yield from (ready, weight, errors, took)

    def _logs(self) -> Iterator[Metric]:
        for name, log in (("predictions", self._gateway.predictions), ("labels", self._gateway.feedback)):
            yield CounterMetricFamily(f"mlops_gateway_{name}_written", f"{name.capitalize()} on disk.", value=log.written)
            yield CounterMetricFamily(f"mlops_gateway_{name}_dropped", f"{name.capitalize()} that were not written.", value=log.dropped)
        yield GaugeMetricFamily("mlops_gateway_generation", "Generation of the routes.", value=self._gateway.table.generation)


def _buckets(histogram: Histogram) -> Sequence[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    found, total = [], 0
    for bound, number in zip((*(f"{each:g}" for each in BOUNDS), "+Inf"), histogram.buckets, strict=True):
        total += number
        found.append((bound, float(total)))
    return found
