"""The small parts of workflows: placeholders, averages, rankings, pools, the repository of specs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.tools.airflow import PoolInfo, RunInfo
from controllers.workflows.asking import key
from controllers.workflows.comparing import gained, ranking
from controllers.workflows.looking import KEPT_RUNS, remembered
from controllers.workflows.pools import pool_of
from controllers.workflows.telling import failed
from reconciler import delivery
from reconciler.admission.slots import slots
from reconciler.admission.values import Heat, Level, Node, Quota, Rules, Snapshot
from reconciler.errors import Terminal
from reconciler.model import Limits, Ref
from reconciler.model.demand import Slots
from reconciler.tasks.average import average
from reconciler.workflows.filling import filled
from tests.unit.admission_world import NOW

FLOW = Ref("Workflow", "p", "flow")


def test_placeholders_are_filled_and_keep_their_type_where_they_stand_alone() -> None:
    pulled = {("a", "rows"): "3", ("a", "word"): '"two words"', ("a", "raw"): "plain", ("a", "out"): "/x/a"}
    work = {
        "command": ["use.py", "${tasks.a.rows}", "n=${tasks.a.rows}", "${tasks.a.word}", "$HOME", "${tasks.a.out}/w"],
        "n": 5,
        "x": None,
    }
    found = filled(work, {"run.id": "r"}, lambda task, name: pulled.get((task, name)))
    assert found == {"command": ["use.py", 3, "n=3", "two words", "$HOME", "/x/a/w"], "n": 5, "x": None}
    assert filled("${tasks.a.raw}", {}, lambda task, name: pulled.get((task, name))) == "plain"
    with pytest.raises(KeyError, match="has no value in this run"):
        filled("${conf.rows}", {}, lambda task, name: None)


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(-10, 10)), min_size=1, max_size=5))
def test_the_average_weighs_by_rows(tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[int, float]]) -> None:
    folder = tmp_path_factory.mktemp("weights")
    for at, (_, value) in enumerate(parts):
        np.savez(folder / f"{at}.npz", w=np.full((2, 3), value), b=np.array([value]))
    rows = [float(count) for count, _ in parts]
    assert average([folder / f"{at}.npz" for at in range(len(parts))], rows, folder / "out") == sum(rows)
    with np.load(folder / "out" / "weights.npz") as found:
        expected = sum(count * value for count, value in parts) / sum(rows)
        assert np.allclose(found["w"], expected, atol=1e-4)
        assert found["b"].shape == (1,)


def test_what_does_not_fit_is_not_averaged(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.zeros(2))
    np.savez(tmp_path / "b.npz", w=np.zeros(3))
    with pytest.raises(ValueError, match=r"b\.npz holds other arrays"):
        average([tmp_path / "a.npz", tmp_path / "b.npz"], [1.0, 1.0], tmp_path / "out")
    with pytest.raises(ValueError, match="nothing to average"):
        average([tmp_path / "a.npz"], [0.0], tmp_path / "out")


def test_scores_are_ranked_by_their_goal_and_the_shared_model_gains_on_the_best_other() -> None:
    scores = {"shared": 0.8, "a": 0.3, "b": 0.5}
    assert ranking(scores, "maximize") == ["shared", "b", "a"]
    assert ranking(scores, "minimize") == ["a", "b", "shared"]
    assert gained(scores, "maximize") == pytest.approx(0.3)
    assert gained(scores, "minimize") == pytest.approx(-0.5)
    assert gained({"a": 1.0, "b": 2.0}, "maximize") is None


def test_a_childs_name_tells_task_and_time() -> None:
    assert key("train", "scheduled__2026-11-29T03:00:00+00:00") == "train@2026-11-29T03:00"
    assert key("train", "by-hand-3") == "train@by-hand-3"


def test_a_failure_names_task_exception_last_words_and_machine() -> None:
    facts = {"heat": "serious", "memoryPressure": "fair", "throttled": True, "peakMemory": "2 GiB", "ranBeside": ["experiment/q/e#a"]}
    tail = "Traceback (most recent call last):\n  File x\ntorch.OutOfMemoryError: no room"
    text = failed(FLOW, {"id": "r1", "failure": {"task": "train", "why": "exit 1", "tail": tail, "facts": facts}})
    for word in ("run r1 failed: task train: exit 1, torch.OutOfMemoryError: no room", "heat serious", "memory pressure fair", "throttled"):
        assert word in text
    assert "beside experiment/q/e#a" in text
    assert text.endswith("again: reconcile run workflow/p/flow")


def snapshot(quota: Quota | None, *levels: Level, memory: Level = Level.NOMINAL) -> Snapshot:
    nodes = tuple(Node(f"n{at}", Limits(cpu=2000), heat=Heat(level), memory_level=memory) for at, level in enumerate(levels))
    return Snapshot(NOW, nodes, {quota.project: quota} if quota else {}, (), (), Rules())


def test_a_pool_follows_quota_heat_and_pressure() -> None:
    plain, exempt = Quota("p", Limits(cpu=1000)), Quota("p", Limits(cpu=1000), priority=7)
    assert slots(snapshot(plain, Level.NOMINAL), "p").now == 4
    assert slots(snapshot(None, Level.UNKNOWN), "p").now == 8
    assert slots(snapshot(Quota("p", max_running=3), Level.NOMINAL), "p").full == 3
    assert slots(snapshot(plain, Level.FAIR), "p").now == 2
    assert (slots(snapshot(plain, Level.SERIOUS), "p").now, slots(snapshot(plain, Level.SERIOUS), "p").why) == (0, "heat is serious")
    assert slots(snapshot(exempt, Level.SERIOUS), "p").now == 4
    assert slots(snapshot(exempt, Level.CRITICAL), "p").now == 0
    assert slots(snapshot(plain, Level.NOMINAL, memory=Level.CRITICAL), "p").why == "memory pressure is critical"
    assert slots(snapshot(plain, Level.CRITICAL, Level.NOMINAL), "p").now == 4, "one cool node is enough"
    assert slots(snapshot(Quota("p", active=False), Level.NOMINAL), "p").now == 0


def test_specs_are_delivered_in_commits_that_change_the_loader(tmp_path: Path) -> None:
    place = tmp_path / "dags"
    with pytest.raises(Terminal, match="not a git repository"):
        delivery.specs(place)
    delivery.make(place)
    first = delivery.deliver(place, {"p.a": "{}"}, "a")
    assert delivery.deliver(place, {"p.a": "{}"}, "again") == first, "nothing differs, so nothing is committed"
    loader = (place / "loader_p.py").read_text()
    second = delivery.deliver(place, {"p.a": '{"x": 1}', "p.b": "{}"}, "b")
    assert second != first
    assert (place / "loader_p.py").read_text() != loader
    changed = (place / "loader_p.py").read_text()
    delivery.deliver(place, {"q.c": "{}"}, "c")
    assert (place / "loader_p.py").read_text() == changed, "another project's file is not read again"
    delivery.deliver(place, {"q.c": None}, "c is gone")
    assert not (place / "loader_q.py").exists()
    assert delivery.specs(place) == {"p.a": '{"x": 1}', "p.b": "{}"}
    third = delivery.deliver(place, {"p.b": "{}"}, "read once more", again=True)
    assert third != second
    assert delivery.deliver(place, {}, "nothing") == third
    (place / ".git" / "index.lock").touch()  # a killed git leaves this
    delivery.deliver(place, {"p.a": None}, "gone")
    assert list(delivery.specs(place)) == ["p.b"]
    subjects = subprocess.run(["git", "log", "--format=%s"], cwd=place, capture_output=True, text=True, check=True).stdout.split("\n")
    assert subjects[:6] == ["gone", "read once more", "c is gone", "c", "b", "a"]


def test_a_pool_shrinks_at_once_and_grows_back_in_steps_once_it_is_calm() -> None:
    pages: dict[Ref, dict[str, object]] = {}
    now, have = [0.0], [8]

    def step(slots: Slots, at: float) -> int:
        now[0] = at
        ctx = SimpleNamespace(installation="here", slots=lambda project: slots, memo=lambda ref: pages.setdefault(ref, {}))
        pool = PoolInfo("here.p", have[0], True, 0, "")
        found = pool_of(FLOW, SimpleNamespace(ctx=ctx, at=now[0], pools={"here.p": pool}))  # type: ignore[arg-type]
        have[0] = found["want"]
        return have[0]

    calm, hot = Slots(8, 8), Slots(8, 0, "heat is serious")
    assert step(hot, 1.0) == 0
    assert [step(calm, at) for at in (2.0, 10.0, 21.9)] == [0, 0, 0], "not calm for long enough"
    assert step(calm, 22.0) == 4
    assert step(hot, 23.0) == 0
    assert [step(calm, at) for at in (24.0, 44.0, 50.0, 64.0, 65.0)] == [0, 4, 4, 8, 8]
    assert step(Slots(4, 4), 66.0) == 4, "a smaller quota counts at once"
    assert step(calm, 67.0) == 8, "and so does a larger one: nothing was shrunk for heat"


def test_the_runs_that_ended_last_are_remembered_each_once() -> None:
    known: list[dict[str, object]] = []
    for number in range(KEPT_RUNS + 3):
        known = remembered(known, _ended(f"r{number}", "success"))
    assert [each["id"] for each in known] == [f"r{number}" for number in range(3, KEPT_RUNS + 3)]
    again = remembered(known, _ended("r5", "failed"))  # cleared, and run once more
    assert len(again) == KEPT_RUNS
    assert [each["state"] for each in again if each["id"] == "r5"] == ["failed"]
    assert again[-1]["id"] == "r5"


def _ended(run: str, state: str) -> RunInfo:
    return RunInfo("p.flow", run, state, "manual", "", "2026-03-01T12:00:00Z", "2026-03-01T12:01:00Z", "", {}, "")
