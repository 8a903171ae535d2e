"""One file for each page; the list of them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from reconciler.dashboard.frame import View
from reconciler.dashboard.pages import deployments, experiments, models, monitors, overview, resource, resources, workflows

PAGES: tuple[tuple[str, str, Callable[[View], Awaitable[None]]], ...] = (
    ("/", "Overview", overview.draw),
    ("/resources", "Resources", resources.draw),
    ("/resource/{kind}/{project}/{name}", "Resource", resource.draw),
    ("/workflows", "Workflows", workflows.draw),
    ("/experiments", "Experiments", experiments.draw),
    ("/models", "Models", models.draw),
    ("/deployments", "Deployments", deployments.draw),
    ("/monitors", "Monitors", monitors.draw),
)
"""Path, title and what draws it."""
