"""The common scale: how degrees become headroom and levels. Pure.

Headroom is Android's (PowerManager.getThermalHeadroom): used = (T - (T_serious - 30)) / 30, so that 1.0 = SERIOUS begins."""

from __future__ import annotations

from reconciler.admission.values import Level

SPAN = 30.0
"""Degrees Celsius from the start of the scale to SERIOUS (Android's constant)."""
FAIR_BELOW = 10.0
"""FAIR begins this many degrees below SERIOUS."""
CRITICAL_BELOW = 5.0
"""CRITICAL begins this many degrees below the point at which the hardware switches itself off."""
LOWEST, HIGHEST = -40.0, 150.0
"""Degrees outside of this are an error code of a driver, not a temperature: sensors say -274, 0.0 K or 255 when they are asleep."""


LOWEST_LIMIT, HIGHEST_LIMIT = 40.0, 126.0
"""Limits outside of this are no limits: boards are seen that call 20.8 C critical, and 127 C is a signed byte that nobody filled in."""


def plausible_limit(celsius: float | None) -> float | None:
    """`celsius` if a machine can really have such a limit, else None."""
    return celsius if celsius is not None and LOWEST_LIMIT <= celsius <= HIGHEST_LIMIT else None


def plausible(celsius: float) -> bool:
    """False for what drivers report when they have nothing to report; exactly zero is one of these."""
    return LOWEST <= celsius <= HIGHEST and celsius != 0


def used(celsius: float, serious: float) -> float:
    """Headroom used at a temperature; never below zero."""
    return max(0.0, (celsius - (serious - SPAN)) / SPAN)


def level_of_temperature(celsius: float, serious: float, critical: float | None) -> Level:
    """Level at a temperature, given where SERIOUS begins and where the hardware switches off (None = not known)."""
    if critical is not None and celsius >= critical - CRITICAL_BELOW:
        return Level.CRITICAL
    if celsius >= serious:
        return Level.SERIOUS
    return Level.FAIR if celsius >= serious - FAIR_BELOW else Level.NOMINAL


def level_of_used(share: float) -> Level:
    """Level of headroom used, where nothing else tells: the same thresholds, with the switch-off 20 degrees above SERIOUS."""
    return level_of_temperature(SPAN * share, SPAN, SPAN + 20.0)


def level_of_free(share: float) -> Level:
    """Memory level of a free share (0 to 1), as macOS's kern.memorystatus_level is read: nominal from 40 %, serious below 20 %."""
    if share < 0.05:
        return Level.CRITICAL
    if share < 0.2:
        return Level.SERIOUS
    return Level.FAIR if share < 0.4 else Level.NOMINAL
