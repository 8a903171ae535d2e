"""Gates of a model as truth tables: pass, fail, and hold where something is not known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from controllers.models.gates import Gate, Proof, Rival, Verdict, absolute, against, logged
from reconciler.model.serving import TrialResult
from schemas.model import Gates


def gates(**given: Any) -> Gates:
    return Gates.model_validate(given)


def trial(**given: Any) -> TrialResult:
    return TrialResult(**{"digest": "d", "runtime": "sklearn", "p95": 0.01, "memory": 1 << 20, **given})


def states(found: list[Gate]) -> dict[str, str]:
    return {each.name: each.state for each in found}


@pytest.mark.parametrize(
    ("value", "state"),
    [(0.9, "pass"), (0.91, "pass"), (0.89, "fail"), (None, "fail"), (math.nan, "fail"), (math.inf, "fail")],
)
def test_bounds_on_what_the_run_logged(value: float | None, state: str) -> None:
    metrics = {} if value is None else {"accuracy": value}
    assert states(logged(gates(minimum={"accuracy": 0.9}), metrics)) == {"accuracy": state}
    upside_down = {} if value is None else {"accuracy": -value}
    assert states(logged(gates(maximum={"accuracy": -0.9}), upside_down)) == {"accuracy": state}


def test_without_a_trial_nothing_passes() -> None:
    found = Verdict(tuple(absolute(gates(latency="1ms"), Proof({}))))
    assert (found.state, found.why) == ("hold", "trial is still to come")


def test_a_fail_weighs_more_than_what_is_not_known() -> None:
    assert Verdict((Gate("a", "hold"), Gate("b", "fail", "1", "at least 2"))).state == "fail"
    assert Verdict((Gate("a", "hold"), Gate("b", "pass"))).state == "hold"
    assert Verdict((Gate("b", "fail", "1", "at least 2"), Gate("a", "pass"))).why == "b is 1, and at least 2 is asked for"
    assert (Verdict().state, Verdict().why) == ("pass", "")


@pytest.mark.parametrize(
    ("given", "result", "state"),
    [
        ({}, {}, {"trial": "pass"}),
        ({"latency": "10ms"}, {}, {"trial": "pass", "latency": "pass"}),
        ({"latency": "9ms"}, {}, {"trial": "pass", "latency": "fail"}),
        ({"memory": "1Mi"}, {}, {"trial": "pass", "memory": "pass"}),
        ({"memory": "1Mi"}, {"memory": (1 << 20) + 1}, {"trial": "pass", "memory": "fail"}),
        ({"memory": "1Mi"}, {"memory": 0}, {"trial": "pass", "memory": "hold"}),
        ({"latency": "10ms", "memory": "1Mi"}, {"why": "does not load"}, {"trial": "fail"}),
    ],
)
def test_what_a_trial_measures(given: dict[str, Any], result: dict[str, Any], state: dict[str, str]) -> None:
    assert states(absolute(gates(**given), Proof({}, trial=trial(**result)))) == state


@pytest.mark.parametrize(("size", "state"), [(1 << 20, "pass"), ((1 << 20) + 1, "fail"), (None, "hold")])
def test_size(size: int | None, state: str) -> None:
    assert states(absolute(gates(size="1Mi"), Proof({}, size, trial())))["size"] == state


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ({"rows": 30, "metrics": {"accuracy": 0.8}}, "pass"),
        ({"rows": 30, "metrics": {"accuracy": 0.79}}, "fail"),
        ({"rows": 29, "metrics": {"accuracy": 0.1}}, "hold"),
        ({"rows": 30, "metrics": {}}, "fail"),
        ({"rows": 30, "metrics": {"accuracy": math.nan}}, "fail"),
    ],
)
def test_evaluation(result: dict[str, Any], state: str) -> None:
    asked = gates(evaluation={"dataset": "d", "target": "y", "minimum": 0.8})
    assert states(absolute(asked, Proof({}, trial=trial(**result))))["evaluation.accuracy"] == state


@pytest.mark.parametrize(
    ("have", "other", "effect", "state"),
    [
        (0.92, 0.90, 0.02, "pass"),  # 0.92 - 0.9 is a little more than 0.02 in floating point, and 0.3 - 0.2 a little less than 0.1
        (0.3, 0.2, 0.1, "pass"),
        (0.91, 0.90, 0.02, "fail"),
        (0.90, 0.90, 0.0, "fail"),
        (0.9000001, 0.90, 0.0, "pass"),
        (None, 0.9, 0.0, "fail"),
    ],
)
def test_against_the_champion_by_what_was_logged(have: float | None, other: float, effect: float, state: str) -> None:
    asked = gates(champion={"minEffect": effect})
    rival = Rival("3", Proof({"accuracy": other}), fails=False)
    found = against(asked, Proof({} if have is None else {"accuracy": have}), rival, ("accuracy", "maximize"))
    assert found is not None
    assert found.state == state
    if have is not None:
        turned = Rival("3", Proof({"accuracy": -other}), fails=False)
        mirrored = against(asked, Proof({"accuracy": -have}), turned, ("accuracy", "minimize"))
        assert mirrored is not None
        assert mirrored.state == state


def test_a_champion_that_fails_or_cannot_show_anything_protects_nothing() -> None:
    asked = gates(champion={})
    assert against(asked, Proof({"accuracy": 0.1}), Rival("3", Proof({"accuracy": 0.9}), fails=True), ("accuracy", "maximize")) is None
    assert against(asked, Proof({"accuracy": 0.1}), Rival("3", Proof({}), fails=False), ("accuracy", "maximize")) is None
    assert against(gates(), Proof({"accuracy": 0.1}), Rival("3", Proof({"accuracy": 0.9}), fails=False), ("accuracy", "maximize")) is None


def test_with_evaluation_both_answer_the_same_questions() -> None:
    asked = gates(champion={"minEffect": 1.0}, evaluation={"dataset": "d", "target": "y", "metric": "mae"})
    better, worse = Proof({"accuracy": 0.1}, trial=trial(metrics={"mae": 2.0})), Proof({"accuracy": 0.9}, trial=trial(metrics={"mae": 3.0}))
    untried = Proof({"accuracy": 0.9})

    def told(proof: Proof, rival: Proof) -> str:
        found = against(asked, proof, Rival("3", rival, fails=False), ("accuracy", "maximize"))
        assert found is not None
        return found.state

    assert (told(better, worse), told(worse, better)) == ("pass", "fail")
    assert (told(untried, worse), told(better, untried)) == ("hold", "hold")
