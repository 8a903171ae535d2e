"""How many replicas a deployment needs, from what the gateway counted. Pure.

More replicas are wanted at once; fewer only when fewer were enough for `scaleDownAfter`, and then as many as were needed at most in that
time (as the stabilization window of Kubernetes' horizontal autoscaler works)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from reconciler.model.serving import RouteStats
from schemas.base import duration_value
from schemas.deployment import Replicas


@dataclass(frozen=True, slots=True)
class Fewer:
    """Since when fewer replicas than there are would be enough."""

    since: float = 0.0
    """Unix seconds; 0 = not so now."""
    most: int = 0
    """The most that was needed since then."""


def first(spec: Replicas) -> int:
    """How many a deployment begins with: one that may be at zero has to show first that it can answer."""
    return max(1, spec.min)


def needed(spec: Replicas, stats: RouteStats | None) -> int | None:
    """Replicas that the load of this moment asks for, within the bounds; None when the gateway does not tell."""
    if stats is None:
        return None
    asked = ceil(stats.load / spec.target_ongoing)
    if spec.min == 0 and (stats.waiting or stats.ongoing or stats.idle < duration_value(spec.scale_down_after).total_seconds()):
        asked = max(1, asked)
    return max(spec.min, min(spec.most, asked))


def wanted(spec: Replicas, have: int, stats: RouteStats | None, fewer: Fewer, now: float) -> int:
    """How many there should be; `have` is what was wanted until now."""
    bounded = max(spec.min, min(spec.most, have))
    need = needed(spec, stats)
    if need is None or need == bounded:
        return bounded
    if need > bounded:
        return need
    if need == 0:  # nobody has asked for so long already
        return 0
    enough = fewer.since and now - fewer.since >= duration_value(spec.scale_down_after).total_seconds()
    return max(need, min(bounded, fewer.most)) if enough else bounded


def note(spec: Replicas, have: int, stats: RouteStats | None, fewer: Fewer, now: float) -> Fewer:
    """What to remember for the next look. A gateway that does not tell changes nothing."""
    need = needed(spec, stats)
    if need is None:
        return fewer
    if need >= have:
        return Fewer()
    return Fewer(fewer.since or now, max(fewer.most, need))
