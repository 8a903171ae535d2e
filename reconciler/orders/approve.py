"""Saying yes to what the manifests of a project newly ask for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.approval import required
from reconciler.errors import UsageError
from reconciler.model import NOWHERE, Ref
from reconciler.rules import ROOT_SOURCE
from reconciler.state import Approval, AuditEntry
from reconciler.wake import wake

if TYPE_CHECKING:
    from reconciler.approval import Asked
    from reconciler.house import House
    from reconciler.proposal import Proposal


def asks(project: Ref, proposal: Proposal, waiting: Asked) -> bool:
    """Whether anybody's yes is wanted for `project`, by its manifest or by a rule."""
    return project.owner in required(proposal.resources, proposal.inventory) | {ref.owner for ref in waiting.wants}


def waits(project: Ref, waiting: Asked) -> frozenset[Ref]:
    """What of a project, or of what belongs to none, waits for a yes."""
    return frozenset(ref for ref in waiting.waiting if ref.owner == project.owner and (ref.owner or ref == project))


def must_be_seen(project: Ref, seen: str, waiting: Asked) -> None:
    """Raise UsageError unless `seen` is the digest of what waits in `project`."""
    digest = waiting.digests.get(project.owner, "")
    if seen != digest:
        now = f"now it is {digest}" if digest else "now nothing waits"
        raise UsageError(f"what waits in {project} is not what {seen} names; {now}", hint="look at `reconcile --dry-run` again")


def must_count(chosen: Collection[Ref], waiting: Asked, actor: str) -> None:
    """Raise UsageError where a rule wants the yes of somebody else: kept, it would change nothing."""
    for ref in sorted(chosen):
        if (want := waiting.wants.get(ref)) is not None and not want.may(actor):
            raise UsageError(f"{ref}: {want.told}; you are {actor}", hint="name those that you may say yes to: PROJECT REF...")


def approve(chosen: Collection[Ref], waiting: Asked, proposal: Proposal, house: House, actor: str) -> None:
    """Keep the yes of `actor` to what each of `chosen` is asked to be now, write it to the audit log, and wake the loop."""
    from reconciler.loop import author

    revisions = {each.name: each.revision for each in proposal.sources}
    who = {name: author(proposal, house, name) for name in {source_of(ref, proposal) for ref in chosen}}
    given, lines, now = [], [], house.now()
    for ref in sorted(chosen):
        name, digest, declared = source_of(ref, proposal), waiting.waiting[ref], proposal.resources.get(ref)
        revision, place = revisions.get(name, ""), declared.location if declared is not None else NOWHERE
        given.append(Approval(ref, digest, actor, now, f"{revision} {who[name]}".strip()))
        detail = {"digest": digest, "author": who[name]}
        lines.append(AuditEntry(now, actor, ref, "approve", detail=detail, revision=revision, location=place))
    house.store.rulings.approve(given)
    house.store.audit(lines)
    wake(house.settings.state)


def source_of(ref: Ref, proposal: Proposal) -> str:
    """The source whose manifests name it, or named it last."""
    known = ref if ref in proposal.resources or ref in proposal.inventory else replace(ref, key="")
    found = proposal.resources.get(known) or proposal.inventory.get(known)
    return found.source if found is not None else ROOT_SOURCE
