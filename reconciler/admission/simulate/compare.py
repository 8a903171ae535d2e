"""The same work under several policies or quotas, and how that stands to the goals of the reference. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.admission.simulate.account import Outcome
from reconciler.admission.simulate.policy import FIRST_COME, FULL, MEMORY, NONE, UNRESERVED, Policy
from reconciler.admission.simulate.run import simulate
from reconciler.admission.simulate.scenario import Scenario, linear
from reconciler.admission.values import Quota

CUBIC, LINEAR = "~f^3", "~f"
"""How power falls with the frequency."""


@dataclass(frozen=True)
class Case:
    """One simulation of a comparison."""

    label: str
    """Of the policy or of the quotas."""
    power: str
    """CUBIC or LINEAR; empty where heat is not simulated."""
    scenario: Scenario
    policy: Policy

    def play(self) -> Outcome:
        return simulate(self.scenario, self.policy)


@dataclass(frozen=True)
class Played:
    """A case and its outcome."""

    case: Case
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that was set before, and what came out."""

    name: str
    target: str
    measured: str
    met: bool


def policies(scenario: Scenario) -> tuple[Case, ...]:
    """What a built-in scenario compares: policies, and with heat both ways in which power may fall with the frequency."""
    compared = (NONE, MEMORY, FULL) if scenario.work else (FIRST_COME, UNRESERVED, FULL)
    if not scenario.heat:
        return tuple(Case(each.name, "", scenario, each) for each in compared)
    both = ((CUBIC, scenario), (LINEAR, linear(scenario)))
    return tuple(Case(each.name, power, machine, each) for power, machine in both for each in compared)


def quotas(scenario: Scenario, given: Mapping[str, Mapping[str, Quota]]) -> tuple[Case, ...]:
    """The scenario under each of several sets of quotas, with admission as it is."""
    power = (CUBIC if scenario.plant.exponent == 3 else LINEAR) if scenario.heat else ""
    return tuple(Case(label, power, replace(scenario, quotas=each), FULL) for label, each in given.items())


def play(cases: Iterable[Case], told: Callable[[Case], None] = lambda case: None) -> tuple[Played, ...]:
    """Simulate one after the other; `told` is called before each."""
    found = []
    for case in cases:
        told(case)
        found.append(Played(case, case.play()))
    return tuple(found)


def goals(played: Sequence[Played]) -> tuple[Goal, ...]:
    """The goals of the reference that these simulations say something about. Of several machines the worst counts."""
    by = {(each.case.label, each.case.power): each.outcome for each in played}
    full = [outcome for (label, _), outcome in by.items() if label == FULL.name]
    pairs = {
        power: (by[FULL.name, power], by[MEMORY.name, power]) for label, power in by if label == MEMORY.name and (FULL.name, power) in by
    }
    baseline = [(by[FULL.name, power], each) for (label, power), each in by.items() if label == NONE.name and (FULL.name, power) in by]
    found: list[Goal] = []
    if any(power for _, power in by):
        found += _heat(full)
    found += _against_memory(pairs)
    if baseline:
        found += _against_none(baseline)
    if any(label == UNRESERVED.name for label, _ in by):
        found += _fairness(full[0])
    return tuple(found)


def _heat(full: Sequence[Outcome]) -> list[Goal]:
    hot = max(max(each.hot, each.serious) for each in full)
    over = max(each.overshoot for each in full)
    gates = max(each.gates_per_hour for each in full)
    return [
        Goal("time at serious or worse", "<= 1 %", f"{hot:.2%}", hot <= 0.01),
        Goal("overshoot over the throttle point", "<= 2 C", f"{over:.1f} C", over <= 2.0),
        Goal("gate changes", "<= 12 per hour", f"{gates:.1f} per hour", gates <= 12),
    ]


def _against_memory(pairs: Mapping[str, tuple[Outcome, Outcome]]) -> list[Goal]:
    """Throughput is judged by finished pieces and by work done, whichever is worse."""
    found = []
    for power, least in ((CUBIC, 0.80), (LINEAR, 1.00)):
        if power in pairs:
            full, memory = pairs[power]
            pieces, work = _ratio(full.finished, memory.finished), _ratio(full.work_hours, memory.work_hours)
            kept = min(pieces, work)
            told = f"{kept:.2f} (finished {pieces:.2f}, work {work:.2f})"
            found.append(Goal(f"throughput of memory-only kept, power {power}", f">= {least:.2f}", told, kept >= least))
    heated = [pair for power, pair in pairs.items() if power]
    stretches = [full.stretch_p95 for full, _ in heated if full.stretch_p95 is not None]
    if stretches:
        found.append(Goal("run stretch p95, high priority", "<= 1.05", f"{max(stretches):.3f}", max(stretches) <= 1.05))
    turns = [full.turnaround_p95 / memory.turnaround_p95 for full, memory in heated if full.turnaround_p95 and memory.turnaround_p95]
    if turns:
        found.append(Goal("turnaround p95, high priority", "<= 1.10 of memory-only", f"{max(turns):.2f}", max(turns) <= 1.1))
    return found


def _ratio(have: float, base: float) -> float:
    """Nothing against nothing counts as the same."""
    return have / base if base else 1.0 if not have else float("inf")


def _against_none(pairs: Sequence[tuple[Outcome, Outcome]]) -> list[Goal]:
    times = min(full.finished / max(1, none.finished) for full, none in pairs)
    over = max(full.overcommitted for full, _ in pairs)
    return [
        Goal("finished against no admission control", ">= 5 times", f"{times:.1f} times", times >= 5.0),
        Goal("memory over-committed", "0 s", f"{over:.0f} s", over == 0),
    ]


def _fairness(full: Outcome) -> list[Goal]:
    use = full.utilisation[full.scarcest]
    return [
        Goal("Jain's index of weighted dominant shares", ">= 0.95", f"{full.jain:.3f}", full.jain >= 0.95),
        Goal("use of the scarcest resource", ">= 0.88", f"{use:.2f} ({full.scarcest})", use >= 0.88),
    ]
