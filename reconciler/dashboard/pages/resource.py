"""One resource: where it stands, why, what its manifest says and what is there, and what was done to it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from nicegui import ui

from reconciler.dashboard import marks, parts
from reconciler.dashboard.frame import View, button, heading
from reconciler.dashboard.pages.plan import actions

TONES = {"True": "good", "False": "bad", "Unknown": "warn"}


async def draw(view: View) -> None:
    """Each part is of one answer of the API."""
    kind, project, name = (view.query[each] for each in ("kind", "project", "name"))
    key = view.query.get("key", "")
    path, query = f"/resources/{kind}/{project}/{name}", f"?{urlencode({'key': key})}" if key else ""

    def acts(one: dict[str, Any]) -> None:
        _acts(view, path, query, one)

    await view.part(_head, path + query)
    await view.part(acts, path + query)
    heading("Why")
    await view.part(_why, f"{path}/why{query}", every=10.0)
    heading("What differs")
    ref = "/".join(each for each in (kind, project, name) if each != "-") + (f"#{key}" if key else "")
    await view.part(lambda value: difference(value, ref), "/plan")
    heading("Desired, applied and actual")
    await view.part(_sides, path + query)
    heading("What was done")
    await view.part(_history, f"{path}/history?{urlencode({'limit': 20, **({'key': key} if key else {})})}")


def _head(one: dict[str, Any]) -> Markup:
    pairs: list[tuple[marks.Cell, marks.Cell]] = [
        ("Name", marks.code(one["ref"])),
        ("Health", Markup("{} {}").format(marks.health(one["health"]), one["message"])),
    ]
    if one["location"]:
        pairs.append(("Manifest", marks.code(f"{one['location']['file']}:{one['location']['line']}")))
    if one["links"]:
        pairs.append(("In its tool", parts.links(one["links"])))
    if one["references"]:
        pairs.append(("Made of", marks.joined(marks.resource(each) for each in one["references"])))
    if one["children"]:
        pairs.append(
            (
                f"Its {len(one['children'])} parts",
                marks.joined(marks.resource(each, each.partition("#")[2]) for each in one["children"][:100]),
            )
        )
    rows = [
        (each["type"], marks.badge(each["status"], TONES[each["status"]]), each["reason"], each["message"], marks.when(each["since"]))
        for each in one["conditions"]
    ]
    return (
        marks.facts(pairs)
        + marks.tag("h2", "Conditions")
        + marks.table("Conditions", ("Condition", "Is", "Reason", "Message", "Since"), rows)
    )


def difference(plan: dict[str, Any], ref: str) -> Markup:
    """What the loop's last whole pass was about to do with it."""
    found = [each for each in plan["actions"] if each["ref"] == ref and each["action"] != "keep"]
    return (
        actions(found, "") if found else marks.nothing(Markup("Nothing: it was as its manifest says, {}.").format(marks.when(plan["at"])))
    )


def _acts(view: View, path: str, query: str, one: dict[str, Any]) -> None:
    why_not = "" if view.may("operate", one["project"] or "") else "Log in with a token of the role operator for this project."
    with ui.element("div").classes("acts"):
        if one["suspended"]:
            told = one["suspended"]
            ui.html(str(Markup("Suspended by {} {}: {}").format(told["actor"], marks.when(told["at"]), told["reason"])), sanitize=False)
            button("Resume", lambda: view.order(f"{path}/resume{query}", None, ""), why_not=why_not)
        else:
            label = ui.element("label")
            with label:
                ui.html("Reason", sanitize=False, tag="span")
                reason = ui.element("input").props('type=text name=reason placeholder="why it is left alone"')
                typed = {"text": ""}
                reason.on("input", lambda event: typed.update(text=str(event.args or "")), js_handler="(event) => emit(event.target.value)")

            async def suspend() -> None:
                await view.order(f"{path}/suspend{query}", {"reason": typed["text"] or "from the dashboard"}, "")

            button("Suspend", suspend, why_not=why_not)
        button("Reconcile now", lambda: view.order("/reconcile", None, ""), why_not=why_not)


def _why(value: dict[str, Any]) -> Markup:
    pairs: list[tuple[marks.Cell, marks.Cell]] = [("State", value["state"])]
    if value["whyStopped"]:
        pairs.append(("Why it stopped", value["whyStopped"]))
    told = marks.facts(pairs)
    for name, title in (("waiting", "Waits"), ("running", "Runs")):
        if value[name]:
            told += marks.tag("h3", title) + marks.facts(
                (key, _plain(each)) for key, each in value[name].items() if each not in (None, "", [], {})
            )
    if value["causes"]:
        rows = [
            (marks.resource(_ref(each)), _plain({key: part for key, part in each.items() if key != "status"})) for each in value["causes"]
        ]
        told += marks.table("What is in the way", ("What", "How"), rows)
    if value["remedies"]:
        told += marks.tag("h3", "It would start now with one of") + marks.document(value["remedies"])
    return told


def _ref(cause: dict[str, Any]) -> str:
    return str(cause.get("ref") or cause.get("status", {}).get("ref", ""))


def _plain(value: Any) -> marks.Cell:
    return marks.document(value) if isinstance(value, (dict, list)) else str(value)


def _sides(one: dict[str, Any]) -> Markup:
    sides = (
        ("Desired: the manifest as it was read last", one["declared"]),
        ("Applied", one["applied"]),
        ("Actual: what the tool tells of it", one["outputs"] or None),
    )
    cards = [
        marks.tag("section", marks.tag("h3", title), marks.document(value) if value else marks.nothing("Nothing is known."), class_="card")
        for title, value in sides
    ]
    return marks.tag("div", *cards, class_="cards wide")


def _history(value: dict[str, Any]) -> Markup:
    rows = [
        (
            marks.when(each["at"]),
            each["action"],
            each["result"],
            each["actor"],
            marks.code(each["revision"][:9] or "-"),
            marks.resource(each["ref"]) if each["ref"] else "",
        )
        for each in value["items"]
    ]
    return marks.table(
        "What was done, the newest first", ("When", "Action", "Result", "Who", "Revision", "To"), rows, "Nothing was done to it yet."
    )
