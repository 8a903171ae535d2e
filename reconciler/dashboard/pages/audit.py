"""The audit log, in pages."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, html

PAGE = 50
TONES = {"done": "good", "started": "", "failed": "bad"}
EMPTY = "Nothing was done yet: passes of the loop, and orders that people give, are written here."


async def draw(view: View) -> None:
    """The newest first; the project is chosen above."""
    before = view.query.get("before", "")
    about = f"of project {view.project}" if view.project else "of the whole installation"
    html(marks.tag("p", f"What was done {about}, by the loop and by people. It is never changed.", class_="small"))

    def listed(value: dict[str, Any]) -> Markup:
        return page(value, view.project, before)

    await view.part(listed, view.of_project("/history", limit=PAGE, before=before))


def page(value: dict[str, Any], project: str, before: str) -> Markup:
    """One page, and the ways to others."""
    told = marks.table(
        "The audit log, the newest first",
        ("When", "Who", "Did", "To", "Result", "Revision", "Manifest", "More"),
        [line(each) for each in value["items"]],
        "There is nothing older." if before else EMPTY,
    )
    ways = [marks.link(marks.url("/audit", project=project), "Newest")] if before else []
    if value["next"]:
        ways.append(marks.link(marks.url("/audit", project=project, before=value["next"]), "Older"))
    return told + (Markup('<nav class="pages" aria-label="Pages of the log">{}</nav>').format(marks.joined(ways)) if ways else Markup(""))


def line(each: dict[str, Any]) -> tuple[marks.Cell, ...]:
    """One entry."""
    return (
        marks.when(each["at"]),
        each["actor"],
        each["action"],
        marks.resource(each["ref"]) if each["ref"] else "the installation",
        marks.badge(each["result"], TONES.get(each["result"], "")),
        marks.code(each["revision"][:9]) if each["revision"] else "",
        marks.code(each["location"]) if each["location"] else "",
        detail(each["number"], each["detail"]),
    )


def detail(number: int, value: dict[str, Any]) -> marks.Cell:
    """What else is known of it, folded; stays open when the list is drawn anew."""
    if not value:
        return ""
    mark = '<details data-key="entry-{}"><summary>{}</summary>{}</details>'
    return Markup(mark).format(number, ", ".join(list(value)[:3]), marks.document(value))
