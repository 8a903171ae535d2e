"""Workflows: their tasks in order, how the last run went, when the next one comes, what asks for room; and one to start now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from nicegui import ui

from reconciler.dashboard import marks, parts
from reconciler.dashboard.frame import View, button, heading, html

PAGE = 50
EMPTY = "There is no workflow yet: commit a manifest of kind Workflow (`reconcile explain workflow`)."
STATES = {"success": "good", "failed": "bad", "running": "warn", "queued": "warn"}
BLOCKS = {"training": "training", "federated-learning": "federated", "model-comparison": "comparison"}
STEPS = ("dataset", "experiment", "model", "deployment")
"""Of a training, in their order."""


async def draw(view: View) -> None:
    """Runs as the last pass saw them in Airflow; what waits for room as admission sees it."""
    asked = {"limit": PAGE, "after": view.query.get("after")}

    def listed(value: dict[str, Any], plans: dict[str, Any]) -> None:
        cards(view, value, plans)
        html(parts.following("/workflows", value, view.query, project=view.project))

    await view.part(listed, view.of_project("/workflows", **asked), view.of_project("/schedules", **asked), every=30.0)
    heading("Tasks that ask for room")
    await view.part(tasks, view.of_project("/queue"), every=5.0)


def cards(view: View, value: dict[str, Any], plans: dict[str, Any]) -> None:
    """One for each workflow."""
    if not value["items"]:
        html(marks.nothing(EMPTY))
        return
    known = {each["ref"]: each for each in plans["items"]}
    items = parts.worst_first(value["items"])
    html(overview(items, known))
    heading("Each of them")
    for each in items:
        with ui.element("section").classes("card"):
            html(one(each, known.get(each["ref"])))
            _run(view, each)


def _run(view: View, each: Mapping[str, Any]) -> None:
    why_not = "" if view.may("operate", each["project"] or "") else "Log in with a token of the role operator for this project."
    path = f"/resources/{marks.address(each['ref'])}/run"
    with ui.element("div").classes("acts"):
        pressed = button(
            f"Run {each['name']} now",
            lambda: view.order(path, {"conf": {}}, f"{each['ref']} is to run; the loop starts it"),
            why_not=why_not,
        )
        if why_not:
            note = f"why-{each['ref'].replace('/', '-')}"
            pressed.props(f"aria-describedby={note}")
            html(Markup('<span class="small" id="{}">{}</span>').format(note, why_not))


def overview(items: Sequence[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]]) -> Markup:
    """One line for each."""
    rows = []
    for each in items:
        plan = known.get(each["ref"])
        rows.append(
            (
                marks.resource(each["ref"], parts.ref_path(each["ref"])),
                marks.health(each["health"]),
                last(plan),
                following(plan),
                marks.totals(each["below"]["totals"]) if each["below"]["total"] else "none",
                parts.links(each["links"]),
            )
        )
    return marks.table("Workflows", ("Workflow", "State", "Last run", "Next run", "Tasks by state", "In its tool"), rows, EMPTY)


def last(plan: Mapping[str, Any] | None) -> marks.Cell:
    """How the run that ended last went."""
    run = plan["last"] if plan else None
    if run is None:
        return "has not run yet"
    badge = marks.badge(run["state"] or "unknown", STATES.get(run["state"] or "", ""))
    took = Markup(", took {}").format(marks.span(run["seconds"])) if run["seconds"] is not None else Markup("")
    return Markup("{} {}{}").format(badge, marks.when(run["ended"]), took)


def following(plan: Mapping[str, Any] | None) -> marks.Cell:
    """When it starts by itself."""
    if plan is None:
        return marks.NOTHING
    if plan["paused"]:
        return marks.badge("paused", "warn")
    if plan["next"]:
        return Markup("{} <span class='small'>{} {}</span>").format(
            marks.when(plan["next"]), marks.code(plan["schedule"]), plan["timezone"]
        )
    return "by trigger" if plan["triggers"] else "by hand"


def one(each: Mapping[str, Any], plan: Mapping[str, Any] | None) -> Markup:
    """Its tasks, and all that is known of its last run."""
    told = marks.tag("h3", marks.resource(each["ref"], parts.ref_path(each["ref"])), " ", marks.health(each["health"]))
    told += marks.tag("p", each["message"], class_="small")
    spec = (each.get("declared") or {}).get("spec")
    told += parts.graph(needs(spec if isinstance(spec, Mapping) else {}))
    pairs: list[tuple[marks.Cell, marks.Cell]] = [("Last run", last(plan)), ("Next run", following(plan))]
    run = plan["last"] if plan else None
    if run is not None:
        name = marks.code(run["id"] or "?")
        pairs.append(("Its id", marks.away(run["url"], name) if run["url"] else name))
        if (failure := run["failure"]) is not None:
            pairs.append(
                ("Why it failed", Markup("{} {}").format(marks.code(failure["task"] or "no task"), failure["why"] or "no reason is known"))
            )
    if plan and len(plan["runs"]) > 1:
        pairs.append(("Runs before", earlier(plan["runs"][1:])))
    if plan and plan["triggers"]:
        pairs.append(("Started by", marks.joined((marks.code(each) for each in plan["triggers"]), ", ")))
    return told + marks.facts(pairs)


def earlier(runs: Sequence[Mapping[str, Any]]) -> Markup:
    """How each went, the newest first."""
    told = []
    for each in runs:
        word = marks.badge(each["state"] or "unknown", STATES.get(each["state"] or "", ""))
        when = marks.when(each["ended"])
        told.append(parts.unbroken(Markup("{} {}").format(word, marks.away(each["url"], when) if each["url"] else when)))
    return marks.joined(told, " ")


def needs(spec: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Task -> what it waits for, as the manifest says it; a template's as its blocks, one after the other."""
    found: dict[str, tuple[str, ...]] = {}
    block = spec.get(BLOCKS.get(str(spec.get("template")), ""))
    if isinstance(block, Mapping):
        names = [each for each in STEPS if block.get(each)] if spec.get("template") == "training" else [str(spec["template"])]
        found |= {name: tuple(names[at - 1 : at]) if at else () for at, name in enumerate(names)}
    for each in spec.get("tasks") or ():
        if isinstance(each, Mapping):
            found[str(each.get("name"))] = tuple(map(str, each.get("needs") or ()))
    return found


def tasks(queue: dict[str, Any]) -> Markup:
    """What of workflows has room, and what waits for some."""
    rows: list[tuple[marks.Cell, ...]] = [
        (marks.resource(each["ref"]), marks.badge("has room", "good"), marks.when(each.get("since")))
        for each in queue["running"]
        if each["ref"].startswith("workflow/")
    ]
    for each in (*queue["waiting"], *queue["aside"]):
        if each["ref"].startswith("workflow/"):
            verdict = each.get("verdict") or each
            rows.append(
                (marks.resource(each["ref"]), marks.badge("waits", "warn"), str(verdict.get("message") or verdict.get("reason") or ""))
            )
    return marks.table(
        "Tasks that ask for room", ("Task", "State", "Since or why"), rows, "No task of a workflow runs or waits for room now."
    )
