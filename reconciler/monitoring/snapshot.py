"""What was found, as one run in Evidently's workspace.

The file is written as its local storage would (`WORKSPACE/PROJECT/snapshots/ID.json`), but whole or not at all, and under an id that is the
same for the same window: a second look replaces the first."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.files import place_private

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

STAGED_SECONDS = 3600.0
"""After so long a file that is not finished is what somebody who was killed has left."""


def folder(workspace: Path, project: str) -> Path:
    return workspace / project / "snapshots"


def write(
    where: Path, name: str, parts: Sequence[Snapshot], at: float, metadata: Mapping[str, str | float], tags: Sequence[str], title: str
) -> None:
    """Write the snapshot `name`; `at` is the window's end. Raises OSError."""
    from evidently.core.serialization import ReportModel, SnapshotModel
    from evidently.legacy.utils import NumpyEncoder

    from reconciler.monitoring.report import quiet

    with quiet():
        model = SnapshotModel(
            report=ReportModel(items=[]),
            name=title,
            timestamp=datetime.fromtimestamp(at, UTC).replace(tzinfo=None),  # Evidently compares with times without a zone
            metadata=dict(metadata),
            tags=list(tags),
            metric_results={key: each for part in parts for key, each in part.metric_results.items()},
            top_level_metrics=[each for part in parts for each in part.to_snapshot_model().top_level_metrics],
            widgets=[each for part in parts for each in part.to_snapshot_model().widgets],
            tests_widgets=_tests(parts),
        )
        text = json.dumps(model.dict(), cls=NumpyEncoder)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = where / f"{name}.json"
    place_private(target, text)
    os.utime(target, (at, at))  # what it is as old as


def tidy(where: Path, retain: float) -> None:
    """Remove what is older than `retain` seconds, and what was never finished."""
    now = time.time()
    for each in where.glob("*.json"):
        with suppress(OSError):
            if each.stat().st_mtime < now - retain:
                each.unlink()
    for half in where.glob(".*.json-*"):
        with suppress(OSError):
            if half.stat().st_mtime < now - STAGED_SECONDS:
                half.unlink()


def _tests(parts: Sequence[Snapshot]) -> list[Any]:
    """One table of all tests."""
    from evidently.core.metric_types import metric_tests_widget
    from evidently.core.report import metric_tests_stats

    tests = [each for part in parts for each in part.tests_results]
    return [metric_tests_stats(tests), metric_tests_widget(tests)] if tests else []
