"""What a scheduled report says: where everything stands, what was done since the one before it, and what fires. Pure; sizes are bounded.

Written once, for all its receivers: whoever gets it late gets what it said in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.alerting.due import MOST_MISSED
from reconciler.alerting.values import RANK, Alert, Bulletin, Due
from reconciler.model import JSON, Status, digest_of
from reconciler.report.page import Beside, status_html, status_markdown, title_of, wrong_first
from reconciler.report.show import clean, count, rfc3339
from reconciler.report.status import Overview, ready_since, why
from schemas.statusreport import Format

HTML_LIMIT, MARKDOWN_LIMIT = 100_000, 30_000
"""Characters; Gmail hides what comes after 102 kB of a mail."""
LINES = 200
"""Lines that a text has at most."""
WORDS = 300
"""Characters of one status in a text."""


@dataclass(frozen=True)
class Facts:
    """What a report is made of: of its projects only."""

    statuses: Sequence[Status]
    fires: Sequence[Alert]
    done: Mapping[str, int]
    """`applied`, `failed` and `runs` (that ended) since the report before."""
    about: Overview
    now: datetime


def of_projects(projects: Sequence[str], statuses: Sequence[Status], fires: Sequence[Alert]) -> tuple[list[Status], list[Alert]]:
    """What belongs to these projects; empty = everything. The worst alert first."""
    chosen = [each for each in statuses if not projects or each.ref.owner in projects]
    alarms = [each for each in fires if not projects or each.ref.owner in projects]
    return chosen, sorted(alarms, key=lambda each: (-RANK[each.severity], each.since, str(each.ref)))


def is_wanted(due: Due, facts: Facts) -> bool:
    """Whether there is something to tell, as the report's `onlyWhen` has it."""
    match due.report.only_when:
        case "always":
            return True
        case "notReady":
            return bool(facts.fires) or not all(each.ready for each in facts.statuses)
        case "changed":
            return any(facts.done.values()) or said(facts) != due.mark.said


def said(facts: Facts) -> str:
    """Digest of where everything stands: equal as long as nobody would call it changed."""
    standing: JSON = [[str(each.ref), str(each.health), each.ready] for each in sorted(facts.statuses, key=lambda each: str(each.ref))]
    fires: JSON = sorted(each.id for each in facts.fires)
    return digest_of([standing, fires])


def bulletin(due: Due, facts: Facts, *, test: bool = False) -> Bulletin:
    """The whole report. `test`: somebody wants to see it now."""
    first = tuple(_first(due, facts, test))
    beside = Beside(first, facts.fires)
    ready = sum(each.ready for each in facts.statuses)
    name = f"{'test of ' if test else ''}report {due.report.name}"
    title = f"{title_of(facts.about)}: {ready:,} of {len(facts.statuses):,} Ready, {_fires(facts)} ({name})"
    return Bulletin(
        name=due.report.name,
        title=clean(title),
        html=status_html(facts.statuses, facts.about, facts.now, beside, limit=HTML_LIMIT),
        markdown=status_markdown(facts.statuses, facts.about, facts.now, beside, limit=MARKDOWN_LIMIT),
        text=tuple(_lines(first, facts)),
        facts={
            "name": due.report.name,
            "due": rfc3339(due.at),
            "at": rfc3339(facts.now),
            "since": rfc3339(due.mark.since),
            "missed": due.missed,
            "resources": len(facts.statuses),
            "ready": ready,
            "alerts": len(facts.fires),
            "done": dict(facts.done),
        },
        format=due.report.format,
    )


def worded(made: Bulletin, form: Format, room: int) -> tuple[str, Format]:
    """Its text in this format, of `room` characters at most. HTML or Markdown that is longer becomes a text, which can be cut."""
    whole = made.html if form == "html" else made.markdown
    if form != "text" and len(whole) <= room:
        return whole, form
    taken, used = list[str](), 0
    for line in made.text:
        if used + len(line) + 1 > room - len(_MORE):
            return "\n".join([*taken, _MORE]), "text"
        taken.append(line)
        used += len(line) + 1
    return "\n".join(taken), "text"


_MORE = "... and more: reconcile status shows everything"


def _first(due: Due, facts: Facts, test: bool) -> Iterator[str]:
    if due.missed:
        many = f"{MOST_MISSED} or more earlier reports were" if due.missed >= MOST_MISSED else _were(due.missed)
        yield f"{many} missed, for nothing ran at the time: this one stands for {'it' if due.missed == 1 else 'them'} too."
    if test:
        yield "Somebody asked for this report now; the next one comes as scheduled."
    yield f"Since {rfc3339(due.mark.since)}: {_done(facts.done)}. {_fires(facts).capitalize()}."


def _were(missed: int) -> str:
    return "1 earlier report was" if missed == 1 else f"{missed} earlier reports were"


def _done(done: Mapping[str, int]) -> str:
    told = [
        f"{count(done['applied'], 'change')} applied" if done["applied"] else "",
        f"{done['failed']:,} failed" if done["failed"] else "",
        f"{count(done['runs'], 'run')} ended" if done["runs"] else "",
    ]
    return ", ".join(each for each in told if each) or "nothing was done"


def _fires(facts: Facts) -> str:
    if not facts.fires:
        return "no alert fires"
    return f"{count(len(facts.fires), 'alert')} {'fires' if len(facts.fires) == 1 else 'fire'}"


def _lines(first: Sequence[str], facts: Facts) -> Iterator[str]:
    """For chats: what is wrong, then the projects."""
    yield from map(clean, first)
    wrong = [each for each in wrong_first(facts.statuses) if not each.ready]
    told = [f"{each.ref}  {each.health} since {rfc3339(ready_since(each)) or '?'}: {_short(why(each))}" for each in wrong]
    told += [f"{each.severity}: {each.ref} since {rfc3339(each.since)}: {each.reason}" for each in facts.fires]
    yield from map(clean, told[:LINES])
    if len(told) > LINES:
        yield f"and {len(told) - LINES:,} more"
    projects = sorted({each.ref.owner for each in facts.statuses})[:LINES]
    for project in projects:
        mine = [each.ready for each in facts.statuses if each.ref.owner == project]
        yield clean(f"{project or 'the installation'}: {sum(mine):,} of {len(mine):,} Ready")
    yield f"As of {rfc3339(facts.now)}. Next: reconcile status"


def _short(text: str) -> str:
    return text if len(text) <= WORDS else f"{text[: WORDS - 1]}…"
