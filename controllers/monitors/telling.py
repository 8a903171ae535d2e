"""What differs about a monitor, and how it is, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controllers.monitors.notes import TRIES, Episode, Notes
from controllers.monitors.reacting import spent
from controllers.monitors.scene import Scene, moment, named
from controllers.tools.evidently import Line, dashboard, panel
from reconciler.diff import compare
from reconciler.model import JSON, Change, Diff, Health, HealthReport, Resource
from schemas.monitor import MonitorSpec, Panel

REASONS: Mapping[str, str] = {
    "operations": "ServingAbnormal",
    "performance": "PerformanceLoss",
    "quality": "DataQuality",
    "drift": "DataDrift",
    "labels": "TargetDrift",
    "predictions": "PredictionDrift",
}
"""Check -> the reason of a breach that it began."""
MOST_CAUSES = 3


def fields(resource: Resource[MonitorSpec]) -> dict[str, JSON]:
    """What its manifest says, as a plan shows it."""
    said: dict[str, JSON] = resource.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**said, "labels": dict(resource.labels)}


def changes(resource: Resource[MonitorSpec], scene: Scene) -> Diff:
    """All that differs."""
    return (*compare(fields(resource), scene.applied), *_charts(resource, scene), *_windows(scene))


def _charts(resource: Resource[MonitorSpec], scene: Scene) -> Iterator[Change]:
    if scene.dashboard is None:
        yield Change("project", None, resource.ref.path, note="its reports have no place in Evidently's workspace")
    elif scene.dashboard != charts(resource):
        yield Change("dashboard", "edited", "as declared", note="" if not scene.applied else "its charts are not as the manifest says")


def _windows(scene: Scene) -> Iterator[Change]:
    if not scene.notes.since:
        yield Change("window", None, "watched", note="windows begin now")
    elif scene.result is not None and scene.notes.pending is not None:
        said = scene.result.why or "all is as it was"
        yield Change("window", scene.words(scene.notes.pending), scene.result.verdict, note=said)
    elif scene.notes.pending is not None and given_up(scene):
        yield Change("window", scene.words(scene.notes.pending), "hold", note="it cannot be looked at")


def unseen(scene: Scene) -> bool:
    """Whether the dataset has a version that was not looked at yet."""
    return scene.data is not None and scene.data.digest != scene.notes.version


def given_up(scene: Scene) -> bool:
    """Whether the pending window had its workers and none of them came to a result."""
    pending, job = scene.notes.pending, scene.job
    over = job is None or job.state == "ended" or (job.state == "lost" and bool(job.ended))
    return pending is not None and scene.result is None and pending.tries >= TRIES and over


def health(resource: Resource[MonitorSpec], scene: Scene) -> HealthReport:
    """How what is watched is."""
    notes = scene.notes
    if notes.episode is not None and (scene.waits or unseen(scene)):
        return HealthReport(Health.PROGRESSING, f"the newest version is looked at; the one before: {said(notes.episode)}", "Looking")
    if notes.episode is not None:
        return breached(resource, notes.episode, spent(resource, notes, scene.now))
    if scene.trouble:
        if scene.waits:
            return HealthReport(Health.PROGRESSING, scene.trouble, "Waiting")
        return HealthReport(Health.DEGRADED, scene.trouble, "CannotWatch", stalled=True)
    if unseen(scene):
        return HealthReport(Health.PROGRESSING, "the newest version is looked at", "Looking")
    if not notes.windows:
        return HealthReport(Health.HEALTHY, "watches; no window has ended yet")
    if bad := [name for name, each in notes.streaks.items() if each.bad]:
        return HealthReport(
            Health.HEALTHY, f"{', '.join(sorted(bad))}: bad, not for long enough to be a breach: {notes.said}", "Suspicious"
        )
    if notes.windows[-1].verdict == "hold":
        return HealthReport(Health.HEALTHY, f"no verdict on the last window: {notes.said}", "NoVerdict")
    return HealthReport(Health.HEALTHY, "the last window is as it was")


def breached(resource: Resource[MonitorSpec], episode: Episode, waits: Sequence[str] = ()) -> HealthReport:
    """A breach: what, since when, why probably, what was done, what is not done now (`waits`), what would help."""
    reason = REASONS.get(episode.first, "Breached")
    parts = [f"{said(episode)}; since {moment(episode.since)} UTC"]
    if episode.causes:
        parts.append(f"probably: {'; '.join(episode.causes[:MOST_CAUSES])}")
    parts += [str(each.get("said")) for each in episode.acted.values()]
    parts += waits
    if helps := suggestions(resource, episode):
        parts.append(f"what would help: {'; '.join(helps)}")
    return HealthReport(Health.DEGRADED, ". ".join(parts), reason, severity=severity(resource.spec))


def said(episode: Episode) -> str:
    """What is wrong, in the checks' own words."""
    return "; ".join(text or name for name, text in episode.failing.items())


def severity(spec: MonitorSpec) -> str:
    """Of its alerts."""
    return next((each.alert for each in spec.on_breach if each.alert is not None), "warning")


def suggestions(resource: Resource[MonitorSpec], episode: Episode) -> tuple[str, ...]:
    """What somebody could do, with the command; what is done already is left out."""
    spec, found = resource.spec, list(episode.suggestions)
    for each in spec.on_breach:
        ref = named(each.run, resource.ref, "Workflow")
        if ref is not None and not any(key.startswith("run") for key in episode.acted):
            found.append(f"`reconcile run {ref}` trains again")
    deployment = named(spec.deployment, resource.ref, "Deployment")
    model_changed = any(text.startswith(("another version", "the deployment's revision")) for text in episode.causes)
    if deployment is not None and model_changed and not any(key.startswith("rollback") for key in episode.acted):
        found.append(f'`reconcile rollback {deployment} --reason "{resource.ref.name}"` takes the new version back')
    if "drift" in episode.failing and not any(each.run for each in spec.on_breach):
        found.append("train again on data like that of now, or name it as `reference` if it is the new normal")
    return tuple(dict.fromkeys(found))


def charts(resource: Resource[MonitorSpec]) -> dict[str, JSON]:
    """The dashboard as the manifest declares it."""
    spec = resource.spec
    panels = [_panel(resource, each) for each in spec.panels] if spec.panels else list(_all(resource))
    return dashboard(resource.ref, panels)


def _panel(resource: Resource[MonitorSpec], asked: Panel) -> dict[str, JSON]:
    return panel(resource.ref, asked.title, _lines(resource.spec, asked.show, asked.columns))


def _all(resource: Resource[MonitorSpec]) -> Iterator[dict[str, JSON]]:
    spec, checks = resource.spec, resource.spec.checks
    yield panel(resource.ref, "Rows", _lines(spec, "rows", ()))
    if checks.drift is not None:
        yield panel(resource.ref, "Share of columns that drifted", _lines(spec, "drift", ()))
        if checks.drift.columns:
            yield panel(resource.ref, "Drift by column", _lines(spec, "drift", checks.drift.columns), "full")
    if checks.performance is not None:
        yield panel(resource.ref, checks.performance.metric, _lines(spec, "performance", ()))
    if checks.quality is not None:
        yield panel(resource.ref, "Missing values", _lines(spec, "missing", ()))


METRICS = {
    "accuracy": "Accuracy",
    "f1": "F1Score",
    "precision": "Precision",
    "recall": "Recall",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R2Score",
}
"""Metrics of the schema by their names in Evidently."""


def _lines(spec: MonitorSpec, show: str, columns: Sequence[str]) -> list[Line]:
    if show == "drift" and not columns:
        return [Line("share", "DriftedColumnsCount", {"value_type": "share"})]
    if show == "performance":
        metric = spec.checks.performance.metric if spec.checks.performance is not None else "accuracy"
        means = {"value_type": "mean"} if metric == "mae" else {}
        return [Line(metric, METRICS[metric], means)]
    if show == "rows":
        return [Line("rows", "RowCount")]
    name = {"drift": "ValueDrift", "missing": "MissingValueCount", "value": "MeanValue"}[show]
    share = {"value_type": "share"} if show == "missing" else {}
    if not columns:
        return [Line("share", "DatasetMissingValueCount", share)]
    return [Line(each, name, {"column": each, **share}) for each in columns]


def outputs(notes: Notes) -> dict[str, str]:
    """What others may take from a monitor: Workflows that it starts, steps that wait for its verdict."""
    last = notes.windows[-1] if notes.windows else None
    return {
        "breach": notes.episode.id if notes.episode is not None else "none",
        "verdict": last.verdict if last is not None else "",
        "judged": f"{last.end:.3f}" if last is not None else "",
    }
