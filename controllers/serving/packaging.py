"""From a revision to a package, and from a package to an application of Serve: files are fetched, verified, and built once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from controllers.serving.revision import Revision, needs_of
from controllers.serving.rollout import State
from controllers.tools import artifacts, bentoml, signing
from controllers.tools.machine import probe
from controllers.tools.serve import AppSpec
from reconciler.controller import Context
from reconciler.errors import Terminal, Transient
from reconciler.model import Amounts, Ref, Resource
from reconciler.model.content import digest_of_files
from reconciler.model.descriptor import described
from reconciler.model.packaging import model_folder
from reconciler.model.runtimes import choose
from reconciler.model.serving import app_name

UNCHANGED = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Code beside a model is imported from the store, where one more file would be another model."""


def package(resource: Resource[Any], revision: Revision, ctx: Context) -> Revision:
    """The revision with its package, built where it is not there yet.

    Raises Terminal when the files are not those that were registered, when their signature does not cover them, when they do not fit
    this machine, or when they cannot be packaged; Transient while they cannot be had."""
    if not revision.source:
        raise Terminal(f"where the files of {revision.label} are is not known any more", hint="its model version names them")
    folder = artifacts.fetch(ctx, revision.source, revision.content)
    if revision.public_key and not revision.signature:  # the Model signs: a version without a signature is one that lost it
        raise Terminal(
            f"{revision.label} is not signed, and its Model says that it must be", hint="register the run again, or look who untagged it"
        )
    if revision.signature:
        signing.verify(folder, artifacts.read(ctx, revision.signature), revision.public_key)
    asked = replace(needs_of(revision.needs), made_with=artifacts.descriptor(folder).packages)
    choose(revision.runtime, [revision.runtime], probe(ctx).machine([asked]), asked)
    spec = revision.package(resource.ref, str(folder), str(resource.root.absolute()), ctx.installation)
    _discard_spoilt(resource.ref, revision, ctx)
    return replace(revision, bento=bentoml.connect(ctx).build(spec))


def application(ref: Ref, revision: Revision, replicas: int, granted: Amounts, ctx: Context) -> AppSpec:
    """What Serve is asked for; `granted` is what the lease of each replica gives. Raises Terminal when the package's model is gone."""
    folder = _stored(ref, revision, ctx)
    names = tuple(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    about = described(names, lambda name: (folder / name).read_text(encoding="utf-8") if (folder / name).is_file() else None)
    return AppSpec(
        name=app_name(ref, revision.digest),
        ref=str(ref),
        digest=revision.digest,
        bento=revision.bento,
        replicas=replicas,
        memory=granted.memory,
        cpu=granted.cpu,
        gpu=granted.gpu,
        model=str(folder),
        model_digest=revision.content,
        input=about.input,
        output=about.output,
        example=about.example,
        latency=revision.latency,
        timeout=revision.timeout,
        env={**UNCHANGED, **revision.env},
    )


def tidy(ref: Ref, state: State, revisions: Collection[Revision], keep: int, ctx: Context) -> None:
    """Remove the packages of a deployment beyond the newest `keep`; none that serves, or that could be gone back to next."""
    store = bentoml.connect(ctx)
    ours = sorted((each for each in store.bentos().values() if each.ref == str(ref)), key=lambda each: each.created, reverse=True)
    needed = {state.stable, state.candidate, *state.retiring, *state.good[:1]}
    in_use = {each.bento for each in revisions if each.bento and each.digest in needed}
    late = [each.tag for each in ours if each.tag not in in_use][max(0, keep - len(in_use)) :]
    if late:
        store.remove(late, in_use)


def stored(ref: Ref, revision: Revision, ctx: Context) -> Path:
    """Folder of the model's files in BentoML's store: it stays as long as its package, whatever becomes of caches and of MLflow."""
    return model_folder(bentoml.connect(ctx).home, revision.package(ref, "", "", "").model_tag)


def spoilt(ref: Ref, revision: Revision, ctx: Context) -> bool:
    """Whether what the package refers to is not the model any more: reads every file."""
    return bool(revision.content) and _content(stored(ref, revision, ctx)) != revision.content


def _stored(ref: Ref, revision: Revision, ctx: Context) -> Path:
    folder = stored(ref, revision, ctx)
    if not folder.is_dir():
        raise Terminal(f"the files of {revision.bento} are gone from BentoML's store", hint="the next pass packages them again")
    return folder


def _discard_spoilt(ref: Ref, revision: Revision, ctx: Context) -> None:
    """Remove what stands in the place of the model's files: a build takes what is there for the model. Whoever runs keeps the files that
    it has open; nobody could start from these."""
    place = stored(ref, revision, ctx).parent
    if not place.exists() or not spoilt(ref, revision, ctx):
        return
    away = Path(tempfile.mkdtemp(prefix=bentoml.REMOVED, dir=bentoml.connect(ctx).home))
    try:
        place.rename(away / place.name)
    except OSError as error:
        raise Transient(f"{place} holds other files than the model's and cannot be removed: {error.strerror}") from error
    finally:
        shutil.rmtree(away, ignore_errors=True)


def _content(folder: Path) -> str:
    """Digest of the files; empty where one is no plain file, or cannot be read."""
    found: dict[str, str] = {}
    try:
        for path in folder.rglob("*"):
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                return ""
            if path.is_file():
                with path.open("rb") as file:
                    found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
    return digest_of_files(found)
