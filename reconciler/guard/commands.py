"""What the rules say of a command: that something is started, or goes back to what it was before.

A command is judged when it is asked for, as a plan of that one action: by somebody at a terminal, or (`reactions.py`) by a pass, for
what became of another resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reconciler.guard.cases import filled
from reconciler.guard.cel import evaluate
from reconciler.guard.facts import Declared, Deed, Scene, declared_by, projects_of
from reconciler.guard.judge import judge
from reconciler.guard.remember import before
from reconciler.guard.values import Finding, GuardRule
from reconciler.house import House
from reconciler.model import JSON, Ref, Resource

CommandVerb = Literal["start", "rollback"]


@dataclass(frozen=True)
class Command:
    """One command, with all that a rule can see of it."""

    verb: CommandVerb
    ref: Ref
    by: str
    """A login, or the Ref of what calls for it."""
    why: str = ""
    conf: Mapping[str, JSON] = field(default_factory=dict)


def judge_command(command: Command, rules: Sequence[GuardRule], declared: Mapping[Ref, Resource[Any]], house: House) -> tuple[Finding, ...]:
    """What the rules find. `declared` is all that the manifests say."""
    if not any(each.about(command.verb, command.ref.kind) for each in rules):
        return ()
    ref = replace(command.ref, key="")
    scene = Scene(
        (Deed(command.verb, command.ref, why=command.why, by=command.by, conf=command.conf),),
        declared_by(declared, (ref,)) or _applied(ref, house),
        projects_of(declared),
        before((ref,), house.memos),
        len(declared),
    )
    return judge(rules, scene, evaluate)


def _applied(ref: Ref, house: House) -> dict[Ref, Declared]:
    """What its manifest said when it was carried out last: it may be gone by now, or wrong."""
    said = house.store.manifests().get(ref)
    if not said or ref.kind not in house.kinds.kinds:
        return {}
    return {ref: Declared(dict(said.get("labels") or {}), filled(house.kinds.kinds[ref.kind].spec, said.get("spec") or {}))}
