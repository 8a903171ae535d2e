"""Manifests with what their environment has differently: merge patches (RFC 7386), addressed by name, or by `*` at many. Pure, but for the
places of mistakes.

A patch changes manifests of its own source that lie in the folder of its overlay, or below. Of several the most precise is applied last,
and so has the last word. What a patch that cannot be read may be for is held back: the manifest alone would be something that nobody
wants here."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Any

from reconciler.model import JSON, Diagnostic, Manifest, Patch
from reconciler.registry import Kinds
from reconciler.schemaerrors import Steps
from reconciler.source.load import RESOURCES, Layer, Loaded
from reconciler.source.place import Places
from reconciler.validate import incomplete
from schemas.base import API_VERSION, KindInfo

ANY = "*"
"""In the place of a kind, a project or a name: each of them."""
_LIKE = 0.75
"""How alike two names must be for one to be taken for the other misspelt."""


def overlay(loaded: Loaded, kinds: Kinds, *, root: Path) -> Loaded:
    """What was read, with its layers applied; without layers it is as it was.

    `root` is the installation's root, as it was given to `load`. Raises nothing; what is wrong with a patch is a diagnostic, and what it
    was for is held back: it is declared, and nothing is done about it."""
    if not loaded.layers:
        return loaded
    stack = _Stack([_read(each, kinds.kinds) for each in loaded.layers], loaded, root.absolute(), Places(root))
    manifests, held = stack.applied()
    stack.look_for_the_misled(kinds)
    told, held = list(stack.told), held | stack.suspected
    return replace(
        loaded,
        manifests=tuple(each for number, each in enumerate(manifests) if number not in held),
        faulty=loaded.faulty + tuple(loaded.manifests[number] for number in sorted(held)),
        diagnostics=loaded.diagnostics + tuple(each for _, each in told),
        sources=incomplete(loaded.sources, told),
        layers=(),
    )


def merge(target: JSON, patch: JSON) -> JSON:
    """`target` as `patch` wants it (RFC 7386): mappings key by key, null removes, everything else, lists included, takes its place."""
    if not isinstance(patch, Mapping):
        return patch
    merged: dict[str, JSON] = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


# --- whom a patch is for -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    """A layer, understood. What of its address is wrong stands for any."""

    layer: Layer
    kind: str
    project: str | None
    name: str
    selector: Mapping[str, JSON]
    patch: Patch
    mistakes: tuple[tuple[Steps, str, str], ...] = ()
    """(field, what is wrong, what to do)."""

    @property
    def works(self) -> bool:
        return not self.layer.faulty and not self.mistakes

    @property
    def precise(self) -> bool:
        return ANY not in (self.kind, self.project, self.name)

    @property
    def reach(self) -> tuple[bool, bool, bool, bool, int]:
        """Sorts from wide to precise; of two with the same words the one of the inner folder is the more precise."""
        depth = self.layer.below.count(os.sep)
        return (self.name != ANY, self.project != ANY, bool(self.selector), self.kind != ANY, depth)

    @property
    def order(self) -> tuple[object, ...]:
        return (self.reach, self.patch.location.file, self.layer.manifest.index)

    def is_for(self, address: _Address) -> bool:
        """Whether a manifest of this address and source is meant, wherever it lies."""
        return (
            self.kind in (ANY, address.kind)
            and (self.project == address.project or (self.project == ANY and (address.project is not None or not self.works)))
            and self.name in (ANY, address.name)
            and all(address.labels.get(key) == value for key, value in self.selector.items())
        )

    def __str__(self) -> str:
        what = self.kind if self.kind != ANY else "resource"
        if self.name != ANY:
            return "/".join(each for each in (self.kind.lower(), self.project, self.name) if each)
        of = "" if self.project is None else " of any project" if self.project == ANY else f" of project {self.project}"
        carries = ", ".join(f"{key}={value}" for key, value in self.selector.items())
        return f"{what}{of}{f' that carries {carries}' if carries else ''}"


@dataclass(frozen=True)
class _Address:
    """What a manifest is called, as it is written."""

    kind: str | None
    project: str | None
    name: str | None
    labels: Mapping[str, JSON]
    place: str
    """Its file, absolute and without `..`."""

    def __str__(self) -> str:
        return "/".join(each for each in ((self.kind or "").lower(), self.project, self.name) if each)


_NAMES = ("project", "name")


def _address(manifest: Manifest, root: str) -> _Address:
    metadata = manifest.data.get("metadata")
    known: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    kind, project, name = (each if isinstance(each, str) else None for each in (manifest.data.get("kind"), *map(known.get, _NAMES)))
    labels = known.get("labels")
    place = os.path.normpath(os.path.join(root, manifest.location.file))  # noqa: PTH118 - a Path for each of ten thousand takes longer
    return _Address(kind, project, name, labels if isinstance(labels, Mapping) else {}, place)


def _read(layer: Layer, infos: Mapping[str, KindInfo]) -> _Read:
    data, found = layer.manifest.data, layer.manifest
    metadata = data.get("metadata")
    known: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    kind, name, project, selector = data.get("kind"), known.get("name"), known.get("project"), data.get("selector", {})
    info = infos.get(kind) if isinstance(kind, str) else None
    mistakes = () if layer.faulty else tuple(_mistakes(data, known, info))
    wrong = {steps for steps, _, _ in mistakes}
    # No project: what belongs to the whole installation. Where that may be a mistake it stands for any.
    is_written = project is not None or (info.scope == "installation" if info is not None else not layer.faulty)
    is_meant = is_written and wrong.isdisjoint({("kind",), ("metadata", "project")})
    return _Read(
        layer=layer,
        kind=kind if isinstance(kind, str) and ("kind",) not in wrong and not (layer.faulty and info is None) else ANY,
        project=(project if isinstance(project, str) else None) if is_meant else ANY,
        name=name if isinstance(name, str) else ANY,
        selector=selector if isinstance(selector, Mapping) and not layer.faulty and ("selector",) not in wrong else {},
        patch=Patch(found.location, _body(data, known), found.content),
        mistakes=mistakes,
    )


def _body(data: Mapping[str, JSON], metadata: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """The patch itself: all but what says whom it is for."""
    rest = {key: value for key, value in data.items() if key not in ("apiVersion", "kind", "metadata", "selector")}
    more = {key: value for key, value in metadata.items() if key not in ("name", "project")}
    return {**({"metadata": more} if more else {}), **rest}


def _mistakes(data: Mapping[str, JSON], metadata: Mapping[str, JSON], info: KindInfo | None) -> Iterator[tuple[Steps, str, str]]:
    """What is wrong with an address. What is wrong with a body shows where it is merged."""
    kind, project, selector = data.get("kind"), metadata.get("project"), data.get("selector", {})
    if data.get("apiVersion") != API_VERSION:
        yield ("apiVersion",), "a patch is written like a manifest", f"expected `{API_VERSION}`"
    if not isinstance(kind, str):
        yield ("kind",), "required field is missing", f"the kind of what it changes, or '{ANY}'"
    elif info is None and kind != ANY:
        yield ("kind",), f"unknown kind {kind[:60]!r}", ""
    if not isinstance(metadata.get("name"), str):
        yield ("metadata", "name"), "required field is missing", f"the name of what it changes, or '{ANY}' for all of them"
    if project is not None and not isinstance(project, str):
        yield ("metadata", "project"), "this is not the name of a project", f"expected a name, or '{ANY}' for all of them"
    elif info is not None and info.scope == "project" and project is None:
        yield ("metadata", "project"), "required field is missing", f"the project of what it changes, or '{ANY}' for all of them"
    elif info is not None and info.scope == "installation" and project is not None:
        yield ("metadata", "project"), f"a {info.name} belongs to the whole installation, not to a project", "remove the line"
    if not isinstance(selector, Mapping) or not all(isinstance(each, str) for each in selector.values()):
        yield ("selector",), "a selector is a mapping of labels", "for example `selector: {team: nlp}`"
    elif selector and metadata.get("name") != ANY:
        yield ("selector",), "a patch of one resource has no selector", f"remove it, or write `name: '{ANY}'`"


# --- applying ------------------------------------------------------------------------------------------------------


class _Stack:
    """The patches of all sources over the manifests of all sources."""

    def __init__(self, patches: Sequence[_Read], loaded: Loaded, root: Path, places: Places) -> None:
        self.loaded, self.root, self.places = loaded, root, places
        self.patches = sorted(patches, key=lambda each: each.order)
        self.addresses = [_address(each, str(root)) for each in loaded.manifests]
        self.used: set[int] = set()
        self.told: dict[tuple[str, Diagnostic], None] = {}
        """(source, what is wrong), each once."""
        self.suspected: set[int] = set()
        """Manifests that a patch probably means that says something else."""
        self._precise: dict[tuple[object, ...], list[int]] = defaultdict(list)
        self._wide: dict[str, list[int]] = defaultdict(list)
        for number, each in enumerate(self.patches):
            if each.precise:
                self._precise[each.layer.manifest.source, each.kind, each.project, each.name].append(number)
            else:
                self._wide[each.layer.manifest.source].append(number)

    def applied(self) -> tuple[list[Manifest], set[int]]:
        """(the manifests, those of them that must be held back by number)."""
        done: list[Manifest] = []
        held: set[int] = set()
        for number, (manifest, address) in enumerate(zip(self.loaded.manifests, self.addresses, strict=True)):
            some = self._for(manifest.source, address)
            done.append(_merged(manifest, some))
            if any(not each.works for each in some) or self._clashes(some):
                held.add(number)
        for each in self.loaded.faulty:  # what is wrong itself is there all the same
            self._for(each.source, _address(each, str(self.root)))
        return done, held

    def _for(self, source: str, address: _Address) -> list[_Read]:
        """The patches that mean a manifest, in the order in which they are applied."""
        named = self._precise.get((source, address.kind, address.project, address.name), ())
        inside = [
            number
            for number in sorted((*named, *self._wide.get(source, ())))
            if _is_below(address.place, self.patches[number].layer.below) and self.patches[number].is_for(address)
        ]
        self.used.update(inside)
        return [self.patches[number] for number in inside]

    def _clashes(self, some: Sequence[_Read]) -> bool:
        """Whether two of the same reach want different things: no order between them would be meant."""
        found = False
        for one, other in combinations([each for each in some if each.works], 2):
            if one.reach != other.reach or (steps := _clash(one.patch.body, other.patch.body)) is None:
                continue
            first = self.places.at(one.patch.location, steps)
            said = f"{first} says something else, and neither of the two patches is more precise"
            self._tell(other, steps, said, f"keep one of them, or name in one what the other calls '{ANY}'")
            found = True
        return found

    def look_for_the_misled(self, kinds: Kinds) -> None:
        """Tell what is wrong with the addresses of patches, and of those that mean nothing that is there."""
        for number, each in enumerate(self.patches):
            for steps, said, hint in each.mistakes:
                near = kinds.nearest(str(each.layer.manifest.data.get("kind"))) if steps == ("kind",) and not hint else None
                known = hint or (f"Did you mean `{near}`?" if near else f"known kinds: {', '.join(sorted(kinds.controllers))}")
                self._tell(each, steps, said, known)
            if each.works and number not in self.used and each.layer.sure:
                self._unused(each)

    def _unused(self, each: _Read) -> None:
        source = each.layer.manifest.source
        below = self._shown(each.layer.below)
        if not each.precise:
            said = f"it patches nothing: there is no {each} in {below}"
            self._tell(each, ("metadata", "name"), said, "remove it, or correct whom it is for", severity="warning")
            return
        same = [(other, address) for other, address in zip(self.loaded.manifests, self.addresses, strict=True) if each.is_for(address)]
        if same and (other := same[0][0]).source != source:
            said = f"it patches nothing: {each} is declared by source {other.source}, in {other.location}"
            self._tell(each, ("metadata", "name"), said, "an overlay changes manifests of its own source only")
        elif same:
            said = f"it patches nothing: {each} is declared in {other.location}, and this overlay is over {below}"
            self._tell(each, ("metadata", "name"), said, "move the patch into an overlay beside or above that file")
        else:
            self._tell(each, ("metadata", "name"), f"it patches nothing: there is no {each}", self._meant(each))

    def _meant(self, each: _Read) -> str:
        """What is probably meant; held back, for what it says without the patch nobody wants here."""
        here = {
            str(address): number
            for number, (other, address) in enumerate(zip(self.loaded.manifests, self.addresses, strict=True))
            if other.source == each.layer.manifest.source and _is_below(address.place, each.layer.below) and address.kind == each.kind
        }
        near = get_close_matches(str(each), here, n=1, cutoff=_LIKE)
        if not near:
            return f"what only this environment has is a whole manifest in the folder `{RESOURCES}` of its overlay"
        self.suspected.add(here[near[0]])
        return f"Did you mean `{near[0]}`? It is left as it is until this is corrected"

    def _shown(self, folder: str) -> str:
        return os.path.relpath(folder, self.root) if _is_below(folder, str(self.root)) else folder

    def _tell(self, each: _Read, steps: Steps, said: str, hint: str, *, severity: Any = "error") -> None:
        at = self.places.at(each.patch.location, steps)
        path = ".".join(str(one) for one in steps)
        found = Diagnostic(at, said, path=path, hint=hint, severity=severity, reason="Overlay")
        self.told[each.layer.manifest.source, found] = None


def _merged(manifest: Manifest, patches: Iterable[_Read]) -> Manifest:
    data, working = manifest.data, tuple(each.patch for each in patches if each.works)
    for each in working:
        merged = merge(data, each.body)
        data = merged if isinstance(merged, Mapping) else {}
    return replace(manifest, data=data, patches=working) if working else manifest


def _clash(one: Mapping[str, JSON], other: Mapping[str, JSON], at: Steps = ()) -> Steps | None:
    """The first field that both set, and not alike."""
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if (found := _clash(a, b, (*at, key))) is not None:
                return found
        elif a != b or type(a) is not type(b):
            return (*at, key)
    return None


def _is_below(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
