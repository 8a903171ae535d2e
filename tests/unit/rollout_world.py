"""A world for rollouts: Serve that starts what it is asked for, a gateway that follows the routes, traffic that is good or bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from controllers.serving.rollout import App, Facts, State, Terms, advance, slots, weights
from reconciler.model.serving import BOUNDS, AppStats

SECONDS = 5.0
"""Between two passes."""


@dataclass
class World:
    """One deployment, pass by pass. What is not said to go wrong goes well."""

    terms: Terms = field(default_factory=Terms)
    state: State = field(default_factory=State)
    wanted: str = ""
    now: float = 1000.0
    generation: int = 0
    written: Mapping[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    gateway: str = "g1"
    reachable: bool = True
    declared: dict[str, int] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """Revisions that do not start, with the reason."""
    stuck: set[str] = field(default_factory=set)
    """Revisions that never become ready and never fail."""
    errors: dict[str, float] = field(default_factory=dict)
    """Share of a revision's requests that fail."""
    slow: set[str] = field(default_factory=set)
    rate: int = 100
    """Requests between two passes."""
    stats: dict[str, AppStats] = field(default_factory=dict)
    ongoing: dict[str, int] = field(default_factory=dict)
    """Requests in hand of revisions that no route names any more."""
    told: list[str] = field(default_factory=list)
    packaged: set[str] = field(default_factory=set)

    def facts(self) -> Facts:
        digests = {*self.declared, *self.stats, self.state.stable, self.state.candidate, *self.state.retiring, self.wanted} - {""}
        apps = {
            each: App(
                ready=self.running.get(each, 0) if self.reachable else 0,
                declared=self.declared.get(each, 0),
                running=self.running.get(each, 0),
                failed=self.broken.get(each, "") if self.declared.get(each) else "",
                begun=self.begun.get(each, 0.0),
                stats=replace(self.stats.get(each, AppStats()), ready=self.running.get(each, 0)),
            )
            for each in digests
        }
        if not self.reachable:
            return Facts(self.now, apps=apps)
        return Facts(self.now, self.gateway, self.acknowledged, dict(self.ongoing), apps)

    def reconcile(self) -> Facts:
        """One pass: decide, write the routes, start and end replicas. Returns what it was decided from."""
        facts = self.facts()
        self.state = advance(self.state, self.wanted, facts, self.terms)
        share = weights(self.state, self.terms)
        if share != self.written:
            self.generation, self.written = self.generation + 1, share
        self.state = replace(self.state, retiring={each: at or self.generation for each, at in self.state.retiring.items()})
        wanted = slots(self.state, facts, self.terms, self.packaged)
        for digest in {*self.declared, *wanted}:
            if wanted.get(digest, 0) > self.declared.get(digest, 0):
                self.begun[digest] = self.now
            self.declared[digest] = wanted.get(digest, 0)
        self.declared = {digest: number for digest, number in self.declared.items() if number}
        if self.state.candidate:
            self.packaged.add(self.state.candidate)
        return facts

    def tick(self, seconds: float = SECONDS) -> None:
        """Time passes: replicas come up, the gateway follows, requests are answered."""
        self.now += seconds
        for digest in {*self.declared, *self.running}:
            able = digest not in self.broken and digest not in self.stuck
            self.running[digest] = self.declared.get(digest, 0) if able else 0
        if not self.reachable:
            return
        if self.acknowledged != self.generation:
            self.ongoing = dict.fromkeys(self.state.retiring, 1)
            self.acknowledged = self.generation
        else:
            self.ongoing = {}
        for digest, share in self.written.items():
            if self.running.get(digest):
                self._answer(digest, self.rate * share // 100)

    def run(self, passes: int, seconds: float = SECONDS) -> World:
        for _ in range(passes):
            self.reconcile()
            self.tick(seconds)
        return self

    def restart_gateway(self) -> None:
        self.gateway, self.stats = self.gateway + "+", {}

    def _answer(self, digest: str, number: int) -> None:
        before = self.stats.get(digest, AppStats())
        failed = round(number * self.errors.get(digest, 0.0))
        place = BOUNDS.index(2.5) if digest in self.slow else BOUNDS.index(0.01)
        latency = tuple(count + (number if at == place else 0) for at, count in enumerate(before.latency))
        self.stats[digest] = replace(before, requests=before.requests + number, errors=before.errors + failed, latency=latency)
