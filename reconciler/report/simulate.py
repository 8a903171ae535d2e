"""What simulations show: goals beside what came out, policies beside each other, every project's waits. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reconciler.report.json import FORMAT_VERSION
from reconciler.report.show import clean, count, paint, took

if TYPE_CHECKING:
    from reconciler.admission.simulate.account import Outcome
    from reconciler.admission.simulate.compare import Goal, Played
    from reconciler.admission.simulate.scenario import Scenario

GIB = 1 << 30
NOTHING = "-"


def simulation_text(played: Sequence[Played], goals: Sequence[Goal], *, next_: str, color: bool = False) -> str:
    """The outcome first, then goals, policies or quotas, projects; `next_` is what to do next."""
    parts = [_headline(played, goals), _about(played[0].case.scenario)]
    if goals:
        parts += ["", *_goals(goals, color)]
    parts += ["", *_cases(played)]
    parts += ["", *_projects(played)]
    if any(each.outcome.rejected for each in played):
        parts.append("Rejected: larger than the machine, or than the project can ever have; such work never starts.")
    return "\n".join([*parts, "", f"Next: {next_}"])


def simulation_json(played: Sequence[Played], goals: Sequence[Goal], plots: Sequence[str] = ()) -> str:
    """The same for programs: numbers in seconds, shares from 0 to 1."""
    scenario = played[0].case.scenario
    return json.dumps(
        {
            "formatVersion": FORMAT_VERSION,
            "kind": "simulation",
            "scenario": {
                "name": scenario.name,
                "seed": scenario.seed,
                "hours": round(max(each.outcome.seconds for each in played) / 3600, 4),
                "memory": scenario.plant.memory,
                "cores": scenario.plant.cores,
                "coolingWatts": scenario.plant.sustained if scenario.heat else None,
            },
            "goals": [{"name": each.name, "target": each.target, "measured": each.measured, "met": each.met} for each in goals],
            "cases": [_case_value(each) for each in played],
            "plots": list(plots),
        },
        indent=2,
    )


def _case_value(each: Played) -> dict[str, Any]:
    outcome = each.outcome
    return {
        "label": each.case.label,
        "power": each.case.power or None,
        "seconds": round(outcome.seconds, 1),
        "submitted": outcome.submitted,
        "finished": outcome.finished,
        "rejected": outcome.rejected,
        "workHours": round(outcome.work_hours, 3),
        "timeHot": round(outcome.hot, 5),
        "timeSerious": round(outcome.serious, 5),
        "overshoot": round(outcome.overshoot, 2),
        "overcommittedSeconds": round(outcome.overcommitted, 1),
        "gateChangesPerHour": round(outcome.gates_per_hour, 2),
        "sensorChangesPerHour": round(outcome.flips_per_hour, 2),
        "preemptions": outcome.preemptions,
        "highPriorityStretchP95": _rounded(outcome.stretch_p95),
        "highPriorityTurnaroundP95": _rounded(outcome.turnaround_p95),
        "jain": round(outcome.jain, 4),
        "utilisation": {name: round(share, 4) for name, share in outcome.utilisation.items()},
        "joules": round(outcome.energy),
        "projects": {
            name: {
                "submitted": project.submitted,
                "finished": project.finished,
                "rejected": project.rejected,
                "waitP50": round(project.wait_p50, 1),
                "waitP95": round(project.wait_p95, 1),
                "share": round(project.share, 4),
            }
            for name, project in outcome.projects.items()
        },
    }


def _rounded(found: float | None) -> float | None:
    return None if found is None else round(found, 4)


def _headline(played: Sequence[Played], goals: Sequence[Goal]) -> str:
    if goals:
        missed = [each for each in goals if not each.met]
        told = f": {'; '.join(each.name for each in missed)}" if missed else ""
        return f"{len(goals) - len(missed)} of {count(len(goals), 'goal')} met{f', missed{told}' if missed else ''}."
    if len(played) == 1:
        outcome = played[0].outcome
        refused = f", {outcome.rejected} rejected" if outcome.rejected else ""
        waited = f"; half of it waited less than {took(_median_wait(outcome))}" if outcome.finished else ""
        return f"{_done(played[0])}{refused}{waited}."
    before, after = played[0], played[-1]
    waits = f"median wait {took(_median_wait(before.outcome))} -> {took(_median_wait(after.outcome))}"
    fair = f"fairness (Jain) {before.outcome.jain:.2f} -> {after.outcome.jain:.2f}"
    rejected = f"rejected {before.outcome.rejected} -> {after.outcome.rejected}"
    return f"{clean(before.case.label)} -> {clean(after.case.label)}: {waits}, {fair}, {rejected}."


def _done(each: Played) -> str:
    return f"{each.outcome.finished} of {count(each.outcome.submitted, 'piece')} of work finished under {clean(each.case.label)}"


def _median_wait(outcome: Outcome) -> float:
    """Of the projects' medians, each weighted by its work."""
    total = sum(each.submitted for each in outcome.projects.values())
    return sum(each.wait_p50 * each.submitted for each in outcome.projects.values()) / max(1, total)


def _about(scenario: Scenario) -> str:
    plant = scenario.plant
    machine = f"{plant.memory / GIB:.0f} GiB, {plant.cores:.0f} cores"
    heat = f"gives off {plant.sustained:.0f} W for ever" if scenario.heat else "heat not simulated"
    off = f"; estimates off by up to {scenario.error:.0%}" if scenario.error else ""
    return f"{clean(scenario.name)} on {machine}, {heat}{off}; seed {scenario.seed}."


def _goals(goals: Sequence[Goal], color: bool) -> list[str]:
    rows = [("GOAL", "TARGET", "MEASURED", "")]
    rows += [(each.name, each.target, each.measured, "met" if each.met else "missed") for each in goals]
    lines = _table(rows, left=4)
    return [
        lines[0],
        *(f"{line[: -len(row[3])]}{paint(row[3], _color(row[3]), color)}" for line, row in zip(lines[1:], rows[1:], strict=True)),
    ]


def _color(word: str) -> str:
    return "green" if word == "met" else "red"


def _cases(played: Sequence[Played]) -> list[str]:
    heat = any(each.case.power for each in played)
    heads = ["UNDER", *(["POWER"] if heat else []), "FINISHED", "WORK", "MEMORY", "CORES", "JAIN", "STOPPED", "OVER-COMMITTED"]
    heads += ["HOT", "OVER BY", "GATES/H", "STRETCH P95", "TURNAROUND P95"] if heat else []
    rows = [tuple(heads)]
    for each in played:
        it = each.outcome
        row = [clean(each.case.label), *([each.case.power] if heat else []), f"{it.finished}/{it.submitted}", f"{it.work_hours:.0f} h"]
        row += [
            _share(it, "memory"),
            _share(it, "cpu"),
            f"{it.jain:.3f}",
            str(it.preemptions),
            took(it.overcommitted) if it.overcommitted else "0",
        ]
        if heat:
            row += [
                f"{max(it.hot, it.serious):.1%}",
                f"{it.overshoot:.1f} C",
                f"{it.gates_per_hour:.1f}",
                _times(it.stretch_p95),
                _times(it.turnaround_p95),
            ]
        rows.append(tuple(row))
    return _table(rows, left=2 if heat else 1)


def _share(outcome: Outcome, name: str) -> str:
    """Above 1: more was given away than there is, as without admission control."""
    return f"{outcome.utilisation[name]:.0%}" if name in outcome.utilisation else NOTHING


def _times(found: float | None) -> str:
    return NOTHING if found is None else f"{found:.2f}"


def _projects(played: Sequence[Played]) -> list[str]:
    rows = [("PROJECT", "UNDER", "FINISHED", "WAIT P50", "WAIT P95", "SHARE", "REJECTED")]
    told = [each for each in played if each.case.power in ("", played[0].case.power)]
    for name in sorted({name for each in told for name in each.outcome.projects}):
        for at, each in enumerate(told):
            found = each.outcome.projects.get(name)
            if found is None:
                continue
            waits = (took(found.wait_p50), took(found.wait_p95))
            first = clean(name) if at == 0 else ""
            rows.append(
                (first, clean(each.case.label), f"{found.finished}/{found.submitted}", *waits, f"{found.share:.0%}", str(found.rejected))
            )
    return _table(rows, left=2)


def _table(rows: Sequence[tuple[str, ...]], left: int) -> list[str]:
    """Columns two blanks apart, the first `left` aligned to the left, the others to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(widths[at]) if at < left else cell.rjust(widths[at]) for at, cell in enumerate(row)).rstrip() for row in rows
    ]
