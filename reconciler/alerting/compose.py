"""Makes scheduled reports: reads where everything stands, writes it down once, and queues it for delivery."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from secrets import token_hex

from reconciler.alerting.decide import notification
from reconciler.alerting.due import due
from reconciler.alerting.values import Due, Message, Part, Policy, ReportMark
from reconciler.errors import StoreError
from reconciler.house import House
from reconciler.report.bulletin import Facts, bulletin, is_wanted, of_projects, said
from reconciler.views.overview import overview
from schemas.statusreport import StatusReport

GROUP = "report"
"""How the group of a report begins."""


def make_due(policies: tuple[Policy, ...], house: House) -> datetime | None:
    """Make and queue the reports that are due; when the next one is. A defect costs its report, and no alarm. Raises StoreError."""
    store, now = house.store, house.now()
    found, following = due(policies, store.reports.follow(policies), now)
    for each in found:
        try:
            _make(each, house)
        except StoreError:
            raise
        except Exception as error:
            house.log.warning("report_not_made", policy=each.policy, report=each.report.name, error=repr(error))
    return following


def _make(asked: Due, house: House) -> None:
    facts = _facts(asked, house)
    made = bulletin(asked, facts) if is_wanted(asked, facts) else None
    parts = (Part(asked.subject, "report"),)
    group = (GROUP, asked.report.name)
    told = [notification(asked.policy, each, group, parts) for each in dict.fromkeys(asked.report.receivers)]
    house.store.reports.queue(asked, told, made, said(facts), facts.now)


def seen_now(policy: str, report: StatusReport, receiver: str, house: House) -> Message:
    """The report as it would be now, for one receiver; nothing is noted."""
    now = house.now()
    mark = house.store.reports.marks().get((policy, report.name)) or ReportMark("", due=now, since=now)
    asked = Due(policy, report, now, mark)
    made = notification(policy, receiver, ("test", token_hex(8)), (Part(asked.subject, "report"),))
    return Message(made, (), (), now, bulletin=bulletin(asked, _facts(asked, house), test=True))


def _facts(asked: Due, house: House) -> Facts:
    store, now, projects = house.store, house.now(), asked.report.projects
    statuses, fires = of_projects(projects, list(store.statuses().values()), list(store.alerts.firing().values()))
    about = overview(house)
    if projects:  # the rest is the installation's
        about = replace(about, applied_at=None)
    return Facts(statuses, fires, store.reports.done(asked.mark.since, now, projects), about, now)
