"""A comparison, kept where runs are kept."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.model.performance import Performance


def keep(house: House, found: Performance, machine: str, now: datetime) -> str:
    """Log it with whoever keeps comparisons. Returns where it is, in words. Raises Transient when the tool does not answer, UsageError
    when there is nothing to keep or nobody who keeps it."""
    from reconciler.controller import Comparison, KeepsComparisons
    from reconciler.errors import UsageError
    from reconciler.house import context
    from reconciler.report.performance import performance_digest, performance_json, performance_markdown

    if not found.projects:
        raise UsageError("there is no finished run to compare", hint="`reconcile --wait` starts what the manifests want")
    ctx = context(house, {}, house.store.inventory())
    keeper = next((each for each in house.kinds.controllers.values() if isinstance(each, KeepsComparisons)), None)
    if ctx is None or keeper is None:
        raise UsageError("nothing here keeps comparisons", hint="apply a Platform with MLflow first: `reconcile`")
    files = {
        "comparison.json": performance_json(found, machine, now).encode(),
        "comparison.md": performance_markdown(found, machine, now).encode(),
    }
    metrics = {
        f"{contest.metric}/{' + '.join(each.techniques) or 'none'}": each.best.value
        for contest in found.contests
        for each in contest.entries
        if each.best.value is not None
    }
    sources = sorted({each.best.id for contest in found.contests for each in contest.entries})
    return keeper.keep_comparison(Comparison(performance_digest(found, machine), machine, metrics, sources, files), ctx)
