"""What a resource may name and touch: one function for each rule, each a generator of what is wrong. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from posixpath import normpath
from typing import Any, TypeAlias

from pydantic import ValidationError

from reconciler.model import Owned, Ref, Resource
from schemas.base import KindInfo, Spec, secrets_in
from schemas.platform import ManifestSource, PlatformSpec
from schemas.project import ProjectSpec

ROOT_SOURCE = "root"
RESERVED = frozenset({".git", ".dvc", ".mlops"})
"""Folders that belong to git, to DVC and to the installation: no manifest may claim a path inside one."""


@dataclass(frozen=True)
class Breach:
    """A rule that a resource breaks. `path` is dotted, as in the manifest."""

    resource: Resource[Any]
    path: str
    message: str
    hint: str = ""
    reason: str = "NotAllowed"
    error: bool = True


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a project's folder really is."""

    real: str
    """Absolute, without links."""
    leaves: str
    """Source in whose clone its path lies while the folder itself does not; empty = nobody else made a link."""
    linked: bool
    """It is not where its path says."""
    private: bool
    """It is the installation's own state."""


@dataclass(frozen=True)
class World:
    """All that the rules look at."""

    declared: Mapping[Ref, Resource[Any]]
    invalid: frozenset[Ref]
    """Declared, but refused already: they exist, and nothing is known of what they say."""
    known: Mapping[Ref, Owned]
    partial: bool
    """True: what was applied before and is not read this time exists all the same."""
    infos: Mapping[str, KindInfo]
    folders: Mapping[Ref, Folder] = field(default_factory=dict)
    """Of the projects whose folders are there."""
    unmovable: Mapping[str, str] = field(default_factory=dict)
    """Kinds whose controllers cannot rename what they made -> why, and what to do instead."""

    def exists(self, ref: Ref) -> bool:
        return ref in self.declared or ref in self.invalid or (self.partial and ref in self.known)

    def project(self, name: str) -> ProjectSpec | None:
        """What a project's manifest says, or said when it was applied; None when that is not known."""
        spec = self._spec(Ref("Project", None, name), ProjectSpec)
        return spec if isinstance(spec, ProjectSpec) else None

    @cached_property
    def platforms(self) -> tuple[Ref, ...]:
        """Every Platform that is declared, right or wrong; the one that was applied before first."""
        found = [ref for ref in (*self.declared, *self.invalid) if ref.kind == "Platform"]
        return tuple(sorted(found, key=lambda ref: ref not in self.known))

    def platform(self) -> PlatformSpec | None:
        """What the Platform's manifest says, or said when it was applied; None when that is not known."""
        recorded = [ref for ref in self.known if ref.kind == "Platform"] if self.partial else []
        ref = next((each for each in (*self.platforms, *recorded)), None)
        spec = self._spec(ref, PlatformSpec) if ref else None
        return spec if isinstance(spec, PlatformSpec) else None

    def _spec(self, ref: Ref, model: type[Spec]) -> Spec | None:
        if ref in self.declared:
            spec: Spec = self.declared[ref].spec
            return spec
        if not self.partial or ref not in self.known or ref in self.invalid:
            return None
        applied = self.known[ref].applied
        fields = {info.alias or name for name, info in model.model_fields.items()}
        try:
            return model.model_validate({name: value for name, value in applied.items() if name in fields})
        except (ValidationError, AttributeError):  # recorded by another version: the same as not known
            return None


Rule: TypeAlias = Callable[[World], Iterable[Breach]]


def nearest(text: str, words: Iterable[str]) -> str:
    """`Did you mean ...?`, or nothing."""
    close = get_close_matches(text, list(words), n=1, cutoff=0.6)
    return f"Did you mean `{close[0]}`?" if close else ""


# --- the installation ----------------------------------------------------------------------------------------------


def one_platform(world: World) -> Iterator[Breach]:
    """There is one Platform; the one that was applied before stays, else the first."""
    if not world.platforms:
        return
    first, place = world.platforms[0], world.declared.get(world.platforms[0])
    for ref in world.platforms[1:]:
        if ref in world.declared:
            where = f" ({place.location})" if place is not None else ""
            why = f"there is one Platform for an installation, and {first}{where} is it"
            yield Breach(world.declared[ref], "metadata.name", why, "remove one of them", "Duplicate")


def from_its_source(world: World) -> Iterator[Breach]:
    """A further source names only the projects and kinds that the Platform grants it."""
    platform = world.platform()
    granted = {each.name: each for each in platform.sources} if platform else {}
    for each in world.declared.values():
        if each.source != ROOT_SOURCE:
            yield from _beyond(each, granted.get(each.source))


def _beyond(resource: Resource[Any], granted: ManifestSource | None) -> Iterator[Breach]:
    ref, name = resource.ref, resource.source
    if granted is None:
        yield Breach(resource, "", f"source {name} is not in the Platform's spec.sources")
        return
    if ref.owner not in granted.projects:
        yield Breach(resource, "metadata.project", f"source {name} may not name project {ref.owner or '(none)'}", _list(granted.projects))
    if granted.kinds is not None and ref.kind.lower() not in {each.lower() for each in granted.kinds}:
        yield Breach(resource, "kind", f"source {name} may not declare kind {ref.kind}", _list(granted.kinds))
    for path, secret in secrets_in(resource.spec):
        if secret not in granted.secrets:
            hint = f'add "{secret}" to spec.sources.secrets of the Platform; {_list(granted.secrets)}'
            yield Breach(resource, path, f"source {name} may not take a secret from {secret}", hint)


def _list(words: Iterable[str]) -> str:
    return f"allowed: {', '.join(words) or 'nothing'}"


def folders_apart(world: World) -> Iterator[Breach]:
    """No project's folder is another's, or inside another's."""
    taken = _Claims()
    for each in _incumbents_first(world):
        if isinstance(each.spec, ProjectSpec):
            yield from _reserved(each, "spec.path", each.spec.path)
            other = taken.claim(each.spec.path, each)
            if other is not None:
                why = f"'{each.spec.path}' is, or lies inside or around, the folder of {other.ref} ({other.location})"
                yield Breach(each, "spec.path", why, "give every project a folder of its own", "PathClaimed")


def folders_apart_behind_links(world: World) -> Iterator[Breach]:
    """No link makes a project's folder another's, or the installation's, or leads out of the clone of a followed repository."""
    taken, linked = _Claims(), {ref for ref, each in world.folders.items() if each.linked}
    for each in sorted(_incumbents_first(world), key=lambda one: one.ref in linked):  # whoever has no link keeps what is theirs
        folder = world.folders.get(each.ref)
        if not isinstance(each.spec, ProjectSpec) or folder is None:
            continue
        path, other = each.spec.path, taken.claim(folder.real, each)
        leads = f"'{path}' is a link, or lies behind one, that leads"
        if folder.leaves:
            yield Breach(each, "spec.path", f"{leads} out of the clone of source {folder.leaves}", "name a folder of that repository")
        elif folder.private:
            yield Breach(each, "spec.path", f"{leads} into the installation's own state", "choose another folder")
        elif other is not None and each.ref in linked:
            why = f"{leads} into, or around, the folder of {other.ref} ({other.location})"
            yield Breach(each, "spec.path", why, "give every project a folder of its own", "PathClaimed")


# --- a project's resources -----------------------------------------------------------------------------------------


def in_a_project(world: World) -> Iterator[Breach]:
    """A project that is named is declared, and allows the kind."""
    names = [ref.name for ref in (*world.declared, *world.invalid, *(world.known if world.partial else ())) if ref.kind == "Project"]
    for ref, each in world.declared.items():
        if ref.project is None:
            continue
        if not world.exists(Ref("Project", None, ref.project)):
            hint = nearest(ref.project, names) or "declare it in the root source: kind Project"
            yield Breach(each, "metadata.project", f"project '{ref.project}' is not declared", hint, "NotFound")
            continue
        project = world.project(ref.project)
        allowed = project.allow.kinds if project else None
        if allowed is not None and not world.infos[ref.kind].root_only and ref.kind.lower() not in {kind.lower() for kind in allowed}:
            yield Breach(each, "kind", f"project {ref.project} does not allow kind {ref.kind}", f"{_list(allowed)} (its spec.allow.kinds)")


def known_kinds(world: World) -> Iterator[Breach]:
    """A kind that is allowed, granted or polled exists; a misspelt one would mean nothing, silently."""
    known = {name.lower() for name in world.infos}
    for each in world.declared.values():
        named: list[tuple[str, str]] = []
        if isinstance(each.spec, ProjectSpec):
            named = [(f"spec.allow.kinds.{n}", kind) for n, kind in enumerate(each.spec.allow.kinds or ())]
        elif isinstance(each.spec, PlatformSpec):
            sources = enumerate(each.spec.sources)
            named = [(f"spec.sources.{n}.kinds.{m}", kind) for n, source in sources for m, kind in enumerate(source.kinds or ())]
            named += [(f"spec.poll.{kind}", kind) for kind in each.spec.poll]
        for path, kind in named:
            if kind.lower() not in known:
                yield Breach(each, path, f"unknown kind {kind[:60]!r}", nearest(kind, world.infos), error=False)


def what_it_uses(world: World) -> Iterator[Breach]:
    """Hosts, remotes and files that a spec touches are the project's to touch; what is not allowed is denied."""
    taken, platform = _Claims(), world.platform()
    for each in _incumbents_first(world):
        info = world.infos[each.ref.kind]
        project = world.project(each.ref.owner)
        for use in info.uses(each.spec) if info.uses else ():
            path = f"spec.{use.path}"
            match use.what:
                case "host":
                    yield from _host(each, path, use.name, project)
                case "remote":
                    yield from _remote(each, path, use.name, project, platform)
                case "code":
                    yield from _code(each, path, use.name, world)
                case "file":
                    yield from _reserved(each, path, use.name)
                    other = taken.claim(f"{project.path if project else f'?{each.ref.owner}'}/{use.name}", each)
                    if other is not None:
                        why = f"'{use.name}' is, or lies inside or around, what {other.ref} ({other.location}) manages"
                        yield Breach(each, path, why, "one path has one owner: choose another, or remove one of them", "PathClaimed")


def _host(resource: Resource[Any], path: str, host: str, project: ProjectSpec | None) -> Iterator[Breach]:
    allowed = project.allow.hosts if project else ()
    below = any(each.startswith("file:///") and host.startswith(f"{each.rstrip('/')}/") for each in allowed)
    if not below and host.lower() not in {each.lower() for each in allowed}:
        name = resource.ref.owner
        hint = f'add "{host}" to spec.allow.hosts of project {name}; {_list(allowed)}'
        yield Breach(resource, path, f"host '{host}' is not allowed for project {name}", hint)


def _code(resource: Resource[Any], path: str, name: str, world: World) -> Iterator[Breach]:
    """Another project's code may be run where that project shares it."""
    owner, _, file = name.partition("/")
    project = world.project(owner)
    if not world.exists(Ref("Project", None, owner)):
        known = [ref.name for ref in world.declared if ref.kind == "Project"]
        yield Breach(resource, path, f"project '{owner}' is not declared", nearest(owner, known) or _list(known), "NotFound")
    elif project is not None and owner != resource.ref.owner and not {f"code/{file}", "code/*"} & set(project.shares):
        hint = f'add "code/{file}" to spec.shares of project {owner}'
        yield Breach(resource, path, f"project {owner} does not share code '{file}'", hint, "NotShared")


def _remote(
    resource: Resource[Any], path: str, remote: str, project: ProjectSpec | None, platform: PlatformSpec | None
) -> Iterator[Breach]:
    names = [each.name for each in platform.dvc.remotes] if platform else []
    if platform is not None and remote not in names:
        hint = nearest(remote, names) or f"{_list(names)} (the Platform's spec.dvc.remotes)"
        yield Breach(resource, path, f"remote '{remote}' is not declared", hint, "NotFound")
    elif project is not None and project.allow.remotes is not None and remote not in project.allow.remotes:
        hint = f"{_list(project.allow.remotes)} (its spec.allow.remotes)"
        yield Breach(resource, path, f"remote '{remote}' is not allowed for project {resource.ref.owner}", hint)


# --- renaming ------------------------------------------------------------------------------------------------------


def moved_once(world: World) -> Iterator[Breach]:
    """What is renamed was called something else, is declared under its new name only, and has one new name."""
    moved = {each.ref: replace(each.ref, name=each.lifecycle.moved_from) for each in world.declared.values() if each.lifecycle.moved_from}
    claims = Counter(moved.values())
    for ref, old in moved.items():
        each, path = world.declared[ref], "lifecycle.movedFrom"
        if ref.kind in world.unmovable:
            yield Breach(each, path, f"the kind {ref.kind} cannot be renamed: {world.unmovable[ref.kind]}", "remove the field", "Unmovable")
        elif old == ref:
            yield Breach(each, path, f"'{old.name}' is its name now", "name what it was called before, or remove the field", "MovedFrom")
        elif old in world.declared or old in world.invalid:
            at = f" ({world.declared[old].location})" if old in world.declared else ""
            hint = "declare it under its new name only"
            if old in moved:
                hint += "; of several earlier names only the last one counts"
            yield Breach(each, path, f"{old}{at} is declared beside it", hint, "MovedFrom")
        elif claims[old] > 1:
            other = next(world.declared[one] for one, name in moved.items() if name == old and one != ref)
            why = f"{other.ref} ({other.location}) says that it was called '{old.name}', too"
            yield Breach(each, path, why, "one thing has one new name: remove the field from the others", "MovedFrom")


# --- paths ---------------------------------------------------------------------------------------------------------


def _reserved(resource: Resource[Any], path: str, found: str) -> Iterator[Breach]:
    inside = next((part for part in normpath(found).split("/") if part.lower() in RESERVED), None)
    if inside is not None:
        yield Breach(resource, path, f"'{found}' lies in {inside}, which is not the project's", "choose another folder")


def _incumbents_first(world: World) -> list[Resource[Any]]:
    """What was applied before keeps what it claims; then the order of the files decides."""
    return sorted(world.declared.values(), key=lambda each: each.ref not in world.known)


class _Claims:
    """Paths with one owner each; a path also claims everything below it."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, ...], Resource[Any]] = {}
        self._around: dict[tuple[str, ...], Resource[Any]] = {}

    def claim(self, path: str, by: Resource[Any]) -> Resource[Any] | None:
        """The owner that is in the way; None = the path is theirs from now on."""
        parts = tuple(part for part in normpath(path).split("/") if part != ".")
        above = [parts[:n] for n in range(len(parts) + 1)]
        other = next((self._taken[each] for each in above if each in self._taken), self._around.get(parts))
        if other is None:
            self._taken[parts] = by
            for each in above[:-1]:
                self._around.setdefault(each, by)
        return other


RULES: tuple[Rule, ...] = (
    one_platform,
    from_its_source,
    folders_apart,
    folders_apart_behind_links,
    in_a_project,
    known_kinds,
    what_it_uses,
    moved_once,
)
