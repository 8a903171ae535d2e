"""One window, looked at: read both sides, ask every check, come to a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.errors import ReconcilerError
from reconciler.model.monitoring import Found, Source, Verdict, WindowResult, WindowSpec
from reconciler.monitoring import answers, datafile, drift, operations, performance, quality, snapshot, table, window
from reconciler.monitoring.chance import finite
from reconciler.monitoring.instances import Columns
from reconciler.monitoring.report import Shown, said
from reconciler.monitoring.side import Side
from schemas.checks import Checks

ORDER = ("drift", "quality", "predictions", "labels", "performance", "operations")
"""Of the checks; the first that fails is what is told of a window."""
OF_ROWS = ORDER[:-1]
NOTES = 3
"""Remarks on columns that are told with the check."""
LEAST_NORMAL = 30
"""Rows of a reference below which nothing can be said by it."""


@dataclass
class _Scene:
    """What the checks look at."""

    spec: WindowSpec
    checks: Checks
    seen: Side
    normal: Side | None
    why: str
    """Why there is no reference."""
    shown: Shown = field(default_factory=Shown)
    series: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    made: table.Table | None = None

    def table(self) -> table.Table:
        """The inputs of both sides, made once."""
        if self.made is None:
            assert self.normal is not None
            self.made = table.inputs(self.normal, self.seen, self.spec.expected, self.spec.target)
            for side in (self.normal, self.seen):  # the table has them now, and memory is granted for one copy
                side.inputs.values.clear()
        return self.made


def look(spec: WindowSpec) -> WindowResult:
    """What the window shows. What cannot be read or computed is told as such; raises nothing that the data could bring about."""
    checks = Checks.model_validate(dict(spec.checks))
    scene = _read(spec, checks)
    found = [each for name in ORDER if getattr(checks, name) is not None and (each := _guarded(name, scene)) is not None]
    _for_charts(scene)
    verdict, why = conclude(found, scene.seen, spec)
    result = WindowResult(
        key=spec.key,
        verdict=verdict,
        start=scene.seen.start,
        end=scene.seen.end,
        rows=scene.seen.whole,
        labels=scene.seen.labels,
        why=why,
        checks=tuple(found),
        measured={name: value for name, value in scene.measured.items() if finite(value) is not None},
        revisions=dict(scene.seen.revisions),
        series={name: value for name, value in scene.series.items() if finite(value) is not None},
        trouble="; ".join(dict.fromkeys([*scene.seen.told, *(scene.normal.told if scene.normal else [])])),
    )
    return _kept(spec, result, scene.shown)


def conclude(found: Sequence[Found], seen: Side, spec: WindowSpec) -> tuple[Verdict, str]:
    """Of the checks together. One that fails is enough; one that holds does not speak against another that passes."""
    failed = [each for each in found if each.verdict == "fail"]
    holds = "; ".join(f"{each.check}: {each.said}" for each in found if each.verdict == "hold")
    if failed:
        more = f"; also {', '.join(each.check for each in failed[1:])}" if len(failed) > 1 else ""
        return "fail", f"{failed[0].check}: {failed[0].said}{more}"
    if any(each.check in OF_ROWS for each in found) and seen.whole < spec.min_rows:
        return "hold", f"{seen.whole:,} of {spec.min_rows:,} rows"
    return ("pass" if any(each.verdict == "pass" for each in found) else "hold"), holds


# --- reading -----------------------------------------------------------------------------------------------------------


def _read(spec: WindowSpec, checks: Checks) -> _Scene:
    """Both sides. The reference is read only when the window has rows enough to be held against it."""
    wanted = any(getattr(checks, name) is not None for name in ("drift", "quality", "predictions", "labels"))
    normal: Side | None = None
    why = ""
    if wanted and spec.reference.kind == "data":
        normal, why = _side(spec, spec.reference, ())
    places = _places(spec, normal)
    seen, trouble = _side(spec, spec.current, places)
    if seen is None:
        seen = Side(Columns(), start=spec.current.start, end=spec.current.end or spec.current.start, told=[trouble])
    if wanted and spec.reference.kind == "log" and seen.whole >= spec.min_rows:
        normal, why = _side(spec, spec.reference, ())
    if normal is not None and normal.rows < LEAST_NORMAL:
        why = f"the reference has {normal.rows} rows: too few to tell what is normal"
        normal = None
    return _Scene(spec, checks, seen, normal, trouble or why)


def _side(spec: WindowSpec, source: Source, places: Sequence[str]) -> tuple[Side | None, str]:
    try:
        if source.kind == "log":
            return window.read(Path(spec.state_dir), source, spec.max_rows, spec.key, places), ""
        return datafile.read(source, spec.target, spec.expected, spec.max_rows, spec.key, has_truth=source == spec.reference), ""
    except ReconcilerError as error:
        return None, str(error)
    except Exception as error:  # what cannot be read is no window, good or bad
        return None, f"{source.path or f'the log of {source.project}/{source.name}'} cannot be read: {said(error)}"


def _places(spec: WindowSpec, normal: Side | None) -> list[str]:
    """Names for the places of an array: the columns of the reference, as they stand, which is how a model is evaluated on it."""
    if normal is None or not normal.named:
        return []
    return [name for name in normal.inputs.values if not spec.expected or name in spec.expected]


# --- the checks --------------------------------------------------------------------------------------------------------


def _guarded(name: str, scene: _Scene) -> Found | None:
    try:
        if name == "operations":
            return _operations(scene)
        if scene.seen.whole < scene.spec.min_rows:
            return Found(name, "hold", f"{scene.seen.whole:,} of {scene.spec.min_rows:,} rows")
        if name == "performance":
            return _performance(scene)
        if scene.normal is None:
            return Found(name, "hold", scene.why)
        return _CHECKS[name](scene, scene.normal)
    except Exception as error:  # a defect of a check must neither cost the others nor pass for a good window
        return Found(name, "hold", f"could not be computed: {said(error)}")


def _drift(scene: _Scene, normal: Side) -> Found:
    assert scene.checks.drift is not None
    judged = drift.inputs(scene.table(), scene.checks.drift, scene.shown)
    scene.series |= {each.column: each.score for each in judged.moved}
    return _with_notes(judged.found, scene.table().notes)


def _quality(scene: _Scene, normal: Side) -> Found:
    assert scene.checks.quality is not None
    return quality.judge(scene.table(), scene.checks.quality, scene.shown)


def _predictions(scene: _Scene, normal: Side) -> Found:
    assert scene.checks.predictions is not None
    judged = answers.predictions(normal, scene.seen, scene.checks.predictions, scene.spec.min_rows, scene.shown)
    scene.series |= {each.column: each.score for each in judged.moved if each.column not in scene.series}
    return judged.found


def _labels(scene: _Scene, normal: Side) -> Found:
    assert scene.checks.labels is not None
    judged = answers.labels(normal, scene.seen, scene.checks.labels, scene.spec.min_rows, scene.shown)
    scene.series |= {each.column: each.score for each in judged.moved if each.column not in scene.series}
    return judged.found


def _performance(scene: _Scene) -> Found:
    assert scene.checks.performance is not None
    result = performance.judge(scene.seen, scene.checks.performance, scene.spec.baseline, scene.shown)
    scene.measured |= result.measured
    return result.found


def _operations(scene: _Scene) -> Found:
    assert scene.checks.operations is not None
    seen, spec = scene.seen, scene.spec
    traffic = operations.read(Path(spec.state_dir), spec.current, seen.start, seen.end, seen.told)
    scene.measured |= {} if traffic is None else operations.measured(traffic)
    return operations.judge(traffic, scene.checks.operations, spec.baseline, spec.min_rows, seen.whole)


def _for_charts(scene: _Scene) -> None:
    """What a dashboard may show of a window whatever was asked of it. Evidently is not imported for it alone."""
    with suppress(Exception):  # a chart without a point is no trouble
        if scene.made is not None and scene.checks.quality is None:
            quality.summary(scene.made, scene.shown)
        elif scene.made is None and scene.shown.parts:
            scene.shown.count(scene.seen.rows)


_CHECKS: Mapping[str, Callable[[_Scene, Side], Found]] = {
    "drift": _drift,
    "quality": _quality,
    "predictions": _predictions,
    "labels": _labels,
}


def _with_notes(found: Found, notes: Sequence[str]) -> Found:
    more = [f"and {len(notes) - NOTES} more remarks"] if len(notes) > NOTES else []
    return replace(found, said="; ".join([found.said, *notes[:NOTES], *more])) if notes else found


# --- what is kept ------------------------------------------------------------------------------------------------------


def _kept(spec: WindowSpec, result: WindowResult, shown: Shown) -> WindowResult:
    """With its snapshot in the workspace. One that cannot be written costs itself, not the verdict."""
    if not (spec.workspace and spec.project and spec.snapshot):
        return result
    where = snapshot.folder(Path(spec.workspace), spec.project)
    try:
        if shown.parts:
            metadata: dict[str, str | float] = {
                "ref": spec.ref,
                "key": spec.key,
                "verdict": result.verdict,
                "why": result.why,
                **spec.marks,
                **result.measured,
            }
            snapshot.write(where, spec.snapshot, shown.parts, result.end or time.time(), metadata, [result.verdict], spec.ref)
            result = replace(result, snapshot=spec.snapshot)
        snapshot.tidy(where, spec.retain)
    except Exception as error:  # a full disk, a folder that is none, or what Evidently cannot write
        trouble = f"the snapshot could not be written: {said(error) if not isinstance(error, OSError) else error.strerror or error}"
        result = replace(result, trouble="; ".join(filter(None, (result.trouble, trouble))))
    return result
