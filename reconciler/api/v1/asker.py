"""Who asks, and what he may. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from reconciler.model import Ref
from reconciler.state.records import EVERY, Role

Act = Literal["read", "operate", "approve", "administer"]
MAY: Mapping[Role, frozenset[Act]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "operate"}),
    "approver": frozenset({"read", "approve"}),
    "admin": frozenset({"read", "operate", "approve", "administer"}),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for some projects; EVERY = for all, and for what belongs to none."""

    role: Role
    projects: frozenset[str]

    def holds(self, project: str) -> bool:
        """`project` empty: what belongs to none."""
        return EVERY in self.projects or project in self.projects


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody, authenticated; or anybody on this machine."""

    name: str
    """For the audit log."""
    key: str
    """Tells askers apart, for rates and answers that are kept: a token's id, an issuer's subject, an address."""
    grants: tuple[Grant, ...]
    expires: datetime | None = None

    def may(self, act: Act, project: str) -> bool:
        """Whether to do this in `project`."""
        return any(act in MAY[each.role] and each.holds(project) for each in self.grants)

    def may_somewhere(self, act: Act) -> bool:
        """Whether to do this in any project at all."""
        return any(act in MAY[each.role] and each.projects for each in self.grants)

    def sees(self, ref: Ref) -> bool:
        """Whether it may be told of."""
        return self.may("read", ref.owner)

    @property
    def everywhere(self) -> bool:
        """Sees all projects, and what belongs to none."""
        return self.may("read", "") and any(EVERY in each.projects for each in self.grants)

    @property
    def projects(self) -> frozenset[str]:
        """Those that it sees; EVERY stands for all."""
        return frozenset(name for each in self.grants for name in each.projects)

    @property
    def scope(self) -> str:
        """The same text for askers that are told the same."""
        return EVERY if self.everywhere else ",".join(sorted(self.projects))
