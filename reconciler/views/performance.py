"""What techniques give and take, and what projects spent, as the tools tell it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
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
