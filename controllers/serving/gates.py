"""What a new version has shown under traffic since its step began, held against the manifest's gates. Pure.

Three answers: `pass`, `fail`, `hold` (too little was seen to say either)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.serving import BOUNDS, AppStats, quantile
from schemas.base import duration_value
from schemas.deployment import Quality, RolloutGates

LATENCY_SHARE = 0.95
"""Of the requests, that must be within `latency`."""


class Answer(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate's answer, with what it was formed from in words: `errors 5.0 % (limit 2 %)`."""

    answer: Answer
    said: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """Counters of an application at the moment from which they are held against the gates."""

    started: str = ""
    """The gateway's start that they belong to. Of another start: all that was counted since then is newer than the moment."""
    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    labels: int = 0
    correct: int = 0
    absolute_error: float = 0.0

    @classmethod
    def of(cls, started: str, stats: AppStats) -> Baseline:
        return cls(started, stats.requests, stats.errors, tuple(stats.latency), stats.labels, stats.correct, round(stats.absolute_error, 9))

    def since(self, started: str, stats: AppStats) -> AppStats:
        """What was counted after it."""
        if started != self.started:
            return stats
        before = self.latency or (0,) * len(stats.latency)
        return AppStats(
            requests=stats.requests - self.requests,
            errors=stats.errors - self.errors,
            latency=tuple(now - then for now, then in zip(stats.latency, before, strict=False)),
            labels=stats.labels - self.labels,
            correct=stats.correct - self.correct,
            absolute_error=stats.absolute_error - self.absolute_error,
        )


def judge(gates: RolloutGates, seen: AppStats) -> tuple[Gate, ...]:
    """Every gate that the manifest sets; `seen` is what was counted since the step began."""
    found: list[Gate] = []
    if gates.error_rate is not None:
        found.append(_errors(gates.error_rate, gates.min_requests, seen))
    if gates.latency is not None:
        found.append(_latency(duration_value(gates.latency).total_seconds(), gates.min_requests, seen))
    if gates.quality is not None:
        found.append(_quality(gates.quality, seen))
    return tuple(found)


def together(gates: tuple[Gate, ...]) -> Answer:
    """One that fails is enough; all must pass. No gate at all passes."""
    answers = {each.answer for each in gates}
    return next((each for each in (Answer.FAIL, Answer.HOLD) if each in answers), Answer.PASS)


def _errors(limit: float, least: int, seen: AppStats) -> Gate:
    asked = max(seen.requests, seen.errors)
    rate = seen.errors / asked if asked else 0.0
    said = f"errors {rate * 100:.1f} % (limit {limit * 100:.3g} %)"
    if seen.errors > limit * max(asked, least):  # even if all that is to come went well
        return Gate(Answer.FAIL, said)
    return Gate(Answer.HOLD, f"{asked} of {least} requests") if asked < least else Gate(Answer.PASS, said)


def _latency(limit: float, least: int, seen: AppStats) -> Gate:
    counted = sum(seen.latency)
    if counted < least:
        return Gate(Answer.HOLD, f"{counted} of {least} requests")
    found = quantile(LATENCY_SHARE, seen.latency)
    return Gate(Answer.PASS if found <= limit else Answer.FAIL, f"p95 {_milliseconds(found)} (limit {limit * 1000:.3g})")


def _quality(wanted: Quality, seen: AppStats) -> Gate:
    if seen.labels < wanted.min_labels:
        return Gate(Answer.HOLD, f"{seen.labels} of {wanted.min_labels} labels")
    have = (seen.correct if wanted.metric == "accuracy" else seen.absolute_error) / seen.labels
    low = wanted.minimum is not None and have < wanted.minimum
    high = wanted.maximum is not None and have > wanted.maximum
    limits = [f"{word} {each:g}" for word, each in (("at least", wanted.minimum), ("at most", wanted.maximum)) if each is not None]
    asked = f" ({', '.join(limits)})" if limits else ""
    return Gate(Answer.FAIL if low or high else Answer.PASS, f"{wanted.metric} {have:.3g}{asked}")


def _milliseconds(seconds: float) -> str:
    return f"more than {BOUNDS[-1]:g} s" if seconds == float("inf") else f"{seconds * 1000:.0f} ms"
