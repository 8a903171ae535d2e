"""What only a controller can do on somebody's order: a run of a Workflow, and back to what was good. For who may write to the tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from reconciler.controller import Context, RollsBack, Starts
from reconciler.errors import UsageError
from reconciler.house import House, context, writing
from reconciler.model import Ref
from reconciler.state import AuditEntry

NOTHING: Mapping[str, str] = MappingProxyType({})


def can_start(house: House, kind: str) -> Starts:
    """The controller of a kind whose resources can be started by hand. Raises UsageError, naming those that can."""
    controller = house.kinds.controller(kind)
    if not isinstance(controller, Starts):
        able = [name for name, each in sorted(house.kinds.controllers.items()) if isinstance(each, Starts)]
        raise UsageError(f"{kind} cannot be started by hand", hint=f"these can: {', '.join(able) or 'none'}")
    return controller


def can_roll_back(house: House, kind: str) -> RollsBack:
    """The controller of a kind that knows what was good. Raises UsageError, naming those that do."""
    controller = house.kinds.controller(kind)
    if not isinstance(controller, RollsBack):
        able = [name for name, each in sorted(house.kinds.controllers.items()) if isinstance(each, RollsBack)]
        raise UsageError(f"{kind} cannot be rolled back", hint=f"these can: {', '.join(able) or 'none'}; else revert the commit")
    return controller


def start(house: House, ref: Ref, conf: Mapping[str, str], actor: str, run: str = "", *, said: Mapping[str, str] = NOTHING) -> str:
    """Start a run now; its id, which is `run` where that is given: then it is safe to repeat. `said` is what rules said of it and let
    through (`orders.allowed`). Raises StalePlan and WriterBusy while somebody else writes."""
    ref = replace(ref, key="")
    controller, here = can_start(house, ref.kind), _here(house)
    with writing(house, house.memos.follow(house.store)):
        started = controller.start(ref, here, dict(conf), actor, run)
        house.store.audit([AuditEntry(at=house.now(), actor=actor, ref=ref, action="run", detail={"run": started, **said})])
    return started


def roll_back(house: House, ref: Ref, reason: str, actor: str, said: Mapping[str, str] = NOTHING) -> str:
    """Go back to what was good, and keep the other out; what was done, in words. A pass carries it on. `said` as for `start`.

    Raises StalePlan and WriterBusy while somebody else writes."""
    ref = replace(ref, key="")
    controller, here = can_roll_back(house, ref.kind), _here(house)
    with writing(house, house.memos.follow(house.store)):
        told = controller.roll_back(ref, here, reason, actor)
        house.store.audit([AuditEntry(at=house.now(), actor=actor, ref=ref, action="rollback", detail={"why": reason, **said})])
    return told


def _here(house: House) -> Context:
    here = context(house, {}, house.store.inventory(), focused=True)
    if here is None:
        raise UsageError("nothing is installed here yet", hint="`reconcile` makes the first pass")
    return here
