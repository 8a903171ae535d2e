"""What is made of what: drawn in layers, and as a tree that needs neither eyes nor a mouse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from nicegui import ui

from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, chart, heading, html

LAYERS = ("Dataset", "Experiment", "Model", "Deployment", "Monitor", "Workflow")
"""From left to right; other kinds are no part of the drawing."""
DRAWN = 150
"""Resources of one drawing: of more nothing could be read."""
ROW, WIDTH, TOP = 40, 260, 40
"""Of the drawing, in pixels. Names stand above the lines that lead on."""
LABEL = 32
"""Characters of a name in it; its end tells more than its beginning."""
COLORS = {
    "Healthy": "#2f8a57",
    "Progressing": "#b97a1a",
    "Missing": "#b97a1a",
    "Degraded": "#c63a31",
    "Unknown": "#7a8896",
    "Suspended": "#7a8896",
}
DEEP = 12
"""Of the tree."""
Nodes = Sequence[Mapping[str, Any]]
Edges = Sequence[Mapping[str, str]]


async def draw(view: View) -> None:
    """Twice the same, so that both stay right."""
    path = view.of_project("/lineage")
    await view.part(head, path)
    heading("From data to what watches it")
    await view.part(_drawing, path)
    heading("Tree")
    await view.part(tree, path)


def head(value: Mapping[str, Any]) -> Markup:
    """How many there are, and how they are."""
    counted: dict[str, int] = defaultdict(int)
    for each in value["nodes"]:
        counted[each["health"]] += 1
    told = marks.tag("p", marks.totals(counted))
    if (more := value["total"] - len(value["nodes"])) > 0:
        told += marks.tag("p", f"{more:,} more are not shown: choose a project above.", class_="warn")
    return told


# --- the drawing ---------------------------------------------------------------------------------------------------


def _drawing(value: Mapping[str, Any]) -> Any:
    shown, edges = drawn(value)
    if not shown:
        return marks.nothing("Nothing is made of anything yet: experiments name datasets, models experiments, deployments models.")
    if len(shown) > DRAWN:
        return marks.nothing(f"{len(shown):,} resources are too many for a drawing: choose a project above. The tree below has them all.")
    html(legend())
    scroll = (
        ui.element("div").classes("scroll").props('tabindex=0 role=region aria-label="Drawing of the lineage; the tree below has the same"')
    )
    with scroll:
        made = chart(f"{len(shown)} resources in layers by kind, and {len(edges)} links between them", options(shown, edges))
        width, height = extent(shown)
        made.style(f"width: max(100%, {width}px); height: {height}px")
        made.on_point_click(lambda event: _go(event.data))

    def again(later: Mapping[str, Any]) -> None:
        now, links = drawn(later)
        wide, high = extent(now)
        made.style(f"width: max(100%, {wide}px); height: {high}px")
        made.options.update(options(now, links))
        made.update()

    return again


def _go(data: Any) -> None:
    if isinstance(data, Mapping) and isinstance(ref := data.get("name"), str) and "/" in ref:
        ui.navigate.to(f"{marks.BASE}/resource/{marks.address(ref)}")


def legend() -> Markup:
    """Of the colours, with the glyphs that stand beside the names."""
    words = marks.joined((marks.health(word) for word in marks.GLYPHS), " ")
    return marks.tag("p", words, " A click leads to the resource.", class_="small")


def drawn(value: Mapping[str, Any]) -> tuple[Nodes, Edges]:
    """Those of the layers, and the links between them."""
    shown = [each for each in value["nodes"] if each["kind"] in LAYERS]
    refs = {each["ref"] for each in shown}
    return shown, [each for each in value["edges"] if each["how"] == "uses" and each["from"] in refs and each["to"] in refs]


def layers(shown: Nodes) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """By kind, those that there are any of."""
    grouped = [(kind, [each for each in shown if each["kind"] == kind]) for kind in LAYERS]
    return [(kind, some) for kind, some in grouped if some]


def extent(shown: Nodes) -> tuple[int, int]:
    """Pixels that the drawing needs, across and down."""
    found = layers(shown)
    most = max((len(some) for _, some in found), default=1)
    return max(320, WIDTH * len(found)), TOP + ROW * max(most, 2)


def ordered(shown: Nodes, edges: Edges) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Each layer in the order of what it is made of, so that few links cross."""
    sources: dict[str, list[str]] = defaultdict(list)
    for each in edges:
        sources[each["to"]].append(each["from"])
    places: dict[str, float] = {}
    found = []
    for kind, some in layers(shown):
        given = {each["ref"]: [places[ref] for ref in sources[each["ref"]] if ref in places] for each in some}

        def mean(each: Mapping[str, Any], given: Mapping[str, list[float]] = given) -> tuple[float, str]:
            at = given[each["ref"]]
            return (sum(at) / len(at) if at else float(len(given)), each["ref"])

        some = sorted(some, key=mean)
        places.update({each["ref"]: float(at) for at, each in enumerate(some)})
        found.append((kind, some))
    return found


def options(shown: Nodes, edges: Edges) -> dict[str, Any]:
    """Of the drawing: every node has its place, nothing moves by itself."""
    points: list[dict[str, Any]] = []
    for column, (kind, some) in enumerate(ordered(shown, edges)):
        x = WIDTH * column
        points.append({"name": kind, "x": x, "y": 0, "symbolSize": 0.1, "label": {"formatter": f"{kind}s", "fontWeight": "bold"}})
        for row, each in enumerate(some):
            label = f"{marks.GLYPHS.get(each['health'], '')} {_short(each)}"
            points.append(
                {
                    "name": each["ref"],
                    "x": x,
                    "y": TOP + ROW * row,
                    "symbolSize": 11,
                    "itemStyle": {"color": COLORS.get(each["health"], COLORS["Unknown"])},
                    "label": {"formatter": label},
                }
            )
    links = [{"source": each["from"], "target": each["to"]} for each in edges]
    return {
        "animation": False,
        "series": [
            {
                "type": "graph",
                "layout": "none",
                "left": 20,
                "right": WIDTH - 40,
                "top": 20,
                "bottom": 24,
                "preserveAspect": False,
                "label": {"show": True, "position": [12, -13], "color": "#7a8896", "fontSize": 12},
                "edgeSymbol": ["none", "arrow"],
                "edgeSymbolSize": 7,
                "lineStyle": {"color": "#7a8896", "opacity": 0.4, "width": 1.2},
                "emphasis": {"focus": "adjacency"},
                "data": points,
                "links": links,
            }
        ],
    }


def _short(each: Mapping[str, Any]) -> str:
    name = "/".join(filter(None, (each["project"], each["name"])))
    count = each["below"]["total"]
    return (name if len(name) <= LABEL else f"…{name[-LABEL + 1 :]}") + (f" ({count:,})" if count else "")


# --- the tree ------------------------------------------------------------------------------------------------------


def tree(value: Mapping[str, Any]) -> Markup:
    """By project; in each what is made of nothing else here, and below it what is made of it. What is made of several is told below the
    first, and named below the others."""
    nodes = value["nodes"]
    if not nodes:
        return marks.nothing("Nothing is here yet: commit a manifest of kind Project, Dataset or Experiment.")
    by_ref = {each["ref"]: each for each in nodes}
    below: dict[str, list[str]] = defaultdict(list)
    above: dict[str, int] = defaultdict(int)
    for each in value["edges"]:
        if each["how"] == "uses" and each["from"] in by_ref and each["to"] in by_ref:
            below[each["from"]].append(each["to"])
            above[each["to"]] += _owner(by_ref[each["from"]]) == _owner(by_ref[each["to"]])
    grouped: dict[str, list[str]] = defaultdict(list)
    for each in nodes:
        grouped[_owner(each)].append(each["ref"])
    told: set[str] = set()
    parts = [_project(owner, refs, by_ref, below, above, told) for owner, refs in sorted(grouped.items())]
    return marks.tag("ul", *parts, class_="tree")


def _owner(each: Mapping[str, Any]) -> str:
    return str(each["project"] or (each["name"] if each["kind"] == "Project" else ""))


def _project(
    owner: str,
    refs: Sequence[str],
    by_ref: Mapping[str, Mapping[str, Any]],
    below: Mapping[str, Sequence[str]],
    above: Mapping[str, int],
    told: set[str],
) -> Markup:
    counted: dict[str, int] = defaultdict(int)
    for ref in refs:
        counted[by_ref[ref]["health"]] += 1
    roots = [ref for ref in refs if not above.get(ref)]
    lines = _branches(roots, by_ref, below, told, DEEP)
    lines += _branches([ref for ref in refs if ref not in told], by_ref, below, told, DEEP)  # of a circle
    mark = '<li><details open data-key="tree-{}"><summary><strong>{}</strong> {}</summary><ul>{}</ul></details></li>'
    return Markup(mark).format(owner, owner or "Installation", marks.totals(counted), Markup("").join(lines))


def _branches(
    refs: Iterable[str], by_ref: Mapping[str, Mapping[str, Any]], below: Mapping[str, Sequence[str]], told: set[str], deep: int
) -> list[Markup]:
    found = []
    for ref in refs:
        each = by_ref[ref]
        if ref in told:
            found.append(marks.tag("li", line(each), marks.tag("span", " as told above", class_="small")))
            continue
        told.add(ref)
        inner = _branches(below.get(ref, ()), by_ref, below, told, deep - 1) if deep else []
        if inner:
            # no part that folds: a link within what is pressed to fold cannot be reached by everybody
            found.append(Markup("<li>{}<ul>{}</ul></li>").format(line(each), Markup("").join(inner)))
        else:
            found.append(marks.tag("li", line(each)))
    return found


def line(each: Mapping[str, Any]) -> Markup:
    """Name, health, and its children counted."""
    told = Markup("{} {}").format(marks.resource(each["ref"]), marks.health(each["health"]))
    if each["below"]["total"]:
        told += Markup(' <span class="small">{} parts: {}</span>').format(
            f"{each['below']['total']:,}", marks.totals(each["below"]["totals"])
        )
    return told + (
        Markup(' <span class="small">{}</span>').format(each["message"]) if not each["ready"] and each["message"] else Markup("")
    )
