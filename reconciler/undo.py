"""What of an apply its revision's manifests asked for, which files say it, and what becomes of each thing that was done when they are as
before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from reconciler.applied import SOURCE, Applied
from reconciler.drift import PREFIX, PUT_BACK
from reconciler.model import Action, Blocked, Create, Delete, Keep, Owned, Ref, Resource
from reconciler.rules import ROOT_SOURCE

if TYPE_CHECKING:
    from reconciler.state import AuditEntry
    from reconciler.validate import Validated
    from schemas.base import KindInfo

Fate = Literal["takenBack", "takenBackBut", "cannot", "unknown"]
Turn = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Turned:
    """What the revision of an apply did to manifests, and which of it is to be taken back."""

    turns: Mapping[Ref, Turn]
    """Of everything that its manifests say otherwise than those before."""
    refused: frozenset[Ref]
    """Declared before, but wrong."""
    chosen: frozenset[Ref]
    """What was done in a tool, and what that depends on."""
    files: frozenset[str]
    """That say it, relative to the installation's root."""
    also: tuple[Ref, ...]
    """What goes back too, for it stands in one of these files, although nothing was done for it."""


@dataclass(frozen=True)
class Verdict:
    """What was done with one resource, and whether it is taken back. Children are told with their parent, by how many they are."""

    ref: Ref
    glyph: str
    did: str
    """Past tense: `created`."""
    fate: Fate
    why: str = ""
    count: int = 0
    """Children of the resource, where this is about them; 0 = about itself."""


@dataclass(frozen=True)
class Scene:
    """What is known when the verdicts are given."""

    turned: Turned
    actions: Mapping[Ref, Action]
    """Of the plan over the manifests as they would be."""
    infos: Mapping[str, KindInfo] = field(default_factory=dict)
    released: Mapping[str, str] = field(default_factory=dict)
    """By kind: what becomes of a child that is not wanted any more."""
    revision: str = ""
    """That is gone back to."""
    back: frozenset[Ref] = frozenset()
    """What was applied last is what is gone back to."""


def turned(apply: Applied, before: Validated, after: Validated, inventory: Mapping[Ref, Owned], differing: frozenset[str]) -> Turned:
    """`before` and `after` are the manifests on both sides of the apply; `differing` are the files that are not the same there."""
    old, new = ({each.ref: each for each in side.resources if each.source == ROOT_SOURCE} for side in (before, after))
    turns: dict[Ref, Turn] = dict.fromkeys(old.keys() - new.keys() - after.refused, "removed")
    turns |= dict.fromkeys(new.keys() - old.keys() - before.refused, "added")
    turns |= {ref: "changed" for ref in old.keys() & new.keys() if old[ref].digest != new[ref].digest}
    chosen = frozenset(ref for ref in _with_what_they_need(_touched(apply), inventory) if ref in turns)
    places = {ref: _files(old.get(ref)) | _files(new.get(ref)) for ref in turns}
    files = frozenset(each for ref in chosen for each in places[ref] & differing)
    also = sorted(ref for ref in turns.keys() - chosen if places[ref] & files)
    return Turned(turns, before.refused, chosen, files, tuple(also))


def verdicts(apply: Applied, scene: Scene) -> tuple[Verdict, ...]:
    """One for each resource that something was done with, in the order in which it was, and one for its children."""
    own: dict[Ref, list[AuditEntry]] = {}
    children: dict[Ref, list[AuditEntry]] = {}
    for each in apply.entries:
        if each.ref is not None and each.result != "failed":
            (children if each.ref.key else own).setdefault(replace(each.ref, key=""), []).append(each)
    found = [_verdict(ref, lines, scene) for ref, lines in own.items()]
    found += [_of_children(ref, lines, scene) for ref, lines in children.items()]
    order = {ref: number for number, ref in enumerate((*own, *children))}
    return tuple(sorted(found, key=lambda each: (order[each.ref], each.count)))


def _touched(apply: Applied) -> frozenset[Ref]:
    return frozenset(
        replace(each.ref, key="") for each in apply.entries if each.ref is not None and each.glyph and SOURCE not in each.detail
    )


def _with_what_they_need(refs: Iterable[Ref], inventory: Mapping[Ref, Owned]) -> frozenset[Ref]:
    """A change of what a resource depends on shows in the resource, too."""
    found, queue = set[Ref](), list(refs)
    while queue:
        ref = queue.pop()
        if ref not in found:
            found.add(ref)
            queue += inventory[ref].references if ref in inventory else ()
    return frozenset(found)


def _files(resource: Resource[Any] | None) -> frozenset[str]:
    """Where it is said: its manifest, and the patches of the environment over it."""
    if resource is None:
        return frozenset()
    return frozenset({resource.location.file, *(each.location.file for each in resource.patches)})


def _verdict(ref: Ref, lines: Sequence[AuditEntry], scene: Scene) -> Verdict:
    last, turn, action = lines[-1], scene.turned.turns.get(ref), scene.actions.get(ref)
    did = _DID.get(last.action, last.action)
    about = Verdict(ref, last.glyph, did, "takenBack")
    if source := last.detail.get(SOURCE):
        return replace(about, fate="cannot", why=f"it is declared in source {source}: revert the commit there")
    if not last.glyph:
        return replace(about, fate="cannot", why=f"it was done once, and not by a manifest: {last.detail.get('why', last.action)}")
    if turn is None:
        return replace(about, fate="cannot", why=_no_turn(ref, last, scene))
    if last.action == "move" and turn == "added":
        again = f"write `lifecycle.movedFrom: {ref.name}` into that manifest"
        return replace(about, fate="cannot", why=f"it was {last.detail.get('from')} before; to call it that again, {again}")
    if ref in scene.turned.refused:
        return replace(about, fate="unknown", why=f"its manifest was wrong at {scene.revision}")
    if isinstance(action, Blocked) and action.unknown:
        return replace(about, fate="unknown", why=action.why)
    remains = _remains(ref, turn, lines, scene)
    waits = f"{action.why}: {action.next}" if isinstance(action, Blocked) and action.next else getattr(action, "why", "")
    if isinstance(action, Blocked) and not action.held and action.reason not in _SAID_YES:
        return replace(about, fate="cannot", why=waits)
    if turn == "added" and isinstance(action, Keep):
        return replace(about, fate="cannot", why=action.why)
    if isinstance(action, Blocked) and action.reason in _SAID_YES:
        remains = ("it waits for a yes, as the plan tells", *remains)
    return replace(about, fate="takenBackBut", why="; ".join(remains)) if remains else about


_SAID_YES = ("ConfirmDelete", "SourceSuspect", "ImmutableField", "AwaitingApproval", "OutsideWindow")
"""Reasons that somebody's yes, or time, takes away."""
_DID = {
    "create": "created",
    "update": "changed",
    "replace": "replaced",
    "delete": "deleted",
    "delete-confirmed": "deleted",
    "adopt": "taken over",
    "move": "renamed",
    "start": "started",
    "rollback": "rolled back",
}


def _no_turn(ref: Ref, last: AuditEntry, scene: Scene) -> str:
    """Why going back changes nothing about it."""
    if last.detail.get(PUT_BACK):
        return "no manifest changed: it put back what somebody had changed in the tool"
    if last.action.startswith("delete"):
        return f"its manifest was gone at {scene.revision} already: `git log -- {last.location.file}` finds it"
    if last.action == "adopt":
        return "it was found by its mark, and is in no manifest"
    return "its manifest did not change: data, code or the tool did"


def _remains(ref: Ref, turn: Turn, lines: Sequence[AuditEntry], scene: Scene) -> tuple[str, ...]:
    """What is not as before all the same."""
    info, action, verbs = scene.infos.get(ref.kind), scene.actions.get(ref), {each.action for each in lines}
    left, lost, made = (info.left, info.lost, info.made) if info is not None else ("", "", {})
    wanted = action.wanted if isinstance(action, Blocked) else action
    if turn == "added":
        adopted = "adopt" in verbs and "create" not in verbs
        was_there = "it was there before, and would be deleted, not let go; `lifecycle.prune: never` keeps it" if adopted else ""
        return tuple(filter(None, (was_there, left)))
    if turn == "removed":
        return tuple(filter(None, (lost,))) if isinstance(wanted, Create) else ()
    again = "it was made anew" if "replace" in verbs else ""
    going = {each.path for each in getattr(wanted, "changes", ())}
    kept = [] if ref in scene.back else sorted(_paths(lines) - going)
    named = ", ".join(each.removeprefix(PREFIX) for each in kept)
    stays = f"{named} stays as it is, which no manifest says" if kept else ""
    keeps = [said for path, said in made.items() if f"spec.{path}" in _paths(lines)]
    return tuple(filter(None, (again, lost if again else "", stays, *keeps)))


def _paths(lines: Sequence[AuditEntry]) -> set[str]:
    """Fields that were changed because a manifest said so."""
    return {path for each in lines for path in each.detail.get("changes", ()) if path not in each.detail.get(PUT_BACK, ())}


def _of_children(ref: Ref, lines: Sequence[AuditEntry], scene: Scene) -> Verdict:
    """Work that was started is not undone; of what is let go, the kind tells what becomes of it."""
    last, names = lines[-1], {each.ref for each in lines if each.ref is not None}
    goes = [each for each in names if isinstance(scene.actions.get(each), Delete)] if ref in scene.turned.turns else []
    gone = scene.turned.turns.get(ref) == "added"
    released = scene.released.get(ref.kind, "what they did stays done")
    about = Verdict(ref, last.glyph, _DID.get(last.action, last.action), "cannot", count=len(names))
    if source := last.detail.get(SOURCE):
        return replace(about, why=f"it is declared in source {source}: revert the commit there")
    if goes or gone:
        return replace(about, fate="takenBackBut", why=f"of each: {released}")
    return replace(about, why="work that was started is not undone; what it made is kept")
