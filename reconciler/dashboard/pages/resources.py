"""The list of all resources, in pages."""

from __future__ import annotations

from typing import Any, get_args

from markupsafe import Markup

from reconciler.api.v1.shapes import HealthName
from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, html

PAGE = 50
FILTERS = ("kind", "health", "q")


async def draw(view: View) -> None:
    """The filters are in the address, so that a list can be sent to somebody."""
    chosen = {name: view.query.get(name, "") for name in FILTERS}
    html(_filters(view, chosen))
    path = view.of_project("/resources", limit=PAGE, after=view.query.get("after"), **chosen)

    def listed(value: dict[str, Any]) -> Markup:
        rows = [
            (marks.resource(each["ref"]), marks.health(each["health"]), each["message"], _where(each["location"]))
            for each in value["items"]
        ]
        told = marks.tag("p", f"{value['total']:,} resources", class_="small") + marks.table(
            "Resources", ("Resource", "Health", "Why", "Manifest"), rows, "No resource is like that."
        )
        ways = []
        if view.query.get("after"):
            ways.append(marks.link(marks.url("/resources", project=view.project, **chosen), "First page"))
        if value["next"]:
            ways.append(marks.link(marks.url("/resources", project=view.project, **chosen, after=value["next"]), "Next page"))
        return told + (marks.tag("nav", marks.joined(ways), class_="pages") if ways else Markup(""))

    await view.part(listed, path)


def _where(location: dict[str, Any] | None) -> marks.Cell:
    return marks.code(f"{location['file']}:{location['line']}") if location else marks.NOTHING


def _filters(view: View, chosen: dict[str, str]) -> Markup:
    options = [Markup('<option value="">any</option>')]
    for each in get_args(HealthName):
        options.append(Markup('<option value="{0}"{1}>{0}</option>').format(each, Markup(" selected") if each == chosen["health"] else ""))
    mark = (
        '<form class="filters" method="get" role="search"><input type="hidden" name="project" value="{project}">'
        '<label>Name or message<input type="search" name="q" value="{q}"></label><label>Kind<input name="kind" value="{kind}"></label>'
        '<label>Health<select name="health">{options}</select></label><button type="submit">Filter</button></form>'
    )
    return Markup(mark).format(project=view.project, q=chosen["q"], kind=chosen["kind"], options=Markup("").join(options))
