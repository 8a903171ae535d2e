"""The description of the interface: one path for each deployment, with the schema of its own model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.gateway import batch, feed, problems
from reconciler.gateway.core import Gateway
from reconciler.model.serving import Route
from reconciler.model.values import JSON

_KEYS: list[Mapping[str, list[str]]] = [{"bearer": []}, {"header": []}]
_WORDS = {
    400: "Not JSON.",
    401: "No key, or not a good one.",
    403: "The key is not for this.",
    404: "There is no such deployment.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "Another content type is expected.",
    422: "Not as the schema says.",
    429: "Too often.",
    502: "The model failed.",
    503: "Nothing is up, or too much is in hand.",
    504: "The model took too long.",
}


def document(gateway: Gateway, routes: Iterable[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of what these routes offer, and of the rest of the interface."""
    paths: dict[str, Any] = dict(_common())
    schemas: dict[str, Any] = {"Problem": problems.SCHEMA, "Labels": feed.SCHEMA}
    for route in routes:
        _add(gateway, route, paths, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Models", "version": str(gateway.table.generation)},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _add(gateway: Gateway, route: Route, paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    contract = next((found for each in route.targets if (found := gateway.replicas.contract(each.app))), None)
    name = f"{route.project}.{route.name}"
    instance, prediction = (contract.input, contract.output) if contract else ({}, {})
    example = {"instances": list(contract.example)} if contract and contract.example else None
    body: dict[str, Any] = {"schema": _instances(schemas, f"{name}.instance", instance, route.limits.batch)}
    if example:
        body["example"] = example
    keys: list[Any] = [] if route.auth == "none" else _KEYS
    predict = _operation(f"Predictions of {route.path}", keys, body, _predictions(schemas, f"{name}.prediction", prediction))
    paths[f"/predict/{route.path}"] = {"post": predict}
    lines = _operation(
        f"Predictions of {route.path}, line by line", keys, {"schema": {"type": "string"}}, {"type": "string"}, batch.MEDIA_TYPE
    )
    paths[f"/predict/{route.path}/batch"] = {"post": lines}
    labels = _operation(f"Labels for {route.path}", keys, {"schema": {"$ref": "#/components/schemas/Labels"}}, _COUNT)
    paths[f"/feedback/{route.path}"] = {"post": labels}


_COUNT = {"type": "object", "required": ["labels"], "properties": {"labels": {"type": "integer"}}}


def _instances(schemas: dict[str, Any], name: str, instance: Mapping[str, JSON], most: int) -> Mapping[str, Any]:
    return {
        "type": "object",
        "required": ["instances"],
        "additionalProperties": False,
        "properties": {"instances": {"type": "array", "minItems": 1, "maxItems": most, "items": _own(schemas, name, instance)}},
    }


def _predictions(schemas: dict[str, Any], name: str, prediction: Mapping[str, JSON]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "required": ["predictions", "model", "version"],
        "properties": {
            "predictions": {"type": "array", "items": _own(schemas, name, prediction)},
            "model": {"type": "string"},
            "version": {"type": "string"},
            "ids": {"type": "array", "items": {"type": "string"}},
        },
    }


def _own(schemas: dict[str, Any], name: str, schema: Mapping[str, JSON]) -> Mapping[str, Any]:
    """A model's schema as a component of its own."""
    if not schema:
        return {}
    here = f"#/components/schemas/{name}"
    schemas[name] = _moved(schema, here)
    return {"$ref": here}


def _moved(schema: JSON, here: str) -> JSON:
    """With references within the schema as they are from where it stands now. Its own id would make it another document."""
    if isinstance(schema, list):
        return [_moved(each, here) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _moved(each, here) for key, each in schema.items() if not (key in ("$id", "$schema") and isinstance(each, str))}
    target = kept.get("$ref")
    return {**kept, "$ref": here + target[1:]} if isinstance(target, str) and target.startswith("#") else kept


def _operation(
    summary: str, keys: list[Any], body: Mapping[str, Any], answer: Mapping[str, Any], media_type: str = "application/json"
) -> dict[str, Any]:
    return {
        "summary": summary,
        "security": keys,
        "requestBody": {"required": True, "content": {media_type: body}},
        "responses": {"200": {"description": "The answer.", "content": {media_type: {"schema": answer}}}, **_refusals(_WORDS)},
    }


def _refusals(statuses: Iterable[int]) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(each): {"description": _WORDS[each], "content": content} for each in statuses}


def _common() -> Mapping[str, Any]:
    names = [{"name": each, "in": "path", "required": True, "schema": {"type": "string"}} for each in ("project", "name")]
    return {
        "/models": {"get": _look("Deployments that the key may see", {"type": "array"}, (401, 403))},
        "/models/{project}/{name}": {"get": {**_look("One deployment", {"type": "object"}, (401, 403, 404)), "parameters": names}},
        "/models/{project}/{name}/ready": {
            "get": {**_look("Whether it answers", {"type": "object"}, (401, 403, 404, 503)), "parameters": names}
        },
        "/healthz": {"get": {**_look("Whether this process is up", {"type": "object"}, ()), "security": []}},
        "/readyz": {"get": {**_look("Whether all that should be up is", {"type": "object"}, (401, 503)), "security": [*_KEYS, {}]}},
    }


def _look(summary: str, answer: Mapping[str, Any], statuses: Iterable[int]) -> dict[str, Any]:
    good = {"200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}}}
    return {"summary": summary, "security": _KEYS, "responses": {**good, **_refusals(statuses)}}
