"""What a change of manifests concerns: work in proportion to the change, not to the estate. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.loop import Report
from reconciler.model import Ref, Resource
from reconciler.source.read import Desired

WIDE = frozenset({"Platform", "Project", "ResourceQuota", "AlertPolicy"})
"""Kinds that concern what does not reference them."""
MOST = 100
"""Of more at once everything is looked at: batches of list calls cost less than so many single ones."""


def touched(report: Report, desired: Desired) -> frozenset[Ref] | None:
    """Resources that are new or other than in the last whole pass, with all that depends on them; None: look at everything.

    What is gone, what is wrong and what was wrong concern more than themselves: prune and protection need the whole tree."""
    before = {ref: each for ref, each in report.proposal.resources.items() if not ref.key}
    graph = desired.graph
    now = {ref: each for ref, each in graph.resources.items() if desired.selection.covers(ref)}
    if desired.selection.part or before.keys() - now.keys() or graph.refused or report.proposal.refused:
        return None
    if [(each.name, each.complete) for each in graph.sources] != [(each.name, each.complete) for each in report.proposal.sources]:
        return None
    changed = {ref for ref, each in now.items() if ref not in before or _meaning(each) != _meaning(before[ref])}
    if any(ref.kind in WIDE for ref in changed):
        return None
    found = with_dependants(changed, now)
    return found if len(found) <= MOST else None


def with_dependants(refs: Iterable[Ref], resources: Mapping[Ref, Resource[Any]]) -> frozenset[Ref]:
    """`refs` and everything that comes after one of them, however far."""
    after: dict[Ref, list[Ref]] = defaultdict(list)
    for ref, each in resources.items():
        for other in each.references:
            after[other].append(ref)
    found, todo = set(refs), list(refs)
    while todo:
        for ref in after[todo.pop()]:
            if ref not in found:
                found.add(ref)
                todo.append(ref)
    return frozenset(found)


def _meaning(resource: Resource[Any]) -> tuple[object, ...]:
    return resource.digest, resource.lifecycle, resource.labels, resource.source, resource.references
