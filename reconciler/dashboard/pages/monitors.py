"""Monitors: what each found last, what is wrong and why, and how drift has gone from window to window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from nicegui import ui

from reconciler.dashboard import marks, parts, plots
from reconciler.dashboard.frame import View, chart, heading, html

PAGE, LINES, SHOWN = 20, 6, 20
"""Monitors on a page; columns that have a line; windows in the table."""
UNITS = {
    "latency": "latency, p95 (s)",
    "errorRate": "errors (share)",
    "requestRate": "requests (per s)",
    "memory": "memory of a replica (bytes)",
    "heat": "heat (level)",
}
EMPTY = "Nothing is watched yet: commit a manifest of kind Monitor (`reconcile explain monitor`) for a deployment or a dataset."
NO_WINDOW = "No window has ended yet: the first is judged when its time is over, or enough predictions have come."


async def draw(view: View) -> None:
    """From what monitors keep of their windows."""
    path = view.of_project("/windows", limit=PAGE, after=view.query.get("after"))
    asked = view.query.get("monitor", "")

    def listed(value: dict[str, Any]) -> Markup:
        found = monitors(value, view.project)
        return found + parts.following("/monitors", value, view.query, project=view.project)

    def detailed(value: dict[str, Any]) -> None:
        detail(value, asked)

    await view.part(listed, path)
    heading("Window by window")
    await view.part(detailed, view.of_project("/windows", q=asked, limit=PAGE) if asked else path)


def monitors(value: dict[str, Any], project: str) -> Markup:
    """One line for each."""
    rows = []
    for each in parts.worst_first(value["items"]):
        last = each["windows"][-1] if each["windows"] else None
        name = parts.ref_path(each["ref"])
        rows.append(
            (
                marks.resource(each["ref"], name),
                marks.health(each["health"]) if each["health"] else marks.NOTHING,
                Markup("{} {}").format(parts.verdict(last["verdict"]), marks.when(last["end"])) if last else "none yet",
                drifted(last) if last else marks.NOTHING,
                each["message"],
                marks.link(
                    marks.url("/monitors", project=project, monitor=each["ref"]),
                    Markup("Windows<span class='hidden'> of {}</span>").format(name),
                ),
                parts.links(each["links"]),
            )
        )
    heads = ("Monitor", "State", "Last window", "Drifted", "Why", "More", "In its tool")
    return marks.table("Monitors", heads, rows, EMPTY)


def drifted(window: Mapping[str, Any]) -> marks.Cell:
    """`2 of 10 columns`."""
    if window["driftedColumns"] is None:
        return marks.NOTHING
    whole = f" of {window['columns']}" if window["columns"] else ""
    return f"{window['driftedColumns']}{whole} columns"


def chosen(items: Sequence[dict[str, Any]], asked: str) -> dict[str, Any] | None:
    """The one that is asked for, else the first that has a breach, else the first that has seen anything."""
    named = [each for each in items if each["ref"] == asked]
    ordered = named or sorted(items, key=lambda each: (each["breach"] is None, not each["windows"]))
    return ordered[0] if ordered else None


def detail(value: dict[str, Any], asked: str) -> None:
    """Of one monitor."""
    if (one := chosen(value["items"], asked)) is None:
        html(marks.nothing(NO_WINDOW))
        return
    html(marks.tag("h3", parts.ref_path(one["ref"])) + breach(one))
    windows = one["windows"]
    if not windows:
        html(marks.nothing(NO_WINDOW))
        return
    times, tones = [time(each) for each in windows], [plots.TONES.get(each["verdict"], plots.GREY) for each in windows]
    shares = [share(each) for each in windows]
    if any(each is not None for each in shares):
        html(marks.tag("h3", "Share of columns that drifted"))
        chart(
            f"share of drifted columns of {one['ref']}, window by window; green passes, red fails, yellow has no verdict",
            plots.columns(times, shares, "% of columns", tones),
        )
    if series := lines(windows, "scores"):
        html(marks.tag("h3", "Scores of columns"))
        chart(f"scores of columns of {one['ref']}, window by window", plots.lines(times, series, ""))
    if series := lines(windows, "measured"):
        html(marks.tag("h3", "Measured"))
        with ui.element("div").classes("cards"):
            for each in series:
                with ui.element("div").classes("card"):
                    chart(f"{each[0]} of {one['ref']}, window by window", plots.lines(times, [each], UNITS.get(each[0], each[0]))).classes(
                        "low"
                    )
    html(marks.tag("h3", "Windows") + table(one))


def time(window: Mapping[str, Any]) -> str:
    """When a window ended, short."""
    return str(window["end"] or "")[5:16].replace("T", " ")


def share(window: Mapping[str, Any]) -> float | None:
    """Per cent of the columns that drifted; None = not known."""
    if window["driftedColumns"] is None or not window["columns"]:
        return None
    drifted_share: float = 100 * window["driftedColumns"] / max(window["columns"], window["driftedColumns"])
    return round(drifted_share, 1)


def lines(windows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[str, list[float | None]]]:
    """Those that are highest in the newest window that has any; a name in words of the monitor's own."""
    last: Mapping[str, float] = next((each[key] for each in reversed(windows) if each[key]), {})
    names = sorted(last, key=lambda each: (-last[each], each))[:LINES]
    return [(name, [each[key].get(name) for each in windows]) for name in names]


def breach(one: Mapping[str, Any]) -> Markup:
    """What is wrong, since when, why probably, what was done and what would help."""
    found, before = one["breach"], one["before"]
    if found is None:
        if before is None:
            return Markup("")
        said = Markup("Nothing is wrong. The last breach began {} and ended {}.")
        return marks.tag("p", said.format(marks.when(before["since"]), marks.when(before["ended"])), class_="small")
    pairs: list[tuple[marks.Cell, marks.Cell]] = [("Since", marks.when(found["since"]))]
    pairs += [(name, str(said or name)) for name, said in found["failing"].items()]
    for title, key in (("Probably", "causes"), ("Done", "done"), ("Would help", "suggestions")):
        if found[key]:
            pairs.append((title, marks.joined(found[key], "; ")))
    return marks.tag("section", marks.tag("p", marks.badge("breach", "bad")), marks.facts(pairs), class_="card")


def table(one: Mapping[str, Any]) -> Markup:
    """The newest first."""
    rows = [
        (
            marks.when(each["end"]),
            parts.verdict(each["verdict"]),
            f"{each['rows']:,}",
            f"{each['labels']:,}",
            drifted(each),
            each["why"] or "; ".join(str(check["said"]) for check in each["checks"][:3]),
            marks.away(each["report"], "Evidently") if each["report"] else marks.NOTHING,
        )
        for each in reversed(one["windows"][-SHOWN:])
    ]
    heads = ("Ended", "Verdict", "Rows", "Labels", "Drifted", "What was found", "Report")
    return marks.table(f"Windows of {one['ref']}, the newest first", heads, rows)
