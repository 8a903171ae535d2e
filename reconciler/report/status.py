"""Where everything stands, as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from reconciler.looks import OTHERS
from reconciler.model import Health, Owned, Status
from reconciler.report.show import clean, count, paint, rfc3339, since, took, value, wrap

if TYPE_CHECKING:
    from reconciler.source.follow import Standing
    from reconciler.state.records import Quarantined

_STYLE = {
    Health.HEALTHY: "green",
    Health.SUSPENDED: "cyan",
    Health.PROGRESSING: "yellow",
    Health.UNKNOWN: "magenta",
    Health.MISSING: "red",
    Health.DEGRADED: "red",
}
FRESH = timedelta(minutes=5)
"""So old may be what a single pass saw without a word about it."""
_HEADS = ("PROJECT", "KIND", "NAME", "HEALTH", "SINCE", "WHY")


@dataclass(frozen=True)
class Overview:
    """What the first and the last line tell beside the resources."""

    installation: str = ""
    revision: str = ""
    applied_at: datetime | None = None
    applied_by: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Tool or service -> `ok`, or what is wrong."""
    sources: tuple[Standing, ...] = ()
    """Repositories that are followed."""
    quarantined: tuple[Quarantined, ...] = ()
    """Revisions that are not taken."""
    looked: Mapping[str, datetime] = field(default_factory=dict)
    """Kind -> when its resources were read in their tool."""
    every: Mapping[str, float] = field(default_factory=dict)
    """Kind -> seconds after which the loop looks again; `*` = all others."""
    watched: bool = False
    """Whether a loop leads at this moment."""
    environment: str = ""
    """That was applied last; empty = none."""


def status_text(
    statuses: Sequence[Status], about: Overview, now: datetime, *, all_: bool = False, color: bool = False, width: int = 100
) -> str:
    """The worst first; what is Ready and without remarks only with `all_`; the tools last."""
    if not statuses:
        return (
            "Nothing has been reconciled here yet.\nNext: `reconcile` makes what the manifests say; `reconcile --dry-run` shows it first."
        )
    shown = sorted((each for each in statuses if all_ or not each.ready or _remarked(each)), key=lambda each: (-each.health, str(each.ref)))
    parts = [_first_line(statuses, about, now, color, width)]
    if shown:
        parts += ["", *_table(shown, now, color, width)]
    parts += ["", *_last_lines(len(statuses) - len(shown), about, bool(shown), now), *(_kept_out(each, now) for each in about.quarantined)]
    return "\n".join(parts)


def _remarked(each: Status) -> bool:
    """Ready, and something about it should be known all the same."""
    return any(condition.type == "Compatible" and condition.status is False for condition in each.conditions)


def _first_line(statuses: Sequence[Status], about: Overview, now: datetime, color: bool, width: int) -> str:
    at = f" @ {clean(about.revision)}" if about.revision else ""
    by = f" by {clean(about.applied_by)}" if about.applied_by else ""
    applied = f", applied {since(about.applied_at, now)} ago{by}" if about.applied_at else ""
    env = f" in environment {clean(about.environment)}" if about.environment else ""
    left = f"{clean(about.installation) or 'this installation'}{env}{at}{applied}"
    ready = sum(each.ready for each in statuses)
    told = [(paint(f"{ready} Ready", "green", color), f"{ready} Ready")] if ready else []
    for health in sorted(Health, reverse=True):
        if number := sum(each.health == health and not each.ready for each in statuses):
            word = "Healthy, not Ready" if health is Health.HEALTHY else str(health)
            told.append((paint(f"{number} {word}", _STYLE[health], color), f"{number} {word}"))
    plain = "   ".join(text for _, text in told)
    return f"{left}{' ' * max(3, width - len(left) - len(plain))}{'   '.join(text for text, _ in told)}"


def _table(shown: Sequence[Status], now: datetime, color: bool, width: int) -> list[str]:
    cells = [_cells(each, now) for each in shown]
    sizes = [max(len(row[at]) for row in [_HEADS, *cells]) for at in range(5)]
    indent = sum(sizes) + 3 * 5
    lines = ["   ".join(f"{head:<{size}}" for head, size in zip(_HEADS, [*sizes, 0], strict=True)).rstrip()]
    for each, row in zip(shown, cells, strict=True):
        padded = [f"{cell:<{size}}" for cell, size in zip(row, sizes, strict=False)]
        padded[3] = paint(padded[3], _STYLE[each.health], color)
        lines += _with_why("   ".join(padded), row[5], indent, width)
    return lines


def _with_why(left: str, why: str, indent: int, width: int) -> list[str]:
    """WHY beside the other columns, wrapped in its own; below them when the terminal is too narrow for that."""
    if not why:
        return [left.rstrip()]
    if width - indent < 24:
        return [left.rstrip(), *wrap(why, width, "    ")]
    first, *rest = wrap(why, width, " " * indent)
    return [f"{left}   {first.strip()}", *rest]


def _cells(each: Status, now: datetime) -> tuple[str, ...]:
    key = f"#{each.ref.key}" if each.ref.key else ""
    return (
        clean(each.ref.project or "-"),
        each.ref.kind,
        clean(f"{each.ref.name}{key}"),
        str(each.health),
        since(ready_since(each), now),
        "" if each.ready and not each.message else clean(why(each)),
    )


def ready_since(each: Status) -> datetime | None:
    """Since when it is Ready, or is not."""
    return next((condition.since for condition in each.conditions if condition.type == "Ready"), None)


def why(each: Status) -> str:
    """The most telling sentence about a resource."""
    if each.message:
        return each.message
    wrong = [condition for condition in each.conditions if condition.status is not True and condition.message]
    order = {"Stalled": 0, "Synced": 1}
    told = sorted(wrong, key=lambda condition: order.get(condition.type, 2))
    return told[0].message if told else ""


def _last_lines(ready: int, about: Overview, shown: bool, now: datetime) -> list[str]:
    tools = " · ".join(f"{clean(tool)} {clean(said)}" for tool, said in sorted(about.tools.items()))
    hidden = "" if not ready else f"{count(ready, 'resource')} {'is' if ready == 1 else 'are'} Ready (`--all`)."
    if shown and ready:
        hidden = f"{ready} more {'is' if ready == 1 else 'are'} Ready (`--all`)."
    last = ["      ".join(each for each in (hidden, tools) if each)] if hidden or tools else []
    return [*last, *map(_source, about.sources), *_age(about, now)]


def _age(about: Overview, now: datetime) -> list[str]:
    """How old the picture is, and may become; nothing where somebody has just looked, and nobody will again by himself."""
    if not about.looked:
        return []
    kind, oldest = min(about.looked.items(), key=lambda each: each[1])
    if about.watched:
        others = about.every.get(OTHERS)
        own = ", ".join(f"{clean(each)} {took(every)}" for each, every in sorted(about.every.items()) if each != OTHERS)
        times = f"every {took(others)}{f' ({own})' if own else ''}" if others is not None else "by itself"
        return [f"watched: the tools are looked at {times}; the oldest look is of {since(oldest, now)} ago ({clean(kind)})"]
    if now - oldest < FRESH:
        return []
    return [f"not watched: what was changed in the tools since {since(oldest, now)} ago is not known (`reconcile` looks once)"]


def bound(kind: str, about: Overview, now: datetime) -> str:
    """How old what is said of a resource of this kind is, and how old it can become."""
    if (at := about.looked.get(kind)) is None:
        return ""
    every = about.every.get(kind, about.every.get(OTHERS))
    again = f"; looked at every {took(every)}" if about.watched and every is not None else "; no loop looks again"
    return f"read {since(at, now)} ago{again}"


def _source(found: Standing) -> str:
    """Where a repository stands, and why not further."""
    at = f"{found.commit[:7]} ({found.author}: {found.subject})" if found.commit else "not fetched yet"
    return clean(f"source {found.source} @ {at}{f'; {found.trouble}' if found.trouble else ''}")


def _kept_out(found: Quarantined, now: datetime) -> str:
    """A revision that is not taken, and how that ends."""
    lifts = f"`reconcile resume revision/{found.revision[:7]}` lifts that"
    who = f"{since(found.at, now)} ago by {found.actor}"
    return clean(f"revision {found.revision[:7]} of source {found.source} was quarantined {who}: {found.reason}; {lifts}")


def one_text(
    each: Status, now: datetime, owned: Owned | None = None, *, about: Overview | None = None, color: bool = False, width: int = 100
) -> str:
    """Everything known about one resource: its health, every condition with its reason, where it is declared, from the inventory
    (`owned`) what it is in its tool and what it gives to others, such as a dataset's digest, and how old all that is."""
    where = f"   {clean(str(each.location))}" if each.location.file else ""
    lines = [f"{clean(str(each.ref))}  {paint(str(each.health), _STYLE[each.health], color)}{where}"]
    if each.message:
        lines += wrap(clean(each.message), width, "  ")
    lines.append("")
    for condition in each.conditions:
        word = {True: "yes", False: "no", None: "not known"}[condition.status]
        lines.append(
            f"  {condition.type:<11} {word:<10} {clean(condition.reason):<22} for {since(condition.since, now):<8}".rstrip().removesuffix(
                "for -"
            )
        )
        lines += wrap(clean(condition.message), width, "              ")
    lines += _facts(each, owned, bound(each.ref.kind, about, now) if about is not None else "")
    lines += ["", f"Next: `reconcile history {clean(str(each.ref))}` tells what was done to it; `reconcile diff` what differs now."]
    return "\n".join(lines)


def _facts(each: Status, owned: Owned | None, age: str) -> list[str]:
    """What is known about it by name: outputs in full, so that they can be copied into a manifest."""
    found = {name: value(given, whole=True) for name, given in sorted(owned.outputs.items())} if owned else {}
    if owned:
        found |= {"external id": value(owned.external_id), "source": value(owned.source)}
    if each.observed_digest:
        found["manifest digest"] = each.observed_digest[:12]
    if age:
        found["state"] = age
    column = max(map(len, found), default=0)
    return ["", *(f"  {clean(name):<{column}}  {told}" for name, told in found.items())] if found else []


def about_value(about: Overview) -> dict[str, object]:
    """The overview for JSON."""
    return {
        "installation": about.installation,
        "environment": about.environment or None,
        "revision": about.revision,
        "appliedAt": rfc3339(about.applied_at),
        "appliedBy": about.applied_by,
        "tools": dict(sorted(about.tools.items())),
        "sources": [
            {"name": each.source, "commit": each.commit, "author": each.author, "checkedAt": each.checked or None, "trouble": each.trouble}
            for each in about.sources
        ],
        "quarantined": [
            {"source": each.source, "commit": each.revision, "reason": each.reason, "actor": each.actor, "at": rfc3339(each.at)}
            for each in about.quarantined
        ],
        "watched": about.watched,
        "looked": {
            kind: {"at": rfc3339(at), "everySeconds": about.every.get(kind, about.every.get(OTHERS)) if about.watched else None}
            for kind, at in sorted(about.looked.items())
        },
    }
