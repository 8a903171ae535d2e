"""Names to Refs: what a spec names, whether it is there, and whether it may be named."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from reconciler.model import Ref, Resource
from reconciler.rules import Breach, World, nearest
from schemas.base import RefTo, references


def links(resource: Resource[Any], world: World) -> tuple[tuple[Ref, ...], tuple[Breach, ...]]:
    """(what the resource names, what is wrong with that). An optional name of something that is not there is left out."""
    found: dict[Ref, None] = {}
    breaches: list[Breach] = []
    kind: type[BaseModel] = type(resource.spec)
    for path, target in _targets(kind):
        for at, name in _names(resource.spec, path.split(".")[1:], "spec"):
            ref = _ref(name, target, resource, world)
            breach = _breach(resource, at, name, ref, world)
            if breach is None:
                found[ref] = None
            elif not target.optional:
                breaches.append(breach)
    return tuple(found), tuple(breaches)


@cache
def _targets(spec: type[BaseModel]) -> tuple[tuple[str, RefTo], ...]:
    return references(spec)


def _names(value: Any, parts: list[str], at: str) -> Iterator[tuple[str, str]]:
    """(dotted path, name) of every value that a path with `*` leads to."""
    if value is None:
        return
    if not parts:
        if isinstance(value, str):
            yield at, value
    elif parts[0] == "*":
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from _names(each, parts[1:], f"{at}.{key}")
    else:
        for name, info in type(value).model_fields.items():
            if (info.alias or name) == parts[0]:
                yield from _names(getattr(value, name), parts[1:], f"{at}.{parts[0]}")


def _ref(name: str, target: RefTo, resource: Resource[Any], world: World) -> Ref:
    project, _, own = (name.partition(target.until)[0] if target.until else name).rpartition("/")
    info = world.infos.get(target.kind)
    if info is not None and info.scope == "installation":
        return Ref(target.kind, None, name)
    return Ref(target.kind, project or resource.ref.owner, own)


def _breach(resource: Resource[Any], at: str, name: str, ref: Ref, world: World) -> Breach | None:
    if not world.exists(ref):
        return Breach(resource, at, f"there is no {ref.kind} '{name}'", _meant(resource, name, ref, world), "NotFound")
    if ref.project is None or ref.project == resource.ref.owner:
        return None
    owner = Ref("Project", None, ref.project)
    if owner in world.invalid:
        return None  # what it shares is not known; the target waits for it, and so does this
    project, kind = world.project(ref.project), ref.kind.lower()
    shares = project.shares if project else ()
    if f"{kind}/{ref.name}" in shares or f"{kind}/*" in shares:
        return None
    place = f" ({world.declared[owner].location})" if owner in world.declared else ""
    hint = f'add "{kind}/{ref.name}" to spec.shares of project {ref.project}{place}'
    return Breach(resource, at, f"project {ref.project} does not share {kind} '{ref.name}'", hint, "NotShared")


def _meant(resource: Resource[Any], name: str, ref: Ref, world: World) -> str:
    there = [each for each in (*world.declared, *world.invalid, *(world.known if world.partial else ())) if each.kind == ref.kind]
    near = nearest(name, (each.name if each.project == resource.ref.owner else each.path for each in there))
    same = [each.path for each in there if each.name == ref.name]
    if same:
        return f"Did you mean `{same[0]}`?"
    return near or f"declare it, or correct the name: {len(there)} of kind {ref.kind} are declared"
