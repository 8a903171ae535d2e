"""Where everything stands, as a report for a wiki or a mail: one Markdown text, or one HTML page that needs nothing else. Pure.

Times are absolute, for who reads it does not read it now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape as html_escape

from reconciler.model import Health, Status
from reconciler.report.markdown import code, escape
from reconciler.report.show import clean, count, rfc3339
from reconciler.report.status import Overview, ready_since, why

MOST_READY = 2000
"""Ready resources of a project that a page lists; more are counted."""
_WORST = (Health.DEGRADED, Health.MISSING, Health.UNKNOWN, Health.PROGRESSING, Health.SUSPENDED, Health.HEALTHY)


def status_markdown(statuses: Sequence[Status], about: Overview, now: datetime) -> str:
    """What is not Ready as a table, what is Ready counted by project."""
    wrong = [each for each in _sorted(statuses) if not each.ready]
    parts = [f"## {escape(_title(about))}", _outcome(statuses, about, now)]
    if wrong:
        lines = [f"| {code(str(each.ref))} | {each.health} | {rfc3339(ready_since(each)) or ''} | {escape(why(each))} |" for each in wrong]
        parts.append("\n".join(["| resource | health | since | why |", "|---|---|---|---|", *lines]))
    rows = [f"| {escape(project)} | {ready} | {total} |" for project, ready, total in _projects(statuses)]
    parts.append("\n".join(["| project | Ready | resources |", "|---|---:|---:|", *rows]))
    parts += [f"* {escape(each)}" for each in _remarks(about)]
    return "\n\n".join(parts) + "\n"


def status_html(statuses: Sequence[Status], about: Overview, now: datetime) -> str:
    """A page without script, picture or address outside: it can be mailed, and read in light and dark."""
    wrong = [each for each in _sorted(statuses) if not each.ready]
    body = [f"<h1>{_text(_title(about))}</h1>", f"<p>{_text(_outcome(statuses, about, now))}</p>"]
    if wrong:
        body += ["<h2>Not Ready</h2>", _html_table(wrong)]
    remarks = "".join(f"<li>{_text(each)}</li>" for each in _remarks(about))
    body += [f"<ul>{remarks}</ul>"] if remarks else []
    for project, ready, total in _projects(statuses):
        found = [each for each in statuses if _project(each) == project and each.ready]
        told = f"{_text(project)} <small>{ready} of {total} Ready</small>"
        more = f"<p>{count(len(found) - MOST_READY, 'more resource')}</p>" if len(found) > MOST_READY else ""
        body.append(f"<details><summary>{told}</summary>{_html_table(sorted(found, key=_by_ref)[:MOST_READY])}{more}</details>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(_title(about))}</title>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{_STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body>\n</html>\n'
    )


_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); }
th { font-weight: 600; } td.when { white-space: nowrap; }
td.ref { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
.health { white-space: nowrap; } .health::before { content: "\\25CF\\00a0"; }
.Healthy { color: #2e8540; } .Progressing { color: #b7791f; } .Degraded, .Missing { color: #c53030; }
.Unknown { color: #a34bbf; } .Suspended { color: #2b8a9e; }
summary { cursor: pointer; padding: .3rem 0; } small { opacity: .7; }
"""


def _html_table(found: Sequence[Status]) -> str:
    rows = "".join(
        f'<tr><td class="ref">{_text(str(each.ref))}</td><td><span class="health {each.health}">{each.health}</span></td>'
        f'<td class="when">{rfc3339(ready_since(each)) or ""}</td><td>{_text(_told(each))}</td></tr>'
        for each in found
    )
    return f"<table><thead><tr><th>Resource</th><th>Health</th><th>Since</th><th>Why</th></tr></thead><tbody>{rows}</tbody></table>"


def _text(text: str) -> str:
    return html_escape(clean(text))


def _title(about: Overview) -> str:
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


def _sorted(statuses: Sequence[Status]) -> list[Status]:
    return sorted(statuses, key=lambda each: (_WORST.index(each.health), str(each.ref)))


def _by_ref(each: Status) -> str:
    return str(each.ref)


def _told(each: Status) -> str:
    return "" if each.ready and not each.message else why(each)
