"""One file for each page; the list of them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from reconciler.dashboard.frame import View
from reconciler.dashboard.pages import alerts, audit, compare, hardware, lineage, overview, plan, queue, resource, resources

PAGES: tuple[tuple[str, str, Callable[[View], Awaitable[None]]], ...] = (
    ("/", "Overview", overview.draw),
    ("/resources", "Resources", resources.draw),
    ("/resource/{kind}/{project}/{name}", "Resource", resource.draw),
    ("/lineage", "Lineage", lineage.draw),
    ("/plan", "Plan and approvals", plan.draw),
    ("/queue", "Queue and quotas", queue.draw),
    ("/hardware", "Hardware", hardware.draw),
    ("/compare", "Techniques", compare.draw),
    ("/alerts", "Alerts", alerts.draw),
    ("/audit", "Audit", audit.draw),
)
"""Path, title and what draws it."""
