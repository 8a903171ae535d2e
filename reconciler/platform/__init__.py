"""The shared services as processes: started, watched, found again and stopped on this machine.

`Services` is the whole public surface; `recipes.RECIPES` is the data that says how each service is run."""

from __future__ import annotations

from reconciler.platform.services import Services
from reconciler.platform.spec import Endpoint, ServiceSpec, ServiceState, ServiceStatus

__all__ = ["Endpoint", "ServiceSpec", "ServiceState", "ServiceStatus", "Services"]
