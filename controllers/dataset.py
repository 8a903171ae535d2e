"""Dataset: a path of a project whose bytes are versions in DVC.

The mark is kept in the `.dvc` file of the present version, under `meta.mlops`, together with the stat that the bytes had.
Observing is stat only; bytes are read in a pass only where the stat differs and the data is small.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controllers.tools.dvc import Dvc, Entry, Snapshot
from controllers.tools.dvc_content import change, fact_notes, recorded_facts, same, unexpected
from controllers.tools.dvc_files import pointer, refuse_pointer
from controllers.tools.dvc_obtain import Obtained, Want, moved_on, nested, obtain, own_place, whole
from controllers.tools.dvc_open import open_dvc
from reconciler.controller import Context
from reconciler.diff import compare
from reconciler.errors import Conflict, ReconcilerError, Terminal, Transient
from reconciler.model import (
    JSON,
    KNOWN_AFTER_APPLY,
    Absent,
    Attribution,
    Create,
    Diff,
    Done,
    Drift,
    Fields,
    Health,
    HealthReport,
    Mark,
    Observation,
    Outcome,
    Owned,
    Present,
    Ref,
    Replace,
    Resource,
    Unknown,
    Update,
    manifest,
)
from reconciler.model.lfs import WAY_OUT
from schemas.base import duration_value
from schemas.dataset import KIND, DatasetSpec

FEW = 3
"""Of whose `.dvc` files git is asked in one pass."""
POINTERS = 1000
"""Files of a folder of which each look sees whether they are pointers of Git LFS; before a version is made all of them are."""
READ_AT_MOST = 16 << 20
"""Bytes. Changed data up to this size is read while observing (about 30 ms), so that the plan can say what changed; larger data
is only read when it is applied."""


class DatasetController:
    """Datasets in DVC."""

    info = KIND
    tool = "dvc"
    services: tuple[str, ...] = ()

    def observe(self, resources: Sequence[Resource[DatasetSpec]], ctx: Context) -> Mapping[Ref, Observation]:
        """One reading of the namespaces, one stat for each dataset."""
        dvc, inner = ctx.client(Dvc, open_dvc), nested(ctx)
        owners = {each.ref.owner for each in resources}
        entries = dvc.names.listing(owners if ctx.focused else {*dvc.names.projects(), *owners})
        seen: dict[Ref, Observation] = {
            Ref("Dataset", project, name): _held(project, name, entry)
            for project, found in entries.items()
            for name, entry in found.items()
        }
        for each in resources:
            entry = entries[each.ref.owner].get(each.ref.name)
            try:
                place = own_place(dvc, each.ref.owner, each.root, each.spec.path, inner)
                if isinstance(entry, Entry):
                    seen[each.ref] = _look(each, entry, place, ctx, dvc)
                elif entry is None:
                    if each.spec.pin is None:  # else what is there makes room for the pinned version
                        refuse_pointer(place, each.spec.path, POINTERS)
                    seen[each.ref] = Absent()
            except ReconcilerError as error:
                seen[each.ref] = Unknown(error.message)
        return seen

    def desired(self, resource: Resource[DatasetSpec]) -> Fields:
        """The fields that this kind is responsible for."""
        spec = resource.spec
        fields = {"path": spec.path, "type": spec.type, "version": spec.pin or KNOWN_AFTER_APPLY, "writeBack": spec.write_back}
        source = spec.source.model_dump(mode="json", exclude_none=True) if spec.source else None
        optional = {"push": spec.remote if spec.push else None, "source": source, "versions": spec.versions}
        return fields | {key: value for key, value in optional.items() if value}

    def diff(self, resource: Resource[DatasetSpec], seen: Present) -> Diff:
        """Changed bytes are a new version, or drift where a version is pinned."""
        spec, raw, have = resource.spec, seen.raw, dict(seen.fields)
        want: dict[str, Any] = {"path": spec.path, "type": spec.type, "writeBack": spec.write_back, "cache": "whole", "data": "present"}
        moved = raw["data"] == "other" and not raw["settling"]
        have["data"] = "missing" if raw["data"] == "missing" else "changed" if moved and spec.pin else "present"
        follows = spec.pin is None and (moved or raw["movedOn"] or have["path"] != spec.path)
        want["version"] = KNOWN_AFTER_APPLY if follows else spec.pin or have["version"]
        if spec.push:
            want["push"] = spec.remote
        if spec.versions is not None and raw["history"] > spec.versions:
            have["versions"], want["versions"] = raw["history"], spec.versions
        told = (
            f"version {spec.pin} is put back; the other bytes are kept as an unreferenced copy in DVC"
            if have["data"] == "changed"
            else f"put back from version {have['version']}"
        )
        notes = {"spec.version": raw["note"], "spec.data": told}
        return tuple(replace(each, note=notes.get(each.path, "")) for each in compare(want, have))

    def attribution(self, drifts: Sequence[Drift], ctx: Context) -> Mapping[Ref, Attribution]:
        """Who changed the `.dvc` file beside the data, by git; of a few, for each is two calls of git."""
        found: dict[Ref, Attribution] = {}
        for each in drifts[:FEW]:
            if any(change.path == "spec.writeBack" for change in each.changes):
                told = ctx.last_change(each.resource.root / f"{each.resource.spec.path}.dvc")
                if told is not None:
                    found[each.resource.ref] = told
        return found

    def apply(self, action: Create | Update | Replace, ctx: Context) -> Outcome:
        """Obtain the version, record it, push it; in this order, so that a crash in between repeats only what is missing."""
        resource: Resource[Any] = action.resource
        spec: DatasetSpec = resource.spec
        dvc, project, name = ctx.client(Dvc, open_dvc), resource.ref.owner, resource.ref.name
        place = own_place(dvc, project, resource.root, spec.path, nested(ctx))
        before, want = dvc.names.entry(project, name), _want(resource, ctx)
        paths = {each.path for each in action.changes}
        if before is None or paths & {"spec.version", "spec.data", "spec.path"}:
            got = obtain(dvc, want, before)
        else:
            got = Obtained(before.version, Snapshot(before.notes.get("stat", ""), 0, None, 0.0))
        if "spec.cache" in paths:
            whole(dvc, want, got.version.md5)
        entry = _described(resource, got, place, before, dvc, ctx)
        dvc.names.record(project, name, entry)
        if spec.push and spec.remote and entry.notes.get("pushed") != spec.remote:
            dvc.push(entry.version.md5, spec.remote)
            entry = replace(entry, notes={**entry.notes, "pushed": spec.remote})
            dvc.names.record(project, name, entry)
        if spec.write_back == "file":
            dvc.write_back(resource.root, spec.path, entry)
        else:
            dvc.take_back(resource.root, spec.path, entry)
        if spec.versions is not None and (old := dvc.names.history(project, name)[spec.versions :]):
            dvc.let_go(project, name, [each.version.md5 for each in old])
        return Done(f"{project}/{name}", _outputs(entry, spec.path, name))

    def delete(self, owned: Owned, ctx: Context) -> Outcome:
        """Forget the versions and release what nothing else refers to. The data at its path is the user's and stays."""
        dvc, project, name = ctx.client(Dvc, open_dvc), owned.ref.owner, owned.ref.name
        entry = dvc.names.entry(project, name)
        if entry is not None and (root := Path(entry.notes.get("root") or "/nowhere")).is_dir():
            dvc.unlink(project, root, entry.notes["path"])
            dvc.take_back(root, entry.notes["path"], entry)
        dvc.let_go(project, name)
        return Done(owned.external_id)

    def move(self, owned: Owned, resource: Resource[Any], ctx: Context) -> Outcome:
        """See `Moves`. Its versions are renamed in the project's DVC repository; no byte is read or moved."""
        dvc, project, ref = ctx.client(Dvc, open_dvc), resource.ref.owner, resource.ref
        found = dvc.names.entry(project, owned.ref.name) or dvc.names.entry(project, ref.name)
        if found is None:
            raise Transient(f"DVC has no version of {owned.ref} any more", hint="the next pass looks again")
        if found.notes.get("installation") != ctx.installation or found.notes.get("ref") not in (str(owned.ref), str(ref)):
            raise Conflict(f"the record of {owned.ref} in DVC no longer carries its mark; it was left alone")
        dvc.names.rename(project, owned.ref.name, ref.name)
        moved = dvc.names.entry(project, ref.name)
        assert moved is not None
        dvc.names.record(project, ref.name, replace(moved, notes={**moved.notes, "ref": str(ref), "formerly": _first_name(moved.notes)}))
        return Done(f"{project}/{ref.name}")

    def health(self, resource: Resource[DatasetSpec], seen: Present) -> HealthReport:
        """Healthy = the bytes are a known version and meet what is expected of them."""
        raw, spec = seen.raw, resource.spec
        if raw["data"] == "missing":
            return HealthReport(Health.MISSING, f"nothing is at {spec.path}", "DataMissing")
        if raw["data"] == "pointer":
            told = f"{spec.path} holds a pointer of Git LFS, not the data; the last version stands: {WAY_OUT}"
            return HealthReport(Health.DEGRADED, told, "LfsPointer")
        if seen.fields["cache"] != "whole":
            return HealthReport(Health.DEGRADED, "objects of the present version are missing from the DVC cache or damaged", "CacheDamaged")
        if raw["settling"]:
            return HealthReport(Health.PROGRESSING, f"changed on disk; acted on once it has not changed for {spec.settle}", "Settling")
        if raw["data"] == "other":
            if spec.pin is not None:
                return HealthReport(Health.DEGRADED, "other bytes than the pinned version", "NotThePin")
            return HealthReport(Health.PROGRESSING, "changed on disk", "Changed")
        if trouble := unexpected(spec.expect, raw["facts"]):
            return HealthReport(Health.DEGRADED, trouble, "Unexpected")
        return HealthReport(Health.HEALTHY)

    def found(self, ctx: Context) -> Sequence[str]:
        names = ctx.client(Dvc, open_dvc).names
        return [f"{project}/{name}" for project, found in names.listing(names.projects()).items() for name in found]

    def export(self, external_id: str, ctx: Context) -> Mapping[str, Any]:
        """A manifest for a dataset that is recorded in DVC (`project/name`), or for data in a project's folder (`project/path`)."""
        dvc, (project, _, rest) = ctx.client(Dvc, open_dvc), external_id.partition("/")
        if "/" not in rest and (entry := dvc.names.entry(project, rest)):
            ref = Ref(KIND.name, project, rest)
            notes = entry.notes
            recorded: dict[str, JSON] = {"path": notes.get("path", entry.basename), "type": notes.get("type", "data")}
            recorded |= {"writeBack": notes.get("writeBack", "none")}
            if (declared := ctx.declared(ref)) is None and "pushed" in notes:
                recorded |= {"remote": notes["pushed"], "push": True}
            ours = (notes.get("installation"), notes.get("ref")) == (ctx.installation, str(ref))
            return manifest(ref, {**(declared or {}), **recorded}, adopt=not ours)
        name, path = re.sub(r"[^a-z0-9]+", "-", Path(rest).stem.lower()).strip("-"), rest.removesuffix(".dvc")
        if project not in ctx.projects or dvc.look(ctx.root / ctx.projects[project].spec.path, path) is None:
            raise Terminal(f"'{external_id}' is neither a dataset in DVC nor data of a project", hint="write project/name or project/path")
        return manifest(Ref(KIND.name, project, name), {"path": path})


def _outputs(entry: Entry, path: str, name: str, md5: str = "") -> dict[str, str]:
    """What others are told of a version; `formerly` is the first of several names, by which runs know the data."""
    first = _first_name(entry.notes) or name
    return {"digest": md5 or entry.version.md5, "path": path, **({"formerly": first} if first != name else {})}


def _first_name(notes: Mapping[str, str]) -> str:
    ref = Ref.parse(notes.get("ref", ""), [KIND.name])
    return notes.get("formerly") or (ref.name if ref is not None else "")


def _held(project: str, name: str, entry: Entry | ReconcilerError) -> Observation:
    """What the namespace alone says; enough for an orphan."""
    if isinstance(entry, ReconcilerError):
        return Unknown(entry.message)
    notes, md5 = entry.notes, entry.version.md5
    mark = Mark(notes["installation"], notes.get("ref", ""), notes.get("digest", "")) if "installation" in notes else None
    path = notes.get("path", "")
    fields = {"path": path, "type": notes.get("type", "data"), "version": md5, "push": notes.get("pushed")}
    return Present(f"{project}/{name}", fields, _outputs(entry, path, name), mark)


def _look(resource: Resource[DatasetSpec], entry: Entry, place: Path, ctx: Context, dvc: Dvc) -> Present:
    """The record, held against the stat of the data and of its objects in the cache."""
    spec, held = resource.spec, _held(resource.ref.owner, resource.ref.name, entry)
    assert isinstance(held, Present)
    seen = dvc.stat(place, resource.root)
    memo = ctx.memo(resource.ref)
    known = seen is not None and (same(entry, seen) or memo.get("sameAs") == [entry.version.md5, seen.digest])
    data, recheck, words = "missing" if seen is None else "same" if known else "other", None, ""
    if seen is not None and data == "other" and spec.pin is None and pointer(place, POINTERS) is not None:
        data = "pointer"
    if seen is not None and data == "other":
        settled = seen.newest + duration_value(spec.settle).total_seconds()
        if ctx.now().timestamp() < settled:
            recheck = datetime.fromtimestamp(settled, UTC)
        elif seen.size <= READ_AT_MOST:
            found = dvc.hash(resource.root, spec.path)
            data = "same" if found == entry.version else "other"
            if data == "same":  # touched, not changed: no need to read it again
                memo["sameAs"] = [entry.version.md5, seen.digest]
            words = f": {change(entry, place, found, dvc.cache, closely=True)[1]}" if data == "other" else ""
    kept = dvc.cache.seal(entry.version.md5)
    wrote = "file" in (spec.write_back, entry.notes.get("writeBack")) and dvc.written_back(resource.root, spec.path, entry)
    facts = recorded_facts(entry)
    raw = {
        "data": data,
        "settling": data == "other" and recheck is not None,
        "note": f"{place.name} changed on disk{words}" if data == "other" else "",
        "history": len(dvc.names.history(resource.ref.owner, resource.ref.name)) if spec.versions is not None else 0,
        "facts": facts,
        "movedOn": moved_on(spec, entry),
    }
    cache = "missing" if not kept else "whole" if kept == entry.notes.get("seal", kept) else "changed"
    fields = {**held.fields, "cache": cache, "writeBack": "file" if wrote else "none"}
    return replace(
        held,
        fields=fields,
        outputs=_outputs(entry, spec.path, _name(resource.ref, ctx), spec.pin or ""),
        recheck_at=recheck,
        settling=recheck is not None,
        unfit=unexpected(spec.expect, facts) if data == "same" else "",  # other bytes are judged before they become a version
        raw=raw,
    )


def _name(ref: Ref, ctx: Context) -> str:
    """What it is called once this pass has moved it."""
    return next((new.name for new, old in ctx.moving.items() if old == ref), ref.name)


def _described(resource: Resource[DatasetSpec], got: Obtained, place: Path, before: Entry | None, dvc: Dvc, ctx: Context) -> Entry:
    """The record of a version. Raises Terminal when new bytes are not what is expected: they do not become a version."""
    spec, notes = resource.spec, dict(before.notes) if before else {}
    if before is None or before.version != got.version:
        shape, found = fact_notes(place)
        if spec.pin is None and (trouble := unexpected(spec.expect, shape)):
            raise Terminal(f"{spec.path} is refused as a version: {trouble}", hint="correct the data, or spec.expect")
        notes = {
            "at": ctx.now().astimezone(UTC).isoformat(),
            **found,
            **{each: notes[each] for each in ("source", "formerly") if each in notes},
        }
        if before and (kind := change(before, place, got.version, dvc.cache)[0]):
            notes["change"] = kind
    elif "columns" not in notes:
        notes |= fact_notes(place)[1] if place.exists() else {}
    notes |= {"installation": ctx.installation, "ref": str(resource.ref), "digest": resource.digest, "path": spec.path, "type": spec.type}
    notes |= {"writeBack": spec.write_back, "stat": got.seen.digest, "root": str(resource.root.absolute())}
    notes |= {"seal": dvc.cache.seal(got.version.md5), **({"source": got.source} if got.source else {})}
    return Entry(place.name, got.version, notes)


def _want(resource: Resource[DatasetSpec], ctx: Context) -> Want:
    project, spec = ctx.projects.get(resource.ref.owner), resource.spec
    allow = project.spec.allow if project is not None else None
    if spec.remote is not None and allow is not None and allow.remotes is not None and spec.remote not in allow.remotes:
        raise Terminal(
            f"project '{resource.ref.owner}' may not use remote '{spec.remote}'", hint="its `allow.remotes` lists what it may use"
        )
    notes = {"at": ctx.now().astimezone(UTC).isoformat(), "installation": ctx.installation, "ref": str(resource.ref), "path": spec.path}
    return Want(resource.ref.owner, resource.ref.name, resource.root, spec, allow.hosts if allow is not None else (), notes)
