"""Where the pages of the tools are: of the tools themselves, and of what the reconciler keeps in them. Asks no tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.model import Ref
    from schemas.platform import PlatformSpec

SERVICES = {"mlflow": "mlflow", "airflow": "airflow", "ray": "ray", "evidently": "evidently"}
"""Tool -> the service that has its pages."""
TITLES = {"mlflow": "MLflow", "airflow": "Airflow", "ray": "Ray", "evidently": "Evidently"}


def addresses(house: House, platform: PlatformSpec | None) -> dict[str, str]:
    """Tool -> base URL of its pages, without a slash at the end; those that were never started are left out."""
    found = {tool: address(house, platform, service) for tool, service in SERVICES.items()}
    return {tool: url for tool, url in found.items() if url}


def address(house: House, platform: PlatformSpec | None, service: str) -> str:
    """Base URL of one service, without a slash at the end; empty = there is none, or it was never started."""
    from reconciler.errors import ReconcilerError
    from reconciler.platform.shared import Shared
    from reconciler.secret import secret

    try:
        return public(Shared(platform, house.settings.state, secret).endpoint(service)) if platform is not None else ""
    except (ReconcilerError, OSError):
        return ""


def public(url: str) -> str:
    """An address that may be shown: http or https, without name and password, query and fragment; empty = it is none."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return ""
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, host + port, parts.path.rstrip("/"), "", ""))


def page_of(ref: Ref, external_id: str, addresses: Mapping[str, str], parent: str = "") -> tuple[str, str] | None:
    """(tool, URL) of what the tool has of a resource, by its id there; None = nothing, or it is not known where.

    `parent`: the id of the experiment that a run belongs to."""
    tool, path = _path(ref, quote(external_id, safe=""), quote(parent, safe=""))
    base = addresses.get(tool, "")
    return (tool, f"{base}{path}") if base and external_id else None


def _path(ref: Ref, name: str, parent: str) -> tuple[str, str]:
    match ref.kind:
        case "Experiment" if not ref.key:
            return "mlflow", f"/#/experiments/{name}"
        case "Experiment":
            return "mlflow", f"/#/experiments/{parent}/runs/{name}" if parent else f"/#/runs/{name}"
        case "Model" if not ref.key:
            return "mlflow", f"/#/models/{name}"
        case "Workflow" if not ref.key:
            return "airflow", f"/dags/{name}"
        case "Deployment" if not ref.key:  # the route is the gateway's, the replicas are Serve's
            return "ray", "/#/serve"
        case "Monitor" if not ref.key:
            return "evidently", f"/projects/{name}"
    return "", ""
