"""Which technique gives the best result on this machine, and what each costs."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, chart, heading, html

WATT_HOUR = 3600.0
FEW = 2
"""Entries from which on there is something to compare."""


async def draw(view: View) -> None:
    """Of one answer, which is half a minute old at most."""
    path = view.of_project("/performance")
    await view.part(_head, path, every=30.0)
    heading("Results on the same data")
    await view.part(_contests, path, every=30.0)
    heading("Cost by technique")
    await view.part(techniques, path, every=30.0)
    heading("Cost by project")
    await view.part(projects, path, every=30.0)


def _head(value: dict[str, Any]) -> Markup:
    told = marks.trouble(value["trouble"]) if value["trouble"] else Markup("")
    metered, runs = sum(each["meteredRuns"] for each in value["projects"]), sum(each["runs"] for each in value["projects"])
    energy = f"the energy of {metered:,} was measured" if metered else "no sensor told the energy of any"
    return told + marks.tag("p", f"{runs:,} finished runs on {value['machine']}; {energy}.")


def _contests(value: dict[str, Any]) -> None:
    if not value["contests"]:
        why = "No finished run has a metric yet: give an Experiment `metric` and `techniques`, and runs."
        html(marks.nothing(why))
    for contest in value["contests"]:
        html(contest_table(contest))
        known = [each for each in contest["entries"] if each["seconds"] is not None]
        if len(known) >= FEW:
            chart(f"{contest['metric']} against the time of the best run, one point for each technique", options(contest["metric"], known))


def contest_table(contest: dict[str, Any]) -> Markup:
    """The best first, with a mark on what nothing beats in everything."""
    better = "higher" if contest["goal"] == "maximize" else "lower"
    data = f" on {', '.join(contest['datasets'])}" if contest["datasets"] else ", no dataset named"
    heads = ("Techniques", contest["metric"], "Held against the others", "Time", "Energy", "Memory", "Runs", "Best run")
    rows = [
        (
            " + ".join(each["techniques"]) or "none declared",
            marks.number(each["value"]),
            marks.badge("not dominated", "good") if each["undominated"] and len(contest["entries"]) >= FEW else "",
            marks.span(each["seconds"]),
            _energy(each["joules"]),
            marks.size(each["peakMemoryBytes"]),
            f"{each['runs']:,}",
            marks.resource(each["ref"]),
        )
        for each in contest["entries"]
    ]
    title = f"{contest['metric']}{data} ({better} is better)"
    return marks.tag("h3", title) + marks.table(title, heads, rows)


def options(metric: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a chart: result against time."""
    points = [
        {"name": " + ".join(each["techniques"]) or "none declared", "value": [round(each["seconds"], 2), each["value"]]} for each in entries
    ]
    label = {"show": True, "formatter": "{b}", "position": "right", "color": "#7a8896"}
    return {
        "tooltip": {"formatter": "{b}: {c}"},
        "grid": {"left": 70, "right": 130, "top": 30, "bottom": 50},
        "xAxis": {"type": "value", "name": "seconds", "nameLocation": "middle", "nameGap": 28, "min": 0},
        "yAxis": {"type": "value", "name": metric, "scale": True},
        "series": [{"type": "scatter", "symbolSize": 14, "data": points, "label": label, "itemStyle": {"color": "#2f6fb7"}}],
    }


def techniques(value: dict[str, Any]) -> Markup:
    """A run counts for each technique of its experiment."""
    return _costs("Technique", "technique", value["techniques"]) + marks.tag(
        "p", "A run counts for each technique of its experiment: these sums overlap.", class_="small"
    )


def projects(value: dict[str, Any]) -> Markup:
    """Time and energy of each."""
    return _costs("Project", "project", value["projects"])


def _costs(title: str, key: str, items: list[dict[str, Any]]) -> Markup:
    heads = (title, "Runs", "Time", "Energy", "Most memory", "Time of one", "Energy of one")
    rows = [
        (
            each[key],
            f"{each['runs']:,}",
            marks.span(each["seconds"]),
            Markup("{}{}").format(_energy(each["joules"]), f" of {each['meteredRuns']}" if 0 < each["meteredRuns"] < each["runs"] else ""),
            marks.size(each["peakMemoryBytes"]),
            marks.span(each["typicalSeconds"]),
            _energy(each["typicalJoules"]),
        )
        for each in items
    ]
    return marks.table(f"Cost by {key}", heads, rows, "No run has finished yet.")


def _energy(joules: float | None) -> marks.Cell:
    return marks.NOTHING if joules is None else f"{joules / WATT_HOUR:.3g} Wh"
