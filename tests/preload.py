"""Imported by the process that `tests.forked` forks from: what `reconcile` imports in most of its passes."""

from __future__ import annotations

import importlib
import pkgutil

from reconciler.registry import discover

APART = (
    *("reconciler.gateway", "reconciler.serving", "reconciler.runs.bootstrap", "reconciler.testing", "reconciler.state.migrations"),
    *("reconciler.workflows", "reconciler.tasks", "reconciler.monitoring"),
)
"""Programs of their own."""
BESIDE = ("alembic.command", "dvc.repo", "dvc_data.hashfile.build", "httpx", "rich.progress")

for package in ("reconciler", "schemas", "controllers"):
    for each in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not each.name.startswith(APART) and not each.name.endswith("__main__"):
            importlib.import_module(each.name)
discover()
for name in BESIDE:
    importlib.import_module(name)
