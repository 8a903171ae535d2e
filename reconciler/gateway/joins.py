"""Predictions and the labels that come for them, joined by id: how often a version was right. No I/O; for one thread."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.model.serving import ANSWERS

REMEMBERED = 20_000
"""Predictions of a route, and labels without one, that are kept for the join; the oldest go first."""
LONGEST = 100
"""Characters; a longer text, an array or an object is kept as its hash."""

Mark = tuple[str, str | float | bool | None]
"""A value as it is compared: what sort it is, and itself."""


@dataclass(slots=True)
class Score:
    """Of one application."""

    labels: int = 0
    """Predictions whose label has come."""
    correct: int = 0
    absolute_error: float = 0.0
    """Sum of |prediction - label| where both are numbers."""

    def count(self, answer: Mark, label: Mark, sign: int) -> None:
        """Add one label, or with -1 take it back."""
        self.labels += sign
        self.correct += sign * (answer == label)
        if answer[0] == label[0] == "number":
            self.absolute_error += sign * abs(float(answer[1] or 0) - float(label[1] or 0))


@dataclass(slots=True)
class _Seen:
    score: Score
    answer: Mark
    label: Mark | None = None


class Join:
    """Of one route. `score_of` gives the score of an application."""

    def __init__(self, score_of: Callable[[str], Score], size: int = REMEMBERED) -> None:
        self._score_of, self._size = score_of, size
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._early: OrderedDict[str, Mark] = OrderedDict()
        """Labels that came before their predictions."""

    def predicted(self, app: str, ids: Sequence[str], predictions: Sequence[Any]) -> None:
        """Remember what `app` answered. The same id again replaces the earlier answer; what another application earned by that stays."""
        score = self._score_of(app)
        for id_, prediction in zip(ids, predictions, strict=False):
            before = self._seen.pop(id_, None)
            label = before.label if before else self._early.pop(id_, None)
            if before and before.label and before.score is score:
                score.count(before.answer, before.label, -1)
            self._seen[id_] = entry = _Seen(score, mark(answer_of(prediction)), label)
            if label:
                score.count(entry.answer, label, 1)
            if len(self._seen) > self._size:
                self._seen.popitem(last=False)

    def labelled(self, id_: str, label: Any) -> None:
        """Count a label; the same id again counts once, with the later label."""
        entry, came = self._seen.get(id_), mark(label)
        if entry is None:
            self._early.pop(id_, None)
            self._early[id_] = came
            if len(self._early) > self._size:
                self._early.popitem(last=False)
            return
        if entry.label:
            entry.score.count(entry.answer, entry.label, -1)
        entry.label = came
        entry.score.count(entry.answer, came, 1)


def answer_of(prediction: Any) -> Any:
    """What of a prediction is held against a label: itself, the only element of an array, or of an object the field that names the
    answer."""
    if isinstance(prediction, dict):
        prediction = next((prediction[name] for name in ANSWERS if name in prediction), prediction)
    return prediction[0] if isinstance(prediction, list) and len(prediction) == 1 else prediction


def mark(found: Any) -> Mark:
    """Small and comparable: JSON's sorts stay apart (`true` is not 1), 3 and 3.0 are the same number."""
    if isinstance(found, bool):
        return "bool", found
    if found is None:
        return "null", None
    if isinstance(found, int | float):
        with contextlib.suppress(OverflowError):
            return "number", float(found)
    if isinstance(found, str) and len(found) <= LONGEST:
        return "text", found
    return "hash", hashlib.blake2b(_spelled(found).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _spelled(found: Any) -> str:
    """The same for equal values, whatever the order of their fields; empty for what is nested too deeply."""
    try:
        return json.dumps(found, sort_keys=True, separators=(",", ":"))
    except (RecursionError, ValueError):
        return ""
