"""The application below `/api/v1`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from reconciler.api.v1 import admission, client, events, lineage, orders, resources, tokens, tools, trail
from reconciler.api.v1.answers import ALWAYS
from reconciler.api.v1.door import Door
from reconciler.api.v1.guard import Guard
from reconciler.api.v1.problems import MEDIA_TYPE, handle
from reconciler.api.v1.shapes import ProblemDetails

ABOUT = """What `reconcile` shows, for programs: resources and their conditions, plans, queue, quotas, hardware, history, alerts, live
events; and orders: reconcile now, suspend, resume, approve, run, roll back.
Errors are RFC 9457 problem details. Times are RFC 3339, in UTC.
See docs/api.md."""
VERSION = "1.0"
PREFIX = "/api/v1"
ROUTERS = (
    resources.router,
    lineage.router,
    admission.router,
    client.router,
    trail.router,
    events.router,
    orders.router,
    tokens.router,
    tools.router,
)


def interface(door: Door) -> ASGIApp:
    """Everything below PREFIX, guarded. To be mounted there."""
    app = framework()
    app.state.door = door
    return Guard(app, door)


def framework() -> FastAPI:
    """The routes with their description, and nothing behind them. No page of documentation is served: such pages load scripts from
    elsewhere."""
    app = FastAPI(
        title="mlops-reconciler",
        description=ABOUT,
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=ALWAYS,
    )
    for router in ROUTERS:
        app.include_router(router)
    handle(app)
    app.openapi = lambda: description(app)  # type: ignore[method-assign]
    return app


def description(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of all routes, made once."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        parts = found.setdefault("components", {})
        parts.setdefault("schemas", {})[ProblemDetails.__name__] = _flat(ProblemDetails.model_json_schema(), parts["schemas"])
        parts["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "`reconcile token create`, or the issuer's."}
        }
        found["security"] = [{"bearer": []}, {}]
        found["servers"] = [{"url": PREFIX}]
        for name in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(name, None)
        parts["responses"] = _once(found["paths"])
        app.openapi_schema = found
    return app.openapi_schema


def _once(paths: dict[str, Any]) -> dict[str, Any]:
    """The refusals, which all routes have in common, once; the routes refer to them."""
    said: dict[str, Any] = {}
    for operation in (each for methods in paths.values() for each in methods.values()):
        for status, response in operation["responses"].items():
            if MEDIA_TYPE in response.get("content", {}):
                said[f"Refusal{status}"] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/Refusal{status}"}
    return dict(sorted(said.items()))


def _flat(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A schema with the parts that it defines beside it."""
    import json

    schemas.update(schema.pop("$defs", {}))
    found: dict[str, Any] = json.loads(json.dumps(schema).replace("#/$defs/", "#/components/schemas/"))
    return found
