"""What apply writes to the Store, with who asked for it and which revision on every line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from reconciler.model import Location, Owned, Ref
from reconciler.secret import masked_in

if TYPE_CHECKING:
    from reconciler.state import Store


@dataclass(frozen=True)
class StoreJournal:
    """`reconciler.apply.Journal` over a Store."""

    store: Store
    actor: str
    now: Callable[[], datetime]
    revisions: Mapping[str, str]
    """Source -> revision of this pass."""
    locations: Mapping[Ref, Location]
    sources: Mapping[Ref, str] = field(default_factory=dict)
    """Which source each resource comes from; the root where it is not told."""
    moved: Callable[[Ref, Ref], None] = lambda old, new: None
    """Told of each move (old name, new name) once the Store has it."""
    author: Callable[[str], str] = lambda _: ""
    """Source -> who made the commit that asks for this; asked for what is written only."""
    mark: Callable[[str], Mapping[str, Any]] = lambda _: {}
    """Source -> which apply this belongs to; asked for what is written only."""

    def intend(self, ref: Ref, action: str, digest: str) -> None:
        self.store.intend(ref, action, digest)

    def created(self, ref: Ref, external_id: str) -> None:
        self.store.created(ref, external_id)

    def abandon(self, ref: Ref) -> None:
        self.store.abandon(ref)

    def record(
        self, owned: Owned, *, action: str, glyph: str, detail: Mapping[str, Any], result: Literal["done", "started"] = "done"
    ) -> None:
        entry = self._entry(owned.ref, action, result, glyph, detail)
        if owned.ref.key:  # a child is owned through its parent
            self.store.abandon(owned.ref)
            self.store.audit([entry])
        else:
            self.store.record(owned, audit=entry)

    def move(self, old: Ref, owned: Owned, *, glyph: str, detail: Mapping[str, Any], result: Literal["done", "started"] = "done") -> None:
        self.store.move(old, owned, audit=self._entry(owned.ref, "move", result, glyph, detail))
        self.moved(old, owned.ref)

    def forget(self, ref: Ref, *, action: str, glyph: str, detail: Mapping[str, Any]) -> None:
        self.store.forget(ref, audit=self._entry(ref, action, "done", glyph, detail))

    def failed(self, ref: Ref, *, action: str, glyph: str, detail: Mapping[str, Any]) -> None:
        self.store.audit([self._entry(ref, action, "failed", glyph, detail)])

    def check_writer(self) -> None:
        self.store.check_writer()

    def _entry(self, ref: Ref, action: str, result: Literal["done", "started", "failed"], glyph: str, detail: Mapping[str, Any]) -> Any:
        from reconciler.state import AuditEntry

        detail = masked_in(detail)
        source = self.sources.get(ref) or self.sources.get(replace(ref, key=""), "root")
        author = self.author(source)
        return AuditEntry(
            at=self.now(),
            actor=self.actor,
            ref=ref,
            action=action,
            result=result,
            glyph=glyph,
            detail={**detail, **({"author": author} if author else {}), **self.mark(source)},
            revision=self.revisions.get(source, ""),
            location=self.locations.get(ref, Location("")),
        )
