"""Manifests to resources: the envelope, the kind's schema, the kind's own checks, and one owner for each name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from reconciler.fields import pattern_of
from reconciler.mistakes import Mistake, Reader
from reconciler.model import Diagnostic, Manifest, Owned, Ref, Resource, Source, digest_of
from reconciler.registry import Kinds
from reconciler.schemaerrors import Steps
from reconciler.source.load import Loaded
from reconciler.source.place import Places
from schemas.base import DnsLabel, Envelope, KindInfo, Secret, Spec, marked

ROOT = "root"
"""The source that the command line names; every right comes from it."""
_LABEL = re.compile(pattern_of(DnsLabel))
_PASSWORD = re.compile(r"https?://[^/?#\s]*@|[a-z][a-z0-9+.-]*://[^/?#\s]*:[^/?#\s]*@", re.IGNORECASE)
"""An address that says who calls: with a name alone it may be a token (RFC 3986, section 3.2.1)."""


@dataclass(frozen=True)
class Validated:
    """What is right, and what is wrong with the rest."""

    resources: tuple[Resource[Any], ...]
    """In the order of the files; `references` and `requires` are not filled yet, and `root` is the installation's."""
    diagnostics: tuple[Diagnostic, ...]
    """Those of loading first."""
    sources: tuple[Source, ...]
    refused: frozenset[Ref]
    """Declared, but wrong: what they name is left as it is, never pruned."""


@dataclass(frozen=True)
class _Checked:
    """One manifest with what came of it."""

    manifest: Manifest
    ref: Ref | None
    """None: it cannot be told whose it is."""
    resource: Resource[Any] | None
    diagnostics: tuple[Diagnostic, ...] = ()


class Checks:
    """What came of each manifest the last time, for a loop: one whose file has not changed is not checked again."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], _Checked] = {}

    def of(self, manifests: Iterable[Manifest], check: Callable[[Manifest], _Checked]) -> list[_Checked]:
        """Each with what came of it, in order. Only these are remembered."""
        found: dict[tuple[object, ...], _Checked] = {}
        checked: list[_Checked] = []
        for each in manifests:
            patches = tuple((one.location, one.content) for one in each.patches)
            key = (each.source, each.location, each.index, each.content, patches)
            known = each.content and all(content for _, content in patches)
            one = self._known.get(key) if known else None
            found[key] = one or check(each)
            checked.append(found[key])
        self._known = found
        return checked


def validate(
    loaded: Loaded, kinds: Kinds, *, root: Path, incumbents: Mapping[Ref, Owned] | None = None, checks: Checks | None = None
) -> Validated:
    """Check every manifest on its own, then that no name is claimed twice.

    `root` is the installation's root, as it was given to `load`. `incumbents` are what was applied last: of two
    manifests that claim a name, the one that is most like it keeps it. `checks` are of the same kinds and root.
    Raises nothing; every mistake is a diagnostic."""
    infos, places = kinds.kinds, Places(root)
    checked = (checks or Checks()).of(loaded.manifests, lambda each: _check(each, infos, kinds, root, places))
    checked = _claimed(checked, incumbents or {}, places)
    resources = tuple(each.resource for each in checked if each.resource is not None)
    found = {each.ref for each in checked if each.ref} | {ref for each in loaded.faulty if (ref := ref_of(each.data, infos))}
    told = [(each.manifest.source, diagnostic) for each in checked for diagnostic in each.diagnostics]
    return Validated(
        resources=resources,
        diagnostics=loaded.diagnostics + tuple(diagnostic for _, diagnostic in told),
        sources=incomplete(loaded.sources, told),
        refused=frozenset(found - {each.ref for each in resources}),
    )


def incomplete(sources: Iterable[Source], told: Iterable[tuple[str, Diagnostic]]) -> tuple[Source, ...]:
    """The sources, with those that have an error marked as not complete."""
    first: dict[str, Diagnostic] = {}
    for name, each in told:
        if each.severity == "error":
            first.setdefault(name, each)
    return tuple(
        replace(each, complete=False, why_incomplete=f"{first[each.name].location}: {first[each.name].message}")
        if each.complete and each.name in first
        else each
        for each in sources
    )


# --- one manifest --------------------------------------------------------------------------------------------------


def _check(manifest: Manifest, infos: Mapping[str, KindInfo], kinds: Kinds, root: Path, places: Places) -> _Checked:
    ref = ref_of(manifest.data, infos)
    info = infos.get(manifest.data["kind"]) if isinstance(manifest.data.get("kind"), str) else None
    envelope, mistakes = _parsed(Envelope, manifest.data, (), manifest, places)
    spec: Spec | None = None
    if info is None:
        mistakes += list(_unknown_kind(manifest, kinds))
    else:
        mistakes += list(_misplaced(manifest, info))
        written = manifest.data.get("spec", {})
        if isinstance(written, dict):
            spec, found = _parsed(info.spec, written, ("spec",), manifest, places)
            mistakes += found or list(_own_check(info, spec, written))
    dumped = spec.model_dump(mode="json") if spec is not None else {}
    mistakes += [_not_a_number(steps, manifest, places) for steps in _turned(manifest.data.get("spec"), dumped, ("spec",))]
    mistakes += [Mistake(steps, "the address holds a name or a password", _SECRETS) for steps in _passwords(dumped, ("spec",))]
    if mistakes or info is None or envelope is None or spec is None or ref is None:
        told = [_told(each, manifest, ref, places) for each in mistakes]
        return _Checked(manifest, ref, None, tuple(sorted(told, key=lambda each: (each.location.line, each.location.column))))
    labels, lifecycle = envelope.metadata.labels, envelope.lifecycle
    # Without defaults: a field that a newer version of this program adds does not make it another manifest.
    meant, treated = (each.model_dump(mode="json", exclude_defaults=True) for each in (spec, lifecycle))
    meaning = {"kind": info.name, "spec": meant, "lifecycle": treated, "labels": labels}
    resource = Resource(
        ref=ref,
        spec=spec,
        lifecycle=lifecycle,
        labels=labels,
        location=manifest.location,
        source=manifest.source,
        digest=digest_of(meaning),
        prune=lifecycle.prune or info.prune,
        root=root,
        patches=manifest.patches,
    )
    return _Checked(manifest, ref, resource)


def _parsed(
    model: type[BaseModel], data: Mapping[str, Any], prefix: Steps, manifest: Manifest, places: Places
) -> tuple[Any | None, list[Mistake]]:
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        found = _reader(model).mistakes(error, data, lambda steps: _written(prefix + steps, manifest, places))
        return None, [replace(each, steps=prefix + each.steps) for each in found]


@cache
def _reader(model: type[BaseModel]) -> Reader:
    return Reader(model, frozenset(path.removeprefix("spec.") for path in marked(model, Secret)))


def ref_of(data: Mapping[str, Any], infos: Mapping[str, KindInfo]) -> Ref | None:
    """Whose document it is, even when something else in it is wrong."""
    kind, metadata = data.get("kind"), data.get("metadata")
    if not isinstance(kind, str) or not isinstance(metadata, dict) or not _is_label(kind.lower()) or not _is_label(metadata.get("name")):
        return None
    project = metadata.get("project")
    scope = infos[kind].scope if kind in infos else ("project" if project is not None else "installation")
    if scope == "installation":
        return Ref(kind, None, metadata["name"])
    return Ref(kind, project, metadata["name"]) if _is_label(project) else None


def _is_label(found: Any) -> bool:
    return isinstance(found, str) and len(found) <= 63 and _LABEL.fullmatch(found) is not None


def _unknown_kind(manifest: Manifest, kinds: Kinds) -> Iterator[Mistake]:
    kind = manifest.data.get("kind")
    if not isinstance(kind, str):
        return
    if kind in kinds.broken:
        yield Mistake(("kind",), f"the kind {kind} could not be loaded", kinds.broken[kind])
        return
    near = kinds.nearest(kind)
    known = f"known kinds: {', '.join(sorted(kinds.controllers))}"
    yield Mistake(("kind",), f"unknown kind {kind[:60]!r}", f"Did you mean `{near}`?" if near else known)


def _misplaced(manifest: Manifest, info: KindInfo) -> Iterator[Mistake]:
    metadata = manifest.data.get("metadata")
    project = metadata.get("project") if isinstance(metadata, dict) else None
    if info.scope == "project" and isinstance(metadata, dict) and project is None:
        yield Mistake(("metadata", "project"), "required field is missing", f"every {info.name} belongs to a project: name it here")
    if info.scope == "installation" and project is not None:
        yield Mistake(
            ("metadata", "project"), f"{_a(info.name)} belongs to the whole installation, not to a project", "remove the line", key=True
        )
    if info.root_only and manifest.source != ROOT:
        why = f"{_a(info.name)} is accepted from the root source only, and this is source {manifest.source}"
        yield Mistake(("kind",), why, "move it to the root source: a source cannot grant itself rights")


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"


def _own_check(info: KindInfo, spec: Any, written: Mapping[str, Any]) -> Iterator[Mistake]:
    """The kind's own conditions; its check may come from elsewhere and fail in any way."""
    if info.check is None:
        return
    try:
        for path, message in info.check(spec):
            yield Mistake(("spec", *steps_to(path, written)), message)
    except Exception as error:
        yield Mistake(("spec",), f"the check of kind {info.name} failed: {type(error).__name__}: {error}", "this is a defect of the kind")


def steps_to(path: str, data: Any) -> Steps:
    """The keys that a dotted path stands for, where keys may hold dots themselves."""
    steps: list[str | int] = []
    parts = path.split(".")
    while parts:
        taken = next((n for n in range(len(parts), 0, -1) if isinstance(data, dict) and ".".join(parts[:n]) in data), 1)
        name = ".".join(parts[:taken])
        if isinstance(data, list) and name.isdecimal() and int(name) < len(data):
            steps.append(int(name))
            data = data[int(name)]
        else:
            steps.append(name)
            data = data.get(name) if isinstance(data, dict) else None
        parts = parts[taken:]
    return tuple(steps)


def _turned(data: Any, dumped: Any, steps: Steps) -> Iterator[Steps]:
    """Where `true` became a number: pydantic takes it for 1, and YAML takes `on` and `yes` for true."""
    if isinstance(data, bool):
        if isinstance(dumped, int | float) and not isinstance(dumped, bool):
            yield steps
    elif isinstance(data, dict) and isinstance(dumped, dict):
        for key, value in data.items():
            if key in dumped:
                yield from _turned(value, dumped[key], (*steps, key))
    elif isinstance(data, list) and isinstance(dumped, list):
        for number, (value, other) in enumerate(zip(data, dumped, strict=False)):
            yield from _turned(value, other, (*steps, number))


_SECRETS = "manifests, plans and the Store are no place for secrets: use a field that takes {fromEnv: NAME} or {fromFile: path}"


def _passwords(dumped: Any, steps: Steps) -> Iterator[Steps]:
    """Where an address carries a secret, which would be printed wherever the address is."""
    if isinstance(dumped, str):
        if "@" in dumped and _PASSWORD.match(dumped):
            yield steps
    elif isinstance(dumped, dict):
        for key, value in dumped.items():
            yield from _passwords(value, (*steps, key))
    elif isinstance(dumped, list):
        for number, value in enumerate(dumped):
            yield from _passwords(value, (*steps, number))


def _written(steps: Steps, manifest: Manifest, places: Places) -> str | None:
    return places.written(places.spoken(manifest.location, manifest.patches, steps), steps)


def _not_a_number(steps: Steps, manifest: Manifest, places: Places) -> Mistake:
    return Mistake(steps, f"YAML reads `{_written(steps, manifest, places)}` as true or false", "expected a number")


def _told(mistake: Mistake, manifest: Manifest, ref: Ref | None, places: Places) -> Diagnostic:
    at, over = places.both(manifest.location, manifest.patches, mistake.steps, key=mistake.key)
    path = ".".join(str(each) for each in mistake.steps)
    if mistake.message == "unknown field" and mistake.hint.startswith("Did you"):
        return Diagnostic(at, f"unknown field. {mistake.hint}", path=path, ref=ref, reason="UnknownField", over=over)
    return Diagnostic(at, mistake.message, path=path, ref=ref, hint=mistake.hint, over=over)


# --- one owner for each name ---------------------------------------------------------------------------------------


def _claimed(checked: list[_Checked], incumbents: Mapping[Ref, Owned], places: Places) -> list[_Checked]:
    """Of several manifests with one name the incumbent stays, else the first; a wrong one holds its name all the same."""
    owner: dict[Ref, _Checked] = {}
    for each in checked:
        if each.ref is not None:
            held, incumbent = owner.setdefault(each.ref, each), incumbents.get(each.ref)
            if incumbent is not None and _likeness(each, incumbent) > _likeness(held, incumbent):
                owner[each.ref] = each
    return [each if each.ref is None or owner[each.ref] is each else _refused(each, owner[each.ref], places) for each in checked]


def _likeness(each: _Checked, incumbent: Owned) -> tuple[bool, bool, bool]:
    """How much a manifest is the one that was applied last: from its source, with its meaning, in its file."""
    same = each.resource is not None and each.resource.digest == incumbent.digest
    return each.manifest.source == incumbent.source, same, each.manifest.location.file == incumbent.location.file


def _refused(each: _Checked, owner: _Checked, places: Places) -> _Checked:
    first, second = owner.manifest, each.manifest
    other = f" of source {first.source}" if first.source != second.source else ""
    at = places.at(second.location, ("metadata", "name"))
    message = f"{each.ref} is declared twice; the one in {first.location}{other} stays and this one is refused"
    told = Diagnostic(at, message, path="metadata.name", ref=cast("Ref", each.ref), hint="rename or remove one of them", reason="Duplicate")
    return _Checked(second, each.ref, None, (*each.diagnostics, told))
