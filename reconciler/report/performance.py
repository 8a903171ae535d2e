"""What techniques reached and what they cost, as text, JSON, Markdown and one HTML page. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape as html_escape
from typing import Any

from reconciler.model.performance import Contest, Entry, Performance, Spent
from reconciler.model.ranking import Ranked
from reconciler.report.json import FORMAT_VERSION
from reconciler.report.markdown import code, escape
from reconciler.report.page import STYLE
from reconciler.report.show import clean, count, paint, rfc3339, took

MIB, WATT_HOUR = 1 << 20, 3600.0
UNKNOWN = "-"
NONE = "(none declared)"
COSTS = ("Runs", "Time", "Energy", "Most memory", "Time of one", "Energy of one")
MARK = "*"
"""On what no other entry beats in all of value, time, energy and memory."""


@dataclass(frozen=True)
class _Table:
    title: str
    about: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def performance_text(found: Performance, machine: str, *, color: bool = False) -> str:
    """The outcome, then a table for each contest, project and technique."""
    if not found.projects:
        return "No run has finished yet.\nNext: `reconcile --wait` starts what the manifests want, `reconcile queue` tells what waits."
    lines = [_outcome(found, machine)]
    for table in _tables(found):
        cells = [table.heads, *table.rows]
        sizes = [max(len(row[at]) for row in cells) for at in range(len(table.heads))]
        lines += ["", paint(table.title, "bold", color)]
        lines += ["  " + "  ".join(f"{each:<{size}}" for each, size in zip(row, sizes, strict=True)).rstrip() for row in cells]
        lines += [f"  {table.about}"] if table.about else []
    return "\n".join([*lines, "", "Next: `reconcile compare --log` keeps this in MLflow; `-o html` makes a page of it."])


def performance_value(found: Performance, machine: str) -> dict[str, Any]:
    """As plain values; times in seconds, energy in joules, memory in bytes."""
    return {
        "machine": machine,
        "projects": [{"project": name, **_spent(each)} for name, each in found.projects.items()],
        "techniques": [{"technique": name, **_spent(each)} for name, each in found.techniques.items()],
        "contests": [_contest(each) for each in found.contests],
    }


def performance_json(found: Performance, machine: str, at: datetime | None) -> str:
    """The same for programs."""
    body = {"formatVersion": FORMAT_VERSION, "kind": "performance", "at": rfc3339(at), **performance_value(found, machine)}
    return json.dumps(body, indent=2, ensure_ascii=True)


def performance_digest(found: Performance, machine: str) -> str:
    """The same for the same comparison."""
    return hashlib.sha256(json.dumps(performance_value(found, machine), sort_keys=True).encode()).hexdigest()


def performance_markdown(found: Performance, machine: str, at: datetime) -> str:
    """For a wiki or a pull request."""
    parts = ["## What techniques reached, and what they cost", f"{escape(_outcome(found, machine))} As of {rfc3339(at)}."]
    for table in _tables(found):
        head = "| " + " | ".join(table.heads) + " |\n|" + "---|" * len(table.heads)
        rows = "\n".join("| " + " | ".join([code(row[0]), *map(escape, row[1:])]) + " |" for row in table.rows)
        parts += [f"### {escape(table.title)}", f"{head}\n{rows}", *([escape(table.about)] if table.about else [])]
    return "\n\n".join(parts) + "\n"


def performance_html(found: Performance, machine: str, at: datetime) -> str:
    """A page without script, picture or address outside."""

    def cells(tag: str, row: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html_escape(clean(each))}</{tag}>" for each in row) + "</tr>"

    body = ["<h1>What techniques reached, and what they cost</h1>", f"<p>{html_escape(_outcome(found, machine))} As of {rfc3339(at)}.</p>"]
    for table in _tables(found):
        rows = "".join(cells("td", row) for row in table.rows)
        body += [
            f"<h2>{html_escape(clean(table.title))}</h2>",
            f"<table><thead>{cells('th', table.heads)}</thead><tbody>{rows}</tbody></table>",
        ]
        body += [f"<p>{html_escape(table.about)}</p>"] if table.about else []
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Performance of techniques</title>'
    return f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body>\n</html>\n'


def _outcome(found: Performance, machine: str) -> str:
    runs, metered = sum(each.runs for each in found.projects.values()), sum(each.metered for each in found.projects.values())
    energy = "no sensor told the energy of any" if not metered else f"energy is of the {count(metered, 'run')} that a sensor measured"
    return f"{count(runs, 'finished run')} of {count(len(found.projects), 'project')} on {clean(machine)}; {energy}."


def _tables(found: Performance) -> Iterable[_Table]:
    for each in found.contests:
        better = {"maximize": "higher is better", "minimize": "lower is better"}[each.goal]
        data = f" on {', '.join(each.data)}" if each.data else ", no dataset named"
        rows = [_row(entry) for entry in each.entries]
        about = f"{MARK} no other is at least as good in value, time, energy and memory, and better in one." if len(rows) > 1 else ""
        yield _Table(f"{each.metric}{data} ({better})", about, ("Techniques", "Best", "Time", "Energy", "Memory", "Runs", "Run"), rows)
    if found.projects:
        yield _Table("By project", "", ("Project", *COSTS), [(clean(name), *_costs(each)) for name, each in found.projects.items()])
    if found.techniques:
        rows = [(clean(name), *_costs(each)) for name, each in found.techniques.items()]
        yield _Table("By technique", "A run counts for each technique of its experiment: these overlap.", ("Technique", *COSTS), rows)


def _row(entry: Entry) -> tuple[str, ...]:
    name = " + ".join(entry.techniques) or NONE
    best = entry.best
    took_ = took(best.seconds) if best.seconds is not None else UNKNOWN
    value = f"{best.value:.5g}{MARK if entry.undominated else ''}"
    return clean(name), value, took_, energy(best.joules), memory(best.peak_memory), str(entry.runs), clean(str(best.ref))


def _costs(spent: Spent) -> tuple[str, ...]:
    return (
        str(spent.runs),
        took(spent.seconds) if spent.seconds is not None else UNKNOWN,
        energy(spent.joules) + (f" of {spent.metered}" if 0 < spent.metered < spent.runs else ""),
        memory(spent.peak_memory),
        took(spent.typical_seconds) if spent.typical_seconds is not None else UNKNOWN,
        energy(spent.typical_joules),
    )


def energy(joules: float | None) -> str:
    """In watt hours."""
    return UNKNOWN if joules is None else f"{joules / WATT_HOUR:.3g} Wh"


def memory(peak: int | None) -> str:
    """In mebibytes."""
    return UNKNOWN if peak is None else f"{peak / MIB:,.0f} MiB"


def _spent(each: Spent) -> dict[str, Any]:
    return {
        "runs": each.runs,
        "seconds": each.seconds,
        "timedRuns": each.timed,
        "joules": each.joules,
        "meteredRuns": each.metered,
        "peakMemoryBytes": each.peak_memory,
        "typicalSeconds": each.typical_seconds,
        "typicalJoules": each.typical_joules,
    }


def _contest(each: Contest) -> dict[str, Any]:
    return {"metric": each.metric, "goal": each.goal, "datasets": list(each.data), "entries": [_entry(entry) for entry in each.entries]}


def _entry(each: Entry) -> dict[str, Any]:
    return {
        "techniques": list(each.techniques),
        "experiment": str(each.experiment),
        "runs": each.runs,
        "undominated": each.undominated,
        **_best(each.best),
    }


def _best(run: Ranked) -> Mapping[str, Any]:
    return {
        "ref": str(run.ref),
        "id": run.id,
        "value": run.value,
        "seconds": run.seconds,
        "joules": run.joules,
        "peakMemoryBytes": run.peak_memory,
    }
