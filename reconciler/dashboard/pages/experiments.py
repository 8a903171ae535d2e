"""Experiments with their runs by state, what leads in each, and those side by side that are measured alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks, parts, plots
from reconciler.dashboard.frame import View, chart, heading, html

PAGE, TOP = 50, 20
"""Experiments on a page; runs of one that are shown."""
GOALS = {"maximize": "higher is better", "minimize": "lower is better"}
EMPTY = "There is no experiment yet: commit a manifest of kind Experiment (`reconcile explain experiment`)."
UNFINISHED = "No run has finished yet: what leads is shown as soon as one has. The queue says what runs and what waits."


async def draw(view: View) -> None:
    """What leads comes from MLflow, half a minute old at most; everything else from the last pass."""
    asked = view.query.get("of", "")

    def listed(value: dict[str, Any]) -> Markup:
        return experiments(value) + parts.following("/experiments", value, view.query, project=view.project)

    def boards(value: dict[str, Any]) -> None:
        leaders(value, view.project, asked)

    await view.part(listed, view.of_project("/experiments", limit=PAGE, after=view.query.get("after")))
    heading("Leaderboards")
    await view.part(boards, view.of_project("/leaderboards", top=TOP), every=30.0)


def experiments(value: dict[str, Any]) -> Markup:
    """The list."""
    rows = [
        (
            marks.resource(each["ref"], parts.ref_path(each["ref"])),
            marks.health(each["health"]),
            marks.totals(each["below"]["totals"]) if each["below"]["total"] else "none",
            each["message"],
            marks.joined(marks.badge(word) for word in _spec(each).get("techniques") or ()),
            parts.links(each["links"]),
        )
        for each in parts.worst_first(value["items"])
    ]
    return marks.table("Experiments", ("Experiment", "State", "Runs by state", "Why", "Techniques", "In its tool"), rows, EMPTY)


def _spec(each: Mapping[str, Any]) -> dict[str, Any]:
    found = (each.get("declared") or {}).get("spec")
    return found if isinstance(found, dict) else {}


def leaders(value: dict[str, Any], project: str, asked: str) -> None:
    """The best of each, then one in detail, then those that share a metric."""
    if value["trouble"]:
        html(marks.trouble(f"What tools know of runs cannot be had: {value['trouble']}"))
        return
    boards = [each for each in value["items"] if each["runs"]]
    if not boards:
        html(marks.nothing(UNFINISHED))
        return
    html(summary(boards, project))
    chosen = next((each for each in boards if each["ref"] == asked), boards[0])
    html(marks.tag("h3", "Runs of ", parts.ref_path(chosen["ref"])))
    if points := _points(chosen):
        what = chosen["metric"]
        chart(f"{what} of each finished run of {chosen['ref']} against its time", plots.scatter("seconds", what, [(chosen["ref"], points)]))
    html(board(chosen))
    for metric, some in shared(boards):
        html(marks.tag("h3", "Side by side: ", marks.code(metric)))
        names, bests = [parts.ref_path(each["ref"]) for each in some], [each["runs"][0]["value"] for each in some]
        chart(f"the best {metric} of each experiment that is measured by it", plots.bars(names, bests, metric))
        html(compared(metric, some))


def summary(boards: Sequence[dict[str, Any]], project: str) -> Markup:
    """One line for each experiment that has finished runs."""
    rows = [
        (
            marks.link(marks.url("/experiments", project=project, of=each["ref"]), parts.ref_path(each["ref"])),
            Markup("{} <span class='small'>{}</span>").format(each["metric"], GOALS.get(each["goal"], ""))
            if each["metric"]
            else marks.NOTHING,
            marks.number(each["runs"][0]["value"]),
            marks.resource(each["runs"][0]["ref"], each["runs"][0]["label"]),
            f"{each['finished']:,}",
            parts.links(each["links"]),
        )
        for each in boards
    ]
    return marks.table("What leads", ("Experiment", "Measured by", "Best", "Run", "Finished runs", "In its tool"), rows)


def board(value: dict[str, Any]) -> Markup:
    """The runs of one experiment, the best first."""
    rows = [
        (
            marks.resource(each["ref"], f"{each['place']}. {each['label']}" if each["place"] else each["label"]),
            marks.number(each["value"]),
            marks.span(each["seconds"]),
            marks.size(each["peakMemoryBytes"]),
            marks.number(each["joules"], "J"),
            marks.joined((f"{name} {one}" for name, one in sorted(each["params"].items())), ", "),
            marks.away(each["url"], "MLflow") if each.get("url") else marks.NOTHING,
        )
        for each in value["runs"]
    ]
    heads = ("Run", value["metric"] or "Value", "Time", "Peak memory", "Energy", "Parameters", "In its tool")
    told = marks.table(f"Runs of {value['ref']}", heads, rows, UNFINISHED)
    if (more := value["finished"] - len(rows)) > 0:
        told += marks.tag("p", f"and {more:,} more finished runs", class_="small")
    return told


def shared(boards: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Metrics by which several experiments are measured in the same sense, with those, the best first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for each in boards:
        if each["metric"] and each["runs"][0]["value"] is not None:
            groups[each["metric"], each["goal"]].append(each)
    return [
        (metric, sorted(some, key=lambda each: each["runs"][0]["value"], reverse=goal == "maximize"))
        for (metric, goal), some in sorted(groups.items())
        if len(some) > 1
    ]


def compared(metric: str, some: Sequence[dict[str, Any]]) -> Markup:
    """The best run of each."""
    rows = [
        (
            marks.resource(each["ref"], parts.ref_path(each["ref"])),
            marks.number(each["runs"][0]["value"]),
            marks.resource(each["runs"][0]["ref"], each["runs"][0]["label"]),
            marks.span(each["runs"][0]["seconds"]),
            marks.size(each["runs"][0]["peakMemoryBytes"]),
            marks.number(each["runs"][0]["joules"], "J"),
        )
        for each in some
    ]
    return marks.table(f"Experiments measured by {metric}", ("Experiment", f"Best {metric}", "Run", "Time", "Peak memory", "Energy"), rows)


def _points(value: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [
        (str(each["label"]), float(each["seconds"]), float(each["value"]))
        for each in value["runs"]
        if each["value"] is not None and each["seconds"] is not None
    ]
