"""A plan against its base: what a change brings about, what waits whatever becomes of it, and what may follow. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.model import Ref
from reconciler.report.json import changes_value
from reconciler.report.rows import Row, totals_text
from reconciler.report.show import clean, count
from reconciler.report.text import change_lines, rows_lines

if TYPE_CHECKING:
    from reconciler.impact import Impact
    from reconciler.loop import Proposal

MOST_FOLLOWING = 12
"""Resources that are told to follow; more are counted."""


def parted(impact: Impact, found: Sequence[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """What the change brings about, what it only declares (nothing is to be done for it in a tool), and the rest that is to be done."""
    mine = [each for each in found if each.verb != "keep" and impact.by_this(each.ref)]
    declared = [each for each in found if each.verb == "keep" and impact.by_this(each.ref)]
    return mine, declared, [each for each in found if each.shown and not impact.by_this(each.ref)]


def since(impact: Impact) -> str:
    """`main (8b1d770, 2 commits)`."""
    base = impact.base
    return f"{clean(base.name)} ({base.commit[:7]}, {count(base.commits, 'commit')} since)"


def against_lines(proposal: Proposal, found: Sequence[Row], *, color: bool, width: int, all_: bool) -> list[str]:
    """The body of a plan, in parts."""
    assert proposal.impact is not None
    impact = proposal.impact
    mine, declared, rest = parted(impact, found)
    lines = [f"Because of what changed since {since(impact)}:", ""]
    lines += rows_lines(mine, color=color, width=width, all_=all_) or ([] if declared else ["  nothing"])
    for each in declared:
        lines.append(f"  {each.glyph} {clean(str(each.ref))}  {clean(impact.causes[each.ref].why)}, and nothing is to be done for it now")
        lines += change_lines(impact.causes[each.ref].changes, width)
    if rest:
        lines += ["", "Whatever becomes of this change:", "", *rows_lines(rest, color=color, width=width, all_=all_)]
    if follows := list(following(impact)):
        lines += ["", "May follow:", "", *(f"    {clean(each)}" for each in follows)]
    return lines


def following(impact: Impact) -> Iterator[str]:
    """One line for each kind of resource that stands behind one and the same."""
    told = sorted(impact.follows.items(), key=lambda each: (str(each[1]), str(each[0])))
    for ref, cause in told[:MOST_FOLLOWING]:
        yield f"{ref} after {cause}"
    if len(told) > MOST_FOLLOWING:
        yield f"{len(told) - MOST_FOLLOWING:,} more"


def totals_against(impact: Impact, found: Sequence[Row]) -> str:
    """`This change: 2 to create. Pending anyway: 1 to change.`"""
    mine, _, rest = parted(impact, found)
    waits = totals_text(rest)
    return f"This change: {totals_text(mine)}.{f'   Pending anyway: {waits}.' if rest else ''}"


def against_value(impact: Impact) -> dict[str, Any]:
    """For programs."""
    base = impact.base
    return {
        "base": base.name,
        "commit": base.commit,
        "commits": base.commits,
        "files": sorted(base.changed),
        "causes": {str(ref): {"by": each.by, "why": each.why, "changes": changes_value(each.changes)} for ref, each in _sorted(impact)},
        "follows": {str(ref): str(cause) for ref, cause in sorted(impact.follows.items(), key=str)},
    }


def _sorted(impact: Impact) -> list[tuple[Ref, Any]]:
    return sorted(impact.causes.items(), key=lambda each: str(each[0]))
