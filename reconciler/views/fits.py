"""Whether work that nobody has declared would start now, as admission sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.admission.decide import decide
from reconciler.admission.forecast import explained
from reconciler.admission.ledger import DEFAULT_PRIORITY
from reconciler.admission.memory import estimate, length
from reconciler.admission.values import Item, Snapshot, Verdict
from reconciler.errors import UsageError
from reconciler.house import House
from reconciler.model import Amounts, Demand, Ref
from reconciler.model.demand import one_core
from reconciler.views.admission import learned_of, margin_of
from schemas.base import duration_value

ASKED = "asked"
"""Name of the work that nobody has declared."""


@dataclass(frozen=True)
class Size:
    """What the work asks for."""

    amounts: Amounts
    seconds: float | None = None
    """How long it would take."""
    priority: int | None = None
    """1 to 10; None = the project's."""


@dataclass(frozen=True)
class Answer:
    """What admission would say of it, behind what waits already."""

    item: Item
    verdict: Verdict
    warnings: tuple[str, ...]


def sized(given: Mapping[str, str | None], duration: str | None, priority: int | None) -> Size:
    """Quantities as they are written. Raises UsageError for what is none."""
    try:
        amounts = one_core(dict(given))
    except ValueError as error:
        raise UsageError(str(error), hint="for example --memory 2Gi --cpu 500m") from None
    try:
        seconds = duration_value(duration).total_seconds() if duration else None
    except ValueError as error:
        raise UsageError(str(error), hint="for example --duration 10m") from None
    return Size(amounts, seconds, priority)


def answered(house: House, taken: Snapshot, project: str, size: Size) -> Answer:
    """Decides as a pass would; reserves nothing."""
    item = _item(taken, project, size, margin_of(house))
    whole = with_one_more(taken, item)
    decision = decide(whole)
    verdict = explained(whole, decision, [item.ref], learned=learned_of(house))[item.ref]
    return Answer(item, verdict, tuple(decision.warnings))


def with_one_more(taken: Snapshot, item: Item) -> Snapshot:
    """The snapshot with one more item at the end of its queue."""
    return replace(taken, queue=(*taken.queue, item))


def _item(taken: Snapshot, project: str, size: Size, margin: float) -> Item:
    """The work as it would stand in the queue, charged as a run is that nobody has measured yet."""
    demand = Demand("batch", size.amounts, size.amounts, size.seconds, declared=bool(size.amounts.memory))
    quota = taken.quotas.get(project)
    return Item(
        ref=Ref("Experiment", project, ASKED),
        project=project,
        amounts=estimate(demand, None, None, margin),
        priority=size.priority or (quota.priority if quota is not None else DEFAULT_PRIORITY),
        since=taken.now,
        seconds=length(demand, None),
    )
