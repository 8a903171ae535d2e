"""load -> validate -> resolve over the root source and the further sources that its Platform names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.environment import must_have
from reconciler.model import Diagnostic, Location, Owned, Ref, Source
from reconciler.overlay import overlay
from reconciler.registry import Kinds
from reconciler.resolve import Graph, resolve
from reconciler.rules import ROOT_SOURCE
from reconciler.selection import Selection, must_know
from reconciler.settings import Settings
from reconciler.source.folders import folders
from reconciler.source.follow import place_of, standing
from reconciler.source.load import OVERLAYS, Loaded, load, overlay_folders
from reconciler.source.quarantine import out_of, told
from reconciler.source.revision import contents_of, head_of
from reconciler.validate import Checks, Validated, validate
from schemas.platform import ManifestSource, PlatformSpec

if TYPE_CHECKING:
    from reconciler.state.records import Quarantined


@dataclass(frozen=True)
class Desired:
    """What the manifests say, as far as they are right; `diagnostics` is the rest. `selection` knows now whether it is the whole tree."""

    graph: Graph
    diagnostics: tuple[Diagnostic, ...]
    installation: str
    selection: Selection
    environments: frozenset[str] = frozenset()
    """That the root source has an overlay of."""


def read(
    selection: Selection,
    kinds: Kinds,
    settings: Settings,
    inventory: Mapping[Ref, Owned],
    root_paths: str = "",
    quarantined: Sequence[Quarantined] = (),
    checks: Checks | None = None,
) -> Desired:
    """Read every source. `root_paths` is what the last complete pass read; other paths are a part of the tree, and prune nothing.
    Of a root that is at a `quarantined` revision nothing is read: what stands stays as it is. A loop keeps its `checks`.

    Raises UsageError for an environment that the root source has no overlay of: without its patches nothing would be as it is wanted."""
    root = settings.root.absolute()
    paths = tuple(Path(os.path.relpath(each.absolute(), root)) for each in selection.paths)
    whole = selection.whole or not root_paths or set(root_paths.splitlines()) <= {str(each) for each in paths}
    looks_up = selection.part
    selection = replace(selection, paths=paths, part=not whole)
    cache, env = settings.state / "cache" if settings.state.is_dir() else None, selection.env
    loaded = _taken_out(paths, root, quarantined) if selection.mirror is None else _mirrored(paths, root, selection.mirror, env, whole)
    if loaded is None:
        loaded = load([root / each for each in paths], root=root, cache=cache, env=env, whole=whole)
        if not looks_up and (whole or not _is_elsewhere(env, root_paths, root)):
            must_have(env, loaded.environments)
    own, platform = loaded.environments, _platform(loaded, kinds, root, inventory)
    if platform is not None and platform.sources:
        loaded = _without_others(loaded, platform.sources, root, settings.state)
        loaded = reduce(add, [_further(each, root, settings.state, cache, env) for each in platform.sources], loaded)
    validated = validate(overlay(loaded, kinds, root=root), kinds, root=root, incumbents=inventory, checks=checks)
    where = folders(validated.resources, platform, root, settings.state)
    graph = resolve(validated, kinds, known=inventory, partial=not selection.prunes, folders=where)
    must_know(selection.projects, (*graph.resources, *graph.refused, *inventory))
    found = (*_stale(platform, settings.state, paths), *_sorted(validated, graph))
    found = found if whole else (*_narrower(paths, root_paths, root), *found)
    return Desired(graph, found, platform.installation if platform else _recorded(inventory), selection, own)


def _platform(loaded: Loaded, kinds: Kinds, root: Path, inventory: Mapping[Ref, Owned]) -> PlatformSpec | None:
    """What the root source says of the installation; only the root may."""
    declared = replace(loaded, manifests=tuple(each for each in loaded.manifests if each.data.get("kind") == "Platform"))
    found = validate(overlay(declared, kinds, root=root), kinds, root=root, incumbents=inventory).resources
    return next((each.spec for each in found if isinstance(each.spec, PlatformSpec)), None)


def _mirrored(paths: Sequence[Path], root: Path, mirror: Path, env: str, whole: bool) -> Loaded:
    """The root source as a copy of it has it, as if it lay in the root."""
    loaded = load([mirror / each for each in paths], root=mirror, env=env, whole=whole)
    layers = (replace(each, below=os.path.normpath(root / os.path.relpath(each.below, mirror))) for each in loaded.layers)
    return replace(loaded, layers=tuple(layers))


def _is_elsewhere(env: str, root_paths: str, root: Path) -> bool:
    """Whether the whole tree has an overlay of the environment, which a part of it need not have."""
    paths = [root / each for each in root_paths.splitlines()]
    return any((folder / env).is_dir() for path in paths for folder in (*path.glob(f"**/{OVERLAYS}"), *overlay_folders(path, root)))


def _taken_out(paths: Sequence[Path], root: Path, quarantined: Sequence[Quarantined]) -> Loaded | None:
    """The root source without anything, when somebody took out the revision that it is at; None = nobody did."""
    if not any(each.source == ROOT_SOURCE for each in quarantined) or not (head := head_of(root)):
        return None
    bad = out_of(quarantined, ROOT_SOURCE, head, lambda commit, folders: contents_of(root, commit, folders))
    if bad is None:
        return None
    said = told(bad, head)
    hint = "nothing is changed and nothing deleted; `reconcile rollback` goes back to what was good, or pull a commit that mends it"
    diagnostic = Diagnostic(Location(str(paths[0])), said, hint=hint, reason="Quarantined")
    return Loaded((Source(ROOT_SOURCE, head[:7], False, files=0, documents=0, why_incomplete=said),), (), (diagnostic,))


def _without_others(loaded: Loaded, sources: Sequence[ManifestSource], root: Path, state: Path) -> Loaded:
    """The root source less what lies in another repository's clone: that one would speak for everybody."""
    for each in sources:
        place = place_of(each, root, state)
        files = {one.location.file for one in (*loaded.manifests, *loaded.faulty, *(one.manifest for one in loaded.layers))}
        if each.git is None or not any((root / file).is_relative_to(place) for file in files):
            continue
        said = f"the clone of source {each.name} lies among the root's own manifests, and counts as its own only"
        warned = Diagnostic(
            Location(str(each.git.checkout)), said, hint="another `checkout`", severity="warning", reason="SourceWithinSource"
        )
        manifests, faulty = (
            tuple(one for one in some if not (root / one.location.file).is_relative_to(place)) for some in (loaded.manifests, loaded.faulty)
        )
        others = tuple(one for one in loaded.diagnostics if not (root / one.location.file).is_relative_to(place))
        layers = tuple(one for one in loaded.layers if not (root / one.manifest.location.file).is_relative_to(place))
        loaded = replace(loaded, manifests=manifests, diagnostics=(*others, warned), faulty=faulty, layers=layers)
    return loaded


def _further(source: ManifestSource, root: Path, state: Path, cache: Path | None, env: str) -> Loaded:
    """What a source beside the root holds. A repository that was never fetched is not known to hold nothing."""
    place = place_of(source, root, state)
    if source.git is None:
        return load([place / source.path], root=root, cache=cache, source=source.name, env=env)
    if not standing(state, source.name).commit:
        why = f"source {source.name} was not fetched yet"
        return Loaded((Source(source.name, "", complete=False, files=0, documents=0, why_incomplete=why),), (), ())
    return load([place / source.path], root=root, cache=cache, source=source.name, within=place, env=env)


def _stale(platform: PlatformSpec | None, state: Path, paths: Sequence[Path]) -> Iterator[Diagnostic]:
    """A warning for each repository whose newest commit is not what is reconciled."""
    followed = [each.name for each in platform.sources if each.git is not None] if platform is not None else []
    for name in (*followed, *(["root"] if platform is not None and platform.follow is not None else [])):
        found = standing(state, name)
        stands = f"; {found.commit[:7]} stands" if found.commit else ""
        if found.trouble:
            yield Diagnostic(Location(str(paths[0])), f"{found.trouble}{stands}", severity="warning", reason="SourceStale")
        elif not found.commit and name != "root":
            hint = "`reconcile` fetches it, and `reconcile watch` follows it"
            yield Diagnostic(
                Location(str(paths[0])), f"source {name} was not fetched yet", hint=hint, severity="warning", reason="SourceStale"
            )


def _narrower(paths: Sequence[Path], root_paths: str, root: Path) -> Iterator[Diagnostic]:
    """A warning where the paths look like the whole tree and are not: what else was named before lies below them, or is gone."""
    missing = [each for each in root_paths.splitlines() if Path(each) not in paths]
    if all(not (root / each).exists() or any(Path(each).is_relative_to(path) for path in paths) for each in missing):
        why = f"nothing is deleted: {', '.join(missing)} was a part of the whole tree before, and was not named this time"
        hint = "name it with -f, or say with --whole-tree that this is the whole tree now"
        yield Diagnostic(Location(str(paths[0])), why, hint=hint, severity="warning", reason="PartOfTree")


def _sorted(validated: Validated, graph: Graph) -> tuple[Diagnostic, ...]:
    """Every diagnostic once, in the order of the files."""
    found = dict.fromkeys((*validated.diagnostics, *graph.diagnostics))
    return tuple(sorted(found, key=lambda each: (each.location.file, each.location.line, each.location.column)))


def _recorded(inventory: Mapping[Ref, Owned]) -> str:
    applied = next((each.applied for ref, each in inventory.items() if ref.kind == "Platform"), {})
    return str(applied.get("installation", ""))
