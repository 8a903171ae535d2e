"""A window of the log of predictions: which rows it has, which of them are looked at, and the labels that came for them.

First only times and revisions are read, then what the rows hold that are looked at: memory goes with the window, not with the log."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.gateway.joins import answer_of
from reconciler.model.monitoring import Source
from reconciler.model.serving import folder
from reconciler.model.values import JSON
from reconciler.monitoring.instances import Columns
from reconciler.monitoring.scan import Group, batches, column, groups, micros
from reconciler.monitoring.side import ABSENT, Side

if TYPE_CHECKING:
    import numpy as np

NOT_JSON = "instances that are not JSON"
_READ = ("id", "instance", "prediction")


@dataclass
class _Piece:
    """Rows of one group that belong to the window: their places in it, and their times."""

    group: Group
    places: np.ndarray
    times: np.ndarray
    revisions: list[str]


@dataclass
class _Found:
    pieces: list[_Piece] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def cut(self, last: int) -> None:
        """Without what is later than `last` (microseconds)."""
        for piece in self.pieces:
            keep = piece.times <= last
            piece.revisions = [name for name, kept in zip(piece.revisions, keep, strict=True) if kept]
            piece.places, piece.times = piece.places[keep], piece.times[keep]


def read(state_dir: Path, source: Source, most: int, key: str, places: Sequence[str] = ()) -> Side:
    """The rows of a window, `most` of them at most, and their labels. `places`: what the places of an array are called.

    Raises UsageError for what is not the name of a deployment."""
    root = folder(state_dir) / "predictions"
    found, end = _by_count(root, source) if source.count and not source.end else _by_time(root, source)
    whole = sum(len(each.places) for each in found.pieces)
    side = Side(Columns(min(whole, most), places), whole=whole, start=source.start, end=end, told=found.told)
    side.revisions = Counter(name for piece in found.pieces for name in piece.revisions)
    chosen = sample(whole, most, key)
    ids: list[str] = []
    before = 0
    for piece in sorted(found.pieces, key=lambda each: each.group.first):
        here = piece.places if chosen is None else piece.places[chosen[(chosen >= before) & (chosen < before + len(piece.places))] - before]
        before += len(piece.places)
        _take(piece.group, here, side, ids)
    side.truths = _labels(state_dir, source, ids, side.told)
    return side


def sample(whole: int, most: int, key: str) -> np.ndarray | None:
    """Places of the rows to look at, one drawn from each of `most` stretches of equal length; None = all. The same for the same key."""
    import numpy as np

    if whole <= most:
        return None
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    edges = np.arange(most + 1, dtype=np.int64) * whole // most
    return np.asarray(np.random.default_rng(seed).integers(edges[:-1], edges[1:]))


# --- which rows --------------------------------------------------------------------------------------------------------


def _by_time(root: Path, source: Source) -> tuple[_Found, float]:
    found = _Found()
    for group in groups(root, source.project, source.name, source.start, source.end, found.told):
        _gather(found, group, source, micros(source.end))
    return found, source.end


def _by_count(root: Path, source: Source) -> tuple[_Found, float]:
    """Up to the row with the number `count`, and those of the same moment; ends just after it, at the start of the next window."""
    import numpy as np

    found = _Found()
    waiting = sorted(
        groups(root, source.project, source.name, source.start, float("inf"), found.told), key=lambda each: (each.first, each.path)
    )
    for group in waiting:
        times = np.concatenate([each.times for each in found.pieces]) if found.pieces else np.empty(0, dtype=np.int64)
        if len(times) >= source.count and group.first > np.partition(times, source.count - 1)[source.count - 1]:
            break
        _gather(found, group, source, None)
    times = np.concatenate([each.times for each in found.pieces]) if found.pieces else np.empty(0, dtype=np.int64)
    if not len(times):
        return found, source.start
    last = int(np.partition(times, source.count - 1)[source.count - 1]) if len(times) >= source.count else int(times.max())
    found.cut(last)
    return found, (last + 1) / 1e6


def _gather(found: _Found, group: Group, source: Source, high: int | None) -> None:
    import numpy as np

    low, before = micros(source.start), 0
    places, times, revisions = [], [], []
    for batch in batches(group, ("time", "revision"), found.told):
        at = column(batch, "time").cast("int64").to_numpy(zero_copy_only=False)
        who = np.array(column(batch, "revision").to_pylist(), dtype=object)
        keep = at >= low
        if high is not None:
            keep &= at < high
        if source.revision:
            keep &= who == source.revision
        here = np.nonzero(keep)[0]
        places.append(here + before)
        times.append(at[here])
        revisions += [each or "" for each in who[here]]
        before += batch.num_rows
    if revisions:
        found.pieces.append(_Piece(group, np.concatenate(places), np.concatenate(times), revisions))


# --- what they hold ----------------------------------------------------------------------------------------------------


def _take(group: Group, places: np.ndarray, side: Side, ids: list[str]) -> None:
    """Add these rows of a group to `side`, and their ids to `ids`."""
    import numpy as np

    before = 0
    for batch in batches(group, _READ, side.told) if len(places) else ():
        here = places[np.searchsorted(places, before) : np.searchsorted(places, before + batch.num_rows)] - before
        before += batch.num_rows
        if not len(here):
            continue
        taken = batch.take(here)
        ids += [each or "" for each in column(taken, "id").to_pylist()]
        for instance, answer in zip(column(taken, "instance").to_pylist(), column(taken, "prediction").to_pylist(), strict=True):
            known, value = parsed(instance)
            if known:
                side.inputs.add(value)
            else:
                side.inputs.skip(NOT_JSON)
            known, value = parsed(answer)
            side.answers.append(answer_of(value) if known else ABSENT)


def parsed(text: Any) -> tuple[bool, JSON]:
    """Whether it is JSON, and what it says."""
    try:
        return True, json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return False, None


def _labels(state_dir: Path, source: Source, ids: list[str], told: list[str]) -> list[JSON]:
    """For each id the label that came last, on whatever day; ABSENT where none came."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(set(ids)), pa.string())
    newest: dict[str, tuple[int, str]] = {}
    root = folder(state_dir) / "feedback"
    for group in groups(root, source.project, source.name, source.start, float("inf"), told) if ids else ():
        for batch in batches(group, ("time", "id", "label"), told):
            here = batch.filter(pc.is_in(column(batch, "id"), wanted))
            for at, id_, label in zip(*(column(here, name).to_pylist() for name in ("time", "id", "label")), strict=True):
                moment = micros(at.timestamp())
                if id_ not in newest or newest[id_][0] <= moment:
                    newest[id_] = (moment, label)
    return [_label(newest[each][1]) if each in newest else ABSENT for each in ids]


def _label(text: str) -> JSON:
    known, value = parsed(text)
    return value if known else ABSENT
