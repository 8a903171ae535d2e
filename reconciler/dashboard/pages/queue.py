"""What runs, what waits and why, and who uses what of whose quota."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reconciler.admission.values import Reason
from reconciler.dashboard import marks
from reconciler.dashboard.frame import View, heading

EVERY = 3.0
"""Seconds: what sensors say changes without anything being written."""
UNITS = {"cpu": "cores", "gpu": "GPUs", "watts": "W"}
SHOWN = 100
"""Of what waits."""
PARTS = (("leased", "work"), ("services", "services"), ("otherPrograms", "other programs"), ("reserve", "reserve"))
NEVER = frozenset(str(each) for each in Reason if each.never)


async def draw(view: View) -> None:
    """Asked again every few seconds."""
    path = view.of_project("/queue")
    await view.part(head, path, every=EVERY)
    heading("Runs")
    await view.part(lambda value: running(value["running"]), path, every=EVERY)
    heading("Waits")
    await view.part(waits, path, every=EVERY)
    heading("Quotas")
    await view.part(quotas, view.of_project("/quotas"), every=EVERY)
    heading("Machines")
    await view.part(lambda value: nodes(value["nodes"]), path, every=EVERY)


def amount(name: str, value: float | int | None) -> marks.Cell:
    """Of a resource: bytes, cores, devices or watts."""
    if value is None:
        return marks.NOTHING
    return marks.size(value) if name == "memory" else marks.number(value, UNITS.get(name, ""))


def amounts(value: Mapping[str, float | int | None]) -> marks.Cell:
    """Those that there are any of."""
    return marks.joined((amount(name, each) for name, each in value.items() if each), ", ") or marks.NOTHING


def head(value: Mapping[str, Any]) -> Markup:
    """In one line; and what is wrong."""
    waiting = value["waiting"]
    never, ready = sum(each["reason"] in NEVER for each in waiting), sum(each["admitted"] for each in waiting)
    told: list[marks.Cell] = [f"{len(value['running']):,} run, {len(waiting) - never - ready:,} wait for room"]
    told += [marks.badge(f"{ready:,} start with the next pass", "good")] if ready else []
    told += [marks.badge(f"{never:,} can never start", "bad")] if never else []
    told += [f"{len(value['aside']):,} wait for something else"] if value["aside"] else []
    lines = [marks.tag("p", each, class_="warn") for each in value["warnings"]]
    return marks.tag("p", marks.joined(told, " ")) + Markup("").join(lines)


def running(found: Sequence[Mapping[str, Any]]) -> Markup:
    """By project, the oldest first."""
    rows = [
        (
            marks.resource(each["ref"]),
            each["project"],
            amounts(each["amounts"]),
            each["node"],
            marks.when(each["since"]),
            _ends(each),
        )
        for each in sorted(found, key=lambda each: (each["project"], each["since"]))
    ]
    empty = "Nothing runs. Runs of experiments, tasks of workflows and replicas of deployments would be here."
    return marks.table("What runs", ("What", "Project", "Has", "On", "Began", "Ends"), rows, empty)


def _ends(each: Mapping[str, Any]) -> marks.Cell:
    if each["ending"]:
        return marks.badge("is being stopped", "warn")
    if each["paused"]:
        return marks.badge("paused", "warn")
    if each["work"] in ("serving", "system"):
        return "serves on"
    return marks.when(each["expectedEnd"]) if each["expectedEnd"] else "not known"


def waits(value: Mapping[str, Any]) -> Markup:
    """In the order in which it is expected to start; what can never start last."""
    found = sorted(value["waiting"], key=lambda each: (each["reason"] in NEVER, each["position"] or 0, each["ref"]))
    rows = [
        (
            marks.resource(each["ref"]),
            str(each["position"] or ""),
            each["project"],
            amounts(each["amounts"]),
            marks.span(each["waitedSeconds"]),
            starts(each),
            _why(each),
        )
        for each in found[:SHOWN]
    ]
    heads = ("What", "Place", "Project", "Needs", "Waited", "Starts", "Why it waits")
    told = marks.table("What waits for room", heads, rows, "Nothing waits: there is room for all that was asked for.")
    if len(found) > SHOWN:
        told += marks.tag("p", f"and {len(found) - SHOWN:,} more; `reconcile queue --all` lists them", class_="small")
    if value["aside"]:
        other = [(marks.resource(each["ref"]), each["project"] or "", str(each.get("message", ""))) for each in map(_aside, value["aside"])]
        told += marks.tag("h3", "For something else than room")
        told += marks.table("What waits for something else than room", ("What", "Project", "Why"), other)
    return told


def _aside(each: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"project": each["ref"].split("/")[1], **each}


def starts(each: Mapping[str, Any]) -> marks.Cell:
    """When, as far as it can be told."""
    if each["admitted"]:
        return marks.badge("with the next pass", "good")
    if each["reason"] in NEVER:
        return marks.badge("never", "bad")
    if not (expected := each["expected"]):
        return "not forecast"
    between = Markup('<br><span class="small">{} to {}</span>').format(marks.when(expected["earliest"]), marks.when(expected["latest"]))
    return marks.when(expected["at"]) + between


def _why(each: Mapping[str, Any]) -> marks.Cell:
    blockers = each["blockers"]
    if not blockers:
        return str(each["message"])
    more = f" and {len(blockers) - 3} more" if len(blockers) > 3 else ""
    return Markup("{}; in the way: {}{}").format(each["message"], marks.joined(map(marks.resource, blockers[:3]), ", "), more)


# --- quotas --------------------------------------------------------------------------------------------------------


def quotas(value: Mapping[str, Any]) -> Markup:
    """A line for each resource of each project, and who lends to whom."""
    rows = [_quota(each, name, told) for each in value["projects"] for name, told in each["resources"].items()]
    heads = ("Project", "Of", "Used", "Nominal", "Borrowed", "Lent", "Cohort", "Run", "Wait")
    empty = "No project has a quota, and nothing runs or waits. A manifest of kind ResourceQuota gives a project its share."
    told = marks.table("Quotas", heads, rows, empty)
    if lines := list(lenders(value["projects"])):
        told = marks.tag("ul", *(marks.tag("li", each) for each in lines), class_="plain") + told
    return told


def _quota(each: Mapping[str, Any], name: str, told: Mapping[str, Any]) -> tuple[marks.Cell, ...]:
    used, nominal = told["used"], told["nominal"]
    words = f"{100 * used / nominal:.0f} % of its own" if nominal else "none of its own" if nominal == 0 else "not bounded"
    return (
        marks.link(marks.url("/queue", project=each["project"]), each["project"]),
        name,
        Markup("{}{}").format(amount(name, used), marks.bar(used, nominal, words)),
        amount(name, nominal),
        marks.badge(amount(name, told["borrowed"]), "warn") if told["borrowed"] else "",
        marks.badge(amount(name, told["lent"]), "good") if told["lent"] else "",
        each["cohort"] or "",
        str(each["running"] or ""),
        str(each["waiting"] or ""),
    )


def lenders(projects: Iterable[Mapping[str, Any]]) -> Iterable[Markup]:
    """In words, for each cohort and resource: a cohort lends as a whole, so that no loan has a single lender."""
    borrowed, lent = defaultdict[tuple[str, str], list[Markup]](list), defaultdict[tuple[str, str], list[Markup]](list)
    for each in projects:
        for name, told in each["resources"].items():
            for side, into in (("borrowed", borrowed), ("lent", lent)):
                if told[side]:
                    into[each["cohort"] or "", name].append(Markup("{} {}").format(each["project"], amount(name, told[side])))
    for (cohort, name), some in sorted(borrowed.items()):
        where = f"in cohort {cohort}" if cohort else "in no cohort"
        whose = marks.joined(lent[cohort, name], ", ") if lent[cohort, name] else "what nobody has"
        yield Markup("{} {}: {} borrowed from {}").format(name, where, marks.joined(some, ", "), whose)


# --- machines ------------------------------------------------------------------------------------------------------


def nodes(found: Sequence[Mapping[str, Any]]) -> Markup:
    """What each has, and what is taken of it."""
    if not found:
        return marks.nothing("No machine is known yet: the loop looks at it when a Platform was applied.")
    return marks.tag("div", *(_node(each) for each in found), class_="cards")


def _node(each: Mapping[str, Any]) -> Markup:
    bars = []
    for name, whole in each["capacity"].items():
        if not whole:
            continue
        parts = [(word, each[key][name] or 0) for key, word in PARTS]
        used = sum(size for _, size in parts)
        split = ", ".join(f"{word} {amount(name, size)}" for word, size in parts if size)
        words = Markup("{} of {}{}").format(amount(name, used), amount(name, whole), f": {split}" if split else "")
        bars.append(marks.tag("p", marks.tag("strong", name), marks.bar(used, whole, words)))
    more = marks.link(marks.url("/hardware"), "Heat and power")
    return marks.tag("section", marks.tag("h3", each["name"]), *bars, more, class_="card")
