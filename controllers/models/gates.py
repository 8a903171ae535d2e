"""What a version must prove before it gets the alias. Pure.

Each gate tells pass, fail or hold. Hold = not known: it never lets a version through, and never condemns one. A verdict is the worst of its
gates, a fail before a hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from controllers.models.scene import Goal
from reconciler.model.serving import TrialResult
from reconciler.model.units import memory
from schemas.base import duration_value, quantity_value
from schemas.model import Evaluation, Gates

State = Literal["pass", "fail", "hold"]
TOLERANCE = 1e-9
"""Relative: what two differences of decimal fractions may be apart and still be the same number."""
LOWER_IS_BETTER = ("mae", "rmse")


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate's answer, for people: `evaluation.accuracy 0.85, needs at least 0.9`."""

    name: str
    state: State
    have: str = ""
    want: str = ""
    """As the rest of the sentence: `at least 0.9`."""

    def __str__(self) -> str:
        return f"{self.name} is {self.have or 'not known'}" + (f", and {self.want} is asked for" if self.want else "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """All gates of one version."""

    gates: tuple[Gate, ...] = ()

    @property
    def state(self) -> State:
        found = {each.state for each in self.gates}
        return "fail" if "fail" in found else "hold" if "hold" in found else "pass"

    @property
    def why(self) -> str:
        """The first gate that does not let it through; empty = all do."""
        return next((str(each) for each in self.gates if each.state == self.state), "") if self.state != "pass" else ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of a version, or of a run that is none yet."""

    metrics: Mapping[str, float]
    """As the run logged them."""
    size: int | None = None
    """Bytes; None = not a version yet."""
    trial: TrialResult | None = None
    """Of the present files on the present data; None = it is still to come."""


@dataclass(frozen=True, slots=True)
class Rival:
    """The version that has the alias, as the other one of a comparison."""

    number: str
    proof: Proof
    fails: bool
    """It fails a gate of its own: then whatever passes may take its place."""


def logged(gates: Gates, metrics: Mapping[str, float]) -> list[Gate]:
    """Bounds on what the run has logged. A metric that it did not log it never will."""
    bounds = [(name, limit, True) for name, limit in sorted(gates.minimum.items())]
    bounds += [(name, limit, False) for name, limit in sorted(gates.maximum.items())]
    return [_bounded(name, metrics.get(name), limit, least=least) for name, limit, least in bounds]


def absolute(gates: Gates, proof: Proof) -> list[Gate]:
    """Every gate but the one against the champion."""
    found = logged(gates, proof.metrics)
    if gates.size is not None:
        found.append(_amount("size", proof.size, int(quantity_value(gates.size))))
    trial = proof.trial
    if trial is None:
        return [*found, Gate("trial", "hold", "still to come")]
    found.append(Gate("trial", "fail", trial.why, "an answer") if trial.why else Gate("trial", "pass", "it answered"))
    if trial.why:
        return found
    if gates.latency is not None:
        limit = duration_value(gates.latency).total_seconds()
        found.append(Gate("latency", _within(trial.p95, limit), milliseconds(trial.p95), f"at most {milliseconds(limit)}"))
    if gates.memory is not None:
        found.append(_amount("memory", trial.memory or None, int(quantity_value(gates.memory))))
    if gates.evaluation is not None:
        found += _evaluated(gates.evaluation, trial)
    return found


def against(gates: Gates, proof: Proof, rival: Rival, criterion: tuple[str, Goal]) -> Gate | None:
    """The comparison with the champion; None = nothing is asked, or it fails gates of its own.

    On the evaluation data where there is any, so that both answered the same questions; else by what the two runs have logged."""
    if gates.champion is None or rival.fails:
        return None
    if gates.evaluation is not None:
        name: str = gates.evaluation.metric
        goal: Goal = "minimize" if name in LOWER_IS_BETTER else "maximize"
        have, other = _evaluation_value(proof, name), _evaluation_value(rival.proof, name)
        untold: State = "hold"
    else:
        name, goal = criterion
        have, other = proof.metrics.get(name), rival.proof.metrics.get(name)
        untold = "fail"
    least = gates.champion.min_effect
    want = f"better than v{rival.number}" + (f" by at least {number(least)}" if least else "")
    if not name or have is None:
        return Gate("champion", untold, f"{name or 'no metric'} not known of it", want)
    if other is None:  # what the champion cannot show does not protect it, unless its trial is still to come
        return Gate("champion", "hold", f"{name} not known of v{rival.number}", want) if untold == "hold" else None
    gain = have - other if goal == "maximize" else other - have
    slack = TOLERANCE * max(1.0, abs(have), abs(other))
    state: State = "pass" if gain > slack and gain >= least - slack else "fail"
    return Gate("champion", state, f"{name} {number(have)} against {number(other)}", want)


def milliseconds(seconds: float) -> str:
    """`12 ms`, `0.4 ms`."""
    return f"{number(seconds * 1000)} ms"


def number(value: float) -> str:
    """Four significant digits: `0.9312`, `12`."""
    return f"{value:.4g}"


def _evaluated(asked: Evaluation, trial: TrialResult) -> Iterator[Gate]:
    name = f"evaluation.{asked.metric}"
    if trial.rows < asked.min_rows:
        yield Gate(name, "hold", f"judged by {trial.rows} rows", f"{asked.min_rows} rows")
        return
    have = trial.metrics.get(asked.metric)
    if have is None:
        yield Gate(name, "fail", "not to be had from these answers", "a number")
        return
    if asked.minimum is not None:
        yield _bounded(name, have, asked.minimum, least=True)
    if asked.maximum is not None:
        yield _bounded(name, have, asked.maximum, least=False)
    if asked.minimum is None and asked.maximum is None:
        yield Gate(name, "pass" if math.isfinite(have) else "fail", number(have), "a number")


def _evaluation_value(proof: Proof, name: str) -> float | None:
    found = proof.trial.metrics.get(name) if proof.trial is not None else None
    return found if found is not None and math.isfinite(found) else None


def _bounded(name: str, have: float | None, limit: float, *, least: bool) -> Gate:
    want = f"{'at least' if least else 'at most'} {number(limit)}"
    if have is None:
        return Gate(name, "fail", "not logged by its run", want)
    if not math.isfinite(have):
        return Gate(name, "fail", str(have), want)
    return Gate(name, _within(limit, have) if least else _within(have, limit), number(have), want)


def _amount(name: str, have: int | None, limit: int) -> Gate:
    want = f"at most {memory(limit)}"
    if have is None:
        return Gate(name, "hold", "", want)
    return Gate(name, _within(have, limit), memory(have), want)


def _within(low: float, high: float) -> State:
    return "pass" if low <= high else "fail"
