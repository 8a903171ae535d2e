"""What passes tell of themselves: metrics when `reconcile watch` listens, traces where the environment asks for them.

Each where what it needs is installed. A defect in one of them costs what it would have told, never the pass that it is about."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from reconciler.errors import ReconcilerError
    from reconciler.events import Event
    from reconciler.house import House
    from reconciler.loop import Report
    from reconciler.pulse import Pulse
    from reconciler.telemetry.exposition import Metrics
    from reconciler.telemetry.traces import Traces


T = TypeVar("T")


class Listener(Protocol):
    """Hears what came of each pass."""

    def report(self, report: Report) -> None:
        """It ended."""

    def trouble(self, error: ReconcilerError) -> None:
        """It could not be made."""


@dataclass
class Telemetry:
    """What is told, with the house in which it is heard."""

    house: House
    listeners: list[Listener] = field(default_factory=list)
    metrics: Metrics | None = None
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    """For each turn of the loop, or a single pass."""

    def report(self, report: Report) -> None:
        """A pass has ended."""
        for each in self.listeners:
            _unharmed(self.house, each.report)(report)

    def trouble(self, error: ReconcilerError) -> None:
        """A pass could not be made."""
        for each in self.listeners:
            _unharmed(self.house, each.trouble)(error)


def _unharmed(house: House, hear: Callable[[T], None]) -> Callable[[T], None]:
    """The same, which never raises."""

    def heard(what: T) -> None:
        try:
            hear(what)
        except Exception as error:
            house.log.aside.told("warning", "telemetry_failed", error=repr(error))

    return heard


@contextmanager
def telemetry(house: House, env: str, pulse: Pulse | None = None) -> Iterator[Telemetry]:
    """Metrics with the `pulse` of a loop that listens, traces where the environment names a collector; what is left of those is sent at
    the end. `env` is the installation's environment; empty = it has none."""
    found = Telemetry(house)
    if pulse is not None and (metrics := _metrics(house, pulse)) is not None:
        house.wire.listeners.append(_unharmed(house, metrics.meters.call))
        found.metrics = metrics
        found.listeners.append(metrics.meters)
    if (traces := _traces(house, env)) is None:
        yield found
        return
    house.wire.listeners.append(_unharmed(house, traces.call))
    hear = _unharmed(house, traces.event)

    def tell(event: Event) -> None:
        hear(event)
        house.tell(event)

    found.house, found.around = replace(house, tell=tell), traces.turn
    found.listeners.append(traces)
    try:
        yield found
    finally:
        traces.close()


def _metrics(house: House, pulse: Pulse) -> Metrics | None:
    """None where the library for it is not installed: `/metrics` says so."""
    try:
        from reconciler.telemetry.exposition import Metrics
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("prometheus_client"):
            raise
        return None
    return Metrics(house, pulse)


def _traces(house: House, env: str) -> Traces | None:
    """None where nobody asks for them, or where they cannot be sent: that is told, and costs nothing else."""
    from reconciler.telemetry.environment import SPOKEN, endpoint, other_protocol

    if not endpoint(os.environ):
        return None
    log = house.log.aside
    if spoken := other_protocol(os.environ):
        log.warning("no_traces", why=f"OTEL_EXPORTER_OTLP_PROTOCOL is {spoken}; {SPOKEN} is what can be spoken")
        return None
    try:
        from reconciler.telemetry.traces import open_traces

        return open_traces(house.log, os.environ, **({"deployment.environment.name": env} if env else {}))
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        log.warning("no_traces", why="OTEL_EXPORTER_OTLP_ENDPOINT asks for them: install mlops-reconciler[traces]")
    except Exception as error:  # of one of the SDK's many variables
        log.warning("no_traces", why=f"{type(error).__name__}: {error}")
    return None
