"""Plays a recorded or scripted trace instead of reading sensors, so that anyone can see throttling without a hot machine.

A trace has one JSON object per line; empty lines and lines that begin with `#` are passed over::

    {"at": 0,   "level": "nominal", "used": 0.3, "watts": 12, "memory": 0.4}
    {"at": 60,  "level": "serious", "used": 1.1, "watts": 35}
    {"at": 180, "level": "unknown"}

`at` is in seconds since the start of the playback; lines are in that order. `level` is nominal, fair, serious, critical or unknown;
`used` is headroom used (1.0 = SERIOUS begins); `watts` is power; `memory` is the share of the memory that is in use. A line holds until
the next one; what a line leaves out stays as it was; null takes it back. Where a line gives `used` and no `level`, the first decides the
second. Without `memory` the machine's own is told. The start of the playback is kept in a file, so that all processes of an installation
are at the same place of the trace."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from reconciler.admission.values import Level
from reconciler.errors import Terminal
from reconciler.hardware.keep import write_kept
from reconciler.hardware.probe import Carry, Energy, Look, Probe
from reconciler.hardware.scale import level_of_free, level_of_used
from reconciler.hardware.values import Reading

PLAYBACK = "playback.json"
FIELDS = ("at", "level", "used", "watts", "memory")


@dataclass(frozen=True, slots=True)
class Moment:
    """What holds from `at` seconds on."""

    at: float
    level: Level | None = None
    used: float | None = None
    watts: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Trace:
    """A whole trace; at least one moment, in order of time."""

    moments: tuple[Moment, ...]
    digest: str
    loop: bool = False

    @property
    def length(self) -> float:
        """Seconds until the last line."""
        return self.moments[-1].at

    def when(self, elapsed: float) -> float:
        """The place in the trace after `elapsed` seconds of playback."""
        return elapsed % self.length if self.loop and self.length > 0 else elapsed

    def moment(self, elapsed: float) -> Moment:
        """What holds after `elapsed` seconds; before the first line the first one does."""
        return self.moments[max(0, bisect_right(self.moments, self.when(elapsed), key=lambda each: each.at) - 1)]

    def joules(self, elapsed: float) -> float:
        """Energy used until then; the same in every process."""
        rounds = math.floor(elapsed / self.length) if self.loop and self.length > 0 else 0
        return rounds * self._until(self.length) + self._until(self.when(elapsed))

    def _until(self, place: float) -> float:
        first = self.moments[0]
        spans = [(0.0, first.at, first), *((a.at, b.at, a) for a, b in pairwise(self.moments)), (self.length, math.inf, self.moments[-1])]
        return sum((each.watts or 0.0) * (min(end, place) - start) for start, end, each in spans if start < place)


def load(path: Path, loop: bool = False) -> Trace:
    """The trace in `path`. Raises Terminal, naming file and line, when it cannot be read or is not one."""
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Terminal(
            f"the trace {path} of the simulated sensors cannot be read: {error}",
            hint="`admission.sensors.trace` in the Platform names a JSON-lines file, relative to the installation's root",
        ) from None
    moments: list[Moment] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            moments.append(_moment(line, moments[-1] if moments else None, f"{path}:{number}"))
    if not moments:
        raise Terminal(f"the trace {path} of the simulated sensors has no line", hint='write one: {"at": 0, "level": "nominal"}')
    return Trace(tuple(moments), hashlib.sha256(content).hexdigest()[:16], loop)


def _moment(line: str, before: Moment | None, where: str) -> Moment:
    found = _object(line, where)
    at = _number(found, "at", where)
    if at is None or (before is not None and at < before.at):
        was = f"; the line before is at {before.at:g}" if before else ""
        raise Terminal(f"{where}: 'at' is {found.get('at')!r}{was}", hint="every line has a time in seconds, and they only grow")
    given = {name: _number(found, name, where) for name in ("used", "watts", "memory") if name in found}
    if given.get("memory") is not None and not 0 <= given["memory"] <= 1:  # type: ignore[operator]
        raise Terminal(f"{where}: 'memory' is {given['memory']:g}", hint="it is the share in use, from 0 to 1")
    kept = before or Moment(0.0)
    level = _level(found["level"], where) if "level" in found else None if "used" in found and found["used"] is not None else kept.level
    return Moment(at, level, *(given.get(name, getattr(kept, name)) for name in ("used", "watts", "memory")))


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise Terminal(f"{where}: not JSON: {error}", hint='a line is an object such as {"at": 0, "level": "nominal"}') from None
    if not isinstance(found, dict) or not set(found) <= set(FIELDS):
        wrong = ", ".join(sorted(set(found) - set(FIELDS))) if isinstance(found, dict) else type(found).__name__
        raise Terminal(f"{where}: found {wrong}", hint=f"a line is an object with some of: {', '.join(FIELDS)}")
    return found


def _number(found: dict[str, Any], name: str, where: str) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise Terminal(f"{where}: '{name}' is {value!r}", hint="it is a number, not below zero")
    return float(value)


def _level(value: object, where: str) -> Level:
    allowed = {str(each): each for each in Level}
    if value is None:
        return Level.UNKNOWN
    if not isinstance(value, str) or value not in allowed:
        raise Terminal(f"{where}: 'level' is {value!r}", hint=f"it is one of: {', '.join(allowed)}")
    return allowed[value]


def started(state: Path | None, trace: Trace, speed: float, now: float, *, write: bool = True) -> float:
    """When the playback began (seconds since 1970): as the file in `state` says, else now, which is then written down for the others.

    Another trace, speed or loop is another playback. Deleting the file `playback.json` starts it again."""
    this = {"trace": trace.digest, "speed": speed, "loop": trace.loop}
    if state is None:
        return now
    if not write:
        kept = _kept(state / PLAYBACK, this)
        return now if kept is None else kept
    with _alone(state):  # of several processes that open it at once, the first one decides
        kept = _kept(state / PLAYBACK, this)
        if kept is None:
            write_kept(state / PLAYBACK, {**this, "started": now})
    return now if kept is None else kept


def _kept(path: Path, this: Mapping[str, object]) -> float | None:
    try:
        found = json.loads(path.read_bytes())
        return float(found["started"]) if {name: found[name] for name in this} == this else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(state / f"{PLAYBACK}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # held for one small write
        yield
    finally:
        os.close(handle)


def probe(trace: Trace, started: float, speed: float) -> Probe[Trace]:
    """The probe that plays `trace` from `started` (seconds since 1970) on."""

    def interpret(raw: Trace, at: float, carry: Carry) -> Look:
        return look(raw, (at - started) * speed)

    return Probe("simulated", "heat", lambda: trace, interpret)


def look(trace: Trace, elapsed: float) -> Look:
    """What the simulated sensors say after `elapsed` seconds of playback. Pure."""
    now = trace.moment(elapsed)
    level = now.level if now.level is not None else Level.UNKNOWN if now.used is None else level_of_used(now.used)
    used = None if level is Level.UNKNOWN else now.used
    where = f"line at {now.at:g} s of the trace, {trace.when(elapsed):.0f} s played"
    readings = [Reading("simulated", "heat", level, used, where)]
    if now.memory is not None:
        readings.append(Reading("simulated", "memory", level_of_free(1 - now.memory), detail=f"{now.memory:.0%} in use"))
    energy = () if now.watts is None else (Energy("simulated", trace.joules(elapsed), now.watts),)
    return Look("simulated", tuple(readings), energy)


def memory_share(trace: Trace, elapsed: float) -> float | None:
    """Share of the memory that is in use as the trace has it; None = the machine's own counts."""
    return trace.moment(elapsed).memory
