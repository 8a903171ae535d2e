"""What a rule can see. Plain values only, as JSON holds them; of a secret never more than where it comes from. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.diff import compare
from reconciler.guard.values import COMMANDS, WRITES
from reconciler.model import (
    Action,
    Adopt,
    Blocked,
    Create,
    Delete,
    Diff,
    Keep,
    Move,
    Owned,
    Plan,
    Present,
    Ref,
    Replace,
    Resource,
    Update,
    Write,
)
from schemas.base import duration_value, quantity_value
from schemas.policy import Verb
from schemas.project import ProjectSpec

MOST_FIELDS = 5_000
"""Of one spec that are listed one by one in `resource.fields`."""
FORESEEN = frozenset({"AwaitingApproval", "OutsideWindow", "ConfirmDelete", "SourceSuspect", "LaunchBudget"})
"""Reasons of what waits for a person or for its time: nobody is asked for a yes to what a rule denies afterwards."""
VERBS: Mapping[type, Verb] = {
    Create: "create",
    Update: "update",
    Replace: "replace",
    Adopt: "adopt",
    Move: "move",
    Delete: "delete",
}


@dataclass(frozen=True)
class Deed:
    """An action as rules see it, wherever it was read."""

    verb: Verb
    ref: Ref
    changes: tuple[Mapping[str, Any], ...] = ()
    why: str = ""
    irreversible: bool = False
    manifest_changed: bool = False
    """Its manifest asks for something that was never carried out."""
    by: str = ""
    """Who asks for a command: a login, or the Ref of what calls for it."""
    conf: Mapping[str, Any] = field(default_factory=dict)
    """What a run is started with."""


@dataclass(frozen=True)
class Declared:
    """A manifest as rules see it."""

    labels: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """All that the rules of one pass can see."""

    deeds: tuple[Deed, ...]
    declared: Mapping[Ref, Declared]
    projects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    before: Mapping[Ref, Mapping[str, Any]] = field(default_factory=dict)
    """The specs that were carried out last, as far as they are remembered."""
    resources: int = 0
    """How many the plan is about, unchanged ones included."""


def action_facts(deed: Deed, scene: Scene) -> dict[str, Any]:
    """The variables `action`, `resource` and `project`. A child shows the manifest of the resource that it comes of."""
    parent = replace(deed.ref, key="")
    declared, before = scene.declared.get(parent, Declared()), scene.before.get(parent)
    fields = list(_leaves(declared.spec))
    return {
        "action": _action(deed),
        "resource": {
            "labels": dict(declared.labels),
            "spec": declared.spec,
            "fields": fields,
            "text": "\n".join(each["value"] for each in fields if isinstance(each["value"], str)),
            "changes": [] if before is None else list(changes_of(compare(declared.spec, before, before))),
        },
        "project": scene.projects.get(deed.ref.owner) or project_facts(deed.ref.owner),
    }


def plan_facts(scene: Scene) -> dict[str, Any]:
    """The variable `plan`; the actions are in it for rules over the whole plan only."""
    totals = dict.fromkeys((*WRITES, "delete", *COMMANDS), 0)
    for each in scene.deeds:
        totals[each.verb] += 1
    return {"totals": totals, "resources": scene.resources, "actions": [_action(each) for each in scene.deeds]}


def project_facts(name: str, *, owners: Sequence[str] = (), level: str = "", labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The variable `project`; of what belongs to none, everything is empty."""
    return {"name": name, "owners": list(owners), "level": level, "labels": dict(labels or {})}


def _action(deed: Deed) -> dict[str, Any]:
    ref = deed.ref
    return {
        "verb": deed.verb,
        "ref": str(ref),
        "kind": ref.kind,
        "project": ref.owner,
        "name": ref.name,
        "key": ref.key,
        "irreversible": deed.irreversible,
        "manifestChanged": deed.manifest_changed,
        "why": deed.why,
        "by": deed.by,
        "conf": dict(deed.conf),
        "changes": list(deed.changes),
    }


def _leaves(value: Any, path: str = "spec") -> Iterator[dict[str, Any]]:
    """Every text, number and truth value of a spec, with its path."""
    todo, count = [(path, value)], 0
    while todo and count < MOST_FIELDS:
        at, found = todo.pop()
        if isinstance(found, Mapping):
            todo += [(f"{at}.{key}", each) for key, each in reversed(list(found.items()))]
        elif isinstance(found, list | tuple):
            todo += [(f"{at}.{number}", found[number]) for number in reversed(range(len(found)))]
        elif found is not None:
            count += 1
            yield {"path": at, "value": found}


# --- from a plan ---------------------------------------------------------------------------------------------------


def foreseen(
    plan: Plan, resources: Mapping[Ref, Resource[Any]], seen: Mapping[Ref, Any], inventory: Mapping[Ref, Owned]
) -> tuple[Write, ...]:
    """What would be written, now or once somebody says yes: also what a manifest newly asks for and does not show in the tool yet."""
    return tuple(each for action in plan.actions if (each := _wanted(action, resources, seen, inventory)) is not None)


def _wanted(
    action: Action, resources: Mapping[Ref, Resource[Any]], seen: Mapping[Ref, Any], inventory: Mapping[Ref, Owned]
) -> Write | None:
    match action:
        case Keep(ref):
            found, resource = seen.get(ref), resources.get(ref)
            if resource is None or ref.key or ref not in inventory or not isinstance(found, Present):
                return None
            return Update(resource, found, ()) if inventory[ref].digest != resource.digest else None
        case Blocked():
            return action.wanted if action.reason in FORESEEN else None
        case _:
            return action


def deed_of(write: Write, inventory: Mapping[Ref, Owned], resources: Mapping[Ref, Resource[Any]]) -> Deed:
    """A planned write as rules see it."""
    ref = write.ref
    owned, resource = inventory.get(replace(ref, key="")), resources.get(replace(ref, key=""))
    changed = resource is not None and (owned is None or owned.digest != resource.digest)
    prune = write.owned.prune if isinstance(write, Delete) else write.resource.prune
    gone = isinstance(write, Delete | Replace) and prune != "auto"
    changes = () if isinstance(write, Delete) else changes_of(write.changes)
    return Deed(VERBS[type(write)], ref, changes, write.why, gone, changed)


def changes_of(changes: Diff) -> tuple[Mapping[str, Any], ...]:
    """Changes as rules see them; the two sides of a secret are left out."""
    return tuple(
        given_change(each.path, None if each.secret else each.have, None if each.secret else each.want, each.secret) for each in changes
    )


def given_change(path: str, have: Any, want: Any, secret: bool = False) -> dict[str, Any]:
    """One change, with both sides as numbers where they are numbers, quantities or durations: bytes, cores, seconds."""
    numbers = _numbers(have, want)
    return {"path": path, "have": have, "want": want, "haveNumber": numbers[0], "wantNumber": numbers[1], "secret": secret}


def _numbers(*sides: Any) -> tuple[float | None, ...]:
    """Both in one unit: `5m` is a thousandth beside `2`, and five minutes beside `30s`."""
    there = [each for each in sides if each is not None]
    for read in (_quantity, _seconds):
        if there and all(read(each) is not None for each in there):
            return tuple(None if each is None else read(each) for each in sides)
    return (None,) * len(sides)


def _quantity(found: Any) -> float | None:
    if isinstance(found, int | float) and not isinstance(found, bool):
        return float(found)
    with suppress(ValueError):
        return float(quantity_value(found)) if isinstance(found, str) else None
    return None


def _seconds(found: Any) -> float | None:
    with suppress(ValueError):
        return duration_value(found).total_seconds() if isinstance(found, str) else None
    return None


def declared_by(resources: Mapping[Ref, Resource[Any]], refs: Collection[Ref]) -> dict[Ref, Declared]:
    """The manifests of `refs`, and of the resources that children among them come of."""
    parents = {replace(ref, key="") for ref in refs}
    return {ref: Declared(resources[ref].labels, resources[ref].spec.model_dump(mode="json")) for ref in parents if ref in resources}


def projects_of(resources: Mapping[Ref, Resource[Any]]) -> dict[str, Mapping[str, Any]]:
    """Every Project that is declared, as rules see it."""
    return {
        ref.name: project_facts(ref.name, owners=each.spec.owners, level=each.spec.level, labels=each.labels)
        for ref, each in resources.items()
        if isinstance(each.spec, ProjectSpec)
    }
