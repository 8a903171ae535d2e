"""What manifests newly ask for in projects whose changes wait for a yes, and whether somebody said it. Pure.

A yes is a level, not an event: it names one desired state of one resource, and holds until that is carried out or something else is asked
for. What was carried out is in the inventory, so that putting it back needs no other yes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from reconciler.model import Adopt, Blocked, Delete, Owned, Ref, Resource, Source, Write
from reconciler.registry import Kinds
from schemas.project import ProjectSpec, Sync

if TYPE_CHECKING:
    from reconciler.state.records import Approval

AWAITING = "AwaitingApproval"
"""Reason of what is planned and waits for a yes."""


@dataclass(frozen=True)
class Want:
    """A yes that a rule of the policy wants to one action."""

    digest: str
    """Names what would be done."""
    why: str
    """The rule, with its message."""
    owners: frozenset[str] | None = None
    """Who may say it; None = anybody."""

    @property
    def told(self) -> str:
        """Why it waits, and for whom."""
        if self.owners is None:
            return f"it needs a yes: {self.why}"
        named = ", ".join(sorted(self.owners)) or "somebody whom no owners name: nobody can say it"
        return f"it needs a yes of {named}: {self.why}"

    def said(self, approval: Approval | None) -> bool:
        """Whether this is the yes."""
        return approval is not None and approval.digest == self.digest and self.may(approval.actor)

    def may(self, actor: str) -> bool:
        """Whether somebody's yes counts."""
        return self.owners is None or actor in self.owners

    def and_(self, other: Want) -> Want:
        """Both rules want a yes: of somebody who may say it for either."""
        both = self.owners if other.owners is None else other.owners if self.owners is None else self.owners & other.owners
        return replace(self, why=f"{self.why}; {other.why}", owners=both)


@dataclass(frozen=True)
class Asked:
    """What waits for somebody's yes."""

    waiting: Mapping[Ref, str] = field(default_factory=dict)
    """Ref -> digest of what its manifest newly asks for, or of its deletion."""
    approved: frozenset[Ref] = frozenset()
    """What is new too, and somebody said yes to."""
    said: Mapping[Ref, Approval] = field(default_factory=dict)
    """Every yes that was known when this was worked out."""
    standing: frozenset[Ref] = frozenset()
    """Children that hold a lease: an older manifest was granted them."""
    asking: frozenset[str] = frozenset()
    """Kinds whose children were asked for by something that runs, not by the manifest of now."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Project -> names exactly what waits of it; none where only a part of the manifests was read."""
    wants: Mapping[Ref, Want] = field(default_factory=dict)
    """What rules of the policy want a yes to, said or not."""

    def hold(self, action: Write, ref: Ref, *, ours: bool) -> Blocked | None:
        """`action` as what waits for a yes; None = it need not, or has it. `ours`: what is there carries our mark."""
        about = ref if ref in self.waiting else replace(ref, key="")
        if about not in self.waiting or (ours and isinstance(action, Adopt) and not action.changes):
            return None
        if about != ref and (ref.kind in self.asking or (ref in self.standing and not isinstance(action, Delete))):
            return None
        project = Ref("Project", None, ref.owner) if ref.owner else about
        why = f"{project} wants a yes to what its manifests newly ask for"
        if about in self.wants:
            why = self.wants[about].told
        if about != ref:
            why = f"it comes of {about}, whose manifest asks for something new and waits for a yes"
        pinned = f" --plan-digest {self.digests[ref.owner]}" if ref.owner in self.digests else ""
        location = action.owned.location if isinstance(action, Delete) else action.resource.location
        return Blocked(ref, AWAITING, why, f"reconcile approve {project}{pinned}", action, location)


def digest_for(action: Write, inventory: Mapping[Ref, Owned]) -> str:
    """Names what a rule wants a yes to: the state that a manifest newly asks for, the deletion of an object, or else exactly these changes.

    The first two are what a project wants a yes to, so that one is enough for both."""
    ref = action.ref
    if isinstance(action, Delete):
        return gone(action.owned)
    owned = inventory.get(ref)
    if not ref.key and (owned is None or owned.digest != action.resource.digest):
        return action.resource.digest
    text = f"{type(action).__name__} {[(each.path, None if each.secret else each.want) for each in action.changes]!r}"
    return f"does {hashlib.sha256(text.encode()).hexdigest()[:32]}"


def with_rules(asked: Asked, wants: Mapping[Ref, Want], *, part: bool) -> Asked:
    """With what rules of the policy want a yes to. `part`: not every manifest was read, so that no digest names all that waits."""
    if not wants:
        return asked
    new = {ref: want.digest for ref, want in wants.items() if not want.said(asked.said.get(ref))}
    waiting = {**asked.waiting, **new}
    return replace(asked, waiting=waiting, wants=wants, approved=asked.approved - new.keys(), digests={} if part else _digests(waiting))


def gone(owned: Owned) -> str:
    """Names the deletion of exactly this object, as it was applied last."""
    return f"gone {owned.external_id} {owned.digest}"


def asked(
    resources: Mapping[Ref, Resource[Any]],
    inventory: Mapping[Ref, Owned],
    approvals: Mapping[Ref, Approval],
    sources: Collection[Source],
    kinds: Kinds,
    *,
    unread: Collection[Ref] = (),
    part: bool = False,
) -> Asked:
    """What waits. `unread` are named by manifests that are wrong: nothing can be said of them. `part`: not every manifest was read, so
    that what is missing is not gone."""
    wanted = _desired(resources, inventory, sources, kinds, unread, part)
    new = {ref: digest for ref, digest in wanted.items() if ref not in inventory or inventory[ref].digest != digest}
    waiting = {ref: digest for ref, digest in new.items() if ref not in approvals or approvals[ref].digest != digest}
    return Asked(waiting, frozenset(new.keys() - waiting.keys()), approvals, digests={} if part else _digests(waiting))


def _digests(waiting: Mapping[Ref, str]) -> dict[str, str]:
    of = {project: {ref: digest for ref, digest in waiting.items() if ref.owner == project} for project in {ref.owner for ref in waiting}}
    return {project: digest_of(some) for project, some in of.items()}


def spent(
    resources: Mapping[Ref, Resource[Any]],
    inventory: Mapping[Ref, Owned],
    approvals: Mapping[Ref, Approval],
    unread: Collection[Ref] = (),
    wants: Mapping[Ref, Want] = MappingProxyType({}),
) -> list[Approval]:
    """Those that were carried out, or that nothing asks for any more, `wants` of rules included. For a pass that read every manifest."""
    left = {ref: each for ref, each in approvals.items() if ref not in unread and (ref not in wants or wants[ref].digest != each.digest)}
    return [each for ref, each in left.items() if not _is_open(each, resources.get(ref), inventory.get(ref))]


def _is_open(approval: Approval, resource: Resource[Any] | None, owned: Owned | None) -> bool:
    if resource is not None:
        return resource.digest == approval.digest and (owned is None or owned.digest != approval.digest)
    return owned is not None and gone(owned) == approval.digest


def digest_of(waiting: Mapping[Ref, str]) -> str:
    """12 hex digits that name exactly what waits."""
    text = "\n".join(sorted(f"{ref} {digest}" for ref, digest in waiting.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _desired(
    resources: Mapping[Ref, Resource[Any]],
    inventory: Mapping[Ref, Owned],
    sources: Collection[Source],
    kinds: Kinds,
    unread: Collection[Ref],
    part: bool,
) -> dict[Ref, str]:
    """Ref -> digest of what is wanted of it, for all that a yes is needed for. What the root alone may declare needs none: whoever writes
    there decides about that, too."""
    projects = required(resources, inventory)
    if not projects:
        return {}

    def concerned(ref: Ref) -> bool:
        return ref.owner in projects and not ref.key and not (ref.kind in kinds.kinds and kinds.kinds[ref.kind].root_only)

    wanted = {ref: each.digest for ref, each in resources.items() if concerned(ref)}
    whole = {each.name for each in sources if each.complete}
    for ref, owned in () if part else inventory.items():
        if ref not in resources and ref not in unread and concerned(ref) and owned.source in whole:
            wanted[ref] = gone(owned)
    return wanted


def required(resources: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned]) -> set[str]:
    """Projects whose changes wait for a yes: by their manifests, or by what was applied where those are gone or wrong."""
    found = {ref.name: each.spec.sync for ref, each in resources.items() if isinstance(each.spec, ProjectSpec)}
    for ref, owned in inventory.items():
        if ref.kind == "Project" and ref.name not in found:
            found[ref.name] = _recorded(owned)
    return {name for name, sync in found.items() if sync.approval == "required"}


def _recorded(owned: Owned) -> Sync:
    try:
        return Sync.model_validate(owned.applied.get("sync") or {})
    except (ValidationError, AttributeError):  # recorded by another version: the same as not known
        return Sync()
