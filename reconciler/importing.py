"""From the tools back to manifests: everything that is there and not declared, as a tree that plans to no changes.

Each controller lists and exports its own kind; here the last manifest's lifecycle and labels are joined to that, projects are added that
nobody has registered, and what cannot stand in a valid tree is taken out, with the reason."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reconciler.controller import Context, Exports
from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.house import House
from reconciler.model import JSON, Diagnostic, Ref
from reconciler.selection import Selection
from reconciler.source.read import read
from reconciler.tidy import tidied, tree
from reconciler.validate import ref_of

PROJECT = "Project"


@dataclass
class Imported:
    """What an import found."""

    manifests: dict[Ref, Mapping[str, JSON]] = field(default_factory=dict)
    declared: list[Ref] = field(default_factory=list)
    """There is a manifest already."""
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    """(kind, name in its tool) -> why it cannot be a manifest."""
    unread: dict[str, str] = field(default_factory=dict)
    """Kind -> why its tool could not be asked."""

    @property
    def taken_over(self) -> list[Ref]:
        """Those that do not carry this installation's mark."""
        return sorted(ref for ref, each in self.manifests.items() if (each.get("lifecycle") or {}).get("adopt"))


@dataclass(frozen=True)
class _Scope:
    """What an import is about."""

    ctx: Context
    projects: Collection[str]
    """Empty = all, and what belongs to none."""
    declared: Collection[Ref]

    def covers(self, project: str) -> bool:
        return not self.projects or project in self.projects


def exported(kind: str, name: str, ctx: Context, house: House) -> tuple[Ref, Mapping[str, JSON]]:
    """The manifest of one object, tidied. Raises Terminal when there is none, or when no manifest can say what it is."""
    controller = house.kinds.controller(kind)
    assert isinstance(controller, Exports)
    return _whole(controller.export(name, ctx), ctx, house)


def everything(kinds: Collection[str], projects: Collection[str], declared: Collection[Ref], ctx: Context, house: House) -> Imported:
    """All of these kinds that `projects` (empty = all) hold, less what is `declared`."""
    found, scope = Imported(), _Scope(ctx, projects, declared)
    for kind in sorted(kinds):
        _of_kind(kind, scope, house, found)
    _with_projects(scope, house, found)
    return found


def keep_valid(found: Imported, paths: Collection[Path], house: House) -> dict[str, str]:
    """The files of a tree that is valid beside the manifests at `paths`; what would not be is moved to `refused`."""
    while True:
        files = tree(found.manifests.values())
        wrong = _wrong(files, tuple(paths), house)
        gone = {ref: each for ref, each in wrong.items() if ref in found.manifests}
        if not gone:
            return files
        for ref, each in gone.items():
            del found.manifests[ref]
            where = f"{each.path}: " if each.path else ""
            found.refused[ref.kind, ref.path] = f"{where}{each.message}{f' ({each.hint})' if each.hint else ''}"


def _of_kind(kind: str, scope: _Scope, house: House, found: Imported) -> None:
    """All of one kind, or none: half a listing says nothing about the rest."""
    controller, part = house.kinds.controller(kind), Imported()
    assert isinstance(controller, Exports)
    if any(scope.ctx.services.pristine([each]) for each in controller.services):
        return  # one that it stands on was never started, so there is nothing
    try:
        for name in controller.found(scope.ctx):
            _one(kind, name, scope, house, part)
    except ReconcilerError as error:
        found.unread[kind] = str(error)
    except Exception as error:  # a defect in a controller narrows the import by its kind only
        found.unread[kind] = f"the {kind} controller failed: {type(error).__name__}: {error}"
    else:
        found.manifests |= part.manifests
        found.refused |= part.refused
        found.declared += part.declared


def _one(kind: str, name: str, scope: _Scope, house: House, found: Imported) -> None:
    """One object of a listing. Raises Transient."""
    try:
        ref, manifest = exported(kind, name, scope.ctx, house)
    except Transient:
        raise
    except ReconcilerError as error:
        if scope.covers(name.replace(".", "/").partition("/")[0]):
            found.refused[kind, name] = str(error)
        return
    if not scope.covers(ref.owner):
        return
    if ref in scope.declared:
        found.declared.append(ref)
    else:
        found.manifests[ref] = manifest


def _whole(manifest: Mapping[str, Any], ctx: Context, house: House) -> tuple[Ref, Mapping[str, JSON]]:
    """With what the last manifest said of its treatment, and of its labels where the tool keeps none; tidied."""
    info = house.kinds.kinds[manifest["kind"]]
    metadata, lifecycle = dict(manifest["metadata"]), dict(manifest.get("lifecycle") or {})
    ref = ref_of(manifest, house.kinds.kinds)
    if ref is None:
        hint = "lower case letters, digits and hyphens, 63 at most: rename it in its tool"
        raise Terminal("its name cannot be that of a manifest", hint=hint)
    if (owned := ctx.owned.get(ref)) is not None:
        metadata.setdefault("labels", owned.declared.get("labels") or {})
        said = dict(owned.declared.get("lifecycle") or ({"prune": owned.prune} if owned.prune != info.prune else {}))
        for done in ("adopt", "movedFrom"):  # it was taken over, or renamed; if somebody took our mark away since, the controller says so
            said.pop(done, None)
        lifecycle = {**said, **lifecycle}
    try:
        return ref, tidied({**manifest, "metadata": metadata, "lifecycle": lifecycle}, info)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(each) for each in wrong["loc"])
        raise Terminal(f"{ref} cannot be said by a manifest of this version: {path}: {wrong['msg']}") from None


def _with_projects(scope: _Scope, house: House, found: Imported) -> None:
    """A manifest belongs to a project: add those that are named, and neither declared nor found."""
    named = {ref.owner for ref in found.manifests if ref.owner}
    for name in sorted(named):
        ref = Ref(PROJECT, None, name)
        if ref in scope.declared or ref in found.manifests:
            continue
        try:
            found.manifests[ref] = exported(PROJECT, name, scope.ctx, house)[1]
        except ReconcilerError as error:
            found.refused[PROJECT, name] = str(error)


def _wrong(files: Mapping[str, str], paths: tuple[Path, ...], house: House) -> dict[Ref, Diagnostic]:
    """The first error of each resource, in a tree of `paths` and `files`."""
    with tempfile.TemporaryDirectory(prefix="mlops-import-") as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        selection = Selection(paths=(*paths, Path(folder)), whole=True)
        told = read(selection, house.kinds, house.settings, house.store.inventory()).diagnostics
    found: dict[Ref, Diagnostic] = {}
    for each in told:
        if each.severity == "error" and each.ref is not None:
            found.setdefault(each.ref, each)
    return found
