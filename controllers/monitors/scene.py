"""Everything that is known of one monitor at one moment, and what follows from it. Pure.

What depends on other resources (versions of data) is not known before these were looked at: `bound` fills it in from the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controllers.monitors.notes import Notes, Pending
from reconciler.errors import Terminal, Transient
from reconciler.model import JSON, KNOWN_AFTER_APPLY, Progress, Ref, Resource, digest_of, output
from reconciler.model.monitoring import Source, WindowResult
from reconciler.model.serving import Target
from schemas.monitor import MonitorSpec


@dataclass(frozen=True, slots=True)
class Scene:
    """What was seen."""

    installation: str
    notes: Notes
    now: float
    """Unix seconds."""
    watched: Ref | None = None
    """The deployment."""
    serving: Target | None = None
    """What answers most of its requests; None = nothing yet."""
    unlogged: str = ""
    """Why its log holds nothing; empty = it does."""
    training: Source | None = None
    """What the served model was trained on, where that is asked for."""
    untrained: str = ""
    """Why that cannot be had."""
    versions: Callable[[str], Path] = Path
    """Where the bytes of a version lie in DVC's cache, by digest: the file itself may be another version by the time it is read."""
    machine: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    """Predictions that were ever logged."""
    labels: int = 0
    """Labels that ever came."""
    expected: tuple[str, ...] = ()
    """Fields of the model's input; empty = not known."""
    result: WindowResult | None = None
    """Of the pending window."""
    job: Progress | None = None
    """The worker that looks at it, or that did."""
    dashboard: Mapping[str, JSON] | None = None
    """As it stands in the workspace; None = there is no project."""
    applied: Mapping[str, Any] = field(default_factory=dict)
    """The manifest's fields as they were applied last."""

    # --- filled in by `bound` ---
    data: Source | None = None
    """Instead of a deployment: the dataset's version of now."""
    reference: Source | None = None
    """What is normal; None = not known (yet), see `trouble`."""
    about: str = ""
    """What makes a look one of its own, beside the time."""
    context: Mapping[str, str] = field(default_factory=dict)
    """See `controllers.monitors.causes`."""
    trouble: str = ""
    """Why nothing can be looked at; empty = it can."""
    waits: bool = False
    """The trouble is one that passes by itself: what it needs is on its way."""

    @staticmethod
    def words(pending: Pending) -> str:
        """Which window, for people."""
        if pending.count:
            return f"{pending.count} predictions since {moment(pending.start)}"
        if pending.start == pending.end:
            return "the newest version"
        return f"{moment(pending.start)} to {moment(pending.end, after=pending.start)}"


def bound(scene: Scene, resource: Resource[MonitorSpec]) -> Scene:
    """The scene with what the inputs of `resource` tell."""
    spec, trouble, waits = resource.spec, scene.unlogged, False
    data = reference = None
    try:
        data = _version(named(spec.dataset, resource.ref, "Dataset"), resource, scene)
        reference = _reference(resource, scene)
    except Transient as error:
        trouble, waits = trouble or error.message, not trouble
    except Terminal as error:
        trouble = trouble or error.message
    if reference is None and not trouble:
        trouble = scene.untrained
    context = _context(resource, scene, reference)
    about = digest_of([str(resource.ref), context["monitor"], context["reference"], context["version"]])[:16]
    return replace(scene, data=data, reference=reference, trouble=trouble, waits=waits, context=context, about=about)


def named(name: str | None, of: Ref, kind: str) -> Ref | None:
    """The resource that a field of a manifest names."""
    if name is None:
        return None
    project, _, own = name.rpartition("/")
    return Ref(kind, project or of.project, own)


def _version(ref: Ref | None, resource: Resource[MonitorSpec], scene: Scene) -> Source | None:
    """A dataset as it is now. Raises Transient while its version is not known, Terminal when it is no table."""
    if ref is None:
        return None
    digest = output(resource.inputs.get(ref, {}), "digest")
    if digest in ("", KNOWN_AFTER_APPLY):
        raise Transient(f"{ref} is no version yet")
    if digest.endswith(".dir"):
        raise Terminal(f"{ref} is a folder: a Monitor looks at tables, CSV or Parquet")
    return Source("data", path=str(scene.versions(digest)), digest=digest)


def _reference(resource: Resource[MonitorSpec], scene: Scene) -> Source | None:
    """What is normal; None when it cannot be had. Raises as `_version`."""
    wanted = resource.spec.reference
    if resource.spec.deployment is not None and scene.serving is None:
        raise Transient(f"{scene.watched} does not answer yet")
    if wanted.dataset is not None:
        return _version(named(wanted.dataset, resource.ref, "Dataset"), resource, scene)
    if wanted.deployment is not None:
        other = named(wanted.deployment, resource.ref, "Deployment")
        assert other is not None
        return Source("log", other.owner, other.name, digest=str(other))
    if wanted.window is not None:
        assert scene.watched is not None
        start, end = wanted.window.start.timestamp(), wanted.window.end.timestamp()
        return Source("log", scene.watched.owner, scene.watched.name, start, end, digest=f"{start:.0f}-{end:.0f}")
    return scene.training


def _context(resource: Resource[MonitorSpec], scene: Scene, reference: Source | None) -> Mapping[str, str]:
    serving = scene.serving
    data = {f"dataset/{ref.path}": output(each, "digest") for ref, each in resource.inputs.items() if ref.kind == "Dataset"}
    trained = {f"dataset/{name}": digest for name, digest in (serving.datasets if serving is not None else {}).items()}
    return {
        **trained,
        **{name: digest for name, digest in data.items() if digest not in ("", KNOWN_AFTER_APPLY)},
        "version": serving.version if serving is not None else "",
        "revision": serving.digest if serving is not None else "",
        "reference": reference.digest if reference is not None else "",
        "monitor": digest_of(resource.spec.checks.model_dump(mode="json"))[:16],
        **scene.machine,
    }


def moment(at: float, after: float | None = None) -> str:
    """`Mon 14:05` (UTC), or `14:05` on the same day as `after`; with seconds where they matter."""
    found = datetime.fromtimestamp(at, UTC)
    clock = f"{found:%H:%M:%S}" if found.second else f"{found:%H:%M}"
    same = after is not None and datetime.fromtimestamp(after, UTC).date() == found.date()
    return clock if same else f"{found:%a} {clock}"
