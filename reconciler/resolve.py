"""Names to names: references, what may be named, cycles, and the order of the work. Pure, but for the places of mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reconciler.controller import Moves
from reconciler.model import Blocked, Diagnostic, Location, Owned, Ref, Resource, Source
from reconciler.references import links
from reconciler.registry import Kinds
from reconciler.rules import ROOT_SOURCE, RULES, Breach, Folder, World
from reconciler.source.place import Places
from reconciler.validate import Validated, incomplete

_CYCLE_SHOWN = 12
"""Names of a cycle that are printed."""


@dataclass(frozen=True)
class Graph:
    """Every resource that may be acted on, in an order in which it can be."""

    resources: Mapping[Ref, Resource[Any]]
    """What comes first stands first: by level, then by name. Holds the blocked ones too, so that they are not taken for removed."""
    diagnostics: tuple[Diagnostic, ...]
    """Of this step only."""
    blocked: Mapping[Ref, Blocked]
    """Right in themselves, but what they need is refused."""
    sources: tuple[Source, ...]
    refused: frozenset[Ref]
    """Declared, but wrong, here or in `validate`: left as they are, never pruned."""


def resolve(
    validated: Validated,
    kinds: Kinds,
    *,
    known: Mapping[Ref, Owned],
    partial: bool,
    folders: Mapping[Ref, Folder] = MappingProxyType({}),
) -> Graph:
    """Link and order what passed validation; refuse what names something that is not there or not allowed.

    `known` is the inventory. With `partial` only a part of the tree was read: what is in the inventory counts as declared.
    `folders` tells where projects' folders really are. Raises nothing; every mistake is a diagnostic, and harms only its resource and those
    that depend on it."""
    declared = {each.ref: each for each in validated.resources}
    world = World(declared, validated.refused, known, partial, kinds.kinds, folders, _unmovable(kinds))
    breaches = [breach for rule in RULES for breach in rule(world)]
    linked: dict[Ref, Resource[Any]] = {}
    for each in validated.resources:
        references, found = links(each, world)
        breaches += found
        linked[each.ref] = replace(each, references=references, requires=_requires(each, world), root=_root(each, world))
    whole = _ordered(linked)
    breaches += _cycles(linked) if len(whole) < len(linked) else []
    refused = validated.refused | {each.resource.ref for each in breaches if each.error}
    ordered = whole if refused.isdisjoint(linked) else _ordered({ref: each for ref, each in linked.items() if ref not in refused})
    places = Places(validated.resources[0].root if validated.resources else Path())
    told = [(each.resource.source, _told(each, places)) for each in breaches] + _without_platform(validated, world)
    return Graph(
        resources=ordered,
        diagnostics=tuple(dict.fromkeys(diagnostic for _, diagnostic in told)),
        blocked=_blocked(ordered, {**linked, **declared}, refused),
        sources=incomplete(validated.sources, told),
        refused=refused,
    )


def _unmovable(kinds: Kinds) -> dict[str, str]:
    """Kinds that cannot be renamed, with what their controllers say about it."""
    silent = "its controller does not know how; declare it anew, and remove the old one"
    return {kind: getattr(each, "unmovable", silent) for kind, each in kinds.controllers.items() if not isinstance(each, Moves)}


def _requires(resource: Resource[Any], world: World) -> tuple[Ref, ...]:
    """The Project, and the Platform: nothing works before they do."""
    if resource.ref.kind == "Platform":
        return ()
    if resource.ref.project is not None:
        return (Ref("Project", None, resource.ref.project),)
    return world.platforms[:1]


def _root(resource: Resource[Any], world: World) -> Path:
    project = world.project(resource.ref.project) if resource.ref.project else None
    return resource.root / project.path if project else resource.root


def _without_platform(validated: Validated, world: World) -> list[tuple[str, Diagnostic]]:
    if not validated.resources or any(
        world.exists(ref) for ref in (*world.declared, *world.invalid, *world.known) if ref.kind == "Platform"
    ):
        return []
    files = sorted({each.location.file for each in validated.resources})
    hint = "one manifest of kind Platform says what this installation is called: `reconcile init` writes one"
    message = "no Platform manifest was read"
    return [(ROOT_SOURCE, Diagnostic(Location(commonpath(files) or "."), message, hint=hint, reason="NoPlatform"))]


def _told(breach: Breach, places: Places) -> Diagnostic:
    """A diagnostic with the place of the field; the file is read again for it."""
    resource, steps = breach.resource, tuple(breach.path.split(".")) if breach.path else ()
    at, over = places.both(resource.location, resource.patches, steps)
    return Diagnostic(
        at,
        breach.message,
        path=breach.path,
        ref=resource.ref,
        hint=breach.hint,
        severity="error" if breach.error else "warning",
        reason=breach.reason,
        over=over,
    )


# --- order ---------------------------------------------------------------------------------------------------------


def _needs(resource: Resource[Any]) -> tuple[Ref, ...]:
    return (*resource.requires, *resource.references)


def _key(ref: Ref) -> tuple[str, str, str, str]:
    return (ref.kind, ref.project or "", ref.name, ref.key)


def _ordered(resources: Mapping[Ref, Resource[Any]]) -> dict[Ref, Resource[Any]]:
    """By level (what needs nothing first), then by name. There are no cycles left."""
    waits = {ref: sum(other in resources for other in set(_needs(each))) for ref, each in resources.items()}
    users: dict[Ref, list[Ref]] = {}
    for ref, each in resources.items():
        for other in set(_needs(each)):
            users.setdefault(other, []).append(ref)
    ordered: dict[Ref, Resource[Any]] = {}
    level = [ref for ref, count in waits.items() if count == 0]
    while level:
        below: list[Ref] = []
        for ref in sorted(level, key=_key):
            ordered[ref] = resources[ref]
            for user in users.get(ref, ()):
                waits[user] -= 1
                if waits[user] == 0:
                    below.append(user)
        level = below
    return ordered


def _cycles(linked: Mapping[Ref, Resource[Any]]) -> list[Breach]:
    """One breach for every resource on a cycle, naming the whole of it."""
    breaches: list[Breach] = []
    rest = dict(linked)
    while left := rest.keys() - _ordered(rest).keys():
        circle = _circle(left, rest)
        for number, ref in enumerate(circle):
            told = [str(each) for each in (*circle[number:], *circle[:number])]
            shown = told if len(told) <= _CYCLE_SHOWN else [*told[:_CYCLE_SHOWN], f"({len(told) - _CYCLE_SHOWN} more)"]
            message = f"it depends on itself: {' -> '.join((*shown, told[0]))}"
            breaches.append(Breach(linked[ref], "", message, "remove one of these references: nothing can come before itself", "Cycle"))
            del rest[ref]
    return breaches


def _circle(left: AbstractSet[Ref], linked: Mapping[Ref, Resource[Any]]) -> list[Ref]:
    """A cycle among `left`, each of which needs another of them: whoever goes on from need to need comes back."""
    way: dict[Ref, int] = {}
    here = min(left, key=_key)
    while here not in way:
        way[here] = len(way)
        here = min((each for each in _needs(linked[here]) if each in left), key=_key)
    return list(way)[way[here] :]


def _blocked(ordered: Mapping[Ref, Resource[Any]], places: Mapping[Ref, Resource[Any]], refused: Iterable[Ref]) -> dict[Ref, Blocked]:
    """Those that need something refused, directly or not."""
    bad, blocked = frozenset(refused), dict[Ref, Blocked]()
    for ref, each in ordered.items():
        needed = next((other for other in _needs(each) if other in bad or other in blocked), None)
        if needed is not None:
            place = f" ({places[needed].location})" if needed in places else ""
            why = f"it needs {needed}{place}, which {'is refused' if needed in bad else 'is blocked itself'}"
            blocked[ref] = Blocked(ref, "DependencyInvalid", why, f"correct {needed} first", location=each.location)
    return blocked
