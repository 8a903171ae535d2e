"""From the result of a window to what is known of a monitor: streaks, the episode, the baseline. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from controllers.monitors.notes import KEPT_WINDOWS, Episode, Looked, Notes, Streak
from reconciler.model import JSON, Ref, digest_of
from reconciler.model.monitoring import Found, WindowResult
from schemas.monitor import MonitorSpec

GRAVITY = ("operations", "performance", "quality", "drift", "labels", "predictions")
"""Of several checks that fail at once, a breach is called by the first in this order."""
MOST_COLUMNS = 20
LATE = ("performance", "labels")
"""Checks that labels decide: all that a window says that is looked at once more."""


def judge(ref: Ref, spec: MonitorSpec, notes: Notes, found: WindowResult, causes: Sequence[str], now: float) -> Notes:
    """The notebook after a window. `causes` are those that would explain what the window shows."""
    pending = notes.pending
    again = pending.again if pending is not None else 0
    said = tuple(each for each in found.checks if not again or each.check in LATE)
    streaks = {**notes.streaks, **{each.check: _streak(notes.streaks.get(each.check, Streak()), each, found) for each in said}}
    streaks = {name: each for name, each in streaks.items() if getattr(spec.checks, name, None) is not None}
    after = replace(_moved(spec, notes, found, again), streaks=streaks, pending=None, said=found.why or found.verdict)
    after = replace(after, windows=_remembered(notes, found, again, pending.labels_then if pending else 0, now))
    if found.verdict == "pass" and not again and pending is not None:
        after = replace(after, good=dict(pending.context))
    after = _baselined(after, found, pending.context.get("revision", "") if pending is not None else "")
    return _episode(ref, spec, after, said, causes, now)


def failing(spec: MonitorSpec, notes: Notes) -> tuple[str, ...]:
    """Checks that are bad for long enough to be a breach."""
    return tuple(name for name, each in notes.streaks.items() if each.bad >= spec.for_)


def _streak(before: Streak, said: Found, window: WindowResult) -> Streak:
    if said.verdict == "hold":
        return before
    if said.verdict == "pass":
        return replace(before, bad=0, good=before.good + 1)
    if before.bad:
        return replace(before, bad=before.bad + 1)
    return Streak(1, 0, window.start, window.end, window.key)


def _moved(spec: MonitorSpec, notes: Notes, found: WindowResult, again: int) -> Notes:
    if again:
        return notes
    version = notes.pending.version if notes.pending is not None else ""  # not that of now: another one may have come meanwhile
    taken = notes.taken + found.rows if not isinstance(spec.window, str) else notes.taken
    return replace(notes, cursor=max(notes.cursor, found.end), taken=taken, version=version or notes.version)


def _remembered(notes: Notes, found: WindowResult, again: int, labels_then: int, now: float) -> tuple[Looked, ...]:
    one = Looked(found.key, found.start, found.end, found.verdict, found.rows, found.labels, now, again, labels_then)
    others = [each for each in notes.windows if (each.start, each.end) != (one.start, one.end)]
    return tuple(sorted([*others, one], key=lambda each: each.end))[-KEPT_WINDOWS:]


def _baselined(notes: Notes, found: WindowResult, revision: str) -> Notes:
    """The first window that one revision answered alone, and that says something, is what its later ones are held against."""
    if not revision or revision == notes.baseline_of or found.verdict == "hold" or set(found.revisions) - {revision}:
        return notes
    return replace(notes, baseline=dict(found.measured), baseline_of=revision)


def _episode(ref: Ref, spec: MonitorSpec, notes: Notes, said: Sequence[Found], causes: Sequence[str], now: float) -> Notes:
    bad = failing(spec, notes)
    before = notes.episode
    told = {each.check: each for each in said if each.verdict == "fail"}
    if before is None:
        if not bad:
            return notes
        first = min((notes.streaks[name] for name in bad), key=lambda each: each.since)
        opened = Episode(
            digest_of([str(ref), first.key])[:12], first.since, first.until, now, next(name for name in GRAVITY if name in bad)
        )
        return replace(notes, episode=_filled(opened, dict.fromkeys(bad, ""), told, causes))
    still = {name: text for name, text in before.failing.items() if notes.streaks.get(name, Streak()).good < spec.clear_after}
    still = {name: text for name, text in still.items() if name in notes.streaks}  # what is not asked any more cannot fail
    still |= {name: "" for name in bad if name not in still}
    if not still:
        return replace(notes, episode=None, before=replace(before, ended=now))
    return replace(notes, episode=_filled(before, still, told, causes) if told else replace(before, failing=still))


def _filled(episode: Episode, failing: Mapping[str, str], told: Mapping[str, Found], causes: Sequence[str]) -> Episode:
    words = {name: told[name].said if name in told else text for name, text in failing.items()}
    columns: list[Mapping[str, JSON]] = [column for name in failing if name in told for column in told[name].columns]
    suggestions = [told[name].suggestion for name in failing if name in told and told[name].suggestion]
    return replace(
        episode,
        failing=words,
        columns=tuple(columns[:MOST_COLUMNS]) or episode.columns,
        causes=episode.causes or tuple(causes),  # of the window that began it: what came later cannot have caused it
        suggestions=tuple(dict.fromkeys(suggestions)) or episode.suggestions,
    )
