"""What fires, what is over, what is silenced, who was told, and which reports come when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks
from reconciler.dashboard.frame import View

TONES = {"critical": "bad", "warning": "warn", "info": ""}
RANKS = ("critical", "warning", "info")
STATES = {"sent": "good", "failed": "bad", "queued": "warn", "sending": "warn"}
SHOWN = 50
"""Of what is over, and of messages."""


async def draw(view: View) -> None:
    """All of one answer, so that its parts agree."""
    await view.part(page, view.of_project("/alerts", over="true"))


def page(value: dict[str, Any]) -> Markup:
    """The worst first."""
    firing = sorted((each for each in value["alerts"] if not each["ended"]), key=_rank)
    over = [each for each in value["alerts"] if each["ended"]]
    refs = {each["id"]: each["ref"] for each in value["alerts"]}
    return Markup("").join(
        (
            head(firing, value["silences"]),
            marks.tag("h2", "Firing"),
            _firing(firing),
            marks.tag("h2", "Silences"),
            _silences(value["silences"]),
            marks.tag("h2", "Over, in the last 30 days"),
            _over(over[:SHOWN]),
            _more(len(over)),
            marks.tag("h2", "Messages"),
            _deliveries(value["deliveries"][:SHOWN], refs),
            _more(len(value["deliveries"])),
            marks.tag("h2", "Scheduled reports"),
            _reports(value["reports"]),
        )
    )


def _rank(each: Mapping[str, Any]) -> tuple[int, str]:
    return (RANKS.index(each["severity"]) if each["severity"] in RANKS else len(RANKS), each["since"])


def _more(count: int) -> Markup:
    more = f"{count - SHOWN:,} older ones are not shown; `reconcile alerts --all` lists them."
    return marks.tag("p", more, class_="small") if count > SHOWN else Markup("")


def head(firing: Sequence[Mapping[str, Any]], silences: Sequence[Mapping[str, Any]]) -> Markup:
    """How many fire, by severity."""
    if not firing:
        told: list[marks.Cell] = [marks.badge("Nothing fires", "good")]
    else:
        counted = [(word, sum(each["severity"] == word for each in firing)) for word in RANKS]
        told = [marks.badge(f"{number:,} {word}", TONES[word]) for word, number in counted if number]
    held = f"{len(silences):,} silences hold messages back" if silences else ""
    return marks.tag("p", marks.joined([*told, held]))


def _firing(found: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        (
            marks.resource(each["ref"]),
            marks.badge(each["severity"], TONES.get(each["severity"], "")),
            marks.when(each["since"]),
            each["reason"],
            each["message"],
            _told(each["told"]),
            marks.code(each["location"]) if each["location"] else "",
        )
        for each in found
    ]
    heads = ("Resource", "Severity", "Since", "Reason", "Why", "Told", "Manifest")
    return marks.table("What fires", heads, rows, "Nothing. What an AlertPolicy watches for would be here.")


def _told(receivers: Mapping[str, str]) -> marks.Cell:
    return marks.joined((f"{name} ({state})" for name, state in receivers.items()), ", ") or "nobody: no AlertPolicy routes it"


def _over(found: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        (
            marks.resource(each["ref"]),
            marks.badge(each["severity"], TONES.get(each["severity"], "")),
            marks.when(each["since"]),
            marks.when(each["ended"]),
            each["reason"],
            each["message"],
        )
        for each in found
    ]
    return marks.table("What is over", ("Resource", "Severity", "Began", "Ended", "Reason", "Why"), rows, "Nothing fired in that time.")


def _silences(found: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        (
            covered(each),
            each["why"],
            each["by"] or "a manifest",
            marks.when(each["from"]),
            marks.when(each["until"]),
            marks.code(each["id"]),
        )
        for each in found
    ]
    empty = "None: every message is sent. `reconcile silence REF --why TEXT` holds messages back for a while."
    return marks.table("What is silenced", ("What", "Why", "By", "From", "Until", "Name"), rows, empty)


def covered(each: Mapping[str, Any]) -> str:
    """What a silence is about."""
    named = [f"kind {name}" for name in each["kinds"]] + [f"project {name}" for name in each["projects"]]
    return ", ".join([*each["refs"], *named, *each["reasons"]]) or "everything"


def _deliveries(found: Sequence[Mapping[str, Any]], refs: Mapping[str, str]) -> Markup:
    rows = [
        (
            marks.when(each["at"]),
            f"{each['policy']} to {each['receiver']}",
            marks.badge(
                each["state"] if each["attempts"] < 2 else f"{each['state']}, {each['attempts']} tries", STATES.get(each["state"], "")
            ),
            marks.joined(dict.fromkeys(_part(part, refs) for part in each["parts"][:4]), ", ") or "a test",
            each["error"] or "",
            marks.when(each["nextTry"]) if each["nextTry"] else "",
        )
        for each in found
    ]
    heads = ("When", "To", "State", "About", "What went wrong", "Next try")
    empty = "None was sent in the last 30 days. `reconcile alerts test POLICY` tries the way."
    return marks.table("Messages, the newest first", heads, rows, empty)


def _part(part: Mapping[str, Any], refs: Mapping[str, str]) -> str:
    if part["phase"] == "report":
        return "report " + str(part["subject"]).replace(":", " ", 1)
    return f"{part['phase']} {refs[part['subject']]}" if part["subject"] in refs else str(part["phase"])


def _reports(found: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        (
            f"{each['policy']}/{each['name']}",
            ", ".join(each["receivers"]),
            marks.badge("due", "warn") if each["waits"] else marks.when(each["next"]),
            marks.when(each["last"]) if each["last"] else "none yet",
        )
        for each in found
    ]
    empty = "None: `reports` of an AlertPolicy says which come when, and to whom."
    return marks.table("Scheduled reports, the next one first", ("Report", "To", "Next", "Last"), rows, empty)
