"""MLflow's model registry over its REST API: registered models, their versions, tags and aliases.

Source: MLflow REST API 2.0 reference (registered-models/*, model-versions/*); behaviour checked against a 3.17 server: a name holds no
`/` and no `:`, a delete is final, and deleting a tag or an alias that is not there is fine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from controllers.tools.mlflow import Mlflow, NotThere
from reconciler.errors import Transient

MODELS = 1000
"""Registered models per listing call: the server's own cap."""
VERSIONS = 10_000
"""Versions per listing call; the server takes up to 200,000."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One registered model as the server tells it."""

    name: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Alias -> number of its version."""
    updated: datetime | None = None
    """When its name or description changed last; tags and aliases do not count."""


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version of a registered model."""

    model: str
    number: str
    """A whole number; they count up, and none is given twice."""
    run: str
    source: str
    """Where its files are: `mlflow-artifacts:/12/RUN/artifacts/model`."""
    created: float
    """Unix seconds."""
    tags: Mapping[str, str] = field(default_factory=dict)


def models(mlflow: Mlflow, where: Mapping[str, str]) -> Iterator[ModelInfo]:
    """Every registered model whose tags are as `where` says, in pages. Complete when it ends without raising."""
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in where.items())
    for answer in _pages(mlflow, "registered-models/search", {"max_results": MODELS, **({"filter": wanted} if wanted else {})}):
        yield from map(_model, answer.get("registered_models", []))


def model(mlflow: Mlflow, name: str) -> ModelInfo | None:
    """The registered model of this name; None when the name is free."""
    try:
        return _model(mlflow.call("GET", "registered-models/get", params={"name": name}, write=False)["registered_model"])
    except NotThere:
        return None


def versions(mlflow: Mlflow, filter: str) -> Iterator[VersionInfo]:
    """Versions that MLflow's `filter` chooses, such as `name = 'demo.m'`; the newest first within a model."""
    found: list[VersionInfo] = []
    for answer in _pages(mlflow, "model-versions/search", {"max_results": VERSIONS, "filter": filter}):
        found += map(_version, answer.get("model_versions", []))
    yield from sorted(found, key=lambda each: (each.model, -int(each.number)))


def create_model(mlflow: Mlflow, name: str, tags: Mapping[str, str], description: str) -> None:
    """Register the name with all its tags in one request. Raises Conflict when it is taken."""
    mlflow.call("POST", "registered-models/create", json={"name": name, "tags": _pairs(tags), "description": description})


def rename_model(mlflow: Mlflow, name: str, wanted: str) -> None:
    """Give it another name; its versions come with it. Raises Conflict when that is taken."""
    mlflow.call("POST", "registered-models/rename", json={"name": name, "new_name": wanted})


def describe_model(mlflow: Mlflow, name: str, description: str) -> None:
    mlflow.call("PATCH", "registered-models/update", json={"name": name, "description": description})


def delete_model(mlflow: Mlflow, name: str) -> None:
    """For good, with its versions; the runs keep their files. Already deleted is fine."""
    try:
        mlflow.call("DELETE", "registered-models/delete", json={"name": name})
    except NotThere:
        return


def tag_model(mlflow: Mlflow, name: str, key: str, value: str | None) -> None:
    """Set a tag; None removes it."""
    if value is None:
        mlflow.call("DELETE", "registered-models/delete-tag", json={"name": name, "key": key})
    else:
        mlflow.call("POST", "registered-models/set-tag", json={"name": name, "key": key, "value": value})


def create_version(mlflow: Mlflow, name: str, source: str, run: str, tags: Mapping[str, str], description: str) -> str:
    """A new version with all its tags in one request; returns its number."""
    body = {"name": name, "source": source, "run_id": run, "tags": _pairs(tags), "description": description}
    return str(mlflow.call("POST", "model-versions/create", json=body)["model_version"]["version"])


def tag_version(mlflow: Mlflow, name: str, number: str, key: str, value: str) -> None:
    mlflow.call("POST", "model-versions/set-tag", json={"name": name, "version": number, "key": key, "value": value})


def set_alias(mlflow: Mlflow, name: str, alias: str, number: str | None) -> None:
    """Let the alias name this version; None removes it."""
    if number is None:
        mlflow.call("DELETE", "registered-models/alias", json={"name": name, "alias": alias})
    else:
        mlflow.call("POST", "registered-models/alias", json={"name": name, "alias": alias, "version": number})


def _pages(mlflow: Mlflow, path: str, query: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    token, used = "", set[str]()
    while True:
        answer = mlflow.call("GET", path, params={**query, **({"page_token": token} if token else {})}, write=False)
        yield answer
        token = str(answer.get("next_page_token") or "")
        if not token:
            return
        if token in used:
            raise Transient(f"MLflow named the same page of {path} twice: the listing has no end")
        used.add(token)


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in sorted(values.items())]


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {each["key"]: str(each.get("value", "")) for each in found.get("tags", [])}


def _model(found: Mapping[str, Any]) -> ModelInfo:
    aliases = {str(each["alias"]): str(each["version"]) for each in found.get("aliases", [])}
    at = found.get("last_updated_timestamp")
    updated = datetime.fromtimestamp(int(at) / 1000, UTC) if at else None
    return ModelInfo(str(found["name"]), str(found.get("description") or ""), _tags(found), aliases, updated)


def _version(found: Mapping[str, Any]) -> VersionInfo:
    return VersionInfo(
        model=str(found["name"]),
        number=str(found["version"]),
        run=str(found.get("run_id") or ""),
        source=str(found.get("source") or ""),
        created=int(found.get("creation_timestamp") or 0) / 1000,
        tags=_tags(found),
    )
