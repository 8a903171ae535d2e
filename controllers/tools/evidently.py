"""Evidently's workspace as files: one folder for each project, with its description, its dashboard and its snapshots.

Layout of Evidently 0.7 (`evidently.ui.storage.local.base`), read and written as JSON: importing Evidently takes 5 s. Ids of projects are
made from installation and Ref, so that no second one can come to be; our mark stands in the description."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.controller import Call, Context
from reconciler.errors import Transient
from reconciler.files import announce, place_private
from reconciler.model import JSON, Ref
from reconciler.model.monitoring import workspace

KIND = "Monitor"
METADATA, DASHBOARD, SNAPSHOTS = "metadata.json", "dashboard.json", "snapshots"
VERSION = "2"
"""Of a project, as Evidently 0.7 writes it."""
_MARK = "managed by mlops-reconciler: "
_SPACE = uuid.UUID("6f6d5f2e-5b3b-5c57-8a07-0d8d4f3f9a11")


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """A project that carries a mark."""

    id: str
    name: str
    ref: str
    installation: str
    dashboard: Mapping[str, JSON] = field(default_factory=dict)


def project_id(installation: str, ref: Ref) -> str:
    return str(uuid.uuid5(_SPACE, f"{installation} {ref}"))


def made_id(*parts: object) -> str:
    """The same UUID for the same parts: of a panel, a tab, a snapshot."""
    return str(uuid.uuid5(_SPACE, json.dumps([str(each) for each in parts])))


class Workspace:
    """One pass's view of it. Raises Transient when the disk refuses."""

    def __init__(self, ctx: Context) -> None:
        self._ctx, self._folder = ctx, workspace(ctx.state_dir)
        self._found: dict[str, ProjectInfo] | None = None

    def projects(self) -> Mapping[str, ProjectInfo]:
        """Every project with our mark, by id."""
        if self._found is None:
            began = time.monotonic()
            self._found = {each.id: each for each in self._listed() if each.installation == self._ctx.installation}
            self._told("LIST", "projects", False, began)
        return self._found

    def others(self) -> Sequence[str]:
        """Names of the projects without our mark."""
        ours, found = self.projects(), list[str]()
        for path in self._folder.glob(f"*/{METADATA}"):
            if path.parent.name not in ours:
                with suppress(OSError, ValueError, KeyError, TypeError):  # half of something
                    found.append(str(json.loads(path.read_bytes())["name"]))
        return sorted(found)

    def put(self, ref: Ref, text: str, dashboard: Mapping[str, JSON]) -> str:
        """Make or correct a project; its id. `text` is its description for people. Safe to repeat."""
        began, id = time.monotonic(), project_id(self._ctx.installation, ref)
        described = f"{text}\n\n{_MARK}{json.dumps({'installation': self._ctx.installation, 'ref': str(ref)})}"
        told = {"id": id, "name": ref.path, "description": described, "org_id": None, "version": VERSION}
        self._write(id, {METADATA: told, DASHBOARD: dashboard})
        self._told("PUT", id, True, began)
        return id

    def release(self, id: str, why: str) -> None:
        """Take our mark away: the reports stay, and it is nobody's any more. Already gone is fine."""
        began, path = time.monotonic(), self._folder / id / METADATA
        with suppress(FileNotFoundError):
            raw = json.loads(path.read_bytes())
            self._write(id, {METADATA: {**raw, "description": f"{str(raw.get('description') or '').partition(_MARK)[0].strip()}\n\n{why}"}})
        self._told("PUT", id, True, began)

    def announce(self, id: str, snapshot: str) -> None:
        """Say once more that a report is there, which changes nothing about it: Evidently 0.7.23 lists the workspace before it begins to
        watch it, so that one that comes in between is not on its pages until their next start. Not there is fine."""
        with suppress(OSError):
            announce(self._folder / id / SNAPSHOTS / f"{snapshot}.json")

    def _listed(self) -> Iterator[ProjectInfo]:
        for path in self._folder.glob(f"*/{METADATA}"):
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # somebody else's, or half of something
                raw = json.loads(path.read_bytes())
                mark = json.loads(str(raw["description"]).partition(_MARK)[2].partition("\n")[0])
                yield ProjectInfo(path.parent.name, str(raw["name"]), mark["ref"], mark["installation"], _read(path.with_name(DASHBOARD)))

    def _write(self, id: str, files: Mapping[str, Mapping[str, Any]]) -> None:
        place = self._folder / id
        try:
            (place / SNAPSHOTS).mkdir(mode=0o700, parents=True, exist_ok=True)  # before there is one: its pages begin to watch it
            for name, content in files.items():
                place_private(place / name, json.dumps(content, indent=1))
        except OSError as error:
            raise Transient(f"Evidently's workspace cannot be written: {error.strerror or error}") from None
        self._found = None

    def _told(self, method: str, target: str, write: bool, began: float) -> None:
        self._ctx.wire(Call("evidently", method, target, write, "ok", time.monotonic() - began))


def connect(ctx: Context) -> Workspace:
    """The pass's one view."""
    return ctx.client(Workspace, Workspace)


# --- dashboards --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a chart: a metric of the snapshots, by its name in Evidently, narrowed by labels."""

    legend: str
    metric: str
    labels: Mapping[str, str] = field(default_factory=dict)


def panel(seed: object, title: str, lines: Sequence[Line], size: str = "half") -> dict[str, JSON]:
    """A chart over time (`evidently.sdk.models.DashboardPanelPlot`)."""
    values = [
        {
            "legend": each.legend,
            "tags": [],
            "metadata": {},
            "metric": f"evidently:metric_v2:{each.metric}",
            "metric_labels": dict(each.labels),
            "view_params": {},
        }
        for each in lines
    ]
    return {
        "id": made_id(seed, title),
        "title": title,
        "subtitle": None,
        "size": size,
        "values": values,
        "plot_params": {"plot_type": "line"},
    }


def dashboard(seed: object, panels: Sequence[Mapping[str, JSON]]) -> dict[str, JSON]:
    """All charts on one tab."""
    tab = {"id": made_id(seed, "tab"), "title": "Windows", "panels": [each["id"] for each in panels]}
    return {"tabs": [tab], "panels": [dict(each) for each in panels]}


def _read(path: Path) -> Mapping[str, JSON]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
