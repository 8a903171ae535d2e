"""Why each action is in a plan, seen from another revision: this change, something that it leads to, or nothing that it did. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from reconciler.diff import compare
from reconciler.drift import by_hand
from reconciler.model import Action, Blocked, Delete, Diff, Keep, Owned, Ref, Resource, Update
from reconciler.thresholds import judged
from schemas.base import Secret, marked
from schemas.project import ProjectSpec

if TYPE_CHECKING:
    from reconciler.source.base import Base

By = Literal["added", "removed", "manifest", "files", "upstream", "before"]
FEW = 3
"""Files that a cause names."""


@dataclass(frozen=True)
class Cause:
    """Why something is done. `before`: it is to be done whatever becomes of this change, for the tools differ from the base too."""

    by: By
    why: str = ""
    changes: Diff = ()
    """Of its manifest: `have` is the base's side."""


@dataclass(frozen=True)
class Impact:
    """A change against its base."""

    base: Base
    causes: Mapping[Ref, Cause] = field(default_factory=dict)
    """Of everything that is not as it was, in a manifest or in a tool."""
    follows: Mapping[Ref, Ref] = field(default_factory=dict)
    """What has nothing to do yet, and depends on something that changes -> what of that is nearest."""

    def by_this(self, ref: Ref) -> bool:
        """Whether this change brings it about."""
        return ref in self.causes and self.causes[ref].by != "before"


def impact(
    actions: Sequence[Action], resources: Mapping[Ref, Resource[Any]], inventory: Mapping[Ref, Owned], base: Base, source: str
) -> Impact:
    """`resources` are what is declared now, children included; `source` names the one that the base is of."""
    folders = {ref.name: each.spec.path for ref, each in resources.items() if isinstance(each.spec, ProjectSpec)}
    told = {each.ref: each for each in actions}
    causes: dict[Ref, Cause] = {}
    for ref in (*resources, *(ref for ref in told if ref not in resources)):
        parent = replace(ref, key="")
        found = _own(parent, resources.get(parent), base, source) if not ref.key else None
        action = told.get(ref)
        if found is None and action is not None and not isinstance(action, Keep):
            drifted = isinstance(wanted := _wanted(action), Update) and bool(by_hand(wanted.changes, inventory.get(ref)))
            found = Cause("before", "drift") if drifted else _inherited(ref, action, resources, causes, base, folders)
        if found is not None:
            causes[ref] = found
    return Impact(base, causes, dict(_follows(resources, told, causes)))


def _own(ref: Ref, now: Resource[Any] | None, base: Base, source: str) -> Cause | None:
    """What the change did to its manifest; None = nothing."""
    before = base.resources.get(ref)
    if now is None:
        return Cause("removed", f"removed; it was in {before.location}") if before is not None else None
    if now.source != source or ref in base.refused:
        return None
    if before is None and now.lifecycle.moved_from:
        old = base.resources.get(replace(ref, name=now.lifecycle.moved_from))
        if old is not None:
            return Cause("manifest", f"it is called {old.ref} there", _changes(old, now))
    if before is None:
        return Cause("added", "new")
    if before.digest == now.digest:
        return None
    return Cause("manifest", "its manifest changed", _changes(before, now))


def _changes(before: Resource[Any], now: Resource[Any]) -> Diff:
    """Field by field; a field that both leave to the default is no change."""
    secret = marked(type(now.spec), Secret)
    spec = compare(now.spec.model_dump(mode="json"), before.spec.model_dump(mode="json"), secret=secret)
    treated = compare(now.lifecycle.model_dump(mode="json"), before.lifecycle.model_dump(mode="json"), prefix="lifecycle")
    labels = compare(now.labels, before.labels, before.labels, prefix="metadata.labels")
    return (*judged(spec, type(now.spec)), *treated, *labels)


def _inherited(
    ref: Ref,
    action: Action,
    resources: Mapping[Ref, Resource[Any]],
    causes: Mapping[Ref, Cause],
    base: Base,
    folders: Mapping[str, str],
) -> Cause:
    parent = replace(ref, key="")
    if ref.key and parent in causes and causes[parent].by in ("added", "removed", "manifest"):
        return Cause("upstream", f"{parent}: {causes[parent].why}")
    above = resources.get(ref) or resources.get(parent)
    for other in (*above.references, *above.requires) if above is not None else ():
        if other in causes and causes[other].by != "before" and other.kind not in ("Platform", "Project"):
            return Cause("upstream", f"follows from {other}")
    files = [] if isinstance(_wanted(action), Delete) else _files(ref, base, folders)
    if files:
        more = f" and {len(files) - FEW:,} more" if len(files) > FEW else ""
        return Cause("files", f"changed: {', '.join(files[:FEW])}{more}")
    return Cause("before", "pending already")


def _wanted(action: Action) -> Action | None:
    return action.wanted if isinstance(action, Blocked) else action


def _files(ref: Ref, base: Base, folders: Mapping[str, str]) -> list[str]:
    """Files of its project that changed, data and code."""
    folder = folders.get(ref.owner)
    return sorted(each for each in base.changed if folder is not None and PurePath(each).is_relative_to(folder))


def _follows(resources: Mapping[Ref, Resource[Any]], told: Mapping[Ref, Action], causes: Mapping[Ref, Cause]) -> Iterator[tuple[Ref, Ref]]:
    """Along the references, nearest first: what may have more to do once the plan is carried out."""
    moving = [ref for ref, each in causes.items() if each.by != "before" and ref in told and not isinstance(told[ref], Keep)]
    users: dict[Ref, list[Ref]] = {}
    for ref, each in resources.items():
        for other in each.references:
            users.setdefault(other, []).append(ref)
    seen, queue = set(moving), [replace(each, key="") for each in moving]
    while queue:
        ref = queue.pop(0)
        for user in users.get(ref, ()):
            if user not in seen and not user.key:
                seen.add(user)
                queue.append(user)
                if isinstance(told.get(user), Keep):
                    yield user, ref
