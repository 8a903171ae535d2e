"""What is silenced now, and which reports come when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.alerting.values import Silence
    from reconciler.house import House
    from reconciler.report.alerts import Scheduled


def silences(house: House, now: datetime) -> list[Silence]:
    """Those of people, then those that manifests declare and that are not over."""
    from reconciler.alerting.routing import declared
    from reconciler.alerting.values import Mark, Policy

    policies = [Policy(name, spec, now, Mark(now, 0)) for name, spec in house.store.alerts.policies().items()]
    return [*house.store.alerts.silences(), *(each for policy in policies for each in declared(policy) if each.until > now)]


def scheduled(house: House, now: datetime) -> list[Scheduled]:
    """The reports of all policies, the next one first."""
    from reconciler.alerting.due import following, latest
    from reconciler.report.alerts import Scheduled

    marks, found = house.store.reports.marks(), list[Scheduled]()
    for policy, spec in house.store.alerts.policies().items():
        for each in spec.reports:
            mark, newest = marks.get((policy, each.name)), latest(each, now)
            waits = newest if mark is not None and newest > mark.due else None
            found.append(Scheduled(policy, each, following(each, now), mark.made if mark else None, waits))
    return sorted(found, key=lambda each: (each.next, each.policy, each.report.name))
