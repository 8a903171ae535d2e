"""The first page: what needs a person, and how every project is."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks, parts
from reconciler.dashboard.frame import View, heading

SOME = 12
"""Resources that are shown of those that are not well."""


async def draw(view: View) -> None:
    """Drawn of five answers, each of which changes for itself."""
    await view.part(_head, view.of_project("/status"), "/links", every=10.0)
    heading("What needs a person")
    await view.part(_needs, view.of_project("/resources", health="Degraded", limit=SOME), view.of_project("/alerts"), "/approvals")
    heading("Projects" if not view.project else "Kinds")
    await view.part(_kinds if view.project else _projects, view.of_project("/status") if view.project else "/projects")


def _head(status: dict[str, Any], links: dict[str, Any]) -> Markup:
    applied = Markup("Applied {} by {}").format(marks.when(status["appliedAt"]), status["appliedBy"] or "nobody yet")
    services = marks.joined(
        marks.badge(f"{name}: {word}", "good" if word == "ok" else "bad") for name, word in sorted(status["tools"].items())
    )
    figure = marks.tag("div", f"{status['ready']:,} of {status['total']:,}", class_="figure")
    cards = (
        marks.tag("div", marks.tag("h2", "Ready"), figure, marks.totals(status["totals"]), class_="card"),
        marks.tag(
            "div",
            marks.tag("h2", "Installation"),
            marks.code(status["installation"]),
            " ",
            status["environment"] or "",
            Markup("<br>"),
            marks.code(status["revision"][:12] or "no revision"),
            Markup("<br>"),
            applied,
            class_="card",
        ),
        marks.tag("div", marks.tag("h2", "Services"), services or "None is run here.", _tools(links["items"]), class_="card"),
    )
    return marks.tag("div", *cards, class_="cards")


def _tools(items: list[dict[str, Any]]) -> Markup:
    """Their own pages."""
    return marks.tag("p", "Pages: ", parts.links(items)) if items else Markup("")


def _needs(worst: dict[str, Any], alerts: dict[str, Any], approvals: Any) -> Markup:
    rows = []
    for each in approvals["items"]:
        what = marks.link(marks.url("/plan", project=each["project"]), f"{len(each['refs'])} in {each['project']}")
        rows.append((what, marks.badge("wants a yes", "warn"), f"{len(each['actions'])} actions wait for it"))
    for each in alerts["alerts"]:
        rows.append((marks.resource(each["ref"]), marks.badge(each.get("severity", "alert"), "bad"), each.get("message", "")))
    rows += [(marks.resource(each["ref"]), marks.health(each["health"]), each["message"]) for each in worst["items"]]
    told = marks.table(
        "What needs a person", ("What", "Why", "More"), rows, "Nothing: all is well, nothing waits for a yes, no alert fires."
    )
    if (more := worst["total"] - len(worst["items"])) > 0:
        told += marks.tag("p", marks.link(marks.url("/resources", health="Degraded"), f"{more:,} more are degraded"))
    return told


def _projects(value: dict[str, Any]) -> Markup:
    rows = [
        (
            marks.link(marks.url("/", project=each["name"]), each["name"]),
            marks.health(each["health"]),
            f"{each['ready']:,} of {each['total']:,}",
            marks.totals(each["totals"]),
            marks.joined((f"{kind} {count:,}" for kind, count in each["kinds"].items()), ", "),
            str(each["awaitingApproval"] or ""),
            str(each["alerts"] or ""),
        )
        for each in value["items"]
    ]
    heads = ("Project", "Health", "Ready", "By health", "Kinds", "Wait for a yes", "Alerts")
    return marks.table("Projects", heads, rows, "There is no project yet: commit a manifest of kind Project.")


def _kinds(status: dict[str, Any]) -> Markup:
    rows = [
        (
            marks.link(marks.url("/resources", project=each["project"], kind=each["kind"]), each["kind"]),
            f"{each['ready']:,} of {each['total']:,}",
            marks.totals(each["totals"]),
        )
        for each in status["byKind"]
    ]
    return marks.table("Kinds", ("Kind", "Ready", "By health"), rows, "Nothing is in this project yet.")
