"""Admission as it stands: verdicts with expected starts, and all that is known of why one thing is as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.admission.values import Decision, Snapshot, Verdict
    from reconciler.house import House
    from reconciler.model import Learned, Progress, Ref
    from reconciler.report.why import Why
    from reconciler.state import Held, Queued

FORECAST = 20
"""Waiting items, the first in order, whose start is forecast when all are listed."""


def told(taken: Snapshot, decision: Decision, learned: Mapping[Ref, Learned]) -> dict[Ref, Verdict]:
    """The verdicts of all that waits; the first few with an expected start."""
    from reconciler.admission.forecast import forecast

    verdicts = {each.ref: decision.explain(each.ref) for each in taken.queue}
    first = sorted((each for each in verdicts.values() if not each.admitted), key=lambda each: each.position)[:FORECAST]
    starts = forecast(taken, decision, [each.ref for each in first], learned=learned)
    return verdicts | {ref: replace(verdicts[ref], expected=expected) for ref, expected in starts.items()}


def learned_of(house: House) -> dict[Ref, Learned]:
    """What earlier work of the same template was measured to need."""
    known, (leases, waiting) = house.store.work.learned(), house.store.work.books()
    rows: tuple[Queued | Held, ...] = (*leases, *waiting)
    return {each.ref: known[each.template] for each in rows if each.template in known}


def reasons(house: House, ref: Ref, needed: Mapping[Ref, Sequence[Ref]]) -> Why:
    """All that is known about `ref`; `needed`: what each resource refers to or requires, as far as it is known."""
    from reconciler.admission.decide import decide
    from reconciler.admission.forecast import explained
    from reconciler.admission.ledger import look
    from reconciler.admission.remedy import remedies
    from reconciler.errors import UsageError
    from reconciler.report.why import Why, causes_of

    statuses, suspensions = house.store.statuses(), house.store.suspensions()
    leases, waiting = house.store.work.books()
    held, queued = {each.ref: each for each in leases}, {each.ref: each for each in waiting}
    suspension = suspensions.get(ref) or suspensions.get(replace(ref, key=""))
    found = Why(ref, statuses.get(ref), causes=causes_of(ref, statuses, needed), suspended=suspension.reason if suspension else "")
    try:
        taken = look(house)
    except UsageError:  # no Platform yet: nothing can wait or run
        return found
    found = replace(found, progress=progress_of(house, ref), why_stopped=held[ref].why if ref in held else "")
    if (lease := next((each for each in taken.leases if each.ref == ref), None)) is not None:
        return replace(found, lease=lease)
    if (item := next((each for each in taken.queue if each.ref == ref), None)) is None:
        return found
    learned = learned_of(house)
    verdict = explained(taken, decide(taken), [ref], learned=learned)[ref]
    helpful = remedies(taken, ref, learned.get(ref), margin=margin_of(house), declared=declared_of(queued[ref]))
    return replace(found, item=item, verdict=verdict, remedies=helpful, progress=None)


def margin_of(house: House) -> float:
    """What admission adds to a memory request."""
    from reconciler.house import context

    ctx = context(house, {}, house.store.inventory(), focused=True)
    return ctx.platform.admission.margin if ctx is not None else 0.0


def declared_of(row: Queued) -> int | None:
    """Bytes that its manifest asks for; 0 = it does not say, None = not known."""
    asked = row.detail.get("asked")
    if not isinstance(asked, list) or not asked or not isinstance(asked[0], int):
        return None
    return asked[0] if row.detail.get("declared") else 0


def progress_of(house: House, ref: Ref) -> Progress | None:
    """How the newest job of a run is, with the end of its output; None when there is none, or none can be looked at."""
    from reconciler.errors import ReconcilerError
    from reconciler.house import context

    ctx = context(house, {}, house.store.inventory(), focused=True)
    if ctx is None or ctx.jobs is None or not ref.key:
        return None
    try:
        jobs = [each for each in ctx.jobs.look().values() if each.ref == str(ref)]
    except ReconcilerError:
        return None
    return max(jobs, key=lambda each: each.since, default=None)
