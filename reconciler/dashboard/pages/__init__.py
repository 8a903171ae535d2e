"""One file for each page; the list of them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from reconciler.dashboard.frame import View
from reconciler.dashboard.pages import (
    alerts,
    audit,
    compare,
    deployments,
    experiments,
    hardware,
    lineage,
    models,
    monitors,
    overview,
    plan,
    queue,
    resource,
    resources,
    workflows,
)

PAGES: tuple[tuple[str, str, Callable[[View], Awaitable[None]]], ...] = (
    ("/", "Overview", overview.draw),
    ("/resources", "Resources", resources.draw),
    ("/resource/{kind}/{project}/{name}", "Resource", resource.draw),
    ("/lineage", "Lineage", lineage.draw),
    ("/plan", "Plan and approvals", plan.draw),
    ("/queue", "Queue and quotas", queue.draw),
    ("/hardware", "Hardware", hardware.draw),
    ("/workflows", "Workflows", workflows.draw),
    ("/experiments", "Experiments", experiments.draw),
    ("/compare", "Techniques", compare.draw),
    ("/models", "Models", models.draw),
    ("/deployments", "Deployments", deployments.draw),
    ("/monitors", "Monitors", monitors.draw),
    ("/alerts", "Alerts", alerts.draw),
    ("/audit", "Audit", audit.draw),
)
"""Path, title and what draws it."""
