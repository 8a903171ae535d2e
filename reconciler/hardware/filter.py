"""From what many sensors say at one moment to one level that does not flap. Pure; the state is a small value that fits into JSON.

The worst source decides. A higher level is entered once the sources have been there for 5 s; it is left one step at a time, once they have
been below it for 60 s, and not within 30 s of entering it. Without history the first look is believed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import Any

from reconciler.admission.values import Level
from reconciler.hardware.values import Reading

LEVELS = (Level.FAIR, Level.SERIOUS, Level.CRITICAL)
GAPS = 5
"""Gaps between looks whose median is taken for the period: two long ones, where a pass took its time, do not change it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. The defaults turned 2,600 changes in 4 h of a noisy sensor into 10 to 25 in simulation."""

    enter: float = 5.0
    leave: float = 60.0
    dwell: float = 30.0
    silent: float = 3.0
    """A source that says nothing for longer than this many periods is UNKNOWN. One look that it misses never makes it so."""
    smooth: float = 5.0
    """Time constant of the smoothing of headroom used: the die's own (6 to 9 s measured on phones)."""

    @property
    def forget(self) -> float:
        """A gap in which the level could have come all the way down: what was known before it means nothing."""
        return self.leave * len(LEVELS)


@dataclass(frozen=True, slots=True)
class Heard:
    """The last that a source said."""

    at: float
    level: Level
    used: float | None = None


@dataclass(frozen=True, slots=True)
class Filtered:
    """State of the filter, and what it says. Seconds are of any steady clock."""

    level: Level = Level.UNKNOWN
    since: float = 0.0
    """When `level` was entered."""
    used: float | None = None
    """Headroom used, smoothed, of the source that has used most."""
    source: str = ""
    """What decides: the source with the highest level, then the most headroom used."""
    at: float | None = None
    """The last look; None = there was none."""
    heard: Mapping[str, Heard] = field(default_factory=dict)
    above: Mapping[int, float] = field(default_factory=dict)
    """Level -> since when the sources have been at it or higher without a break."""
    below: Mapping[int, float] = field(default_factory=dict)
    """Level -> since when they have been below it without a break."""
    gaps: tuple[float, ...] = ()
    """Seconds between the last looks, the newest last."""


def step(before: Filtered, readings: Iterable[Reading], at: float, *, period: float = 1.0, timing: Timing = Timing()) -> Filtered:
    """The state after one more look. `period` is the least that two looks are apart, in seconds; how far they really are is seen here."""
    if before.at is not None and not 0 <= at - before.at <= timing.forget:
        before = Filtered()  # also when the clock was set back: seconds of another clock cannot be compared
    gaps = before.gaps if before.at is None else (*before.gaps, at - before.at)[-GAPS:]
    patience = timing.silent * max(period, median_low(gaps) if gaps else 0.0)
    # what was heard at the last look stays for this one, however long ago that was: a change of pace is not a silence
    heard = {name: each for name, each in before.heard.items() if at - each.at <= patience or each.at == before.at}
    heard |= {each.source: Heard(at, each.level, each.used) for each in readings if each.level is not Level.UNKNOWN}
    if not heard:
        since = before.since if before.level is Level.UNKNOWN and before.at is not None else at
        return Filtered(since=since, at=at, gaps=gaps)
    source, worst = max(heard.items(), key=lambda item: (item[1].level, item[1].used or 0.0, item[0]))
    used = _smooth(before, [each.used for each in heard.values() if each.used is not None], at, timing)
    above = {int(each): before.above.get(each, at) for each in LEVELS if worst.level >= each}
    below = {int(each): before.below.get(each, at) for each in LEVELS if worst.level < each}
    seen = replace(before, used=used, source=source, at=at, heard=heard, above=above, below=below, gaps=gaps)
    if before.level is Level.UNKNOWN:
        return replace(seen, level=worst.level, since=at)
    return _moved(seen, worst.level, at, at - (before.at if before.at is not None else at), timing)


def _smooth(before: Filtered, found: list[float], at: float, timing: Timing) -> float | None:
    if not found:
        return None
    if before.used is None or before.at is None:
        return max(found)
    share = min(1.0, (at - before.at) / timing.smooth)  # first order, exact enough below the time constant
    return before.used + share * (max(found) - before.used)


def _moved(seen: Filtered, worst: Level, at: float, gap: float, timing: Timing) -> Filtered:
    """One step of the level. After a gap as long as `enter`, a single hot look counts: nobody saw it being cool."""
    reached = [
        each for each in LEVELS if each > seen.level and worst >= each and (at - seen.above[each] >= timing.enter or gap >= timing.enter)
    ]
    if reached:
        return replace(seen, level=reached[-1], since=at)
    leaves = worst < seen.level and at - seen.below[seen.level] >= timing.leave and at - seen.since >= timing.dwell
    return replace(seen, level=Level(seen.level - 1), since=at) if leaves else seen


def to_json(state: Filtered) -> dict[str, Any]:
    """The state as plain values."""
    return {
        "level": int(state.level),
        "since": state.since,
        "used": state.used,
        "source": state.source,
        "at": state.at,
        "heard": {name: [each.at, int(each.level), each.used] for name, each in state.heard.items()},
        "above": {str(level): at for level, at in state.above.items()},
        "below": {str(level): at for level, at in state.below.items()},
        "gaps": list(state.gaps),
    }


def from_json(found: Mapping[str, Any]) -> Filtered:
    """The state again. Raises ValueError, KeyError, TypeError or AttributeError for what is no state."""
    return Filtered(
        level=Level(found["level"]),
        since=float(found["since"]),
        used=None if found["used"] is None else float(found["used"]),
        source=str(found["source"]),
        at=None if found["at"] is None else float(found["at"]),
        heard={str(name): Heard(float(each[0]), Level(each[1]), each[2]) for name, each in found["heard"].items()},
        above={int(level): float(at) for level, at in found["above"].items()},
        below={int(level): float(at) for level, at in found["below"].items()},
        gaps=tuple(float(each) for each in found["gaps"]),
    )
