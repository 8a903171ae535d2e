"""What leads in each experiment, as text and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from reconciler.model.ranking import Ranked, Ranking
from reconciler.report.json import FORMAT_VERSION, ref_value
from reconciler.report.show import clean, count, paint, rfc3339, shorten, took

MIB = 1 << 20


def leaderboard_text(boards: Sequence[Ranking], *, top: int | None = None, color: bool = False, width: int = 100) -> str:
    """A table for each experiment with finished runs, by project; `top` bounds its rows."""
    with_runs = [each for each in boards if each.runs]
    runs, projects = sum(len(each.runs) for each in with_runs), {each.ref.project for each in with_runs}
    if not with_runs:
        said = f"{count(len(boards), 'experiment')}, and no run of them has finished yet" if boards else "no experiment is declared"
        return f"{said[0].upper()}{said[1:]}.\nNext: `reconcile --wait` starts what the manifests want, `reconcile queue` tells what waits."
    lines = [f"{count(runs, 'finished run')} in {count(len(with_runs), 'experiment')} of {count(len(projects), 'project')}"]
    for each in with_runs:
        lines += ["", *_table(each, top, color, width)]
    empty = len(boards) - len(with_runs)
    told = f"{count(empty, 'experiment')} {'has' if empty == 1 else 'have'} no finished run. " if empty else ""
    return "\n".join([*lines, "", f"{told}Next: `reconcile leaderboard -o json` has every metric and the ids in MLflow."])


def _table(board: Ranking, top: int | None, color: bool, width: int) -> list[str]:
    better = {"maximize": "higher is better", "minimize": "lower is better"}[board.goal]
    head = f"{clean(board.metric)}, {better}" if board.metric else "no metric is declared: in the order of their names"
    lines = [f"{paint(clean(board.ref.path), 'bold', color)}   {head}"]
    shown = board.runs[:top]
    rows = [_cells(number, each, bool(board.metric)) for number, each in enumerate(shown, 1)]
    sizes = [max(len(row[at]) for row in rows) for at in range(5)]
    room = max(20, width - sum(sizes) - 2 * 6)
    for row in rows:
        place, name, value, seconds, memory, params = row
        cells = [f"{place:>{sizes[0]}}", f"{name:<{sizes[1]}}", f"{value:>{sizes[2]}}", f"{seconds:>{sizes[3]}}", f"{memory:>{sizes[4]}}"]
        lines.append("  ".join(["", *cells, shorten(params, room)]).rstrip())
    if len(shown) < len(board.runs):
        lines.append(f"  and {len(board.runs) - len(shown)} more")
    return lines


def _cells(number: int, run: Ranked, ranked: bool) -> tuple[str, str, str, str, str, str]:
    value = f"{run.value:.5g}" if run.value is not None else "-" if ranked else ""
    return (
        str(number) if run.value is not None else "-",
        clean(run.ref.key),
        value,
        took(run.seconds) if run.seconds is not None else "-",
        f"{run.peak_memory / MIB:,.0f} MiB" if run.peak_memory is not None else "-",
        clean(", ".join(f"{name} {value}" for name, value in sorted(run.params.items()))),
    )


def leaderboard_json(boards: Sequence[Ranking], *, top: int | None = None, at: datetime | None = None) -> str:
    """The same for programs, with every metric."""
    body = {
        "formatVersion": FORMAT_VERSION,
        "kind": "leaderboard",
        "at": rfc3339(at),
        "experiments": [board_value(each, top) for each in boards],
    }
    return json.dumps(body, indent=2, ensure_ascii=True)


def board_value(board: Ranking, top: int | None) -> dict[str, Any]:
    """One experiment's runs as plain values."""
    runs = [{"place": number if each.value is not None else None, **_run(each)} for number, each in enumerate(board.runs[:top], 1)]
    return {**ref_value(board.ref), "metric": board.metric or None, "goal": board.goal, "finished": len(board.runs), "runs": runs}


def _run(run: Ranked) -> dict[str, Any]:
    return {
        "ref": str(run.ref),
        "label": run.ref.key,
        "id": run.id,
        "value": run.value,
        "params": dict(run.params),
        "metrics": {name: value for name, value in sorted(run.metrics.items()) if value == value and abs(value) != float("inf")},
        "seconds": run.seconds,
        "peakMemoryBytes": run.peak_memory,
        "joules": run.joules,
    }
