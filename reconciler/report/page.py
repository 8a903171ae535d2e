"""Where everything stands, as a report for a wiki or a mail: one Markdown text, or one HTML page that needs nothing else. Pure.

Times are absolute, for who reads it does not read it now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape as html_escape

from reconciler.alerting.values import Alert
from reconciler.model import Health, Status
from reconciler.report.markdown import code, escape, fit
from reconciler.report.show import clean, count, rfc3339
from reconciler.report.status import Overview, ready_since, why

MOST_READY = 2000
"""Ready resources of a project that a page lists; more are counted."""
UNLIMITED = 10**9
_FRAME = 800
"""Characters of headings and of what says that lines were left out."""
_HEADS = ("Resource", "Health", "Since", "Why")
_RULES = {"| project | Ready | resources |": "|---|---:|---:|"}
_WORST = (Health.DEGRADED, Health.MISSING, Health.UNKNOWN, Health.PROGRESSING, Health.SUSPENDED, Health.HEALTHY)


@dataclass(frozen=True)
class Beside:
    """What a page tells beside the resources."""

    first: Sequence[str] = ()
    """Sentences before all others."""
    fires: Sequence[Alert] = ()
    """The worst first."""


_NOTHING = Beside()


def status_markdown(
    statuses: Sequence[Status], about: Overview, now: datetime, beside: Beside = _NOTHING, *, limit: int = UNLIMITED
) -> str:
    """What is not Ready as a table, what is Ready counted by project. Of `limit` characters at most: whole rows are left out."""
    wrong = [each for each in wrong_first(statuses) if not each.ready]
    head = [f"## {escape(title_of(about))}", *map(escape, beside.first), _outcome(statuses, about, now)]
    rows = [f"| {escape(project)} | {ready} | {total} |" for project, ready, total in _projects(statuses)]
    remarks = [f"* {escape(each)}" for each in _remarks(about)]
    room = limit - sum(map(len, head)) - _FRAME
    tables = []
    for heads, lines in (
        ("| resource | health | since | why |", [_markdown_row(each) for each in wrong]),
        ("| fires | severity | since | why |", [_markdown_alert(each) for each in beside.fires]),
        ("| project | Ready | resources |", rows),
        ("", remarks),
    ):
        told, taken = fit(lines, room)
        room -= len(told)
        more = f"\n\n_{count(len(lines) - taken, 'more line')}: `reconcile status` shows everything._" if taken < len(lines) else ""
        rule = f"{heads}\n{_RULES.get(heads, '|---|---|---|---|')}\n" if heads else ""
        tables += [f"{rule}{told}{more}"] if lines else []
    return "\n\n".join([*head, *tables]) + "\n"


def status_html(statuses: Sequence[Status], about: Overview, now: datetime, beside: Beside = _NOTHING, *, limit: int = UNLIMITED) -> str:
    """A page without script, picture or address outside: it can be mailed, and read in light and dark. Of `limit` characters at most."""
    wrong = [each for each in wrong_first(statuses) if not each.ready]
    body = [f"<h1>{_text(title_of(about))}</h1>", *(f"<p>{_text(each)}</p>" for each in (*beside.first, _outcome(statuses, about, now)))]
    room = limit - len(STYLE) - sum(map(len, body)) - _FRAME
    for title, heads, rows in (
        ("Not Ready", _HEADS, [_html_row(each) for each in wrong]),
        ("Fires", ("Resource", "Severity", "Since", "Why"), [_html_alert(each) for each in beside.fires]),
    ):
        told, taken = fit(rows, room)
        room -= len(told)
        body += [f"<h2>{title}</h2>", _html_table(heads, told, len(rows) - taken)] if rows else []
    remarks = "".join(f"<li>{_text(each)}</li>" for each in _remarks(about))
    body += [f"<ul>{remarks}</ul>"] if remarks and len(remarks) < room else []
    for project, ready, total in _projects(statuses):
        summary = f"{_text(project)} <small>{ready} of {total} Ready</small>"
        if (room := room - len(summary) - _FRAME // 2) < 0:
            break
        found = sorted((each for each in statuses if _project(each) == project and each.ready), key=_by_ref)
        told, taken = fit([_html_row(each) for each in found[:MOST_READY]], room)
        room -= len(told)
        body.append(f"<details><summary>{summary}</summary>{_html_table(_HEADS, told, len(found) - taken)}</details>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title_of(about))}</title>'
    return f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body>\n</html>\n'


def _markdown_row(each: Status) -> str:
    return f"| {code(str(each.ref))} | {each.health} | {rfc3339(ready_since(each)) or ''} | {escape(why(each))} |"


def _markdown_alert(each: Alert) -> str:
    return f"| {code(str(each.ref))} | {each.severity} | {rfc3339(each.since)} | {escape(_alarm(each))} |"


STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); }
th { font-weight: 600; } td.when { white-space: nowrap; }
td.ref { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
.health { white-space: nowrap; } .health::before { content: "\\25CF\\00a0"; }
.Healthy { color: #2e8540; } .Progressing, .warning { color: #b7791f; } .Degraded, .Missing, .critical { color: #c53030; }
.Unknown { color: #a34bbf; } .Suspended, .info { color: #2b8a9e; }
summary { cursor: pointer; padding: .3rem 0; } small { opacity: .7; }
"""


def _html_table(heads: Sequence[str], rows: str, more: int) -> str:
    head = "".join(f"<th>{each}</th>" for each in heads)
    left = f"<p>{count(more, 'more line')}: <code>reconcile status</code> shows everything.</p>" if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{left}"


def _html_row(each: Status) -> str:
    return _html_cells(str(each.ref), f'<span class="health {each.health}">{each.health}</span>', ready_since(each), _told(each))


def _html_alert(each: Alert) -> str:
    return _html_cells(str(each.ref), f'<span class="health {each.severity}">{each.severity}</span>', each.since, _alarm(each))


def _html_cells(ref: str, word: str, since: datetime | None, said: str) -> str:
    return f'<tr><td class="ref">{_text(ref)}</td><td>{word}</td><td class="when">{rfc3339(since) or ""}</td><td>{_text(said)}</td></tr>'


def _text(text: str) -> str:
    return html_escape(clean(text))


def title_of(about: Overview) -> str:
    """The installation, and what of it was applied."""
    at = f" @ {about.revision}" if about.revision else ""
    return f"{about.installation or 'this installation'}{at}"


def _outcome(statuses: Sequence[Status], about: Overview, now: datetime) -> str:
    ready = sum(each.ready for each in statuses)
    rest = [f"{number} {health}" for health in _WORST if (number := sum(each.health is health and not each.ready for each in statuses))]
    applied = f", applied {rfc3339(about.applied_at)}" if about.applied_at else ""
    return f"{count(ready, 'resource')} of {len(statuses):,} Ready{''.join(f', {each}' for each in rest)}{applied}; as of {rfc3339(now)}."


def _remarks(about: Overview) -> Iterator[str]:
    yield from (f"{tool}: {said}" for tool, said in sorted(about.tools.items()) if said != "ok")
    yield from (f"source {each.source}: {each.trouble}" for each in about.sources if each.trouble)
    yield from (f"revision {each.revision[:7]} of source {each.source} is in quarantine: {each.reason}" for each in about.quarantined)


def _projects(statuses: Sequence[Status]) -> Iterator[tuple[str, int, int]]:
    for project in sorted({_project(each) for each in statuses}):
        found = [each for each in statuses if _project(each) == project]
        yield project, sum(each.ready for each in found), len(found)


def _project(each: Status) -> str:
    return each.ref.owner or "the installation"


def wrong_first(statuses: Sequence[Status]) -> list[Status]:
    """The worst health first."""
    return sorted(statuses, key=lambda each: (_WORST.index(each.health), str(each.ref)))


def _by_ref(each: Status) -> str:
    return str(each.ref)


def _alarm(each: Alert) -> str:
    return f"{each.reason}: {each.message}" if each.message else each.reason


def _told(each: Status) -> str:
    return "" if each.ready and not each.message else why(each)
