"""What techniques give and take, and what projects spent: as text, JSON and Markdown, and as what a tracking server is told. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from reconciler.model import digest_of
from reconciler.model.performance import JOULES_PER_WATT_HOUR, MEASURES, Comparison, Entered, Entry, Performance, Spent, amount
from reconciler.report.json import FORMAT_VERSION
from reconciler.report.markdown import escape
from reconciler.report.show import clean, count, listed, paint, rfc3339, took, wrap

MIB = 1 << 20
UNDECLARED = "no technique declared"
PROJECTS = ("project", "finished", "failed", "time", "energy", "peak memory")
TECHNIQUES = ("", "technique", "best", "time", "energy", "memory", "per Wh", "per s", "per GiB", "runs", "run")
LEGEND = (
    "* = no other technique is at least as good in all that every one of them has and better in something (Pareto). "
    "Compared are runs with the same metric, data (by digest) and processor; energy is the machine's meter shared by processor time, "
    "a dash = not measured."
)
_TAG = 5000
"""Characters of a tag that every MLflow server takes."""
_NAME = re.compile(r"[^A-Za-z0-9_\- ]")


def project_cells(each: Spent) -> tuple[str, ...]:
    """As PROJECTS names them. How many runs a sum is of stands with it where it is not of all."""
    runs = each.finished + each.failed
    time = "-" if each.seconds is None else took(each.seconds) + _part(each.timed, runs)
    energy = "-" if each.joules is None else energy_word(each.joules) + _part(each.metered, runs) + _meter(each)
    return each.project, f"{each.finished:,}", f"{each.failed:,}", time, energy, _memory(each.peak_memory)


def _part(known: int, runs: int) -> str:
    return "" if known == runs else f" ({known:,} of {count(runs, 'run')})"


def _meter(each: Spent) -> str:
    return f" [{', '.join(each.meters)}]" if each.meters != ("sensors",) else ""


def energy_word(joules: float) -> str:
    """`320 J`, `1.25 Wh`, `2.1 kWh`."""
    if joules < JOULES_PER_WATT_HOUR:
        return f"{joules:.3g} J"
    hours = joules / JOULES_PER_WATT_HOUR
    return f"{hours:.3g} Wh" if hours < 1000 else f"{hours / 1000:.3g} kWh"


def _memory(size: int | None) -> str:
    return "-" if size is None else f"{size / MIB:,.0f} MiB"


def technique_cells(group: Comparison, each: Entry) -> tuple[str, ...]:
    """As TECHNIQUES names them; all of them but `runs` of the best run."""
    best = each.best
    ratios = (group.per(each, "joules"), group.per(each, "seconds"), group.per(each, "memory"))
    return (
        "*" if each.pareto else "",
        each.technique or UNDECLARED,
        f"{each.value:.4g}",
        "-" if best.seconds is None else took(best.seconds),
        ("-" if best.joules is None else energy_word(best.joules)) + (" [simulated]" if best.meter == "simulated" else ""),
        _memory(best.peak_memory),
        *("-" if ratio is None else f"{ratio:.3g}" for ratio in ratios),
        f"{each.runs:,}",
        str(best.ref),
    )


def title(group: Comparison) -> str:
    """`accuracy (higher is better) on digits, Apple M4`."""
    better = "higher is better" if group.goal == "maximize" else "lower is better"
    data = listed(name for name, _ in group.data) or "data that is not declared"
    return f"{group.metric} ({better}) on {data}, {group.hardware or 'processor not told'}"


def remarks(found: Performance) -> Iterator[str]:
    """What was left out of the tables, and what they mean."""
    for each in found.alone:
        entry = each.entries[0]
        yield f"{entry.technique or UNDECLARED}: nothing to compare with for {title(each)}."
    if found.without:
        yield f"Without a value to compare: {listed(found.without)}."
    yield LEGEND


def performance_text(found: Performance, *, color: bool = False, width: int = 100) -> str:
    """For a terminal of `width` columns; tables are as wide as they must be."""
    if not found.projects:
        return "No experiment is declared.\nNext: `reconcile explain experiment` shows how to declare one."
    lines = _aligned([PROJECTS, *map(project_cells, found.projects)])
    for group in found.comparisons:
        rows = _aligned([TECHNIQUES, *(technique_cells(group, each) for each in group.entries)])
        lines += ["", paint(clean(title(group)), "bold", color), *rows]
    if not found.comparisons:
        lines += ["", "No two techniques can be compared: none share metric, data and processor, or there are no finished runs."]
    return "\n".join(
        [
            *lines,
            "",
            *(line for each in remarks(found) for line in wrap(clean(each), width, "")),
            "Next: `reconcile compare -o html` writes the report as a page.",
        ]
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    sizes = [max(len(clean(row[at])) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(["", *(f"{clean(cell):<{size}}" for cell, size in zip(row, sizes, strict=True))]).rstrip() for row in rows]


def performance_markdown(found: Performance, installation: str, at: datetime, trouble: str = "") -> str:
    """For a wiki. `trouble`: why nothing is known of runs now."""
    parts = [
        f"## {escape(heading(installation))}",
        f"As of {rfc3339(at)}.",
        *([escape(clean(trouble))] if trouble else []),
        _table(PROJECTS, map(project_cells, found.projects)),
    ]
    for group in found.comparisons:
        parts += [f"### {escape(title(group))}", _table(TECHNIQUES, (technique_cells(group, each) for each in group.entries))]
    return "\n\n".join([*parts, "\n".join(f"* {escape(each)}" for each in remarks(found))]) + "\n"


def heading(installation: str) -> str:
    """Of a page."""
    return f"Performance of {installation or 'this installation'}"


def _table(heads: Sequence[str], rows: Any) -> str:
    lines = [heads, ["---"] * len(heads), *([escape(clean(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def performance_json(found: Performance, at: datetime) -> str:
    """For programs."""
    body = {"formatVersion": FORMAT_VERSION, "kind": "comparison", "at": rfc3339(at), **performance_value(found)}
    return json.dumps(body, indent=2, ensure_ascii=True)


def performance_value(found: Performance) -> dict[str, Any]:
    """As plain values; amounts in seconds, joules and bytes, null = not known."""
    return {
        "projects": [_spent(each) for each in found.projects],
        "comparisons": [comparison_value(each) for each in found.comparisons],
        "alone": [comparison_value(each) for each in found.alone],
        "withoutValue": [str(each) for each in found.without],
    }


def _spent(each: Spent) -> dict[str, Any]:
    return {
        "project": each.project,
        "finished": each.finished,
        "failed": each.failed,
        "seconds": each.seconds,
        "timedRuns": each.timed,
        "joules": each.joules,
        "wattHours": _hours(each.joules),
        "meteredRuns": each.metered,
        "energySources": list(each.meters),
        "peakMemoryBytes": each.peak_memory,
    }


def _hours(joules: float | None) -> float | None:
    return None if joules is None else joules / JOULES_PER_WATT_HOUR


def comparison_value(group: Comparison) -> dict[str, Any]:
    """One comparison, the best technique first."""
    entries = [{"place": number, **_entry(group, each)} for number, each in enumerate(group.entries, 1)]
    return {
        "metric": group.metric,
        "goal": group.goal,
        "data": dict(group.data),
        "hardware": group.hardware or None,
        "judged": list(group.judged),
        "techniques": entries,
    }


def _entry(group: Comparison, each: Entry) -> dict[str, Any]:
    return {
        "technique": each.technique or None,
        "pareto": each.pareto,
        "value": each.value,
        "seconds": amount(each.best, "seconds"),
        "joules": amount(each.best, "joules"),
        "wattHours": _hours(amount(each.best, "joules")),
        "energySource": each.best.meter or None,
        "peakMemoryBytes": each.best.peak_memory,
        "perWattHour": group.per(each, "joules"),
        "perSecond": group.per(each, "seconds"),
        "perGiB": group.per(each, "memory"),
        "run": str(each.best.ref),
        "id": each.best.id,
        "runs": each.runs,
        "medianSeconds": each.seconds,
        "medianJoules": each.joules,
        "experiments": [str(ref) for ref in each.experiments],
        "ids": list(each.ids),
    }


def entered(group: Comparison) -> Entered:
    """A comparison as MLflow is told it."""
    value = comparison_value(group)
    columns = [
        "place",
        "technique",
        "pareto",
        "value",
        "seconds",
        "joules",
        "peakMemoryBytes",
        "perWattHour",
        "perSecond",
        "perGiB",
        "run",
        "id",
    ]
    table = {"columns": columns, "data": [[each[name] for name in columns] for each in value["techniques"]]}
    markdown = f"### {escape(title(group))}\n\n{_table(TECHNIQUES, (technique_cells(group, each) for each in group.entries))}\n\n{LEGEND}\n"
    files = {
        "comparison.json": json.dumps(table),
        "comparison.md": markdown,
        "sources.json": json.dumps(value, indent=2),
    }
    ids = ",".join(sorted(id for each in group.entries for id in each.ids))
    return Entered(
        name=f"{group.metric} on {listed(name for name, _ in group.data) or 'data not declared'}",
        digest=digest_of(value),
        params={
            "metric": group.metric,
            "goal": group.goal,
            "data": _cut(json.dumps(dict(group.data))),
            "hardware": group.hardware or "not told",
        },
        metrics=dict(_metrics(group)),
        tags={"mlops.best": _cut(group.entries[0].technique or UNDECLARED), "mlops.runs": ids if len(ids) <= _TAG else "see sources.json"},
        files={name: text.encode() for name, text in files.items()},
        table="comparison.json",
    )


def _cut(text: str) -> str:
    return text if len(text) <= 500 else f"{text[:499]}…"


def _metrics(group: Comparison) -> Iterator[tuple[str, float]]:
    """`TECHNIQUE/value` and so on; a character that MLflow does not take becomes `_`, and of two names that are then the same one gets a
    number."""
    seen: dict[str, int] = {}
    for each in group.entries:
        name = _NAME.sub("_", each.technique or UNDECLARED).strip()[:200]
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name} {seen[name]}"
        yield f"{name}/pareto", float(each.pareto)
        for measure in MEASURES:
            if (found := amount(each.best, measure)) is not None:
                yield f"{name}/{'memory_bytes' if measure == 'memory' else measure}", found
