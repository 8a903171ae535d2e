"""What a plan's quotas would have meant, in words and for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reconciler.model.demand import RESOURCES
from reconciler.report.admission import amount, amounts_value
from reconciler.report.show import clean, count, took

if TYPE_CHECKING:
    from reconciler.admission.simulate.account import ProjectOutcome
    from reconciler.replay import Replay, Share

FEW = 6
"""Projects that are told of; more are counted."""
LEAST = 1.0
"""Seconds of a wait that are worth telling."""


def replay_lines(replay: Replay) -> list[str]:
    """Who gains and who loses, then what the recorded queue would have waited."""
    held = [f"{clean(name)}: {text}" for name, pair in replay.shares.items() if (text := "; ".join(_share(*pair)))]
    lines = held[:FEW] + ([f"{len(held) - FEW} more projects may hold more or less"] if len(held) > FEW else [])
    if not replay.pieces:
        return [*lines, "no queue is recorded yet, so that nothing can be said of waits"]
    told = [f"{clean(name)} {text}" for name, pair in replay.waits.items() if (text := ", ".join(_waits(*pair)))]
    played = f"the queue of {_days(replay.days)} played again ({count(replay.pieces, 'piece')} of work)"
    if not told:
        return [*lines, f"{played}: nobody would have waited longer or shorter"]
    more = f"; {len(told) - FEW} more projects" if len(told) > FEW else ""
    return [*lines, f"{played}: {'; '.join(told[:FEW])}{more}{'; all others as before' if len(told) < len(replay.waits) else ''}"]


def replay_value(replay: Replay) -> dict[str, Any]:
    """For programs: bytes, cores, seconds."""
    return {
        "days": round(replay.days, 2),
        "pieces": replay.pieces,
        "shares": {name: {"before": _share_value(then), "after": _share_value(now)} for name, (then, now) in replay.shares.items()},
        "waits": {name: {"before": _wait_value(then), "after": _wait_value(now)} for name, (then, now) in replay.waits.items()},
    }


def _share(before: Share, after: Share) -> Iterator[str]:
    """`memory 8 GiB -> 4 GiB of its own, at most 24 GiB -> 20 GiB`; one of the two where they are the same, or where one stays."""
    for at, name in enumerate(RESOURCES):
        own, most = (before.own[at], after.own[at]), (before.most[at], after.most[at])
        told = [_moved(name, *own), _moved(name, *most)]
        if own == most:
            yield from [f"{name} {told[0]}"] if told[0] else []
        elif any(told):
            yield f"{name} " + ", ".join(text for text in (told[0] and f"{told[0]} of its own", told[1] and f"at most {told[1]}") if text)


def _moved(name: str, before: int | None, after: int | None) -> str:
    return "" if before == after else f"{_amount(name, before)} -> {_amount(name, after)}"


def _amount(name: str, value: int | None) -> str:
    return "unbounded" if value is None else amount(name, value) if value else "none"


def _waits(before: ProjectOutcome, after: ProjectOutcome) -> Iterator[str]:
    """What is different for one project; nothing waits where nothing can start."""
    starts = all(each.rejected < each.submitted for each in (before, after))
    if starts and (abs(after.wait_p50 - before.wait_p50) >= LEAST or abs(after.wait_p95 - before.wait_p95) >= LEAST):
        half, most = f"{took(before.wait_p50)} -> {took(after.wait_p50)}", f"{took(before.wait_p95)} -> {took(after.wait_p95)}"
        yield f"waits {half} (median), {most} (95 %)"
    if after.rejected != before.rejected:
        yield f"{after.rejected} of {after.submitted} would never have started (was {before.rejected})"


def _days(days: float) -> str:
    return "the last hours" if days < 1 else f"the last {count(round(days), 'day')}"


def _share_value(share: Share) -> dict[str, Any]:
    return {"own": amounts_value(share.own), "most": amounts_value(share.most)}


def _wait_value(outcome: ProjectOutcome) -> dict[str, Any]:
    return {
        "submitted": outcome.submitted,
        "rejected": outcome.rejected,
        "waitP50": round(outcome.wait_p50, 1),
        "waitP95": round(outcome.wait_p95, 1),
    }
