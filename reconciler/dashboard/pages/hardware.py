"""Memory, heat and power of the machines: now, and over the last hour where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, chart, heading, html

EVERY, HISTORY = 5.0, 10.0
"""Seconds between two looks: at what is now, and at the last hour, which gets a point each ten."""
ROWS = 60
"""Of the table of values."""
GIB = 1 << 30
LEVELS = {"nominal": "good", "fair": "warn", "serious": "bad", "critical": "bad", "unknown": ""}
GREY = "rgba(128,138,150,.35)"


@dataclass(frozen=True)
class Line:
    """One chart: what of a point it shows."""

    title: str
    unit: str
    of: str
    scale: float
    color: str
    silent: str
    """What is said where no point has it."""


LINES = (
    Line("Memory in use", "GiB", "memoryUsed", 1 / GIB, "#3d7fc4", "No memory was kept yet: the loop keeps a point each ten seconds."),
    Line(
        "Heat",
        "% of the headroom",
        "headroomUsed",
        100,
        "#c0582b",
        "No sensor tells the heat. `reconcile doctor --hardware` says which were asked, and what each would need.",
    ),
    Line(
        "Power",
        "W",
        "watts",
        1,
        "#2f8a57",
        "No sensor tells the power. `reconcile doctor --hardware` says which were asked, and what each would need.",
    ),
)


async def draw(view: View) -> None:
    """Now, then the last hour."""
    await view.part(machine, "/hardware", every=EVERY)
    heading("Machines of the queue")
    await view.part(lambda value: nodes(value["nodes"]), "/queue", every=EVERY)
    heading("The last hour")
    html(marks.tag("p", "Of the machine that the loop runs on; of others only what is now is known.", class_="small"))
    for line in LINES:
        heading(line.title, 3)
        await view.part(_over_time(line), "/hardware/history", every=HISTORY)


def level(word: str) -> Markup:
    """Of heat or memory pressure."""
    return marks.badge(word, LEVELS.get(word, ""))


def machine(value: Mapping[str, Any]) -> Markup:
    """What sensors say now; of each, where none says it."""
    memory, heat = value["memory"], value["heat"]
    used = memory["total"] - memory["available"]
    words = Markup("{} of {} in use; swap {}").format(marks.size(used), marks.size(memory["total"]), marks.size(memory["swapUsed"]))
    cards = (
        marks.tag(
            "section",
            marks.tag("h2", "Memory"),
            marks.tag("div", marks.size(used), class_="figure"),
            marks.bar(used, memory["total"], words),
            marks.tag("p", "Pressure: ", level(memory["level"])),
            class_="card",
        ),
        marks.tag("section", marks.tag("h2", "Heat"), _heat(heat), class_="card"),
        marks.tag("section", marks.tag("h2", "Power"), _power(value), class_="card"),
    )
    known = [(name, _fact(name, each)) for name, each in value["machine"].items() if each not in (None, "", [], {})]
    note = marks.tag("p", value["note"], class_="small") if value["note"] else Markup("")
    folded = Markup('<details data-key="machine"><summary>What this machine is</summary>{}</details>').format(marks.facts(known))
    return marks.tag("div", *cards, class_="cards") + note + folded


def _fact(name: str, value: Any) -> marks.Cell:
    if isinstance(value, int) and not isinstance(value, bool) and ("memory" in name.lower() or value >= GIB):
        return marks.size(value)
    return marks.document(value) if isinstance(value, (dict, list)) else str(value)


def _heat(heat: Mapping[str, Any]) -> Markup:
    if heat["level"] == "unknown":
        return marks.tag("p", "No sensor tells the heat.", class_="nothing")
    told = marks.tag("div", level(heat["level"]), class_="figure")
    if heat["used"] is not None:
        told += marks.bar(heat["used"], 1.0, f"{100 * heat['used']:.0f} % of the headroom to throttling is used")
    return told + marks.tag(
        "p", Markup("Since {}, as {} tells").format(marks.when(heat["since"]), heat["source"] or "the filter"), class_="small"
    )


def _power(value: Mapping[str, Any]) -> Markup:
    told = marks.tag("p", f"Load {marks.number(value['load'])} cores", class_="small") if value["load"] is not None else Markup("")
    if value["watts"] is None:
        return marks.tag("p", "No sensor tells the power.", class_="nothing") + told
    return marks.tag("div", marks.number(value["watts"], "W"), class_="figure") + told


def nodes(found: Sequence[Mapping[str, Any]]) -> Markup:
    """All that admission knows of, as they are now."""
    rows = []
    for each in found:
        memory, whole = sum(each[key]["memory"] or 0 for key in ("leased", "services", "otherPrograms")), each["capacity"]["memory"]
        heat = level(each["heat"]) if each["heat"] != "unknown" else marks.tag("span", "no sensor tells it", class_="nothing")
        rows.append(
            (
                each["name"],
                marks.bar(memory, whole, Markup("{} of {}").format(marks.size(memory), marks.size(whole))),
                level(each["memoryPressure"]),
                heat,
                marks.share(each["headroomUsed"]),
                marks.number(each["watts"], "W"),
                each["heatSource"] or "",
            )
        )
    heads = ("Machine", "Memory", "Pressure", "Heat", "Headroom used", "Power", "As tells")
    return marks.table("Machines", heads, rows, "No machine is known yet: a manifest of kind Platform says what is managed.")


# --- the last hour -------------------------------------------------------------------------------------------------


def points(line: Line, found: Sequence[Mapping[str, Any]]) -> list[tuple[str, float | None]]:
    """Moments with what the chart shows; a hole where nothing was told."""
    return [(each["at"], None if each.get(line.of) is None else each[line.of] * line.scale) for each in found]


def options(line: Line, found: Sequence[tuple[str, float | None]]) -> dict[str, Any]:
    """Of the chart."""
    quiet = {"lineStyle": {"color": GREY}}
    return {
        "animation": False,
        "grid": {"left": 55, "right": 15, "top": 30, "bottom": 30},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", "axisLine": quiet, "splitNumber": 4},
        "yAxis": {"type": "value", "name": line.unit, "min": 0, "splitLine": quiet, "nameTextStyle": {"align": "left"}},
        "series": [
            {
                "type": "line",
                "name": f"{line.title} ({line.unit})",
                "showSymbol": len(found) < 3,
                "color": line.color,
                "areaStyle": {"opacity": 0.12},
                "data": [[at, None if value is None else round(value, 3)] for at, value in found],
            }
        ],
    }


def values(line: Line, found: Sequence[tuple[str, float | None]]) -> Markup:
    """The same as a table, folded: about one a minute, the newest first."""
    thin = [each for at, each in enumerate(reversed(found)) if at % max(1, len(found) // ROWS) == 0][:ROWS]
    rows = [(marks.when(at), marks.number(None if value is None else round(value, 2), line.unit)) for at, value in thin]
    table = marks.table(f"{line.title}, values", ("When", line.title), rows)
    mark = '<details data-key="values-{}"><summary>Values of {} as a table</summary>{}</details>'
    return Markup(mark).format(line.of, line.title.lower(), table)


def label(line: Line, found: Sequence[tuple[str, float | None]]) -> str:
    """What the chart shows, in words."""
    told = [value for _, value in found if value is not None]
    return f"{line.title} over the last hour: from {min(told):.4g} to {max(told):.4g} {line.unit}, last {told[-1]:.4g}"


def _over_time(line: Line) -> Callable[[Mapping[str, Any]], Any]:
    def show(value: Mapping[str, Any]) -> Any:
        found = points(line, value["items"])
        if all(each is None for _, each in found):
            html(marks.nothing(line.silent))
            return None
        made = chart(label(line, found), options(line, found))
        below = html(values(line, found))

        def again(later: Mapping[str, Any]) -> None:
            now = points(line, later["items"])
            if all(each is None for _, each in now):
                return
            made.options.update(options(line, now))
            made.props(f'aria-label="{label(line, now)}"')
            made.update()
            below.set_content(str(values(line, now)))

        return again

    return show
