"""The queue of the last days, from the audit log, as the lines of a trace. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reconciler.admission.simulate.replay import Line
from reconciler.model import Ref
from reconciler.model.demand import RESOURCES

if TYPE_CHECKING:
    from reconciler.state.records import AuditEntry

SHORTEST = 1.0
"""Seconds of work that was over before the next look."""


@dataclass(slots=True)
class _Piece:
    """One piece of work, from its first lease on."""

    submitted: float
    granted: Mapping[str, Any]
    began: datetime | None = None
    seconds: float = 0.0


def recorded(entries: Iterable[AuditEntry], now: datetime) -> tuple[Line, ...]:
    """Everything that was admitted in `entries` (audit lines, in any order). It asked for what it was charged, margin included, and took as
    long as it held its lease: all its leases together where it was stopped for others in between; what still runs, as long as until `now`.

    Times count from the first submission."""
    pieces, ended = dict[Ref, _Piece](), list[tuple[Ref, _Piece]]()
    for each in sorted(entries, key=lambda entry: entry.at):
        ref, said = each.ref, each.detail
        if ref is None:
            continue
        if each.action == "admit":
            waited = float(str(said.get("waited_seconds") or 0))
            pieces.setdefault(ref, _Piece(each.at.timestamp() - waited, said.get("granted") or {})).began = each.at
        elif each.action == "release" and ref in pieces:
            pieces[ref].seconds += float(str(said.get("held_seconds") or 0))
            pieces[ref].began = None
            if not said.get("queued"):
                ended.append((ref, pieces.pop(ref)))
    for ref, piece in pieces.items():
        if piece.began is not None:
            piece.seconds += (now - piece.began).total_seconds()
        ended.append((ref, piece))
    return tuple(_lines(ended))


def _lines(ended: list[tuple[Ref, _Piece]]) -> Iterator[Line]:
    first = min((piece.submitted for _, piece in ended), default=0.0)
    for ref, piece in sorted(ended, key=lambda each: each[1].submitted):
        yield Line.model_validate(
            {
                "at": max(0.0, piece.submitted - first),
                "project": ref.owner,
                "seconds": max(SHORTEST, piece.seconds),
                **{name: piece.granted.get(name, "0") for name in RESOURCES},
            }
        )
