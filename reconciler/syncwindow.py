"""Times in which a project's resources may be changed, and in which they may not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reconciler.admission.values import Window
from reconciler.admission.window import closed
from reconciler.model import Ref, Resource
from schemas.base import duration_value
from schemas.project import ProjectSpec
from schemas.resourcequota import Window as Written


def closed_projects(resources: Mapping[Ref, Resource[Any]], now: datetime) -> Mapping[str, str]:
    """Projects of which nothing may be changed at `now`, each with the window that says so, in words."""
    found: dict[str, str] = {}
    for ref, each in resources.items():
        if isinstance(each.spec, ProjectSpec) and each.spec.sync.windows:
            named = {_read(one): one for one in each.spec.sync.windows}
            if (window := closed(named, now)) is not None:
                found[ref.name] = _told(ref, named[window])
    return found


def _read(written: Written) -> Window:
    return Window(written.kind == "allow", written.cron, int(duration_value(written.duration).total_seconds()), written.timezone)


def _told(project: Ref, window: Written) -> str:
    when = f"`{window.cron}` for {window.duration} ({window.timezone})"
    if window.kind == "deny":
        return f"{project} may not be changed now: deny {when} is on"
    return f"{project} may be changed in its windows only: allow {when}"
