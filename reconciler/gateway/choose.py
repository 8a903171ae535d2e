"""Which application answers a request. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence

from reconciler.model.serving import Target


def choose(targets: Sequence[Target], up: Container[str], draw: float, wanted: str = "") -> Target | None:
    """One of `targets` whose application is in `up`; None when there is none.

    `draw` is a random number of [0, 1). `wanted` is what the route's header says: that role is taken whatever its weight, so that a new
    version can be tried before it gets traffic. Otherwise by weight; what is down gives its share to the others. A target of weight 0
    gets nothing else: it is not meant to be used, and stands there only until it has drained."""
    for each in targets:
        if each.role == wanted and each.app in up:
            return each
    open_to = [each for each in targets if each.weight > 0 and each.app in up]
    point = draw * sum(each.weight for each in open_to)
    for each in open_to:
        point -= each.weight
        if point < 0:
            return each
    return open_to[-1] if open_to else None
