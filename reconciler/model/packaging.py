"""What the programs around a served model are told: the package to build, the trial to make. Plain values, written as JSON."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LONGEST = 63
"""Characters of a tag's name and of its version (BentoML, `bentoml._internal.tag`)."""
VERSION = 16
"""Digits of a revision's digest in a package's version."""
FILES = "files"
"""Folder of the model's own files in an entry of BentoML's model store, which has files of its own beside it."""
LABEL = "mlops."
"""Labels of a package that are ours start with it."""


@dataclass(frozen=True, slots=True)
class BentoSpec:
    """A BentoML package to be built: one model's files with the code that serves them."""

    ref: str
    """The Deployment's, as text: `deployment/project/name`."""
    project: str
    name: str
    """Of the Deployment."""
    digest: str
    """Of the revision; the package's version is its beginning."""
    folder: str
    """Of the model's files."""
    model: str
    """`project/name` of the registered model."""
    model_digest: str
    """Of the model's files; they are refused when they come to another one."""
    version: str
    """Of the model."""
    run: str
    runtime: str
    """`mlx`, `torch`, `sklearn`, `pyfunc`; `bento` for an own service class."""
    installation: str = ""
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Name -> digest."""
    service: str = ""
    """`module:Class` of an own service class; empty = the generic one."""
    root: str = ""
    """The project's folder, where that class is."""
    code: tuple[str, ...] = ()
    """Globs of the files that go into the package, relative to `root`."""

    @property
    def tag(self) -> str:
        """`name:version` of the package."""
        return f"{tag_name(f'{self.project}.{self.name}')}:{self.digest[:VERSION]}"

    @property
    def model_tag(self) -> str:
        """`name:version` of the model's files in BentoML's model store: the same for every package of the same files."""
        return f"{tag_name(self.model.replace('/', '.'))}:{self.model_digest[:VERSION]}"


@dataclass(frozen=True, slots=True)
class BentoInfo:
    """A package that is there."""

    tag: str
    ref: str
    installation: str
    digest: str
    """Of its revision."""
    labels: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    """Tags in the model store that it refers to."""
    created: str = ""
    """RFC 3339."""


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """What a trial is told: `python -m reconciler.serving.trial SPEC.json`."""

    model: str
    """Folder of the model's files."""
    digest: str
    """What they must come to."""
    result: str
    """File that TrialResult is written to."""
    runtime: str = "auto"
    """One that the model offers; `auto` = what this machine would choose."""
    requests: int = 200
    """Single predictions whose time is taken."""
    evaluation: str = ""
    """CSV or Parquet file; empty = none."""
    target: str = ""
    """Column with the truth."""
    data: str = ""
    """MD5 of that file as its dataset's version has it, passed on to the result; empty = whatever it is."""


def tag_name(name: str) -> str:
    """A name that BentoML takes: lower case, at most LONGEST characters; a longer one ends in a digest, so that no two become one."""
    plain = re.sub(r"[^a-z0-9._-]", "-", name.lower()).strip("-._")
    if plain == name and len(plain) <= LONGEST:
        return plain
    return f"{plain[: LONGEST - 13].rstrip('-._')}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def model_folder(home: Path, model_tag: str) -> Path:
    """Where BentoML's model store in `home` keeps the files of a model: what packages that refer to it serve."""
    name, _, version = model_tag.partition(":")
    return home / "models" / name / version / FILES
