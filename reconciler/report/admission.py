"""What admission says of work, as lines for people and values for programs: amounts, expected starts, delays. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from reconciler.admission.values import Expected, Item, Reason, Verdict
from reconciler.model import Amounts, Learned, Limits, Ref
from reconciler.model.demand import RESOURCES
from reconciler.model.units import memory, trimmed
from reconciler.report.show import clean, count, rfc3339, took

WORDS: Mapping[Reason, str] = {
    Reason.ADMITTED: "starts now",
    Reason.EXCEEDS_MACHINE: "too large for any machine",
    Reason.EXCEEDS_QUOTA: "larger than its quota can ever be",
    Reason.INACTIVE: "project inactive",
    Reason.BACKING_OFF: "pause before a retry",
    Reason.OUTSIDE_WINDOW: "outside its window",
    Reason.MAX_RUNNING: "maxRunning reached",
    Reason.WAITING_FOR_QUOTA: "quota",
    Reason.WAITING_FOR_MEMORY: "memory",
    Reason.WAITING_FOR_CPU: "cpu",
    Reason.WAITING_FOR_GPU: "gpu",
    Reason.WAITING_FOR_WATTS: "watts",
    Reason.WAITING_FOR_HEAT: "heat",
    Reason.MEMORY_PRESSURE: "memory pressure",
    Reason.SETTLING: "settling",
    Reason.WAITING_FOR_PREEMPTED: "room being made for it",
    Reason.BEHIND_RESERVATION: "room reserved for another project",
    Reason.BEHIND: "turn of others",
}
"""What work waits for, in a word or two."""
_UNITS = {"cpu": "core", "gpu": "GPU", "watts": "W"}
_SHOWN = 3
"""Children of one resource that are told one by one."""


def amount(name: str, value: int) -> str:
    """An amount of the resource `name` in the units of Amounts, for people: `6.2 GiB`, `1.5 cores`, `18 W`."""
    if name == "memory":
        return memory(value)
    number = trimmed(value / 1000)
    unit = _UNITS[name]
    return f"{number} {unit}" if name != "cpu" or number == "1" else f"{number} {unit}s"


def part(name: str, used: int, most: int) -> str:
    """`9.1 of 10 GiB`: both in the unit of the larger one."""
    if name != "memory":
        return f"{trimmed(used / 1000)} of {amount(name, most)}"
    scale = 1 << 30 if max(used, most) >= 1 << 30 else 1 << 20
    return f"{trimmed(used / scale)} of {trimmed(most / scale)} {'GiB' if scale == 1 << 30 else 'MiB'}"


def needs(amounts: Amounts) -> str:
    """`6.2 GiB, 2 cores`; what is zero is left out."""
    return ", ".join(amount(name, value) for name, value in zip(RESOURCES, amounts, strict=True) if value) or "nothing"


def clock(at: datetime, now: datetime) -> str:
    """Time of day where the reader is; with the date when that is not today."""
    local, today = at.astimezone(), now.astimezone()
    return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%a %d %b %H:%M}"


def soon(expected: Expected, now: datetime) -> str:
    """`in about 6 min (4-9)`: the middle, and the interval that should hold it four times out of five."""
    middle, first, last = ((each - now).total_seconds() for each in (expected.at, expected.earliest, expected.latest))
    if last < 10:
        return "in a few seconds"
    size, unit = next((size, unit) for limit, size, unit in _SPANS if max(middle, last / 2) < limit)
    low, mid, high = (trimmed(each / size) if each / size < 10 and size > 60 else f"{each / size:.0f}" for each in (first, middle, last))
    return f"in about {mid} {unit}" + (f" ({low}-{high})" if low != high else "")


_SPANS = ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h"), (float("inf"), 86400, "d"))


def admission_lines(ref: Ref, verdict: Verdict, now: datetime, delays: Mapping[Ref, float] | None = None) -> list[str]:
    """Whether `ref` would start at once, else when, behind whom and for what; then whom it delays by how many seconds (`delays`)."""
    lines = [f"would start {when(verdict, now, ref)}" if not verdict.reason.never else f"would never start: {clean(verdict.message)}"]
    return [*lines, *delay_lines(delays or {})]


def when(verdict: Verdict, now: datetime, ref: Ref | None = None) -> str:
    """`now`, or `in about 6 min (4-9), behind X: memory ...`. The sisters of `ref` are called by their keys."""
    if verdict.admitted:
        return "now"
    at = soon(verdict.expected, now) if verdict.expected else "later; when is not known"
    behind = f", behind {_names(verdict.blockers, ref)}" if verdict.blockers else ""
    return f"{at}{behind}: {clean(verdict.message)}"


def delay_lines(delays: Mapping[Ref, float], most: int = _SHOWN) -> list[str]:
    """`delays X by about 2 min`, the longest delay first."""
    found = sorted(delays.items(), key=lambda each: (-each[1], str(each[0])))
    lines = [f"delays {clean(str(ref))} by about {took(max(10.0, seconds))}" for ref, seconds in found[:most]]
    return [*lines, f"delays {len(found) - most} more by less"] if len(found) > most else lines


def family_lines(verdicts: Sequence[Verdict], now: datetime, delays: Mapping[Ref, float] | None = None) -> list[str]:
    """The same for all new children of one resource: how many start now, the next few one by one, the rest in a sentence."""
    if not verdicts:
        return []
    ordered = sorted(verdicts, key=lambda each: (each.reason.never, each.position, str(each.ref)))
    ready = [each for each in ordered if each.admitted]
    waiting = [each for each in ordered if not each.admitted and not each.reason.never]
    lines = [f"would start now: {_keys(ready)}"] if ready else []
    told = ""
    for each in waiting[:_SHOWN]:
        line = when(each, now, each.ref)
        if told and each.message == told:  # the same sentence once is enough
            line = line.removesuffix(f": {clean(each.message)}")
        lines.append(f"{_key(each.ref)} would start {line}")
        told = each.message
    if rest := waiting[_SHOWN:]:
        known = [each.expected for each in rest if each.expected]
        last = max(known, key=lambda each: each.at) if len(known) == len(rest) else None
        lines.append(f"{count(len(rest), 'more run')} after that" + (f", the last {soon(last, now)}" if last else ""))
    lines += [f"{_key(each.ref)} would never start: {clean(each.message)}" for each in ordered if each.reason.never]
    return [*lines, *delay_lines(delays or {})]


def reused_text(runs: int) -> str:
    """Of runs that need not be trained again."""
    stand = "1 run of it stands as it was" if runs == 1 else f"{runs:,} runs of it stand as they were"
    return f"{stand} trained (same code, data, parameters, environment): nothing is computed for {'it' if runs == 1 else 'them'}"


def _keys(found: Sequence[Verdict]) -> str:
    shown = ", ".join(_key(each.ref) for each in found[:_SHOWN])
    return shown if len(found) <= _SHOWN else f"{shown} and {len(found) - _SHOWN} more"


def _key(ref: Ref) -> str:
    return clean(ref.key or str(ref))


def _names(refs: Sequence[Ref], of: Ref | None, most: int = 2) -> str:
    """Names of blockers; a sister of `of` by its key."""

    def name(each: Ref) -> str:
        sister = of is not None and each.key and (each.kind, each.project, each.name) == (of.kind, of.project, of.name)
        return clean(each.key if sister else str(each))

    shown = ", ".join(name(each) for each in refs[:most])
    return shown if len(refs) <= most else f"{shown} and {len(refs) - most} more"


def compute_text(items: Sequence[Item], learned: Mapping[Ref, Learned]) -> str:
    """What the runs of a plan cost together: `7 runs, about 14 min of compute, up to 589 MiB each (measured on 38 earlier runs)`."""
    if not items:
        return ""
    known = [each.seconds for each in items if each.seconds]
    spent = f", {'about' if len(known) == len(items) else 'more than'} {took(sum(known))} of compute" if known else ""
    most = max(each.amounts.memory for each in items)
    runs = sum({id(each): each.runs for each in learned.values()}.values())
    base = f" (measured on {count(runs, 'earlier run')})" if runs else ""
    return (
        f"{count(len(items), 'run')}{spent}, {'up to ' if len(items) > 1 else ''}{memory(most)}{' each' if len(items) > 1 else ''}{base}."
    )


def verdict_value(verdict: Verdict, delays: Mapping[Ref, float] | None = None) -> dict[str, Any]:
    """A verdict for programs."""
    return {
        "ref": str(verdict.ref),
        "admitted": verdict.admitted,
        "reason": str(verdict.reason),
        "message": verdict.message,
        "node": verdict.node or None,
        "blockers": [str(each) for each in verdict.blockers],
        "position": verdict.position or None,
        "expected": expected_value(verdict.expected),
        "delays": [{"ref": str(ref), "seconds": round(seconds)} for ref, seconds in sorted((delays or {}).items(), key=str)],
    }


def expected_value(expected: Expected | None) -> dict[str, str | None] | None:
    """RFC 3339; the interval should hold the start four times out of five."""
    if expected is None:
        return None
    return {"at": rfc3339(expected.at), "earliest": rfc3339(expected.earliest), "latest": rfc3339(expected.latest)}


def amounts_value(amounts: Amounts | Limits) -> dict[str, float | int | None]:
    """Bytes, cores, devices, watts."""
    return {name: value if value is None or name == "memory" else value / 1000 for name, value in zip(RESOURCES, amounts, strict=True)}
