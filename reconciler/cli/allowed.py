"""Whether the rules in force let somebody's command through."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.cli.options import Globals
    from reconciler.guard.commands import Command
    from reconciler.guard.values import Finding, GuardRule
    from reconciler.house import House
    from reconciler.source.read import Desired

PAST = {"start": "started", "rollback": "rolled back"}


def must_be_allowed(command: Command, house: House, asked: Globals) -> dict[str, str]:
    """What rules said of it and let through, for the audit log; empty = nothing. Warnings are told.

    A command of somebody who may say the yes that a rule wants is that yes. Raises UsageError where a rule denies it, cannot be judged, or
    wants the yes of somebody else."""
    from reconciler.cli.output import tell
    from reconciler.guard.commands import judge_command
    from reconciler.guard.facts import projects_of
    from reconciler.report.show import clean

    desired = _desired(house, asked)
    declared = desired.graph.resources if desired is not None else {}
    found = judge_command(command, _rules(desired, house), declared, house)
    _refuse_denied(command, found)
    _refuse_without_yes(command, found, projects_of(declared))
    for each in found:
        if each.verdict == "warn":
            tell(clean(f"warning: {command.ref}: {each}"))
    return {"rules": "; ".join(f"{each.verdict} {each}" for each in found)} if found else {}


def _refuse_denied(command: Command, found: Sequence[Finding]) -> None:
    from reconciler.errors import UsageError
    from reconciler.guard.values import next_of

    if denied := tuple(each for each in found if each.denies):
        why = "; ".join(dict.fromkeys(map(str, denied)))
        raise UsageError(f"{command.ref} is not {PAST[command.verb]}: {why}", hint=next_of(denied, "the rule"))


def _refuse_without_yes(command: Command, found: Sequence[Finding], projects: Mapping[str, Mapping[str, object]]) -> None:
    from reconciler.errors import UsageError

    for each in found:
        owners = each.owners(projects) if each.waits else None
        if owners is not None and command.by not in owners:
            named = ", ".join(sorted(owners)) or "somebody whom no owners name: nobody can say it"
            raise UsageError(
                f"{command.ref} is not {PAST[command.verb]}: it needs a yes of {named}: {each}; you are {command.by}",
                hint="the command is the yes, when one of those that it names gives it",
            )


def _desired(house: House, asked: Globals) -> Desired | None:
    from reconciler.source.read import read

    selection = asked.as_applied(house)
    if selection is None:
        return None
    return read(selection, house.kinds, house.settings, house.store.inventory(), house.store.meta("root_paths") or "")


def _rules(desired: Desired | None, house: House) -> tuple[GuardRule, ...]:
    """Of the Platform that is declared; of the one that was applied where only a part of the tree was named, or none is declared."""
    from reconciler.guard.rules import in_force
    from reconciler.house import platform_in

    whole = desired is not None and not desired.selection.part
    platform = platform_in(desired.graph.resources if desired is not None and whole else {}, house.store.inventory())
    return in_force(platform.policy, house.settings.root.absolute()) if platform is not None else ()
