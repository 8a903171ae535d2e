"""Which resources a request is about, and which page of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Query

from reconciler.api.v1.asker import Asker
from reconciler.api.v1.door import Door, TheDoor
from reconciler.api.v1.picture import Picture
from reconciler.model import Ref, Status

from .shapes import HealthName

LIMIT, MOST = 100, 500
Text = Annotated[str, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
After = Annotated[str | None, Query(max_length=1000, description="`next` of the page before.")]


@dataclass(frozen=True)
class Filter:
    """What is asked for; nothing = everything."""

    kinds: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    healths: frozenset[str] = frozenset()
    ready: bool | None = None
    q: str = ""
    labels: Mapping[str, str] | None = None
    children: bool = True

    def lets(self, each: Status, labels: Callable[[Ref], Mapping[str, str]]) -> bool:
        """Whether this resource is asked for."""
        return (
            (not self.healths or str(each.health) in self.healths)
            and (self.ready is None or each.ready == self.ready)
            and self.lets_ref(each.ref, labels, each.message)
        )

    def lets_ref(self, ref: Ref, labels: Callable[[Ref], Mapping[str, str]], message: str = "") -> bool:
        """The same of what has no health, such as a line of the audit log."""
        return (
            (not self.kinds or ref.kind in self.kinds)
            and (not self.projects or ref.owner in self.projects)
            and (self.children or not ref.key)
            and (not self.q or self.q in str(ref).lower() or self.q in message.lower())
            and (not self.labels or self.labels.items() <= labels(ref).items())
        )


def filters(
    door: TheDoor,
    kind: Annotated[list[Text], Query(max_length=20, description="Only this kind; repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    project: Annotated[list[Text], Query(max_length=100, description="Only this project; repeatable.")] = [],  # noqa: B006
    health: Annotated[list[HealthName], Query(max_length=6, description="Only with this health; repeatable.")] = [],  # noqa: B006
    ready: Annotated[bool | None, Query(description="Only what is Ready, or is not.")] = None,
    q: Annotated[str, Query(max_length=200, description="Part of the Ref or the message, in any case.")] = "",
    selector: Annotated[
        list[Annotated[str, Query(max_length=300, pattern=r"^[^=]+=")]],
        Query(max_length=20, description="KEY=VALUE: only what carries this label; repeatable."),
    ] = [],  # noqa: B006
    children: Annotated[bool, Query(description="With runs, replicas, windows and tasks.")] = True,
) -> Filter:
    """From the query."""
    labels = dict(_pair(each) for each in selector)
    canonical = door.house.kinds.canonical
    return Filter(
        frozenset(canonical(each) or each for each in kind), frozenset(project), frozenset(health), ready, q.lower(), labels, children
    )


Filtered = Annotated[Filter, Depends(filters)]


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def labels_of(labels: Mapping[Ref, Mapping[str, str]]) -> Callable[[Ref], Mapping[str, str]]:
    """The labels of a Ref; a child has those of what it belongs to."""
    nothing: Mapping[str, str] = {}
    return lambda ref: labels.get(ref) or (labels.get(replace(ref, key="")) if ref.key else None) or nothing


def chosen(door: Door, picture: Picture, who: Asker, wanted: Filter) -> list[Status]:
    """What is asked for and may be seen, by Ref."""
    labels = labels_of(door.pictures.labels() if wanted.labels else {})
    seen = picture.statuses if who.everywhere else [each for each in picture.statuses if who.sees(each.ref)]
    if wanted == Filter(labels={}):
        return list(seen)
    return [each for each in seen if wanted.lets(each, labels)]


def page(found: Sequence[Status], after: str | None, limit: int) -> tuple[Sequence[Status], str | None]:
    """Those after a Ref as text, and where the next page begins."""
    start = 0 if after is None else bisect_right(found, after, key=lambda each: str(each.ref))
    some = found[start : start + limit]
    return some, str(some[-1].ref) if some and start + limit < len(found) else None


def totals(found: Iterable[Status]) -> dict[str, int]:
    """By health, those that there are none of too."""
    from reconciler.model import Health

    counted = {str(health): 0 for health in Health}
    for each in found:
        counted[str(each.health)] += 1
    return counted
