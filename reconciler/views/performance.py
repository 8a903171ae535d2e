"""What techniques give and take, and what projects spent, as the tools tell it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.house import House
    from reconciler.model import Ref
    from reconciler.model.performance import Performance
    from reconciler.model.ranking import Ranking


def performance_of(boards: Iterable[Ranking], names: Collection[str] = ()) -> Performance:
    """Of the experiments that `names` choose: a project, `project/name`, a Ref as text, or an experiment's name; none = all. `boards` come
    from `reconciler.views.leaderboard.ranked`.

    Raises UsageError for a name that chooses nothing."""
    from reconciler.model.performance import performance

    known = list(boards)
    for name in names:
        if not any(_means(name, each.ref) for each in known):
            there = ", ".join(sorted({each.ref.owner for each in known})) or "none that has an experiment"
            hint = f"name an experiment as `reconcile leaderboard` shows it, or a project: {there}"
            raise UsageError(f"'{name}' is neither a project with experiments nor an experiment", hint=hint)
    return performance(each for each in known if not names or any(_means(name, each.ref) for name in names))


def _means(name: str, ref: Ref) -> bool:
    return name in (ref.owner, ref.path, ref.name, str(ref))


def installation_of(house: House) -> str:
    """Its id as it was applied; empty before."""
    return next((str(each.applied.get("installation", "")) for ref, each in house.store.inventory().items() if ref.kind == "Platform"), "")


def enter(house: House, found: Performance) -> Iterator[tuple[str, str, bool]]:
    """Enter the comparisons in the tool that keeps such: name, id, and whether it is new.

    Raises UsageError before anything was applied, Transient when the tool does not answer."""
    from reconciler.controller import Compares
    from reconciler.house import context
    from reconciler.report.performance import entered

    ctx = context(house, {}, house.store.inventory())
    if ctx is None:
        raise UsageError("nothing was applied yet, so there is no MLflow to log to", hint="run `reconcile` first")
    for controller in house.kinds.controllers.values():
        if isinstance(controller, Compares):
            for each in map(entered, found.comparisons):
                yield each.name, *controller.enter(each, ctx)
