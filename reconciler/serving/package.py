"""Builds one BentoML package: `python -m reconciler.serving.package SPEC.json`, where the file holds a BentoSpec.

It needs no network, and says the package's tag on its output. A package is built beside the store and moved into it when it is whole, so
that there is never half of one; what is there already stays as it is. Two at once: one builds, the other one finds it built.
BENTOML_HOME names the store. Exit code 1 and the reason, as one JSON object, when it cannot be built.

The same input gives the same files, but for the times that BentoML notes in bento.yaml and model.yaml."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

from reconciler.errors import ReconcilerError, Terminal
from reconciler.model.packaging import FILES, LABEL, BentoSpec
from reconciler.model.runtimes import PACKAGE
from reconciler.model.serving import Descriptor
from reconciler.serving.content import digest
from reconciler.serving.descriptor import read

INSIDE = "mlops_model"
"""Package that our files become in there: a name that no project's own code has."""
COPIED = ("service.py", "runtimes.py")
STAGED = ".building-"
LARGEST = 100 << 20
"""Bytes of code in one package."""


def build(spec: BentoSpec, home: Path) -> str:
    """Build it where it is not there yet; returns its tag. Raises Terminal."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(home):
        for left in home.glob(f"{STAGED}*"):  # of one that was killed
            shutil.rmtree(left, ignore_errors=True)
        if not _there(spec, home):
            staged = Path(tempfile.mkdtemp(prefix=STAGED, dir=home))
            try:
                _build(spec, home, staged)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
    return spec.tag


def _there(spec: BentoSpec, home: Path) -> bool:
    """True when the package and its model are in the store. What BentoML would not take for one is removed."""
    package, model = _place(home / "bentos", spec.tag), _place(home / "models", spec.model_tag)
    for folder, file in ((package, "bento.yaml"), (model, "model.yaml")):
        if folder.exists() and not (folder / file).exists():
            shutil.rmtree(folder)
    return package.exists() and model.exists()


def _build(spec: BentoSpec, home: Path, staged: Path) -> None:
    os.environ["BENTOML_HOME"] = str(staged)  # read when BentoML is imported
    folder = Path(spec.folder)
    if (found := digest(folder)) != spec.model_digest:
        raise Terminal(
            f"the model's files are not those of {spec.model} version {spec.version}: {found[:12]}, not {spec.model_digest[:12]}"
        )
    described = read(folder)
    model = _place(home / "models", spec.model_tag)
    if not model.exists():
        _store_model(spec, folder)
        _move(_place(staged / "models", spec.model_tag), model)
    shutil.rmtree(staged / "models", ignore_errors=True)
    (staged / "models").symlink_to(home / "models")  # the package refers to what is in the store
    context = staged / "context"
    _collect(spec, described, context)
    _store_package(spec, described, context)
    package = _place(home / "bentos", spec.tag)
    if package.exists():  # its model was missing; what runs from it must not lose its files
        return
    _move(_place(staged / "bentos", spec.tag), package)


def _store_model(spec: BentoSpec, folder: Path) -> None:
    import bentoml

    with bentoml.models.create(spec.model_tag, labels={f"{LABEL}digest": spec.model_digest, f"{LABEL}model": spec.model}) as made:
        shutil.copytree(folder, Path(made.path) / FILES)


def _collect(spec: BentoSpec, described: Descriptor, context: Path) -> None:
    """The package's source: ours, what it has to know, and the project's own code."""
    inside = context / INSIDE
    inside.mkdir(parents=True)
    (inside / "__init__.py").write_text('"""How this package finds and answers with its model."""\n', encoding="utf-8")
    for name in COPIED:
        shutil.copyfile(Path(__file__).with_name(name), inside / name)
    about = {
        "model": spec.model_tag,
        "files": FILES,
        "runtime": spec.runtime,
        "how": dict(described.runtimes.get(spec.runtime, {})),
        "fields": list(described.input.get("properties", {})),
        "service": spec.service,
        "input": described.input,
        "output": described.output,
        "example": described.example,
    }
    (inside / "package.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    for name, path in _code(spec):
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _code(spec: BentoSpec) -> Iterator[tuple[str, Path]]:
    """The project's files that the globs find. Raises Terminal for what leads out of its folder, and when there is too much of it."""
    if not spec.service:
        return
    root, size = Path(spec.root), 0
    inside = root.resolve()
    found = sorted({path for glob in spec.code for path in root.glob(glob) if path.is_file()})
    if not found:
        raise Terminal(f"no file of the project matches {', '.join(spec.code)}", hint="correct spec.service.code of the Deployment")
    for path in found:
        name = path.relative_to(root).as_posix()
        if not path.resolve().is_relative_to(inside):
            raise Terminal(f"{name} leads out of the project's folder: code is read there only")
        if name.split("/")[0] == INSIDE:
            raise Terminal(f"{name}: the name {INSIDE} is taken in a package", hint="give that folder another name")
        size += path.stat().st_size
        if size > LARGEST:
            raise Terminal(f"the code of {spec.ref} is larger than {LARGEST >> 20} MiB", hint="narrow spec.service.code of the Deployment")
        yield name, path


def _store_package(spec: BentoSpec, described: Descriptor, context: Path) -> None:
    import bentoml
    from bentoml.exceptions import BentoMLException

    name, _, version = spec.tag.partition(":")
    try:
        bentoml.build(
            f"{INSIDE}.service:{'Own' if spec.service else 'Model'}",
            name=name,
            version=version,
            labels=_labels(spec),
            description=f"{spec.model} version {spec.version}, packaged for {spec.ref}.\n",
            include=["**"],
            models=[spec.model_tag],
            python={"lock_packages": False, "packages": _requirements(spec, described)},
            build_ctx=str(context),
        )
    except BentoMLException as error:
        raise Terminal(f"BentoML refuses it: {_words(error)}") from error


def _words(error: Exception) -> str:
    """BentoML's own words, without its guess that the class might be the tag of a package, and its advice."""
    text = str(error).partition("python module path: '")[2] or str(error)
    return text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__


def _labels(spec: BentoSpec) -> dict[str, str]:
    found = {
        "installation": spec.installation,
        "ref": spec.ref,
        "digest": spec.digest,
        "model": spec.model,
        "model-digest": spec.model_digest,
        "version": spec.version,
        "run": spec.run,
        "runtime": spec.runtime,
        **{f"dataset.{name}": value for name, value in sorted(spec.datasets.items())},
    }
    return {f"{LABEL}{key}": value for key, value in found.items()}


def _requirements(spec: BentoSpec, described: Descriptor) -> list[str]:
    """What the model says that it was made with, and the runtime's own package as it is here."""
    found: dict[str, str] = {}
    package = PACKAGE.get(spec.runtime)
    if package is not None:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise Terminal(f"`{spec.runtime}` needs {package}, which is not installed where models are served") from error
    return [f"{name}=={version}" for name, version in sorted({**found, **described.packages}.items())]


def _place(store: Path, tag: str) -> Path:
    name, _, version = tag.partition(":")
    return store / name / version


def _move(made: Path, target: Path) -> None:
    """Into the store, as a whole; the newest of a name is also its `latest`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made.rename(target)
    latest = target.parent / f".latest-{os.getpid()}"
    latest.write_text(target.name, encoding="utf-8")
    latest.replace(target.parent / "latest")


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    with (home / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _spec(path: Path) -> BentoSpec:
    raw: Mapping[str, Any] = json.loads(path.read_bytes())
    known = {each.name for each in fields(BentoSpec)}
    return BentoSpec(**{**{key: value for key, value in raw.items() if key in known}, "code": tuple(raw.get("code", ()))})


def main(argv: Sequence[str]) -> int:
    sys.dont_write_bytecode = True  # a compiled file holds the time of its source
    try:
        tag = build(_spec(Path(argv[0])), Path(os.environ["BENTOML_HOME"]))
    except ReconcilerError as error:
        print(json.dumps({"why": error.message, "hint": error.hint}))  # noqa: T201 - its answer
        return 1
    print(json.dumps({"tag": tag}))  # noqa: T201 - its answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
