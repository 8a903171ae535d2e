"""Where the bytes of a dataset come from: the path itself, the cache, a remote, or the source that its manifest names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from controllers.tools.dvc import Dvc, Entry, Snapshot, Version
from reconciler.controller import Context
from reconciler.errors import Terminal
from schemas.dataset import DatasetSpec, Source


@dataclass(frozen=True)
class Want:
    """What one manifest asks for, and what its project may use."""

    project: str
    name: str
    root: Path
    """The project's folder; every path is confined to it."""
    spec: DatasetSpec
    hosts: tuple[str, ...]
    """The project's `allow.hosts`: host names, `s3://bucket`, `file:///folder`."""
    notes: Mapping[str, str]
    """Goes with bytes that are saved because a version takes their place."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """A version that now is at its path and in the cache."""

    version: Version
    seen: Snapshot
    source: str = ""
    """Which source it was taken from in this step; empty = none was asked."""


def source_text(source: Source | None) -> str:
    """One text for equal sources; empty for none."""
    return json.dumps(source.model_dump(mode="json", exclude_none=True), sort_keys=True) if source else ""


def moved_on(spec: DatasetSpec, entry: Entry | None) -> bool:
    """True when the version was taken from a source and the manifest now names another one."""
    taken = entry.notes.get("source", "") if entry else ""
    return bool(taken and spec.source and spec.pin is None and source_text(spec.source) != taken)


def obtain(dvc: Dvc, want: Want, entry: Entry | None) -> Obtained:
    """Bring about the version that the manifest means: the pin, the bytes at the path, the last version, or the source's.

    Raises Terminal when it is nowhere to be had, naming the places that were looked at."""
    spec = want.spec
    if spec.pin is not None:
        _pinned(dvc, want, entry)
        return _put(dvc, want, spec.pin)
    if moved_on(spec, entry):
        return _taken(dvc, want)
    if dvc.look(want.root, spec.path) is not None:
        return Obtained(*dvc.add(want.project, want.root, spec.path))
    if entry is not None:
        whole(dvc, want, entry.version.md5)
        return _put(dvc, want, entry.version.md5)
    if spec.source is None:
        raise Terminal(f"nothing is at '{spec.path}' and the manifest names no source", hint="put the data there, or set spec.source")
    return _taken(dvc, want)


def whole(dvc: Dvc, want: Want, md5: str) -> None:
    """Make sure that the cache holds every byte of a version, repairing it from wherever it can. Raises Terminal."""
    bad = dvc.repair(md5, remote=want.spec.remote, root=want.root, relative=want.spec.path)
    if bad and want.spec.source is not None and _take(dvc, want).md5 == md5:
        bad = dvc.damaged(md5)
    if bad:
        places = [
            "the cache",
            *([f"remote '{want.spec.remote}'"] if want.spec.remote else []),
            *(["the source"] if want.spec.source else []),
        ]
        raise Terminal(
            f"version {md5} of {want.project}/{want.name} is lost: {' and '.join(places)} lack it or hold it damaged (object {bad[0]})",
            hint="put the right bytes back, or name a remote that has them",
        )


def _pinned(dvc: Dvc, want: Want, entry: Entry | None) -> None:
    """Have the pin in the cache. A digest alone gives no right to what is in the shared cache: the version must be this dataset's,
    or come from a place that the project may read."""
    pin, spec = want.spec.pin or "", want.spec
    known = [*([entry] if entry else []), *dvc.names.history(want.project, want.name), *dvc.names.saved(want.project, want.name)]
    if any(each.version.md5 == pin for each in known):
        whole(dvc, want, pin)
        return
    if dvc.look(want.root, spec.path) is not None and dvc.add(want.project, want.root, spec.path)[0].md5 == pin:
        return
    if spec.remote is not None and dvc.in_remote(pin, spec.remote):
        dvc.fetch(pin, spec.remote)
        return
    if spec.source is not None and (found := _take(dvc, want).md5) != pin:
        raise Terminal(f"the source gives {found}, not the pinned {pin}", hint="pin what the source gives, or correct the source")
    if spec.source is None:
        raise Terminal(
            f"the pinned version {pin} is not one of {want.project}/{want.name}"
            + (f", and remote '{spec.remote}' lacks it" if spec.remote else ""),
            hint="`reconcile history` lists its versions; or name a remote or a source that has it",
        )


def _put(dvc: Dvc, want: Want, md5: str) -> Obtained:
    seen = dvc.restore(want.project, want.name, want.root, want.spec.path, md5, want.notes)
    return Obtained(dvc.cache.describe(md5), seen)


def _taken(dvc: Dvc, want: Want) -> Obtained:
    put = _put(dvc, want, _take(dvc, want).md5)
    return Obtained(put.version, put.seen, source_text(want.spec.source))


def _take(dvc: Dvc, want: Want) -> Version:
    source = want.spec.source
    assert source is not None
    if source.file is not None:
        return dvc.add(want.project, want.root, source.file, link=False)[0]
    if source.url is not None:
        return dvc.take_url(source.url, lambda host: host in want.hosts)[0]
    if source.s3 is not None:
        bucket = "/".join(source.s3.split("/", 3)[:3])
        if bucket not in want.hosts:
            raise Terminal(f"project '{want.project}' may not fetch from {bucket}", hint=f"its `allow.hosts` would have to list {bucket}")
        return dvc.take_url(source.s3, lambda _: False)[0]
    assert source.import_ is not None
    return dvc.take_repo(_repository(want, source.import_.repo), source.import_.path, source.import_.rev)[0]


def _repository(want: Want, repo: str) -> str:
    """The repository's address, if the project may read it. Raises Terminal."""
    scheme, host = urlsplit(repo).scheme, urlsplit(repo).hostname
    if scheme in ("http", "https", "ssh"):
        place, allowed = repo, host in want.hosts
    elif "://" not in repo and "@" in repo.split(":")[0]:
        place, allowed = repo, repo.split("@", 1)[1].split(":")[0] in want.hosts
    elif scheme in ("", "file"):
        folder = (want.root / repo.removeprefix("file://")).resolve()
        shared = (Path(each.removeprefix("file://")) for each in want.hosts if each.startswith("file://"))
        place, allowed = str(folder), folder.is_relative_to(want.root.resolve()) or any(folder.is_relative_to(each) for each in shared)
    else:
        raise Terminal(f"'{repo}' is no address of a repository", hint="expected a folder, https://, ssh:// or user@host:path")
    if not allowed:
        raise Terminal(
            f"project '{want.project}' may not import from {repo}",
            hint="its `allow.hosts` must list the host, or file:///folder for a folder outside it",
        )
    return place


class Nested(dict[str, list[Path]]):
    """For each project the folders of other projects that lie inside its own. Usually there are none."""

    def __init__(self, ctx: Context) -> None:
        folders = {name: (ctx.root / each.spec.path).resolve() for name, each in ctx.projects.items()}
        super().__init__({name: [each for each in folders.values() if own in each.parents] for name, own in folders.items()})


def nested(ctx: Context) -> Nested:
    """The pass's one `Nested`: it costs a look at every project's folder."""
    return ctx.client(Nested, Nested)


def own_place(dvc: Dvc, project: str, root: Path, relative: str, inner: Mapping[str, list[Path]]) -> Path:
    """A dataset's path. Raises Terminal when it leaves the project, or lies in (or around) another project's folder (`nested`)."""
    place = dvc.place(root, relative)
    for folder in inner.get(project, ()):
        if place.is_relative_to(folder) or folder.is_relative_to(place):
            raise Terminal(f"'{relative}' belongs to another project, in '{folder.name}'", hint="declare it there, and share it")
    return place
