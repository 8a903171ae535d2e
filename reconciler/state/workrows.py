"""Queue, leases and what was learned, to rows and back. Pure.

Texts that people or tools make are kept as JSON, like all such text in the Store: see `reconciler.state.encode`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from reconciler.admission.values import Item, Lease, Past
from reconciler.model import JSON, Amounts, Learned, Ref
from reconciler.model.demand import RESOURCES
from reconciler.state.encode import Row, from_text, ref_from, ref_row, to_text
from reconciler.state.records import Held, Queued

if TYPE_CHECKING:
    from pydantic import TypeAdapter
MOST = 2**63 - 1
"""The largest whole number that both databases hold. Whoever asks for more is refused with it just as well: no machine has so much."""


def queued_row(queued: Queued) -> Row:
    item = queued.item
    return {
        **ref_row(item.ref),
        **_asked_row(item, item.largest_buffer, queued.template, queued.detail),
        "not_before": item.not_before,
        "accepted": queued.accepted,
    }


def queued_from(row: Sequence[Any]) -> Queued:
    kind, project, name, key, owner, memory, cpu, gpu, watts, priority, since, work, seconds, *rest = row
    preemptible, preempted, largest_buffer, template, detail, not_before, accepted = rest
    item = Item(
        ref=ref_from(kind, project, name, key),
        project=owner,
        amounts=Amounts(memory, cpu, gpu, watts),
        priority=priority,
        since=since,
        work=work,
        seconds=seconds,
        preemptible=preemptible,
        not_before=not_before,
        largest_buffer=largest_buffer,
        preempted=preempted,
    )
    return Queued(item, accepted, _text(template), from_text(detail))


def held_row(held: Held) -> Row:
    lease = held.lease
    return {
        **ref_row(lease.ref),
        **_asked_row(lease, held.largest_buffer, held.template, held.detail),
        "node": lease.node,
        "queued": lease.queued,
        "job": held.job,
        "paused": lease.paused,
        "ending": lease.ending,
        "preemptor": ref_text(held.preemptor),
        "why": to_text(held.why),
    }


def held_from(row: Sequence[Any]) -> Held:
    kind, project, name, key, owner, memory, cpu, gpu, watts, priority, since, work, seconds, *rest = row
    preemptible, preempted, largest_buffer, template, detail, node, queued, job, paused, ending, preemptor, why = rest
    lease = Lease(
        ref=ref_from(kind, project, name, key),
        project=owner,
        node=node,
        amounts=Amounts(memory, cpu, gpu, watts),
        priority=priority,
        since=since,
        queued=queued,
        work=work,
        seconds=seconds,
        preemptible=preemptible,
        preempted=preempted,
        paused=paused,
        ending=ending,
    )
    parts = from_text(preemptor)
    return Held(lease, job, _text(template), largest_buffer, Ref(*parts) if parts else None, _text(why), from_text(detail))


def ref_text(ref: Ref | None) -> str:
    """A Ref as JSON; `null` = none."""
    return to_text([ref.kind, ref.project, ref.name, ref.key] if ref else None)


def learned_text(learned: Learned) -> str:
    return to_text(_shape(Learned).dump_python(learned, mode="json"))


def learned_from(text: str) -> Learned:
    """What another version of this program kept beside is left out; what it did not know has its default. Raises ValueError."""
    found: Learned = _shape(Learned).validate_python(from_text(text))
    return found


def past_text(past: Past) -> str:
    return to_text(_shape(Past).dump_python(past, mode="json"))


def past_from(text: str) -> Past:
    """As `learned_from`."""
    found: Past = _shape(Past).validate_python(from_text(text))
    return found


def amounts_value(amounts: Amounts) -> JSON:
    """As quantities, for people who read the audit log; what is not asked for is left out."""
    parts = {name: f"{amount / 1000:g}" for name, amount in zip(RESOURCES, amounts, strict=True) if amount}
    return parts | ({"memory": f"{amounts.memory / 2**20:.0f}Mi"} if amounts.memory else {})


def _asked_row(work: Item | Lease, largest_buffer: int, template: str, detail: Mapping[str, JSON]) -> dict[str, Any]:
    memory, cpu, gpu, watts = (min(each, MOST) for each in work.amounts)
    return {
        **{"owner": work.project, "memory": memory, "cpu": cpu, "gpu": gpu, "watts": watts},
        **{"priority": work.priority, "since": work.since, "work": work.work, "seconds": work.seconds},
        **{"preemptible": work.preemptible, "preempted": work.preempted, "largest_buffer": min(largest_buffer, MOST)},
        **{"template": to_text(template, work.ref), "detail": to_text(dict(detail), work.ref)},
    }


@lru_cache(maxsize=1024)
def _text(kept: str) -> str:
    """Cached: thousands of runs share a few templates."""
    return str(from_text(kept))


@cache
def _shape(kind: type) -> TypeAdapter[Any]:
    """How a dataclass is written as JSON and read again. Made at the first use, which takes a few milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
