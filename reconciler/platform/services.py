"""The shared services of one installation: what the command line, the Platform controller and a pass use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.errors import Terminal, Transient
from reconciler.platform import lock, logs, process
from reconciler.platform.bringup import Bringup, OnEvent
from reconciler.platform.recipes import RECIPES, Recipe
from reconciler.platform.spec import Endpoint, ServiceSpec, ServiceStatus
from reconciler.platform.unit import Unit


def _silent(service: str, what: str) -> None:
    """Nobody listens."""


class Services:
    """Starts, watches, finds again and stops the services of one state folder. They outlive this object and this process.

    What a service needs is added with its defaults where `specs` does not name it. `clock` gives Unix seconds.
    Raises Terminal for a service that has no recipe."""

    def __init__(
        self,
        state_dir: Path,
        specs: Sequence[ServiceSpec],
        clock: Callable[[], float] = time.time,
        recipes: Mapping[str, Recipe] = RECIPES,
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._lock = self._state_dir / "services" / "lock"
        self._units: dict[str, Unit] = {}
        wanted = {spec.name: spec for spec in specs}
        for name in wanted:
            self._add(name, wanted, clock, recipes)

    @classmethod
    def recorded(cls, state_dir: Path, recipes: Mapping[str, Recipe] = RECIPES) -> Services:
        """The services that were started in this folder, whatever the manifests say now: for a stop, a status and logs without them."""
        found = sorted(path.parent.name for path in (state_dir / "services").glob("*/record.json"))
        return cls(state_dir, [ServiceSpec(name) for name in found if name in recipes], recipes=recipes)

    @property
    def names(self) -> tuple[str, ...]:
        """All services, each after what it needs."""
        return tuple(self._units)

    def status(self, probe: bool = True) -> Mapping[str, ServiceStatus]:
        """How each service is. With `probe` a look at its work (seconds when it hangs) and its memory; writes and starts nothing."""
        return {name: unit.status(probe) for name, unit in self._units.items()}

    def start(self, names: Sequence[str]) -> None:
        """Start what does not run and whose needs answer; does not wait for it. Call again for what waits for another service."""
        bringup = self._bringup(names, _silent, None)
        bringup.step()
        for error in bringup.failed.values():
            raise error

    def ensure(self, names: Sequence[str], deadline: float | None = None, on_event: OnEvent = _silent) -> Mapping[str, ServiceStatus]:
        """Start what does not run, the dead included, and wait until all do their work; their status then, without memory.

        `deadline` is in seconds for all together (None: each service's own start time). `on_event(service, what)` tells the steps.
        Raises Transient, naming the service and the end of its log, or Terminal when something is missing on this machine."""
        bringup = self._bringup(names, on_event, deadline)
        bringup.run()
        return {name: self._units[name].status(probe=False, look=look) for name, look in bringup.ready.items()}

    def stop(self, names: Sequence[str] | None = None, timeout: float = 30.0) -> None:
        """Stop these services (None: all) and what depends on them, dependants first; `timeout` seconds each step, then SIGKILL.

        What a service does for others is ended before that, in the time that its recipe allows."""
        going = set(self.names if names is None else map(self._known, names))
        for name in self.names:
            if going & set(self._units[name].needs):
                going.add(name)
        if not self._lock.exists():
            return
        with lock.held(self._lock):
            while going:
                step = [name for name in going if not any(name in self._units[other].needs for other in going)]
                for name in step:
                    self._units[name].settle()
                    self._units[name].drain()
                self._end([self._units[name] for name in step], timeout)
                going.difference_update(step)

    def renew(self, names: Sequence[str]) -> None:
        """End what runs of these, so that they run as they are specified now once they are started. One that can be replaced while it
        runs is, and refuses nobody; the others are stopped as by `stop`.

        Raises Transient or Terminal, naming the service, when the new one of a replaced one does not work: the old one goes on."""
        beside = [name for name in map(self._known, names) if self._units[name].replaceable()]
        self.stop([name for name in names if name not in beside])
        for name in beside:
            with lock.held(self._lock):
                self._units[name].replace()

    def logs(self, name: str, lines: int = 50) -> str:
        """The last lines of what the service wrote since its last start, whether or not its log was cut since then."""
        unit = self._units[self._known(name)]
        record = process.read_record(unit.home / "record.json")
        return logs.tail(unit.log, lines, since=record.started if record is not None else None)

    def follow(self, name: str, stopped: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """Lines of its log as they come, across restarts, until `stopped()`."""
        return logs.follow(self._units[self._known(name)].log, stopped)

    def endpoint(self, name: str) -> Endpoint:
        """Where the service answers. Raises Transient when it was never started here; it may be down all the same."""
        unit = self._units[self._known(name)]
        if not unit.site.port:
            raise Transient(f"{name} was never started here", hint="reconcile platform up")
        return unit.recipe.endpoint(unit.site)

    def _add(self, name: str, wanted: Mapping[str, ServiceSpec], clock: Callable[[], float], recipes: Mapping[str, Recipe]) -> None:
        if name in self._units:
            return
        if name not in recipes:
            raise Terminal(f"there is no service {name!r}", hint=f"known: {', '.join(sorted(recipes))}")
        spec, recipe = wanted.get(name, ServiceSpec(name)), recipes[name]
        needs = recipe.needs(spec)
        for need in needs:
            self._add(need, wanted, clock, recipes)
        self._units[name] = Unit(spec, recipe, self._state_dir, {need: self._units[need] for need in needs}, clock)

    def _bringup(self, names: Sequence[str], on_event: OnEvent, deadline: float | None) -> Bringup:
        return Bringup(self._units, self.with_needs(names), self._lock, on_event, deadline)

    def with_needs(self, names: Sequence[str]) -> list[str]:
        """`names` and all that they need, needed services first."""
        wanted = set(map(self._known, names))
        for name in reversed(self.names):
            if name in wanted:
                wanted.update(self._units[name].needs)
        return [name for name in self.names if name in wanted]

    def _known(self, name: str) -> str:
        if name not in self._units:
            raise Terminal(f"{name} is not one of the services that are managed here", hint=f"these are: {', '.join(self.names) or 'none'}")
        return name

    def _end(self, units: Sequence[Unit], timeout: float) -> None:
        members = [unit.members() for unit in units]
        everyone = [each for found, _ in members for each in found]
        process.end(everyone, {pid: number for _, signals in members for pid, number in signals.items()}, timeout)
        for unit in units:
            unit.forget()
