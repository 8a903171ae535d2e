"""What the loop was about to do, and what of it waits for somebody's yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape
from nicegui import ui

from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, button, heading, html
from reconciler.dashboard.reader import Refused

GLYPHS = {
    "create": ("+", "add"),
    "update": ("~", "change"),
    "replace": ("±", "change"),
    "delete": ("-", "remove"),
    "adopt": ("»", "add"),
    "move": ("→", "change"),
    "blocked": ("!", "warn"),
    "unknown": ("?", "warn"),
    "keep": ("=", "nothing"),
}
"""Of each action, with its colour."""
OUTCOMES = {
    "changes": ("Something was to be done", "warn"),
    "noChanges": ("Nothing was to be done", "good"),
    "held": ("Held: nothing can be done as things are", "warn"),
    "unknown": ("Something could not be read", "warn"),
    "errors": ("Manifests have errors", "bad"),
}
SHOWN, NAMED = 100, 500
"""Actions that are shown; refs that one yes may name."""
REASONS = {"AwaitingApproval": "waits for a yes", "Suspended": "suspended", "OutsideWindow": "outside of its window"}
DIALOG = "yes"


async def draw(view: View) -> None:
    """What a person has to decide comes first."""
    ask = _Yes(view)

    def waiting(value: dict[str, Any]) -> None:
        _waiting(view, value, ask)

    await view.part(head, "/plan")
    heading("What waits for a yes")
    await view.part(waiting, "/approvals")
    heading("What the last pass was about to do")
    await view.part(lambda value: actions(value["actions"], view.project), "/plan")


def head(value: dict[str, Any]) -> Markup:
    """The outcome, in one line, and what the manifests have wrong."""
    words, tone = OUTCOMES.get(value["outcome"], (value["outcome"], ""))
    counted = [f"{count:,} {verb}" for verb, count in value["totals"].items() if count and verb != "keep"]
    told = marks.tag("p", marks.badge(words, tone), " ", ", ".join(counted))
    more = Markup("Pass {} of this loop, {}; plan {}").format(value["number"], marks.when(value["at"]), marks.code(value["digest"][:12]))
    told += marks.tag("p", more, class_="small")
    if compute := value.get("admission"):
        told += marks.tag("p", _compute(compute))
    for each in value.get("diagnostics", ()):
        where = marks.code(place(each["location"])) if each["location"] else ""
        told += marks.trouble(Markup("{} {} {}").format(where, each["message"], each["hint"]))
    for name, each in value.get("tools", {}).items():
        if not each["ok"]:
            told += marks.trouble(f"{name} could not be asked: {each['message']}")
    return told


def _compute(compute: Mapping[str, Any]) -> Markup:
    most = marks.size(compute["largestMemory"])
    return Markup("{} runs ask for {} of machine time, the largest for {} of memory.").format(
        f"{compute['runs']:,}", marks.span(compute["seconds"]), most
    )


# --- what waits ----------------------------------------------------------------------------------------------------


def _waiting(view: View, value: dict[str, Any], ask: _Yes) -> None:
    items = [each for each in value["items"] if not view.project or each["project"] == view.project]
    if not items:
        html(marks.nothing("Nothing waits. What is new waits for a yes in projects with `spec.sync.approval: required`."))
        return
    for each in items:
        why_not = "" if view.may("approve", each["project"]) else "Log in with a token of the role approver for this project."
        with ui.element("section").classes("card").props(f'aria-label="{escape(title(each))}"'):
            html(marks.tag("h3", title(each)))
            html(listed(each["actions"], each["refs"]))
            with ui.element("div").classes("acts"):
                button("Approve…", ask.about(each), main=True, why_not=why_not)
                if why_not:
                    html(marks.tag("span", why_not, class_="small"))


def title(item: Mapping[str, Any]) -> str:
    """How many wait, and where."""
    return f"{len(item['refs']):,} in {item['project'] or 'the installation'}"


def listed(found: Sequence[Mapping[str, Any]], refs: Sequence[str]) -> Markup:
    """One line for each of `refs`: what a yes would do to it."""
    wanted = {each["ref"]: each for each in found}
    rows = []
    for ref in refs[:SHOWN]:
        each = wanted.get(ref, {})
        verb = str(each.get("wanted") or each.get("action") or "change")
        rows.append(Markup("<li>{} {} {}</li>").format(sign(verb), marks.resource(ref), _gone(verb, bool(each.get("irreversible")))))
    more = marks.tag("p", f"and {len(refs) - SHOWN:,} more") if len(refs) > SHOWN else Markup("")
    return marks.tag("ul", *rows, class_="plain") + more


def _gone(verb: str, irreversible: bool) -> Markup:
    if verb == "delete" or irreversible:
        return marks.badge("is deleted" if verb == "delete" else "cannot be brought back", "bad")
    return marks.badge("is deleted and made anew", "bad") if verb == "replace" else Markup("")


class _Yes:
    """The second step: shows what is approved as it was when the button was pressed, and says yes to exactly that."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._box = ui.element("dialog").props(f"id={DIALOG} aria-labelledby={DIALOG}-title")

    def about(self, item: Mapping[str, Any]) -> Any:
        """What the button does."""

        async def show() -> None:
            self._show(item)
            ui.run_javascript(f"document.getElementById('{DIALOG}').showModal()")

        return show

    def _show(self, item: Mapping[str, Any]) -> None:
        chosen = dict.fromkeys(item["refs"], True)
        self._box.clear()
        with self._box:
            html(Markup('<h2 id="{}-title">Approve {}</h2>').format(DIALOG, title(item)))
            html(summary(item))
            if 1 < len(item["refs"]) <= SHOWN:
                self._choices(item["refs"], chosen)
            html(actions(item["actions"], "", wanted=True))
            said = ui.element("div").props("role=status")
            with ui.element("div").classes("acts"):
                button("Yes, do this", lambda: self._say(item, [ref for ref, on in chosen.items() if on], said), main=True)
                button("Cancel", self._close)

    def _choices(self, refs: Sequence[str], chosen: dict[str, bool]) -> None:
        with ui.element("fieldset"):
            html(marks.tag("legend", "A yes to"))
            for ref in refs:
                with ui.element("label").classes("choice"):
                    box = ui.element("input").props("type=checkbox checked")
                    box.on(
                        "change",
                        lambda event, ref=ref: chosen.update({ref: bool(event.args)}),
                        js_handler="(event) => emit(event.target.checked)",
                    )
                    html(marks.tag("span", ref))

    async def _close(self) -> None:
        ui.run_javascript(f"document.getElementById('{DIALOG}').close()")

    async def _say(self, item: Mapping[str, Any], refs: list[str], said: ui.element) -> None:
        body: dict[str, Any] = {"digest": item["digest"]}
        if len(refs) < len(item["refs"]) or len(refs) <= NAMED:
            body["refs"] = refs
        answer: Any = Refused(0, "Choose at least one.")
        if refs:
            answer = await self._view.reader.post(f"/approvals/{item['project'] or '-'}", body)
        if isinstance(answer, Refused):
            said.clear()
            with said:
                html(marks.trouble(refusal(answer)))
            return
        await self._close()
        ui.notify(str(answer["what"]), type="positive")


def refusal(answer: Refused) -> str:
    """Why the yes did not count, and what to do."""
    if answer.status == 409:
        return f"Not approved, for it is not as it was when you looked: {answer.detail}. Cancel, and look at what waits by now."
    return f"Not approved: {answer.detail}"


def summary(item: Mapping[str, Any]) -> Markup:
    """Of what a yes is given: how many of each kind of action, what is lost, and the digest."""
    counted: dict[str, int] = {}
    for each in item["actions"]:
        verb = str(each.get("wanted") or each["action"])
        counted[verb] = counted.get(verb, 0) + 1
    told = marks.tag("p", ", ".join(f"{count:,} to {verb}" for verb, count in counted.items()) or "What is written below.")
    if lost := counted.get("delete", 0) + counted.get("replace", 0):
        told += marks.trouble(f"{lost:,} of it deletes something.")
    return told + marks.tag("p", "Exactly this, under the digest ", marks.code(item["digest"]), class_="small")


# --- actions -------------------------------------------------------------------------------------------------------


def actions(found: Sequence[Mapping[str, Any]], project: str, *, wanted: bool = False) -> Markup:
    """Of one project (empty = of all). `wanted`: told as what would be done, not as what holds it."""
    here = [each for each in found if not project or (each["project"] or each["name"]) == project]
    if not here:
        return marks.nothing("Nothing: everything is as its manifest says. A commit that changes a manifest would show here.")
    told = marks.tag("ul", *(action(each, wanted=wanted) for each in here[:SHOWN]), class_="actions")
    if len(here) > SHOWN:
        told += marks.tag("p", f"and {len(here) - SHOWN:,} more; choose a project, or `reconcile --dry-run` lists all.", class_="small")
    return told


def action(each: Mapping[str, Any], *, wanted: bool = False) -> Markup:
    """One: sign, name, place, why, and what changes."""
    verb = str(each["wanted"] or each["action"]) if wanted else str(each["action"])
    parts = [sign(verb), " ", marks.resource(each["ref"])]
    if each["wanted"] and not wanted:
        parts.append(marks.badge(f"would {each['wanted']}"))
    if each["reason"] and not wanted:
        parts.append(marks.badge(REASONS.get(each["reason"], each["reason"]), "warn"))
    if each["irreversible"] or verb in ("delete", "replace"):
        parts.append(_gone(verb, bool(each["irreversible"])))
    for at in ([each["location"]] if each["location"] else []) + list(each["patches"]):
        parts += [" ", marks.code(place(at))]
    told = marks.joined(parts, " ")
    if each["why"]:
        told += marks.tag("p", each["why"], class_="small")
    told += changes(each["changes"])
    for line in notes(each):
        told += marks.tag("p", line, class_="small")
    return marks.tag("li", told)


def sign(verb: str) -> Markup:
    """With the word for who does not see the sign."""
    glyph, tone = GLYPHS.get(verb, ("", ""))
    return Markup('<span class="sign {}"><span aria-hidden="true">{}</span> {}</span>').format(tone, glyph, verb)


def place(at: Mapping[str, Any]) -> str:
    """FILE:LINE."""
    return f"{at['file']}:{at['line']}" if at["line"] else str(at["file"])


def changes(found: Sequence[Mapping[str, Any]]) -> Markup:
    """What a field is, and what it becomes."""
    lines = []
    for each in found:
        if each["secret"]:
            sides: marks.Cell = marks.tag("span", "a secret, which changes", class_="change")
        else:
            have, want = _value(each.get("have")), _value(each.get("want"))
            arrow = Markup('<span aria-label="becomes">→</span>')
            sides = Markup('<del class="remove">{}</del> {} <ins class="add">{}</ins>').format(have, arrow, want)
        force = marks.badge("makes it anew", "bad") if each["forcesReplace"] else ""
        lines.append(Markup("<li>{} {} {} {}</li>").format(marks.code(each["path"]), sides, force, each["note"]))
    return marks.tag("ul", *lines, class_="changes") if lines else Markup("")


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def notes(each: Mapping[str, Any]) -> list[marks.Cell]:
    """What it takes, when it would start, what it comes after, and what to do next."""
    found: list[marks.Cell] = []
    if cost := each.get("cost"):
        watts = f", {cost['wattHours']:.3g} Wh" if cost["wattHours"] is not None else ""
        took = marks.span(cost["seconds"]["middle"])
        found.append(f"Takes about {took}, {marks.size(cost['memory'])}, {marks.number(cost['cores'])} cores{watts} ({cost['basis']})")
    if said := each.get("admission"):
        if said["admitted"]:
            found.append("Would start now.")
        else:
            start = said["expected"] and Markup("; expected to start {}").format(marks.when(said["expected"]["at"]))
            found.append(Markup("Waits: {}{}").format(said["message"], start or ""))
    if each["after"]:
        found.append(Markup("After {}").format(marks.joined((marks.resource(ref) for ref in each["after"][:10]), ", ")))
    if each["next"]:
        found.append(f"Next: {each['next']}")
    return found
