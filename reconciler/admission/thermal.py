"""The heat rule: whether a node may take more work, from its level and from a forecast of its headroom. Pure.

The model is two thermal masses of which the fast one (the die, seconds) is always at rest: its rise over the chassis is
proportional to power, and the chassis (minutes) relaxes exponentially. Temperatures are in headroom used, as Android's
`PowerManager.getThermalHeadroom` has it: 1.0 = the machine begins to throttle. `calibrate` fits the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

from reconciler.admission.calibrate import fit, observed
from reconciler.admission.values import Heat, Lease, Level, Node, Rules, ThermalModel

__all__ = ["fit", "forecast", "may_start", "observed", "running_watts"]


def forecast(model: ThermalModel, used: float, running: float, more: float, seconds: float) -> float:
    """The most headroom used within `seconds` from now, when `more` watts join the `running` ones at once and both stay.

    T(t+h) = T_ss + (T_0 - T_ss) exp(-h / tau) with T_ss = ambient + R * P and T_0 = T + fast * `more`: what follows power at
    once has jumped already. The curve is monotonic, so that its highest point is one of its ends."""
    jumped = used + model.fast * more
    rest = model.ambient + model.resistance * (running + more)
    return max(used, jumped, rest + (jumped - rest) * math.exp(-seconds / model.tau))


def running_watts(node: Node, leases: Iterable[Lease], now: datetime, rules: Rules) -> float:
    """Power of what runs on `node`: as measured, plus what was granted too recently for the measurement to hold it;
    as declared where nothing is measured. Add the watts of each further grant of the same decision to it."""
    here = [each for each in leases if each.node == node.name and not each.paused]
    if node.heat.watts is not None:
        here = [each for each in here if now - each.since < rules.settle]
    return (node.heat.watts or 0.0) + sum(each.amounts.watts for each in here) / 1000


def may_start(node: Node, running: float, item_watts: float, priority: int, seconds: float | None, rules: Rules) -> tuple[bool, str]:
    """Whether heat lets work of `item_watts` start beside what takes `running` watts (see `running_watts`), and why or why not.

    `seconds` is the expected length of the work, None when it is not known. A node whose heat nobody tells (UNKNOWN) is never
    a reason to wait. With a fitted model the forecast at the end of the work, or at the horizon, must stay below the ceiling;
    the exempt priorities may use most of the rest. The text names no measured number, so that it does not flap."""
    heat, exempt = node.heat, priority >= rules.exempt_priority
    if heat.level is Level.CRITICAL:
        return False, f"{node.name} is critically hot: nothing starts"
    if heat.level is Level.SERIOUS and not exempt:
        return False, f"{node.name} is hot (serious): only priority {rules.exempt_priority} and above starts"
    if heat.level is Level.UNKNOWN or heat.model is None or heat.used is None:
        return True, _without_forecast(heat)
    ahead = rules.horizon if seconds is None else min(seconds, rules.horizon)
    most = heat.model.limit * (rules.exempt_ceiling if exempt else rules.ceiling)
    if forecast(heat.model, heat.used, running, item_watts * (1.0 + rules.power_margin), ahead) <= most:
        return True, f"{node.name} stays cool enough"
    if exempt:
        return False, f"{node.name} would become hot (serious): its power and this work's together pass what it can cool"
    return (
        False,
        f"{node.name} would pass {rules.ceiling:.0%} of its thermal headroom; priority {rules.exempt_priority} and above may use the rest",
    )


def _without_forecast(heat: Heat) -> str:
    if heat.level is Level.UNKNOWN:
        return "no sensor tells the heat: quotas and memory alone decide"
    return f"heat is {heat.level}; no thermal model is fitted yet, so the level alone decides"
