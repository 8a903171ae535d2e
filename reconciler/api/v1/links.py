"""Links into the tools, of the tools themselves and of resources. No tool is asked: addresses are as the Platform and the services' own
files have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.model import Owned, Ref
from reconciler.views.tools import TITLES, addresses, page_of

if TYPE_CHECKING:
    from reconciler.api.v1.door import Door

SECONDS = 5.0
"""For which addresses are kept; a service keeps its port."""


def base_urls(door: Door) -> Mapping[str, str]:
    """Tool -> base URL."""
    from reconciler.api.v1.admission import kept

    return kept(door, "links", lambda: addresses(door.house, door.pictures.platform()), SECONDS)


def links_of(door: Door, ref: Ref, bases: Mapping[str, str] | None = None, owned: Owned | None = None) -> list[dict[str, Any]]:
    """Pages about one resource. `bases`, `owned`: None = they are looked up."""
    bases = base_urls(door) if bases is None else bases
    if not bases:
        return []
    whole = replace(ref, key="")
    known = door.pictures.owned([ref, whole] if ref.key else [ref]) if owned is None or ref.key else {ref: owned}
    mine, parent = known.get(ref), known.get(whole)
    found = page_of(ref, mine.external_id, bases, parent.external_id if ref.key and parent is not None else "") if mine else None
    return [{"tool": found[0], "title": TITLES[found[0]], "url": found[1]}] if found is not None else []
