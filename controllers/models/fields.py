"""What a registered model says itself, as fields of a manifest and as tags in MLflow. Pure."""

from __future__ import annotations

from controllers.models.scene import Scene, Tag
from controllers.tools.mlflow_registry import ModelInfo
from reconciler.model import JSON, Fields, Ref, digest_of

OURS = "mlops."


def model_tags(wanted: Fields) -> dict[str, str]:
    """Desired fields as tags of the registered model."""
    found: dict[str, str] = {**wanted["tags"], Tag.EXPERIMENT: wanted["experiment"], Tag.ALIAS: wanted["alias"]}
    return found | {f"{Tag.LABEL}{name}": value for name, value in wanted["labels"].items()}


def tag_of(path: str) -> str:
    """The tag that holds the field at `path`; empty for what is not a tag."""
    for prefix, key in (("spec.tags.", ""), ("spec.labels.", Tag.LABEL)):
        if path.startswith(prefix):
            return key + path.removeprefix(prefix)
    return {"spec.experiment": Tag.EXPERIMENT, "spec.alias": Tag.ALIAS}.get(path, "")


def mark_tags(ref: Ref, wanted: Fields, installation: str) -> dict[str, str]:
    mark = {Tag.INSTALLATION: installation, Tag.REF: str(ref), Tag.MARK_DIGEST: digest_of(wanted)[:16]}
    return mark | {Tag.PROJECT: ref.owner}


def fields_of(info: ModelInfo | Scene, description: str = "") -> dict[str, JSON]:
    have = info.tags
    fields: dict[str, JSON] = {
        "experiment": have.get(Tag.EXPERIMENT),
        "alias": have.get(Tag.ALIAS),
        "tags": {key: value for key, value in have.items() if not key.startswith((OURS, "mlflow."))},
        "labels": {key.removeprefix(Tag.LABEL): value for key, value in have.items() if key.startswith(Tag.LABEL)},
    }
    return fields | ({"description": description} if description else {})
