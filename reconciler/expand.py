"""Turn each resource that stands for several things into those things: the runs of an experiment. After bind, because what must exist
depends on the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.bind import Bound
from reconciler.controller import Context, Expands
from reconciler.errors import Transient
from reconciler.model import Absent, Observation, Present, Ref, Resource
from reconciler.registry import Kinds


@dataclass(frozen=True)
class Expanded:
    """Children by kind, in the order of their parents; a kind without any now may have had some before."""

    children: Mapping[str, tuple[Resource[Any], ...]] = field(default_factory=dict)
    unread: frozenset[Ref] = frozenset()
    """Parents whose children are not known in this pass: the last that was said of them stands."""


def expand(bound: Bound, seen: Mapping[Ref, Observation], ctx: Context, kinds: Kinds) -> Expanded:
    """The children of every bound resource that has some and could be looked at; what the files say is read here, once per kind."""
    children: dict[str, tuple[Resource[Any], ...]] = {}
    unread: set[Ref] = set()
    for kind, controller in kinds.controllers.items():
        if not isinstance(controller, Expands):
            continue
        parents = [each for ref, each in bound.resources.items() if ref.kind == kind]
        if not parents:
            continue
        able = [each for each in parents if isinstance(seen.get(each.ref), Absent | Present) and each.ref not in bound.broken]
        unread |= {each.ref for each in parents} - {each.ref for each in able}
        try:
            facts = controller.facts(able, ctx)
            children[kind] = tuple(child for each in able for child in controller.children(each, seen[each.ref], facts.get(each.ref, {})))
        except Transient:  # its tool is down: what was last said of the children stands
            unread |= {each.ref for each in able}
        except Exception as error:  # a defect: it narrows the pass for its kind only
            ctx.log.warning("expand_failed", kind=kind, error=repr(error))
            unread |= {each.ref for each in able}
    return Expanded(children, frozenset(unread))
