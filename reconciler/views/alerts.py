"""What is silenced now."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.alerting.values import Silence
    from reconciler.house import House


def silences(house: House, now: datetime) -> list[Silence]:
    """Those of people, then those that manifests declare and that are not over."""
    from reconciler.alerting.routing import declared
    from reconciler.alerting.values import Mark, Policy

    policies = [Policy(name, spec, now, Mark(now, 0)) for name, spec in house.store.alerts.policies().items()]
    return [*house.store.alerts.silences(), *(each for policy in policies for each in declared(policy) if each.until > now)]
