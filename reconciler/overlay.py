"""Manifests with what their environment has differently: merge patches (RFC 7386), addressed by name, or by `*` at many. Pure, but for the
places of mistakes.

A patch changes manifests of its own source that lie in the folder of its overlay, or below. Of several the most precise is applied last,
and so has the last word. What a patch that cannot be read may be for is held back: the manifest alone would be something that nobody
wants here."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

from reconciler.address import ANY, LONGEST, Address, Addressed, address_of, addressed
from reconciler.model import JSON, Diagnostic, Location, Manifest
from reconciler.registry import Kinds
from reconciler.schemaerrors import Steps
from reconciler.source.load import RESOURCES, Loaded
from reconciler.source.place import Places
from reconciler.validate import incomplete

_LIKE = 0.7
"""How alike two names must be for one to be taken for the other misspelt."""
MOST_WIDE = 200
"""Patches of one source that are for more than one resource: each of them is held against each manifest."""
MOST_GUESSES = 100
"""Patches of nothing for which is looked for what they mean: each is held against all names."""


def overlay(loaded: Loaded, kinds: Kinds, *, root: Path) -> Loaded:
    """What was read, with its layers applied; without layers it is as it was.

    `root` is the installation's root, as it was given to `load`. Raises nothing; what is wrong with a patch is a diagnostic, and what it
    was for is held back: it is declared, and nothing is done about it."""
    if not loaded.layers:
        return loaded
    stack = _Stack([addressed(each, kinds.kinds) for each in loaded.layers], loaded, root.absolute(), Places(root))
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


# --- applying ------------------------------------------------------------------------------------------------------


class _Stack:
    """The patches of all sources over the manifests of all sources."""

    def __init__(self, patches: Sequence[Addressed], loaded: Loaded, root: Path, places: Places) -> None:
        self.loaded, self.root, self.places = loaded, root, places
        self.patches = sorted(_bounded(patches), key=lambda each: each.order)
        self.addresses = [address_of(each, str(root)) for each in loaded.manifests]
        self.used: set[int] = set()
        self.told: dict[tuple[str, Diagnostic], None] = {}
        """(source, what is wrong), each once."""
        self.suspected: set[int] = set()
        """Manifests that a patch probably means that says something else."""
        self.guesses = 0
        self.clashed: set[Location] = set()
        """Of which that was told."""
        self._numbers = {(each.kind, each.project, each.name): number for number, each in reversed(list(enumerate(self.addresses)))}
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
            self._for(each.source, address_of(each, str(self.root)))
        return done, held

    def _for(self, source: str, address: Address) -> list[Addressed]:
        """The patches that mean a manifest, in the order in which they are applied."""
        named = self._precise.get((source, address.kind, address.project, address.name), ())
        inside = [
            number
            for number in sorted((*named, *self._wide.get(source, ())))
            if _is_below(address.place, self.patches[number].layer.below) and self.patches[number].is_for(address)
        ]
        self.used.update(inside)
        return [self.patches[number] for number in inside]

    def _clashes(self, some: Sequence[Addressed]) -> bool:
        """Whether two of the same reach want different things: no order between them would be meant."""
        found = False
        for _, group in groupby((each for each in some if each.works), key=lambda each: each.reach):
            before: list[Addressed] = []
            said: Mapping[str, JSON] = {}
            for each in group:
                steps = _clash(said, each.patch.body)
                found |= steps is not None
                if steps is not None and each.patch.location not in self.clashed:
                    self.clashed.add(each.patch.location)
                    first = next(one for one in before if _clash(one.patch.body, each.patch.body) is not None)
                    place = self.places.at(first.patch.location, steps)
                    told = f"{place} says something else, and neither of the two patches is more precise"
                    self._tell(each, steps, told, f"keep one of them, or name in one what the other calls '{ANY}'")
                before.append(each)
                said = _both(said, each.patch.body)
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

    def _unused(self, each: Addressed) -> None:
        source = each.layer.manifest.source
        below = self._shown(each.layer.below)
        if not each.precise:
            said = f"it patches nothing: there is no {each} in {below}"
            self._tell(each, ("metadata", "name"), said, "remove it, or correct whom it is for", severity="warning")
            return
        number = self._numbers.get((each.kind, each.project, each.name))
        other = self.loaded.manifests[number] if number is not None else None
        if other is not None and other.source != source:
            said = f"it patches nothing: {each} is declared by source {other.source}, in {other.location}"
            self._tell(each, ("metadata", "name"), said, "an overlay changes manifests of its own source only")
        elif other is not None:
            said = f"it patches nothing: {each} is declared in {other.location}, and this overlay is over {below}"
            self._tell(each, ("metadata", "name"), said, "move the patch into an overlay beside or above that file")
        else:
            self._tell(each, ("metadata", "name"), f"it patches nothing: there is no {each}", self._meant(each))

    def _meant(self, each: Addressed) -> str:
        """What is probably meant; held back, for what it says without the patch nobody wants here."""
        self.guesses += 1
        guess = self.guesses <= MOST_GUESSES and max(len(each.name), len(each.project or "")) <= LONGEST
        here = (
            [
                (address, number)
                for number, (other, address) in enumerate(zip(self.loaded.manifests, self.addresses, strict=True))
                if other.source == each.layer.manifest.source and _is_below(address.place, each.layer.below) and address.kind == each.kind
            ]
            if guess
            else []
        )
        names = {address.name or "": number for address, number in here if address.project == each.project}
        projects = {address.project or "": number for address, number in here if address.name == each.name}
        near = [names[name] for name in get_close_matches(each.name, names, n=1, cutoff=_LIKE)]
        near += [projects[name] for name in get_close_matches(each.project or "", projects, n=1, cutoff=_LIKE)]
        if not near:
            return f"what only this environment has is a whole manifest in the folder `{RESOURCES}` of its overlay"
        self.suspected.add(near[0])
        return f"Did you mean `{self.addresses[near[0]]}`? It is left as it is until this is corrected"

    def _shown(self, folder: str) -> str:
        return os.path.relpath(folder, self.root) if _is_below(folder, str(self.root)) else folder

    def _tell(self, each: Addressed, steps: Steps, said: str, hint: str, *, severity: Any = "error") -> None:
        at = self.places.at(each.patch.location, steps)
        path = ".".join(str(one) for one in steps)
        found = Diagnostic(at, said, path=path, hint=hint, severity=severity, reason="Overlay")
        self.told[each.layer.manifest.source, found] = None


def _bounded(patches: Sequence[Addressed]) -> Iterator[Addressed]:
    """The patches; of those that are too many of their kind one for each folder, which stands for all and is wrong."""
    wide: Counter[str] = Counter()
    over: set[tuple[str, str]] = set()
    for each in patches:
        source = each.layer.manifest.source
        wide[source] += not each.precise
        if each.precise or wide[source] <= MOST_WIDE:
            yield each
        elif (source, each.layer.below) not in over:
            over.add((source, each.layer.below))
            said = f"more than {MOST_WIDE} patches of source {source} are for more than one resource"
            mistakes = ((("metadata", "name"), said, f"say it in fewer, or name what it is for instead of '{ANY}'"),)
            yield replace(each, kind=ANY, project=ANY, name=ANY, selector={}, mistakes=mistakes)


def _merged(manifest: Manifest, patches: Iterable[Addressed]) -> Manifest:
    data, working = manifest.data, tuple(each.patch for each in patches if each.works)
    for each in working:
        merged = merge(data, each.body)
        data = merged if isinstance(merged, Mapping) else {}
    return replace(manifest, data=data, patches=working) if working else manifest


def _clash(one: Mapping[str, JSON], other: Mapping[str, JSON], at: Steps = ()) -> Steps | None:
    """The first field that both set, and not alike."""
    for key in [each for each in other if each in one]:
        a, b = one[key], other[key]
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            if (found := _clash(a, b, (*at, key))) is not None:
                return found
        elif a != b or type(a) is not type(b):
            return (*at, key)
    return None


def _both(one: Mapping[str, JSON], other: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """What either of two patches says; the first has the last word."""
    found = {**other, **one}
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found[key] = _both(a, b)
    return found


def _is_below(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
