"""A first look at what waits: sorts out what can certainly not start, so that a long queue costs little. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.admission.feasible import Gate, Room
from reconciler.admission.order import Group
from reconciler.admission.preempt import Survey
from reconciler.model.demand import Amounts


class Hope:
    """What each shape of work may hope for. Room only shrinks while a decision is worked out: once hopeless, always hopeless."""

    def __init__(self, gate: Gate, room: Room, survey: Survey | None) -> None:
        self._gate, self._room, self._survey = gate, room, survey
        self._known: dict[Amounts, tuple[bool, bool]] = {}
        """Whether a node has room for these amounts now, and whether one could have when others stop."""

    def of(self, project: str, groups: Iterable[Group]) -> list[Group]:
        """The groups of a project that may start, or make room by stopping others."""
        share, usage, survey = self._gate.tree.share(project), self._room.usage, self._survey
        most = [(r, usage.available(share, r)) for r in share.governed]
        found: list[Group] = []
        hopeful = survey.hopeful(share) if survey is not None else None
        for group in groups:
            amounts = group.shape.amounts
            fits, could = self._known.get(amounts) or self._look(amounts)
            if fits:
                for r, limit in most:
                    if amounts[r] > limit and amounts[r]:
                        fits = False
            if fits or (could and hopeful is not None and hopeful(amounts, group.shape.priority)):
                found.append(group)
        return found

    def _look(self, amounts: Amounts) -> tuple[bool, bool]:
        fits = any(self._gate.lacks(name, amounts, self._room) is None for name in self._gate.nodes)
        known = self._known[amounts] = (fits, self._survey is not None and self._survey.enough(amounts))
        return known
