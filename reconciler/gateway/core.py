"""What the parts of the gateway share."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from reconciler.gateway.bell import Bell
from reconciler.gateway.counts import AppCount, Counts
from reconciler.gateway.feedback import Feedback
from reconciler.gateway.keys import Keyring
from reconciler.gateway.predictions import PredictionWriter
from reconciler.gateway.rate import Rates
from reconciler.gateway.replicas import Replicas
from reconciler.gateway.table import Table
from reconciler.gateway.traffic import Traffic
from reconciler.model.serving import AppStats, GatewayState, Route, RouteStats, wake_file

WAKE_EVERY = 1.0
"""Seconds between two touches of the wake file."""


@dataclass
class Gateway:
    """One gateway. Its parts know nothing of each other."""

    state_dir: Path
    table: Table
    replicas: Replicas
    counts: Counts
    keys: Keyring
    rates: Rates
    predictions: PredictionWriter
    feedback: Feedback
    traffic: Traffic
    changed: Bell = field(default_factory=Bell)
    """Rings when routes or replicas have changed."""
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    _woken: float = 0.0

    @classmethod
    def over(cls, state_dir: Path, admin_token: str) -> Gateway:
        return cls(
            state_dir,
            Table(state_dir),
            Replicas(state_dir),
            Counts(time.monotonic),
            Keyring(state_dir, admin_token),
            Rates(),
            PredictionWriter(state_dir),
            Feedback(state_dir),
            Traffic(state_dir),
        )

    def up(self, route: Route) -> dict[str, int]:
        """Applications of the route that have replicas to send to -> how many."""
        found = {each.app: len(self.replicas.ready(each.app)) for each in route.targets}
        return {app: count for app, count in found.items() if count}

    def wake(self) -> None:
        """Ask the reconciler for a pass soon."""
        now = time.monotonic()
        if now - self._woken >= WAKE_EVERY:
            self._woken = now
            with contextlib.suppress(OSError):
                wake_file(self.state_dir).touch(mode=0o600)

    def state(self) -> GatewayState:
        """As the reconciler reads it."""
        named = self.table.apps()
        left = {app: count.ongoing for app, count in self.counts.apps.items() if count.ongoing and app not in named}
        routes = {path: self._route_stats(route) for path, route in self.table.routes.items()}
        return GatewayState(self.started, self.table.generation, routes, left, self.table.problem, os.getpid())

    def _route_stats(self, route: Route) -> RouteStats:
        count, now = self.counts.route(route.path), time.monotonic()
        apps: Mapping[str, AppStats] = {each.app: self._app_stats(each.app, self.counts.app(each.app)) for each in route.targets}
        return RouteStats(count.ongoing, count.waiting, round(count.load(now), 3), round(count.idle(now), 3), apps)

    def _app_stats(self, app: str, count: AppCount) -> AppStats:
        labels, correct, absolute_error = self.feedback.stats(app)
        return AppStats(
            count.ongoing,
            count.requests,
            count.errors,
            tuple(count.latency.buckets),
            labels,
            correct,
            absolute_error,
            len(self.replicas.ready(app)),
        )
