"""A manifest as plain values: what `reconcile import` writes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.names import Ref
from reconciler.model.values import JSON, Fields
from schemas.base import API_VERSION


def manifest(ref: Ref, spec: Fields, *, labels: Mapping[str, str] | None = None, adopt: bool = False) -> Mapping[str, JSON]:
    """The whole document. `adopt`: the object does not carry this installation's mark, and is to be taken over.

    `labels` None: the tool keeps none, so that those of the last manifest stand. Values that are at their default may be left in."""
    metadata: dict[str, JSON] = {"name": ref.name}
    if ref.project is not None:
        metadata["project"] = ref.project
    if labels is not None:
        metadata["labels"] = dict(labels)
    taken = {"lifecycle": {"adopt": True}} if adopt else {}
    return {"apiVersion": API_VERSION, "kind": ref.kind, "metadata": metadata, **taken, "spec": dict(spec)}
