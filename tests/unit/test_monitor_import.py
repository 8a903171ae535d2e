"""What of Evidently's workspace can be a Monitor manifest, over real files."""

from __future__ import annotations

import json
from pathlib import Path
from queue import Queue

import pytest

from controllers.monitor import MonitorController
from controllers.monitors import telling
from controllers.monitors.looking import APPLIED
from controllers.tools import evidently
from reconciler.errors import Terminal
from reconciler.model.monitoring import workspace
from reconciler.testing import make_context, make_resource
from schemas.monitor import KIND, MonitorSpec

SPEC = {"deployment": "digits", "window": "1h", "checks": {"drift": {"columns": ["size"]}}}


def test_a_monitor_of_ours_is_what_its_windows_are_judged_by(tmp_path: Path) -> None:
    ctx, controller = make_context(tmp_path), MonitorController()
    resource = make_resource(KIND, "drift", SPEC, labels={"team": "nlp"})
    evidently.connect(ctx).put(resource.ref, "Watches.", telling.charts(resource))
    assert list(controller.found(ctx)) == ["demo/drift"]
    with pytest.raises(Terminal, match="notebook is lost"):
        controller.export("demo/drift", ctx)
    ctx.memo(resource.ref)[APPLIED] = telling.fields(resource)
    found = controller.export("demo/drift", ctx)
    assert (MonitorSpec.model_validate(found["spec"]), found["metadata"]["labels"]) == (resource.spec, {"team": "nlp"})
    assert "lifecycle" not in found


def test_reports_of_somebody_else_are_named_and_refused(tmp_path: Path) -> None:
    ctx, controller = make_context(tmp_path), MonitorController()
    for folder, text in (("a", json.dumps({"name": "Ann's reports", "description": "by hand"})), ("b", "{half"), ("c", "[]")):
        (workspace(ctx.state_dir) / folder).mkdir(parents=True)
        (workspace(ctx.state_dir) / folder / evidently.METADATA).write_text(text)
    assert list(controller.found(ctx)) == ["Ann's reports"]
    with pytest.raises(Terminal, match="what computes them is not"):
        controller.export("Ann's reports", ctx)
    with pytest.raises(Terminal, match="has no project 'Bob's'"):
        controller.export("Bob's", ctx)


def test_a_report_that_came_while_nobody_watched_is_heard_of_when_it_is_announced(tmp_path: Path) -> None:
    """With the library that Evidently's pages watch by."""
    from watchdog.events import FileModifiedEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    ctx = make_context(tmp_path)
    resource = make_resource(KIND, "drift", SPEC)
    id = evidently.connect(ctx).put(resource.ref, "Watches.", telling.charts(resource))
    report = workspace(ctx.state_dir) / id / evidently.SNAPSHOTS / "1.json"
    report.write_text("{}")
    before = report.stat().st_mtime_ns
    heard = Queue[str]()

    class Handler(FileSystemEventHandler):
        def on_modified(self, event: object) -> None:
            if isinstance(event, FileModifiedEvent):
                heard.put(str(event.src_path))

    observer = Observer()
    observer.schedule(Handler(), str(workspace(ctx.state_dir)), recursive=True)
    observer.start()
    try:
        evidently.connect(ctx).announce(id, "2")
        evidently.connect(ctx).announce(id, "1")
        assert Path(heard.get(timeout=20)).samefile(report)
    finally:
        observer.stop()
        observer.join()
    assert (report.stat().st_mtime_ns, report.read_text()) == (before, "{}")
