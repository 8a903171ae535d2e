"""Which technique gives the best result on this hardware, and what each costs."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, chart, heading, html

FEW = 2
"""Entries from which on there is something to draw."""
LEGEND = (
    "Compared are runs with the same metric, data and processor. Not dominated: no other technique is at least as good in all that every "
    "one of them has, and better in something. Energy is the machine's meter, shared by processor time; a dash means not measured."
)


async def draw(view: View) -> None:
    """Of one answer, which is half a minute old at most."""
    path = view.of_project("/performance")
    await view.part(head, path, every=30.0)
    heading("Techniques side by side")
    await view.part(_comparisons, path, every=30.0)
    heading("What projects spent")
    await view.part(projects, path, every=30.0)
    heading("Nothing to compare with yet")
    await view.part(alone, path, every=30.0)


def head(value: dict[str, Any]) -> Markup:
    """In one line what is known."""
    told = marks.trouble(value["trouble"]) if value["trouble"] else Markup("")
    finished, metered = sum(each["finished"] for each in value["projects"]), sum(each["meteredRuns"] for each in value["projects"])
    energy = f"the energy of {metered:,} was measured" if metered else "no sensor told the energy of any"
    return told + marks.tag("p", f"{finished:,} finished runs, {len(value['comparisons']):,} comparisons; {energy}.")


def _comparisons(value: dict[str, Any]) -> None:
    if not value["comparisons"]:
        html(
            marks.nothing("No two techniques share metric, data and processor yet: Experiments declare `techniques`, `metric`, `datasets`.")
        )
        return
    html(marks.tag("p", LEGEND, class_="small"))
    for group in value["comparisons"]:
        html(marks.tag("h3", title(group)) + side_by_side(group))
        known = [each for each in group["techniques"] if each["seconds"] is not None]
        if len(known) >= FEW:
            chart(f"{group['metric']} against the time of the best run, one point for each technique", options(group["metric"], known))


def title(group: dict[str, Any]) -> str:
    """`accuracy (higher is better) on digits, Apple M4`."""
    better = "higher is better" if group["goal"] == "maximize" else "lower is better"
    data = ", ".join(group["data"]) or "data that is not declared"
    return f"{group['metric']} ({better}) on {data}, {group['hardware'] or 'processor not told'}"


def side_by_side(group: dict[str, Any]) -> Markup:
    """The best first, with a mark on what nothing beats in everything."""
    heads = (
        "Technique",
        group["metric"],
        "Beside the others",
        "Time",
        "Energy",
        "Memory",
        "Per Wh",
        "Per second",
        "Per GiB",
        "Runs",
        "Best run",
    )
    rows = [
        (
            each["technique"] or "no technique declared",
            marks.number(each["value"]),
            marks.badge("not dominated", "good") if each["pareto"] else "",
            marks.span(each["seconds"]),
            energy(each["wattHours"]),
            marks.size(each["peakMemoryBytes"]),
            marks.number(each["perWattHour"]),
            marks.number(each["perSecond"]),
            marks.number(each["perGiB"]),
            f"{each['runs']:,}",
            marks.resource(each["run"]),
        )
        for each in group["techniques"]
    ]
    return marks.table(title(group), heads, rows)


def options(metric: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a chart: result against time."""
    points = [
        {"name": each["technique"] or "no technique declared", "value": [round(each["seconds"], 2), each["value"]]} for each in entries
    ]
    label = {"show": True, "formatter": "{b}", "position": "right", "color": "#7a8896"}
    return {
        "tooltip": {"formatter": "{b}: {c}"},
        "grid": {"left": 70, "right": 150, "top": 30, "bottom": 50},
        "xAxis": {"type": "value", "name": "seconds", "nameLocation": "middle", "nameGap": 28, "min": 0},
        "yAxis": {"type": "value", "name": metric, "scale": True},
        "series": [{"type": "scatter", "symbolSize": 14, "data": points, "label": label, "itemStyle": {"color": "#2f6fb7"}}],
    }


def projects(value: dict[str, Any]) -> Markup:
    """Time and energy of each; how many runs a sum is of stands with it where it is not of all."""

    def part(known: int, each: dict[str, Any]) -> str:
        runs = each["finished"] + each["failed"]
        return f" (of {known:,} of {runs:,} runs)" if 0 < known < runs else ""

    rows = [
        (
            marks.link(marks.url("/compare", project=each["project"]), each["project"]),
            f"{each['finished']:,}",
            f"{each['failed']:,}",
            Markup("{}{}").format(marks.span(each["seconds"]), part(each["timedRuns"], each)),
            Markup("{}{}").format(energy(each["wattHours"]), part(each["meteredRuns"], each)),
            marks.size(each["peakMemoryBytes"]),
        )
        for each in value["projects"]
    ]
    heads = ("Project", "Finished", "Failed", "Time", "Energy", "Most memory")
    return marks.table("What projects spent", heads, rows, "No experiment is declared.")


def alone(value: dict[str, Any]) -> Markup:
    """Single techniques of their metric, data and processor."""
    rows = [
        (title(group), each["technique"] or "no technique declared", marks.number(each["value"]), marks.resource(each["run"]))
        for group in value["alone"]
        for each in group["techniques"]
    ]
    return marks.table("Nothing to compare with yet", ("On", "Technique", "Best", "Run"), rows, "Every technique has another beside it.")


def energy(watt_hours: float | None) -> marks.Cell:
    """Small ones with the digits that count."""
    return marks.NOTHING if watt_hours is None else f"{watt_hours:.3g} Wh"
