"""`kill -9` of whoever tells, at each boundary: nothing is lost, and by its id each transition is told once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.alerting.courier import Courier
from tests.contract import alert_child
from tests.contract.alert_lab import SECRET, Inbox, declare, hook, house_in, ill, listening, policy, well
from tests.contract.alert_lab import WORDS as DATASET
from tests.forked import called

REPOSITORY = Path(__file__).parents[2]
ENDS = [(moment, what) for what in ("follow", "queue", "claim", "arrived") for moment in ("before", "after")]
TWICE = {("before", "arrived")}
"""Where the receiver had answered and nothing was written down yet: it gets the same id again, and knows it."""


def killed(root: Path, moment: str, what: str) -> None:
    """A process that tells what there is to tell, until that point."""
    done = called(alert_child.main, root, moment, what, env={**os.environ, "HOOK_SECRET": SECRET})
    assert done.returncode == -signal.SIGKILL, done.stderr


def finished(root: Path, inbox: Inbox, *, mended: bool) -> None:
    """The next process: the same statuses, and all that is due."""
    house = house_in(root, lambda: datetime.now(UTC))
    house.store.put_statuses([well() if mended else ill(), ill(DATASET)])
    courier = Courier(house)
    for _ in range(2):
        courier.look()
        assert courier.wait(20.0)
    assert house.store.deliveries.heads() == []
    house.store.close()


def test_processes_that_run_at_once_tell_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    with listening() as inbox:
        inbox.before = lambda: time.sleep(0.2)
        house = house_in(tmp_path, lambda: datetime.now(UTC))
        declare(house, policy(hook(inbox), groupBy=["name"]))
        house.store.close()
        argv = [sys.executable, "-m", "tests.contract.alert_child", str(tmp_path)]
        children = [subprocess.Popen(argv, cwd=REPOSITORY, env={**os.environ, "HOOK_SECRET": SECRET}) for _ in range(3)]
        assert [each.wait(60) for each in children] == [0, 0, 0]
        finished(tmp_path, inbox, mended=False)
        assert sorted(inbox.told()) == [[("dataset/speech/words", "firing")], [("deployment/vision/search", "firing")]]


@pytest.mark.parametrize(("moment", "what"), ENDS, ids=[" ".join(each) for each in ENDS])
def test_each_transition_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, what: str) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    with listening() as inbox:
        house = house_in(tmp_path, lambda: datetime.now(UTC))
        declare(house, policy(hook(inbox)))
        house.store.close()
        for mended in (False, True):
            if mended:
                (tmp_path / "mended").touch()
            killed(tmp_path, moment, what)
            finished(tmp_path, inbox, mended=mended)
        told = Counter((each["ref"], each["phase"]) for body in inbox.accepted() for each in body["alerts"])
        assert told == {
            ("deployment/vision/search", "firing"): 1,
            ("deployment/vision/search", "resolved"): 1,
            ("dataset/speech/words", "firing"): 1,
        }
        ids = Counter(headers["X-MLOps-Delivery"] for _, headers, _ in inbox.requests)
        assert (max(ids.values()) > 1) is ((moment, what) in TWICE)
