"""Markup that several pages have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reconciler.dashboard import marks

SIDES = 8
"""Characters of a digest or of a run's id that tell it from others."""
ORDER = ("Degraded", "Missing", "Unknown", "Progressing", "Suspended", "Healthy")
VERDICTS = {"pass": "good", "fail": "bad", "hold": "warn", "quarantined": "bad"}
WORDS = {"pass": "passes", "fail": "fails", "hold": "no verdict", "quarantined": "quarantined"}


def links(found: Sequence[Mapping[str, Any]]) -> marks.Cell:
    """To the tools' own pages."""
    return marks.joined(unbroken(marks.away(str(each["url"]), str(each["title"]))) for each in found) if found else marks.NOTHING


def unbroken(text: marks.Cell) -> Markup:
    """On one line."""
    return marks.tag("span", text, class_="nowrap")


def worst_first(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By health, then as they came; what has none comes before what is well."""
    return sorted(items, key=lambda each: ORDER.index(each["health"]) if each["health"] in ORDER else ORDER.index("Unknown"))


def verdict(word: str) -> Markup:
    """Of a gate or a window."""
    return marks.badge(WORDS.get(word, word), VERDICTS.get(word, ""))


def short(text: str | None) -> marks.Cell:
    """The beginning of an id."""
    return marks.code(text[:SIDES]) if text else marks.NOTHING


def datasets(found: Mapping[str, Any]) -> marks.Cell:
    """What a run was trained on, with the beginning of each version's digest."""
    told = [Markup("{} {}").format(name, marks.code(str(digest)[:SIDES])) for name, digest in sorted(found.items())]
    return marks.joined(told, ", ") if told else marks.NOTHING


def split(shares: Sequence[tuple[str, int]]) -> Markup:
    """How requests are split, per cent, as a bar and in words."""
    if not any(weight for _, weight in shares):
        return Markup('<span class="small">No version gets requests.</span>')
    spans = Markup("").join(
        Markup('<span class="part{}" style="width:{}%"></span>').format(at % 4, max(0, each)) for at, (_, each) in enumerate(shares)
    )
    words = ", ".join(f"{weight} % to {name}" for name, weight in shares)
    return Markup('<div class="split" aria-hidden="true">{}</div><span class="small">{}</span>').format(spans, words)


def graph(needs: Mapping[str, Sequence[str]]) -> Markup:
    """Tasks in the order in which they may start, one step after the other: those of one step wait for nothing of each other."""
    steps = [
        Markup("<li>{}</li>").format(marks.joined(marks.tag("span", marks.code(name), class_="task") for name in step))
        for step in levels(needs)
    ]
    return Markup('<ol class="dag">{}</ol>').format(Markup("").join(steps)) if steps else Markup("")


def levels(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Tasks by how many stand before them at least; what would wait for itself stands last."""
    left, found, done = dict(needs), list[list[str]](), set[str]()
    while left:
        step = [name for name, before in left.items() if all(each in done or each not in needs for each in before)]
        step = step or list(left)
        found.append(step)
        done |= set(step)
        left = {name: each for name, each in left.items() if name not in done}
    return found


def following(path: str, value: Mapping[str, Any], query: Mapping[str, str], **kept: str) -> Markup:
    """Ways to the first and the next page of a list."""
    ways = []
    if query.get("after"):
        ways.append(marks.link(marks.url(path, **kept), "First page"))
    if value.get("next"):
        ways.append(marks.link(marks.url(path, **kept, after=value["next"]), "Next page"))
    return marks.tag("nav", marks.joined(ways), class_="pages") if ways else Markup("")


def ref_path(ref: str) -> str:
    """`project/name` of a Ref."""
    return ref.partition("#")[0].partition("/")[2]
