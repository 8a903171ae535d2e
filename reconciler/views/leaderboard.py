"""The finished runs of experiments, ranked, as their tools tell them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.model import Ref, Resource
    from reconciler.model.ranking import Ranking


def ranked(house: House, resources: Mapping[Ref, Resource[Any]], chosen: Collection[Resource[Any]], *, focused: bool) -> list[Ranking]:
    """Of those `chosen` among all `resources` that can be ranked. Asks their tools: raises Transient when one does not answer."""
    from reconciler.controller import Ranks
    from reconciler.house import context
    from reconciler.model.ranking import Ranking

    ctx = context(house, resources, house.store.inventory(), focused=focused)
    found: list[Ranking] = []
    for kind, controller in house.kinds.controllers.items():
        some = [each for each in chosen if each.ref.kind == kind]
        if ctx is None or not some or not isinstance(controller, Ranks):
            continue
        if controller.services and ctx.services.pristine(controller.services):
            found += [Ranking(each.ref) for each in some]
        else:
            found += controller.ranking(some, ctx).values()
    return sorted(found, key=lambda each: each.ref)
