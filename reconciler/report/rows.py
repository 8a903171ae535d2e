"""A plan's actions as uniform rows: what text, JSON and Markdown all read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

from reconciler.model import (
    Action,
    Adopt,
    Blocked,
    Create,
    Delete,
    Diff,
    Glyph,
    Keep,
    Location,
    Ref,
    Replace,
    Update,
    canonical,
    digest_of,
)
from schemas.platform import PlatformSpec

if TYPE_CHECKING:
    from reconciler.loop import Proposal

Verb = Literal["create", "update", "replace", "delete", "adopt", "blocked", "unknown", "keep"]
WORDS: Mapping[Verb, str] = {
    "create": "to create",
    "update": "to change",
    "replace": "to replace",
    "delete": "to delete",
    "adopt": "to adopt",
    "blocked": "blocked",
    "unknown": "unknown",
    "keep": "unchanged",
}
"""How totals name each verb, in the order in which they are told."""
DONE: Mapping[Verb, str] = {
    "create": "created",
    "update": "changed",
    "replace": "replaced",
    "delete": "deleted",
    "adopt": "adopted",
    "blocked": "blocked",
    "unknown": "unknown",
    "keep": "unchanged",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One action, whatever its class."""

    verb: Verb
    glyph: str
    ref: Ref
    location: Location
    changes: Diff = ()
    why: str = ""
    reason: str = ""
    """CamelCase; only where something is blocked or unknown."""
    next: str = ""
    wanted: Verb | None = None
    """What a blocked action would have done."""

    @property
    def irreversible(self) -> bool:
        """It removes something that the reconciler cannot bring back from the manifests alone."""
        return self.verb in ("delete", "replace")


def row(action: Action) -> Row:
    """The uniform view of one action."""
    match action:
        case Create(resource, changes, why):
            return Row("create", Glyph.CREATE, resource.ref, resource.location, changes, why)
        case Update(resource, _, changes, why):
            return Row("update", Glyph.UPDATE, resource.ref, resource.location, changes, why)
        case Replace(resource, _, changes, why):
            return Row("replace", Glyph.REPLACE, resource.ref, resource.location, changes, why)
        case Adopt(resource, _, changes, why):
            return Row("adopt", Glyph.ADOPT, resource.ref, resource.location, changes, why)
        case Delete(owned, why):
            return Row("delete", Glyph.DELETE, owned.ref, owned.location, (), why)
        case Keep(ref, why):
            return Row("keep", Glyph.KEEP, ref, Location(""), (), why)
        case Blocked():
            return _blocked(action)
        case _:
            assert_never(action)


def _blocked(action: Blocked) -> Row:
    inner = row(action.wanted) if action.wanted is not None else None
    location = action.location if action.location.file or inner is None else inner.location
    return Row(
        "unknown" if action.unknown else "blocked",
        Glyph.UNKNOWN if action.unknown else Glyph.BLOCKED,
        action.ref,
        location,
        inner.changes if inner is not None and inner.verb != "create" else (),
        action.why,
        action.reason,
        action.next,
        inner.verb if inner is not None else None,
    )


def rows(proposal: Proposal) -> tuple[Row, ...]:
    """Every action of the plan, in the plan's order."""
    return tuple(row(each) for each in proposal.plan.actions)


def totals(found: Iterable[Row]) -> dict[Verb, int]:
    """How many of each verb; every verb is there, in the order of WORDS."""
    counted: dict[Verb, int] = dict.fromkeys(WORDS, 0)
    for each in found:
        counted[each.verb] += 1
    return counted


def totals_text(counted: Mapping[Verb, int], words: Mapping[Verb, str] = WORDS) -> str:
    """`2 to create, 1 to change, 55 unchanged`; what is zero is left out."""
    told = [f"{counted[verb]:,} {word}" for verb, word in words.items() if counted.get(verb)]
    return ", ".join(told) or "nothing to do"


def errors(proposal: Proposal) -> int:
    """How many errors the manifests and sources have."""
    return sum(each.severity == "error" for each in proposal.diagnostics)


def installation(proposal: Proposal) -> str:
    """The installation's id from the Platform manifest; empty when there is none."""
    specs = (each.spec for each in proposal.resources.values())
    return next((spec.installation for spec in specs if isinstance(spec, PlatformSpec)), "")


def revision(proposal: Proposal) -> str:
    """Revision of the first source that has one."""
    return next((each.revision for each in proposal.sources if each.revision), "")


def plan_digest(proposal: Proposal) -> str:
    """Names exactly this plan: its actions with their changes, and the revision of every source. 64 hex digits.

    A secret enters only as the fact that it changes."""
    return digest_of(
        {
            "actions": [_essence(each) for each in rows(proposal) if each.verb != "keep"],
            "sources": [[each.name, each.revision, each.complete] for each in proposal.sources],
        }
    )


def _essence(each: Row) -> list[object]:
    changes = [[c.path, None if c.secret else canonical(c.have), None if c.secret else canonical(c.want)] for c in each.changes]
    return [each.verb, str(each.ref), each.reason, changes]
