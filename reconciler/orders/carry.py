"""The orders that wait in the Store, carried out by the loop before it looks at everything."""

from __future__ import annotations

from reconciler.errors import ReconcilerError, StalePlan, Transient, WriterBusy
from reconciler.house import House
from reconciler.orders.start import roll_back, start
from reconciler.secret import masked
from reconciler.state import Order


def carry_out_orders(house: House) -> None:
    """Do what waits, of the projects that this loop looks after. What cannot be done is told as failed; what cannot be done now, because
    somebody else writes or a tool does not answer, waits on.

    Nothing is done twice, whoever dies where: a run has its order's number in its id, and going back, which would go further back the
    second time, is begun once."""
    for order in house.store.doors.waiting_orders():
        if house.shard is None or house.shard.holds(order.ref):
            _carry_out(house, order)


def _carry_out(house: House, order: Order) -> None:
    doors = house.store.doors
    if order.action == "rollback":
        doors.settle(order, "begun", "")
    try:
        done = _do(house, order)
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


def _do(house: House, order: Order) -> str:
    match order.action:
        case "run":
            conf = {str(key): str(value) for key, value in order.detail.items()}
            return start(house, order.ref, conf, order.actor, f"order-{order.number}")
        case "rollback":
            return roll_back(house, order.ref, str(order.detail.get("reason", "")), order.actor)
