"""How good forecasts were, for people and programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.admission.backtest import Backtest, Score, score
from reconciler.admission.memory import COVERED
from reconciler.model import Learned
from reconciler.model.units import memory as memory_text
from reconciler.report.show import clean, count, took

_HEADS = ("WORK", "RUNS", "TAKES", "LENGTH IN INTERVAL", "OFF BY", "USES", "MEMORY WITHIN CHARGE")


def forecasts_text(found: Mapping[str, Backtest], learned: Mapping[str, Learned], *, width: int = 100) -> str:
    """The outcome first, then a line for each sort of work."""
    if not found:
        why = "Nothing can be judged yet: a forecast needs an earlier run of the same work."
        return f"{why}\nNext: `reconcile queue` tells what is expected of each run."
    rows = [_HEADS, *(_row(template, each, learned[template]) for template, each in found.items())]
    sizes = [max(len(row[at]) for row in rows) for at in range(len(_HEADS))]
    sizes[0] = min(sizes[0], max(20, width - sum(sizes[1:]) - 2 * (len(sizes) - 1)))
    lines = ["  ".join(f"{cell[:size]:<{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows]
    return "\n".join([*_outcome(found), "", *lines])


def _outcome(found: Mapping[str, Backtest]) -> list[str]:
    lengths, memory = _totals(found)
    lines = []
    if lengths.runs:
        held = f"{lengths.held} of {count(lengths.runs, 'run')} ({lengths.share:.0%})"
        lines.append(f"{held} took as long as the interval said that should hold {COVERED:.0%}; the middle was off by {lengths.off:.2f}x.")
    if memory.runs:
        lines.append(f"{memory.held} of {count(memory.runs, 'run')} ({memory.share:.0%}) stayed within the memory that was charged.")
    return lines


def _totals(found: Mapping[str, Backtest]) -> tuple[Score, Score]:
    every = list(found.values())
    return score(one for each in every for one in each.lengths), score(one for each in every for one in each.memory)


def _row(template: str, each: Backtest, learned: Learned) -> tuple[str, ...]:
    lengths, memory = score(each.lengths), score(each.memory)
    return (
        clean(template),
        str(learned.runs),
        took(learned.seconds) if learned.seconds else "-",
        f"{lengths.held} of {lengths.runs}" if lengths.runs else "-",
        f"{lengths.off:.2f}x" if lengths.runs else "-",
        memory_text(learned.memory) if learned.memory else "-",
        f"{memory.held} of {memory.runs}" if memory.runs else "-",
    )


def forecasts_value(found: Mapping[str, Backtest]) -> dict[str, Any]:
    """For programs."""
    lengths, memory = _totals(found)
    work = [{"template": template, "lengths": _values(each.lengths), "memory": _values(each.memory)} for template, each in found.items()]
    return {"covered": COVERED, "lengths": _score(lengths), "memory": _score(memory), "work": work}


def _score(found: Score) -> dict[str, Any]:
    return {"runs": found.runs, "held": found.held, "offBy": round(found.off, 3)}


def _values(found: Any) -> list[dict[str, Any]]:
    return [{"low": each.low, "middle": each.middle, "high": each.high, "actual": each.actual, "held": each.held} for each in found]
