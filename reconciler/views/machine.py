"""This machine in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.house import House


def machine_words(house: House) -> str:
    """Chip, cores, memory and accelerators: what measurements were made on."""
    from reconciler.hardware.detector import detect

    found = detect(house.settings.state)
    more = [each.name for each in found.accelerators]
    return ", ".join([found.chip, f"{found.cores:g} cores", f"{found.memory / 2**30:.0f} GiB", *more])
