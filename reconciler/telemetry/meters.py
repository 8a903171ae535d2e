"""Counters and histograms: fed by the loop while it works, so that a scrape has nothing to count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram

from reconciler.breaker import SILENT
from reconciler.controller import Call
from reconciler.model import Failed, Result, Started
from reconciler.report.watch import acted
from reconciler.telemetry import catalogue
from reconciler.telemetry.catalogue import Metric
from reconciler.telemetry.seen import Seen, drifts, is_whole, outcome, refused

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError
    from reconciler.loop import Report
    from reconciler.pulse import Pulse

SCOPES = ("whole", "part")
ANSWERS = ("answered", "refused", "silent")


class Meters:
    """Safe to use from many threads. `registry` is told from; it is not the library's global one."""

    def __init__(self, registry: CollectorRegistry, pulse: Pulse) -> None:
        self.seen = Seen()
        self._registry, self._pulse = registry, pulse
        self._passes, self._actions = self._counter(catalogue.PASSES), self._counter(catalogue.ACTIONS)
        self._errors, self._put_back = self._counter(catalogue.ERRORS), self._counter(catalogue.PUT_BACK)
        self._calls, self._call_seconds = self._counter(catalogue.CALLS), self._histogram(catalogue.CALL_SECONDS)
        self._pass_seconds = self._histogram(catalogue.PASS_SECONDS)
        wait = catalogue.WAIT
        self.waits = Histogram(wait.family, wait.help, wait.labels, registry=None, buckets=wait.buckets)
        """Of work that was admitted; told, and fed from the Store, by whoever reads the Store."""
        for scope in SCOPES:  # a rate needs a beginning
            self._pass_seconds.labels(scope)
            self._passes.labels(scope, "ok")

    def report(self, report: Report) -> None:
        """A pass has ended."""
        scope = "whole" if is_whole(report) else "part"
        self._passes.labels(scope, outcome(report)).inc()
        self._pass_seconds.labels(scope).observe(self._pulse.seconds if scope == "whole" else report.proposal.seconds + report.seconds)
        for each in filter(acted, report.results):
            self._acted(each)
        for ref, back in drifts(report):
            if back:
                self._put_back.labels(ref.kind).inc()
        self.seen.note(report)

    def trouble(self, error: ReconcilerError) -> None:
        """A pass could not be made."""
        self._passes.labels("whole", "not_made").inc()
        self._errors.labels("", type(error).__name__).inc()

    def call(self, call: Call) -> None:
        """A call to a tool has ended."""
        for each in ANSWERS:  # all of them from the first call on: a share of what is not there is not 0
            self._calls.labels(call.tool, each)
        self._calls.labels(call.tool, _answer(call.status)).inc()
        self._call_seconds.labels(call.tool).observe(call.seconds)

    def _acted(self, result: Result) -> None:
        kind, verb = result.action.ref.kind, type(result.action).__name__.lower()
        if isinstance(result.outcome, Failed):
            self._errors.labels(kind, type(result.outcome.error).__name__).inc()
            became = "failed"
        else:
            became = "started" if isinstance(result.outcome, Started) else "done"
        self._actions.labels(kind, verb, became).inc()

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.family, metric.help, metric.labels, registry=self._registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.family, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets)


def _answer(status: str) -> str:
    if status in SILENT:
        return "silent"
    return "refused" if refused(status) else "answered"
