"""The orders that wait in the Store, carried out by the loop before it looks at everything."""

from __future__ import annotations

from reconciler.errors import ReconcilerError, StalePlan, StoreError, Transient
from reconciler.house import House
from reconciler.orders.start import roll_back, start
from reconciler.secret import masked
from reconciler.state import Order


def carry_out_orders(house: House) -> None:
    """Do what waits, of the projects that this loop looks after. What cannot be done is told as failed; what cannot be done now, because
    somebody else writes or a tool does not answer, waits on."""
    for order in house.store.doors.waiting_orders():
        if house.shard is not None and not house.shard.holds(order.ref):
            continue
        try:
            done = _do(house, order)
        except (StalePlan, StoreError, Transient):
            house.log.warning("order_waits", order=order.number, ref=str(order.ref))
        except ReconcilerError as error:
            house.store.doors.settle(order, "failed", masked(str(error)))
        except Exception as error:  # a defect costs this order, not every pass from now on
            house.log.warning("order_failed", order=order.number, ref=str(order.ref), error=repr(error))
            house.store.doors.settle(order, "failed", f"it failed, which is a defect of the reconciler: {type(error).__name__}")
        else:
            house.store.doors.settle(order, "done", done)


def _do(house: House, order: Order) -> str:
    match order.action:
        case "run":
            return start(house, order.ref, {str(key): str(value) for key, value in order.detail.items()}, order.actor)
        case "rollback":
            return roll_back(house, order.ref, str(order.detail.get("reason", "")), order.actor)
