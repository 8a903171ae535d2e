"""The sensors of the simulated machine, on the scale and through the filter of the real ones, and the thermal model learned from them."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import datetime
from random import Random

from reconciler.admission.calibrate import fit
from reconciler.admission.simulate.plant import Plant
from reconciler.admission.values import Heat, ThermalModel
from reconciler.hardware.filter import Filtered, step
from reconciler.hardware.values import Reading

LEARN_EVERY = 900
"""Seconds between two fits of the model."""
SAMPLE = 10
"""Seconds between two samples that are kept."""
KEEP = 4 * 3600 // SAMPLE
"""Samples that the model is fitted to."""
REHEARSAL = 3 * 3600
"""Seconds of changing load before the simulation begins: a machine that was used yesterday has a model."""
SOURCE = "simulated.die"


class Senses:
    """What admission is told of heat. `look` once a second."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.heat = Heat()
        self.history: deque[tuple[float, float, float | None]] = deque(maxlen=KEEP)
        self._state = Filtered()
        self._ticks = 0

    def learn(self, random: Random) -> None:
        """Work the plant before the simulation begins, fit the model, and let everything cool down."""
        plant, share = self.plant, 0.0
        for second in range(-REHEARSAL, 0):
            if second % 240 == 0:
                share = random.choice((0.2, 0.5, 0.8, 1.0))
            plant.advance(share * plant.spec.sustained, 0.0, 1.0)
            self.look(float(second), None)
        model = fit(tuple(self.history))
        plant.rest()
        self._state = Filtered()
        self.heat = Heat()
        self.look(0.0, None)
        self.heat = replace(self.heat, model=model)

    @property
    def model(self) -> ThermalModel | None:
        return self.heat.model

    def look(self, now: float, moment: datetime | None) -> bool:
        """Read once; True when the filtered level has changed."""
        used, watts, level = self.plant.read()
        self._state = step(self._state, (Reading(SOURCE, "heat", level, used),), now)
        self._ticks += 1
        if self._ticks % SAMPLE == 0:
            self.history.append((now, watts, used))
        before, model = self.heat, self.heat.model
        if self._ticks % LEARN_EVERY == 0 and now > 0:
            model = fit(tuple(self.history)) or model
        changed = self._state.level is not before.level
        since = moment if changed or before.since is None else before.since
        self.heat = Heat(self._state.level, self._state.used, since, watts, model, SOURCE)
        return changed
