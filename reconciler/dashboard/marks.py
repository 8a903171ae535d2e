"""HTML of the pages: pure functions from values to markup. Whatever comes from outside is escaped where it is put in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

BASE = "/dashboard"
GLYPHS = {"Healthy": "●", "Suspended": "‖", "Progressing": "◐", "Unknown": "?", "Missing": "○", "Degraded": "▲"}
"""Colour never says it alone."""
NOTHING = Markup('<span class="nothing">&mdash;</span>')
Cell = str | Markup


def tag(name: str, *inside: Cell, class_: str = "") -> Markup:
    """An element around what is given."""
    body = Markup("").join(inside)
    return Markup(f'<{name} class="{{}}">{{}}</{name}>').format(class_, body) if class_ else Markup(f"<{name}>{{}}</{name}>").format(body)


def joined(parts: Iterable[Cell], between: str = " ") -> Markup:
    """One after the other."""
    return Markup(escape(between)).join(parts)


def url(path: str, **query: object) -> str:
    """Of a page; what is None or empty is left out."""
    asked = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{BASE}{path}" + (f"?{urlencode(asked)}" if asked else "")


def link(href: str, text: Cell, class_: str = "") -> Markup:
    """Within the dashboard, or to a tool's own page."""
    return Markup('<a href="{}" class="{}">{}</a>').format(href, class_, text)


def away(href: str, text: Cell) -> Markup:
    """To a tool's page: in a tab of its own, which is told nothing of this one. Only http and https are links."""
    if not href.startswith(("http://", "https://")):
        return escape(text)
    mark = (
        '<a href="{}" target="_blank" rel="noopener noreferrer">{}<span aria-hidden="true"> ↗</span>'
        '<span class="hidden"> (new tab)</span></a>'
    )
    return Markup(mark).format(href, text)


def address(ref: str) -> str:
    """Path of a resource, here and below `/resources` of the API: kind/project/name with `-` for no project, and its key as query."""
    whole, _, key = ref.partition("#")
    kind, *rest = whole.split("/", 2)
    project, name = rest if len(rest) > 1 else ("-", *rest)
    path = "/".join(quote(each, safe="") for each in (kind, project, name))
    return f"{path}?{urlencode({'key': key})}" if key else path


def resource(ref: str, text: Cell | None = None) -> Markup:
    """A link to a resource's page."""
    return link(f"{BASE}/resource/{address(ref)}", text if text is not None else ref)


def health(word: str) -> Markup:
    """With its glyph; the glyph is not read aloud."""
    mark = '<span class="health health-{}"><span aria-hidden="true">{}</span> {}</span>'
    return Markup(mark).format(word, GLYPHS.get(word, ""), word)


def badge(word: Cell, tone: str = "") -> Markup:
    """`tone`: good, warn, bad, or nothing."""
    return Markup('<span class="badge {}">{}</span>').format(tone, word)


def code(text: Cell) -> Markup:
    """A name as it is typed."""
    return Markup("<code>{}</code>").format(text)


def number(value: float | int | None, unit: str = "") -> Cell:
    """With few digits: four that count."""
    if value is None or value != value:
        return NOTHING
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return f"{text} {unit}".strip()


def size(count: float | int | None) -> Cell:
    """Bytes, for people."""
    if count is None:
        return NOTHING
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(amount) >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" or amount >= 100 else f"{amount:.1f} {units[0]}"


def share(value: float | None) -> Cell:
    """0.25 as 25 %."""
    return NOTHING if value is None else f"{100 * value:.3g} %"


def span(seconds: float | None) -> Cell:
    """A length of time, in its largest unit."""
    if seconds is None:
        return NOTHING
    for length, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= length:
            return f"{seconds / length:.1f} {word}" if abs(seconds) < 10 * length else f"{seconds / length:.0f} {word}"
    return f"{seconds:.3g} s"


def when(text: str | None, now: datetime | None = None) -> Markup:
    """A moment (RFC 3339) as it is from now, the moment itself for the pointer and for programs."""
    if not text:
        return NOTHING
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    past = ((now or datetime.now(UTC)) - moment).total_seconds()
    words = "now" if abs(past) < 1 else f"{span(past)} ago" if past > 0 else f"in {span(-past)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(text, text, words)


def table(caption: str, heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], empty: Cell = "Nothing here.") -> Markup:
    """The first cell of a row is its head; the caption is read aloud, and not shown. On a phone each row is a card, whose cells say
    what they are."""
    if not rows:
        return nothing(empty)
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(each) for each in heads)
    lines = []
    for row in rows:
        first, *rest = row
        cells = Markup("").join(
            Markup('<td data-head="{}">{}</td>').format(Markup(head).striptags() if isinstance(head, Markup) else head, each)
            for head, each in zip(heads[1:], rest, strict=True)
        )
        lines.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(first, cells))
    mark = (
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table><caption>{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    )
    return Markup(mark).format(caption, caption, top, Markup("").join(lines))


def facts(pairs: Iterable[tuple[Cell, Cell]]) -> Markup:
    """Names and values."""
    return Markup("<dl>{}</dl>").format(Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*each) for each in pairs))


def nothing(why: Cell) -> Markup:
    """Where a list is empty: why, and what would fill it."""
    return Markup('<p class="empty">{}</p>').format(why)


def trouble(detail: Cell) -> Markup:
    """Where something could not be had."""
    return Markup('<p class="trouble" role="alert">{}</p>').format(detail)


def totals(counted: Mapping[str, int]) -> Markup:
    """Counts by health, the worst first, those of none left out."""
    worst = ("Degraded", "Missing", "Unknown", "Progressing", "Suspended", "Healthy")
    return joined(tag("span", health(word), f" {counted[word]:,}", class_="count") for word in worst if counted.get(word))


def bar(used: float, whole: float | None, words: Cell) -> Markup:
    """How much of something is used; `words` says it for who does not see the bar."""
    part = max(0.0, min(1.0, used / whole)) if whole else 0.0
    tone = "bad" if part > 0.95 else "warn" if part > 0.8 else ""
    mark = '<div class="bar"><div class="fill {}" style="width:{}%"></div></div><span class="small">{}</span>'
    return Markup(mark).format(tone, f"{100 * part:.1f}", words)


def document(value: Any) -> Markup:
    """A value as YAML, for reading; a screen reader and a keyboard can scroll it."""
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False).rstrip()
    return Markup('<pre tabindex="0">{}</pre>').format(text)
