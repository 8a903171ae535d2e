"""Whom the patches of an environment are for: by name, or by `*` at many. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.model import JSON, Manifest, Patch
from reconciler.schemaerrors import Steps
from reconciler.source.load import Layer
from schemas.base import API_VERSION, KindInfo

ANY = "*"
"""In the place of a kind, a project or a name: each of them."""
LONGEST = 63
"""Characters of a name."""


@dataclass(frozen=True)
class Addressed:
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
        """It can be applied."""
        return not self.layer.faulty and not self.mistakes

    @property
    def precise(self) -> bool:
        """It names one resource."""
        return ANY not in (self.kind, self.project, self.name)

    @property
    def reach(self) -> tuple[bool, bool, bool, bool, int]:
        """Sorts from wide to precise; of two with the same words the one of the inner folder is the more precise."""
        depth = self.layer.below.count(os.sep)
        return (self.name != ANY, self.project != ANY, bool(self.selector), self.kind != ANY, depth)

    @property
    def order(self) -> tuple[object, ...]:
        """In which patches are applied."""
        return (self.reach, self.patch.location.file, self.layer.manifest.index)

    def is_for(self, address: Address) -> bool:
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
            return "/".join(each[:LONGEST] for each in (self.kind.lower(), self.project, self.name) if each)
        of = "" if self.project is None else " of any project" if self.project == ANY else f" of project {self.project[:LONGEST]}"
        carries = ", ".join(f"{key}={value}" for key, value in self.selector.items())[: 2 * LONGEST]
        return f"{what}{of}{f' that carries {carries}' if carries else ''}"


@dataclass(frozen=True)
class Address:
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


def address_of(manifest: Manifest, root: str) -> Address:
    """`root` is the installation's, absolute."""
    metadata = manifest.data.get("metadata")
    known: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    kind, project, name = (each if isinstance(each, str) else None for each in (manifest.data.get("kind"), *map(known.get, _NAMES)))
    labels = known.get("labels")
    place = os.path.normpath(os.path.join(root, manifest.location.file))  # noqa: PTH118 - a Path for each of ten thousand takes longer
    return Address(kind, project, name, labels if isinstance(labels, Mapping) else {}, place)


def addressed(layer: Layer, infos: Mapping[str, KindInfo]) -> Addressed:
    """A layer, with all that is wrong with its address; of a faulty one what could be read of it."""
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
    return Addressed(
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
