"""Revisions at which everything that they ask for stood and was well: where a rollback goes back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.model import Source, Status

if TYPE_CHECKING:
    from reconciler.state import Store

KEPT = 10
"""Revisions that are remembered."""
_META = "good_revisions"


def note_good(statuses: Sequence[Status], sources: Sequence[Source], store: Store) -> None:
    """Remember the root's revision after a whole pass; nothing that is not committed, and nothing while anything is not Ready."""
    revision, before = sources[0].revision if sources else "", good_revisions(store)
    well = bool(statuses) and all(each.ready for each in statuses) and all(each.complete for each in sources)
    if well and revision and not revision.endswith("+dirty") and before[:1] != [revision]:
        store.set_meta(_META, "\n".join([revision, *(each for each in before if each != revision)][:KEPT]))


def good_revisions(store: Store) -> list[str]:
    """Of the root source, the newest first."""
    return (store.meta(_META) or "").split()
