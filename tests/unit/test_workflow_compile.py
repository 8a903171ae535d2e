"""Workflows as specs for the loader: templates, order, digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.workflows.compiling import compiled, digest_in, scripts
from controllers.workflows.templates import tasks_of
from reconciler.model import Resource
from reconciler.testing.context import make_resource
from schemas.taskgraph import before
from schemas.workflow import KIND, WorkflowSpec

TRAINING = {"template": "training", "training": {"dataset": "d", "experiment": "other/e", "model": "m", "deployment": "s"}}
FEDERATED = {
    "template": "federated-learning",
    "projects": ["a", "b", "c"],
    "federated": {"rounds": 2, "train": "python fit.py", "evaluate": "python judge.py", "experiment": "e"},
}
COMPARISON = {
    "template": "model-comparison",
    "comparison": {"models": ["m@champion", "other/n@3"], "dataset": "other/d", "target": "label", "experiment": "e"},
}


def made(spec: dict[str, Any], name: str = "flow") -> Resource[WorkflowSpec]:
    return make_resource(KIND, name, spec, project="p")  # type: ignore[return-value]


def works(spec: dict[str, Any]) -> dict[str, Any]:
    return {each.name: each for each in tasks_of(made(spec).ref, made(spec).spec)}


def test_training_is_a_chain_with_what_is_named() -> None:
    tasks = works(TRAINING)
    assert list(tasks) == ["data", "train", "evaluate", "promote", "deploy"]
    assert [each.needs for each in tasks.values()] == [(), ("data",), ("train",), ("evaluate",), ("promote",)]
    assert [each.work["ref"] for each in tasks.values()] == [
        "dataset/p/d",
        "experiment/other/e",
        "model/p/m",
        "model/p/m",
        "deployment/p/s",
    ]
    assert list(works({"template": "training", "training": {"experiment": "e"}})) == ["train"]


def test_own_tasks_come_before_a_template_or_after_what_they_need() -> None:
    own = [
        {"name": "fetch", "command": "fetch.py"},
        {"name": "clean", "command": "clean.py", "needs": ["fetch"]},
        {"name": "tell", "command": "tell.py", "needs": ["promote"]},
        {"name": "file", "command": "file.py", "needs": ["tell"]},
    ]
    tasks = works({**TRAINING, "tasks": own})
    assert tasks["data"].needs == ("clean",)
    assert tasks["tell"].needs == ("promote",)
    assert tasks["deploy"].needs == ("promote",)


def test_federated_learning_averages_each_round_and_holds_it_against_each_alone() -> None:
    tasks = works(FEDERATED)
    assert tasks["round-2-b"].work["command"] == (
        ["python", "fit.py", "--weights", "${tasks.round-1-average.out}/weights.npz", "--rounds", "1", "--out", "${out}"]
    )
    assert tasks["round-2-b"].work["project"] == "b"
    assert set(tasks["round-2-average"].needs) == {"round-2-a", "round-2-b", "round-2-c"}
    assert tasks["alone-c"].work["command"][-4:] == ["--rounds", "2", "--out", "${out}"]
    assert set(tasks["judge"].work["scores"]) == {"shared", "a", "b", "c"}
    assert set(tasks["judge"].needs) == {"score-shared", "score-alone-a", "score-alone-b", "score-alone-c"}


def test_a_comparison_judges_all_models_on_the_version_of_the_data_that_it_began_with() -> None:
    tasks = works(COMPARISON)
    assert [tasks[name].work["ref"] for name in ("model-1", "model-2")] == ["model/p/m", "model/other/n"]
    assert {tasks[name].work["digest"] for name in ("model-1", "model-2")} == {"${tasks.data.digest}"}
    assert set(tasks["compare"].work["scores"]) == {"p/m@champion", "other/n@3"}


@pytest.mark.parametrize("spec", [TRAINING, FEDERATED, COMPARISON])
def test_every_template_is_a_graph_without_circles_and_without_loose_ends(spec: dict[str, Any]) -> None:
    tasks = works(spec)
    needs = {name: each.needs for name, each in tasks.items()}
    for name, each in tasks.items():
        assert set(each.needs) <= tasks.keys()
        assert name not in before(name, needs)
        texts = json.dumps(each.work)
        for other in tasks:
            assert f"${{tasks.{other}." not in texts or other in before(name, needs), (name, other)


def test_the_digest_tells_content_and_not_the_start() -> None:
    one = compiled(made(TRAINING), "here", Path("/s"))
    assert digest_in(one.content["tags"]) == one.digest
    assert json.loads(one.text("2026-01-01T00:00:00+00:00"))["start"] == "2026-01-01T00:00:00+00:00"
    assert compiled(made({**TRAINING, "schedule": "0 3 * * *"}), "here", Path("/s")).digest != one.digest
    assert compiled(made(TRAINING), "here", Path("/s")).digest == one.digest
    assert one.dag == "p.flow"


def test_scripts_are_what_commands_run_in_each_project() -> None:
    assert set(scripts(made(FEDERATED))) == {("a", "fit.py"), ("b", "fit.py"), ("c", "fit.py"), ("p", "judge.py")}
    own = [
        {"name": "x", "command": "-m package.tool"},
        {"name": "y", "command": "dvc status"},
        {"name": "z", "command": ["${conf.file}.py"]},
    ]
    assert list(scripts(made({"tasks": own}))) == []


@given(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1, max_size=6), st.data())
def test_any_valid_graph_of_tasks_compiles_in_any_order(names: list[str], data: st.DataObject) -> None:
    tasks = [
        {"name": name, "command": f"{name}.py", "needs": data.draw(st.lists(st.sampled_from(names[:at]), unique=True)) if at else []}
        for at, name in enumerate(names)
    ]
    shuffled = data.draw(st.permutations(tasks))
    first, second = (compiled(made({"tasks": each}), "here", Path("/s")).content["tasks"] for each in (tasks, shuffled))
    assert sorted(first, key=lambda each: each["name"]) == sorted(second, key=lambda each: each["name"])
