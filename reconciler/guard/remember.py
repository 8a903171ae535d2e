"""The specs that were carried out last, in the notebooks of their resources, for rules that ask what has changed since.

Only of the kinds that such rules name: an installation has ten thousand resources, and most are looked at by nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from reconciler.guard.values import GuardRule
from reconciler.house import Memos
from reconciler.model import Blocked, Delete, Failed, Ref, Resource, Result

PAGE = "declared"
ALWAYS = frozenset({"Model"})
"""Kinds that shipped rules look back at; remembered although nothing is judged, so that the first judgement has something to compare."""


def before(refs: Collection[Ref], memos: Memos, moving: Mapping[Ref, Ref] = MappingProxyType({})) -> dict[Ref, Mapping[str, Any]]:
    """Ref -> its spec as it was carried out last, under its old name where it is `moving`; what is not remembered is not in it."""
    pages = {ref: memos.loaded.get(moving.get(ref, ref), {}).get(PAGE) for ref in refs}
    return {ref: page["spec"] for ref, page in pages.items() if isinstance(page, dict) and isinstance(page.get("spec"), dict)}


def kinds_of(rules: Iterable[GuardRule]) -> frozenset[str]:
    """Kinds that rules look back at."""
    return ALWAYS.union(*(each.kinds for each in rules if "resource.changes" in each.condition + each.when))


def remember(results: Iterable[Result], resources: Mapping[Ref, Resource[Any]], kinds: Collection[str], memos: Memos) -> None:
    """Note what was carried out, or stood so already."""
    for result in results:
        ref = result.action.ref
        resource = resources.get(ref)
        if resource is None or ref.key or ref.kind not in kinds or isinstance(result.action, Blocked | Delete):
            continue
        known = memos.loaded.get(ref, {}).get(PAGE)
        same = isinstance(known, dict) and known.get("digest") == resource.digest
        if not same and not isinstance(result.outcome, Failed):
            memos(ref)[PAGE] = {"digest": resource.digest, "spec": resource.spec.model_dump(mode="json")}
