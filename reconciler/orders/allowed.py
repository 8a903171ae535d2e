"""Whether the rules in force let somebody's order through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reconciler.errors import UsageError
from reconciler.guard.commands import Command, judge_command
from reconciler.guard.facts import projects_of
from reconciler.guard.rules import in_force
from reconciler.guard.values import Finding, GuardRule, next_of
from reconciler.house import House, platform_in

if TYPE_CHECKING:
    from reconciler.source.read import Desired

PAST = {"start": "started", "rollback": "rolled back"}


def must_be_allowed(command: Command, desired: Desired | None, house: House) -> tuple[Finding, ...]:
    """What rules said of it and let through. `desired`: what the manifests say; None = nobody knows which they are.

    A command of somebody who may say the yes that a rule wants is that yes. Raises UsageError where a rule denies it, cannot be judged, or
    wants the yes of somebody else."""
    declared = desired.graph.resources if desired is not None else {}
    found = judge_command(command, _rules(desired, house), declared, house)
    _refuse_denied(command, found)
    _refuse_without_yes(command, found, projects_of(declared))
    return found


def noted(found: Sequence[Finding]) -> dict[str, str]:
    """For the audit log; empty = rules said nothing."""
    return {"rules": "; ".join(f"{each.verdict} {each}" for each in found)} if found else {}


def _refuse_denied(command: Command, found: Sequence[Finding]) -> None:
    if denied := tuple(each for each in found if each.denies):
        why = "; ".join(dict.fromkeys(map(str, denied)))
        raise UsageError(f"{command.ref} is not {PAST[command.verb]}: {why}", hint=next_of(denied, "the rule"))


def _refuse_without_yes(command: Command, found: Sequence[Finding], projects: Mapping[str, Mapping[str, object]]) -> None:
    for each in found:
        owners = each.owners(projects) if each.waits else None
        if owners is not None and command.by not in owners:
            named = ", ".join(sorted(owners)) or "somebody whom no owners name: nobody can say it"
            raise UsageError(
                f"{command.ref} is not {PAST[command.verb]}: it needs a yes of {named}: {each}; you are {command.by}",
                hint="the command is the yes, when one of those that it names gives it",
            )


def _rules(desired: Desired | None, house: House) -> tuple[GuardRule, ...]:
    """Of the Platform that is declared; of the one that was applied where only a part of the tree was named, or none is declared."""
    whole = desired is not None and not desired.selection.part
    platform = platform_in(desired.graph.resources if desired is not None and whole else {}, house.store.inventory())
    return in_force(platform.policy, house.settings.root.absolute()) if platform is not None else ()
