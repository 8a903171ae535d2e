"""The orders that wait in the Store, carried out by the loop before it looks at everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reconciler.errors import ReconcilerError, StalePlan, Transient, WriterBusy
from reconciler.guard.commands import Command
from reconciler.house import House
from reconciler.orders.allowed import must_be_allowed, noted
from reconciler.orders.start import roll_back, start
from reconciler.secret import masked
from reconciler.state import Order

if TYPE_CHECKING:
    from reconciler.source.read import Desired


def carry_out_orders(house: House, desired: Callable[[], Desired]) -> None:
    """Do what waits, of the projects that this loop looks after. What cannot be done, or what a rule does not let through, is told as
    failed; what cannot be done now, because somebody else writes or a tool does not answer, waits on. `desired` reads the manifests, for
    the rules; it is called only where something waits.

    Nothing is done twice, whoever dies where: a run has its order's number in its id, and going back, which would go further back the
    second time, is begun once."""
    for order in house.store.doors.waiting_orders():
        if house.shard is None or house.shard.holds(order.ref):
            _carry_out(house, order, desired)


def _carry_out(house: House, order: Order, desired: Callable[[], Desired]) -> None:
    doors = house.store.doors
    try:
        said = _allowed(house, order, desired)
        if order.action == "rollback":
            doors.settle(order, "begun", "")
        done = _do(house, order, said)
    except (StalePlan, WriterBusy, Transient) as error:
        house.log.warning("order_waits", order=order.number, ref=str(order.ref), error=str(error))
        doors.settle(order, "waiting", masked(str(error)))
    except ReconcilerError as error:
        doors.settle(order, "failed", masked(str(error)))
    except Exception as error:  # a defect costs this order, not every pass from now on
        house.log.warning("order_failed", order=order.number, ref=str(order.ref), error=repr(error))
        doors.settle(order, "failed", f"it failed, which is a defect of the reconciler: {type(error).__name__}")
    else:
        doors.settle(order, "done", done)


def _allowed(house: House, order: Order, desired: Callable[[], Desired]) -> Mapping[str, str]:
    """What rules said of it, for the audit log. Raises UsageError where they do not let it through."""
    if order.action == "run":
        command = Command("start", order.ref, order.actor, conf=order.detail)
    else:
        command = Command("rollback", order.ref, order.actor, str(order.detail.get("reason", "")))
    found = must_be_allowed(command, desired(), house)
    for each in found:
        if each.verdict == "warn":
            house.log.warning("order_warned", order=order.number, ref=str(order.ref), rule=str(each))
    return noted(found)


def _do(house: House, order: Order, said: Mapping[str, str]) -> str:
    match order.action:
        case "run":
            conf = {str(key): str(value) for key, value in order.detail.items()}
            return start(house, order.ref, conf, order.actor, f"order-{order.number}", said=said)
        case "rollback":
            return roll_back(house, order.ref, str(order.detail.get("reason", "")), order.actor, said)
