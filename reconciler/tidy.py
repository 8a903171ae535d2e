"""Manifests as people would have written them: what is at its default left out, one file for each kind of a project. Pure, but for YAML."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from reconciler.model import JSON
from schemas.base import KindInfo, Lifecycle, Spec

WIDTH = 120
"""Columns of a line in a file."""
ALONE = ("Platform", "Project")
"""Kinds of which there is one where their file lies."""


def minimal(spec: Spec) -> dict[str, JSON]:
    """The spec as YAML values, without what is at its schema's default: reading it gives the same spec again."""
    return spec.model_dump(mode="json", exclude_defaults=True)


def tidied(manifest: Mapping[str, Any], info: KindInfo) -> dict[str, JSON]:
    """The manifest with its spec, lifecycle and labels as short as they can be said. Raises pydantic's ValidationError."""
    metadata: dict[str, JSON] = {key: value for key, value in manifest["metadata"].items() if value}
    lifecycle = Lifecycle.model_validate(manifest.get("lifecycle") or {}).model_dump(mode="json", exclude_defaults=True)
    spec = minimal(info.spec.model_validate(manifest.get("spec") or {}))
    head: dict[str, JSON] = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": metadata}
    return head | ({"lifecycle": lifecycle} if lifecycle else {}) | ({"spec": spec} if spec else {})


def tree(manifests: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """File name -> text, files and what is in them sorted by name."""
    files: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in manifests:
        files[file_of(each)].append(each)
    return {name: "---\n".join(map(as_yaml, sorted(found, key=_name))) for name, found in sorted(files.items())}


def as_yaml(manifest: Mapping[str, Any], width: int = WIDTH) -> str:
    """One document."""
    return str(yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True, width=width))


def file_of(manifest: Mapping[str, Any]) -> str:
    """Where it stands in `tree`."""
    kind, metadata = str(manifest["kind"]), manifest["metadata"]
    name = kind.lower() if kind in ALONE else _plural(kind.lower())
    project = metadata.get("project") or (metadata["name"] if kind == "Project" else "")
    return str(PurePosixPath(*(["projects", project] if project else []), f"{name}.yaml"))


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _name(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["name"])
