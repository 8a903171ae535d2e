"""Whether the rules in force let somebody's command through."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.cli.options import Globals
    from reconciler.guard.commands import Command
    from reconciler.house import House
    from reconciler.source.read import Desired


def must_be_allowed(command: Command, house: House, asked: Globals) -> dict[str, str]:
    """What rules said of it and let through, for the audit log; empty = nothing. Warnings are told. Raises UsageError as
    `orders.allowed` does."""
    from reconciler.cli.output import tell
    from reconciler.orders.allowed import must_be_allowed as judged
    from reconciler.orders.allowed import noted
    from reconciler.report.show import clean

    found = judged(command, _desired(house, asked), house)
    for each in found:
        if each.verdict == "warn":
            tell(clean(f"warning: {command.ref}: {each}"))
    return noted(found)


def _desired(house: House, asked: Globals) -> Desired | None:
    from reconciler.source.read import read

    selection = asked.as_applied(house)
    if selection is None:
        return None
    return read(selection, house.kinds, house.settings, house.store.inventory(), house.store.meta("root_paths") or "")
