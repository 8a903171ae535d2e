"""When a project may be changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.model import Ref
from reconciler.syncwindow import closed_projects
from reconciler.testing import make_resource
from schemas.project import KIND

WORK = {"kind": "allow", "cron": "0 9 * * 1-5", "duration": "8h", "timezone": "Europe/Berlin"}
FREEZE = {"kind": "deny", "cron": "0 0 24 12 *", "duration": "72h"}


def project(name: str, *windows: Any) -> Any:
    return make_resource(KIND, name, {"path": name, "sync": {"windows": list(windows)}}, project=None)


@pytest.mark.parametrize(
    ("windows", "at", "said"),
    [
        ([], datetime(2026, 12, 24, 12, tzinfo=UTC), ""),
        ([WORK], datetime(2026, 11, 30, 8, 30, tzinfo=UTC), ""),  # half past nine in Berlin, a Monday
        ([WORK], datetime(2026, 11, 30, 7, 30, tzinfo=UTC), "allow `0 9 * * 1-5` for 8h (Europe/Berlin)"),
        ([WORK], datetime(2026, 11, 29, 10, 0, tzinfo=UTC), "in its windows only"),
        ([FREEZE], datetime(2026, 12, 25, 12, tzinfo=UTC), "deny `0 0 24 12 *` for 72h (UTC) is on"),
        ([FREEZE], datetime(2026, 12, 27, 0, 1, tzinfo=UTC), ""),
        ([WORK, FREEZE], datetime(2026, 12, 24, 10, tzinfo=UTC), "deny"),
    ],
)
def test_windows(windows: list[Any], at: datetime, said: str) -> None:
    found = closed_projects({each.ref: each for each in (project("p", *windows), project("q"))}, at)
    assert set(found) == ({"p"} if said else set())
    assert said in found.get("p", "")
    assert Ref("Project", None, "p").path in found.get("p", "p")
