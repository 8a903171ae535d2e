"""Who is to be told what, now: one pure function over one scene. The same scene gives the same notifications, with the same ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.alerting.routing import (
    declared,
    is_own_trouble,
    is_told,
    quiet_until,
    routes_of,
    seconds,
    silenced_until,
)
from reconciler.alerting.values import Alert, Change, Decision, Group, Mark, Notification, Part, Phase, Policy, Scene, Told
from reconciler.model import Ref

LAG = timedelta(hours=1)
"""What ended within this time is looked at once more, whatever was decided: clocks differ, and transactions end out of order."""
AUDIT_LAG = timedelta(minutes=1)
"""The same for lines of the audit log."""
WORTHWHILE = 256
"""A mark that would pass over fewer is moved only along with something else that is written."""
_NOBODY = Told(datetime.min)


@dataclass(frozen=True)
class _Entry:
    """Something to tell one receiver."""

    part: Part
    group: Group
    at: datetime
    """When it became worth telling."""
    severity: str
    ended: datetime | None = None


def decide(scene: Scene) -> Decision:
    """What every receiver of every policy is to be told now, what is not told for a silence, and when to look again."""
    notifications: list[Notification] = []
    silenced: list[tuple[str, str, str]] = []
    marks: dict[str, Mark] = {}
    later: list[datetime] = []
    known: dict[Ref, list[Alert]] = {}
    for alert in scene.alerts:
        known.setdefault(alert.ref, []).append(alert)
    for policy in scene.policies:
        left: list[_Entry] = []
        made = len(notifications) + len(silenced)
        for receiver in policy.spec.receivers:
            desk = _Desk(scene, policy, receiver.name, known)
            notifications += desk.notifications()
            silenced += desk.silenced
            later += desk.later
            left += desk.left
        mark = _moved(scene, policy, left)
        if mark != policy.mark and (len(notifications) + len(silenced) > made or _passed(scene, policy, mark) >= WORTHWHILE):
            marks[policy.name] = mark
    return Decision(tuple(notifications), tuple(silenced), marks, min((each for each in later if each > scene.now), default=None))


class _Desk:
    """Works out what one receiver of one policy is told."""

    def __init__(self, scene: Scene, policy: Policy, receiver: str, known: Mapping[Ref, Sequence[Alert]]) -> None:
        self._scene, self._policy, self._spec, self._receiver, self._known = scene, policy, policy.spec, receiver, known
        self._silences = (*scene.silences, *declared(policy))
        self._wait, self._interval = seconds(policy.spec.group_wait), seconds(policy.spec.group_interval)
        self._every = seconds(policy.spec.repeat_every)
        self.silenced: list[tuple[str, str, str]] = []
        self.later: list[datetime] = []
        self.left: list[_Entry] = []
        """To be told, and not yet."""

    def notifications(self) -> Iterator[Notification]:
        entries = [each for alert in self._scene.alerts for each in self._of_alert(alert)]
        entries += [each for change in self._scene.changes for each in self._of_change(change)]
        groups: dict[Group, list[_Entry]] = {}
        for each in entries:
            groups.setdefault(each.group, []).append(each)
        for group, waiting in sorted(groups.items()):
            yield from self._of_group(group, waiting)

    # --- one alert, one change ---

    def _of_alert(self, alert: Alert) -> Iterator[_Entry]:
        routes = routes_of(alert, self._spec, self._receiver, self._known)
        told = self._told(alert.id)
        if is_own_trouble(alert, self._policy, self._receiver, self._scene.failing):
            return
        if alert.ended is not None:
            yield from self._of_ended(alert, told, min((seconds(each.after) for each in routes), default=None))
            return
        if not routes:
            return
        due = alert.since + min(seconds(each.after) for each in routes)
        phase: Phase = "firing"
        if told.firing:
            if not self._every or (self._policy.name, self._receiver) in self._scene.failing:
                return  # a receiver that comes back must not find a heap of repeats
            due, phase = told.at + self._every, "repeat"
        if (until := silenced_until(alert, self._silences, self._scene.now)) is not None:
            self.later.append(until)
            if phase == "firing" and not told.silenced:
                self.silenced.append((self._policy.name, self._receiver, alert.id))
            return
        if due > self._scene.now:
            self.later.append(due)
            if phase == "firing":
                return
        yield self._entry(alert, phase, due, told.repeats + 1 if phase == "repeat" else 0)

    def _of_ended(self, alert: Alert, told: Told, after: timedelta | None) -> Iterator[_Entry]:
        """The end of what was told; and what came and went while it could not be told."""
        ended = alert.ended or self._scene.now
        if ended <= self._policy.mark.ended:
            return
        if told.firing:
            if told.reached and not told.resolved and self._tells_ends(alert):
                yield self._entry(alert, "resolved", ended)
            return
        new = not (told.firing or told.silenced or told.resolved) and ended > self._policy.since
        lasted = after is not None and alert.since + after + self._wait <= ended
        if new and lasted and not self._was_silenced(alert):
            yield self._entry(alert, "passed", ended)

    def _tells_ends(self, alert: Alert) -> bool:
        """Every route that leads it here now tells ends; what was told on a route that is gone has its end told too."""
        routes = routes_of(alert, self._spec, self._receiver, {})
        return not routes or any(each.resolved for each in routes)

    def _was_silenced(self, alert: Alert) -> bool:
        return silenced_until(alert, self._silences, alert.ended or self._scene.now) is not None

    def _of_change(self, change: Change) -> Iterator[_Entry]:
        if change.id <= self._policy.mark.audit or not is_told(change, self._spec, self._receiver):
            return
        if not self._told(change.subject).firing:
            group = self._group("changes", change.ref, "", "")
            yield _Entry(Part(change.subject, "changed"), group, change.at, "info")

    def _entry(self, alert: Alert, phase: Phase, at: datetime, nth: int = 0) -> _Entry:
        group = self._group("alerts", alert.ref, alert.reason, alert.severity)
        return _Entry(Part(alert.id, phase, nth), group, at, alert.severity, alert.ended)

    # --- one group ---

    def _of_group(self, group: Group, entries: Sequence[_Entry]) -> Iterator[Notification]:
        now = self._scene.now
        free: list[_Entry] = []
        for each in entries:
            until = quiet_until(self._spec.quiet_hours, each.severity, now)
            if until is None:
                free.append(each)
            else:
                self.later.append(until)
                self.left += [each] if each.part.phase != "repeat" else []
        news = [each for each in free if each.part.phase != "repeat"]
        repeats = [each for each in free if each.part.phase == "repeat"]
        due = self._due(group, news)
        if due is not None and due <= now:
            yield self._made(group, news)
        elif due is not None:
            self.later.append(due)
            self.left += news
        elif any(each.at <= now for each in repeats):  # all at once: one message for each group
            yield self._made(group, repeats)

    def _due(self, group: Group, news: Sequence[_Entry]) -> datetime | None:
        if not news:
            return None
        if self._scene.flush is not None and any(each.at >= self._scene.flush for each in news):
            return self._scene.now
        due = min(each.at for each in news) + self._wait
        last = self._scene.spoken.get((self._policy.name, self._receiver, group))
        return due if last is None else max(due, last + self._interval)

    def _made(self, group: Group, entries: Iterable[_Entry]) -> Notification:
        parts = tuple(each.part for each in entries)
        return notification(self._policy.name, self._receiver, group, parts)

    def _group(self, sort: str, ref: Ref | None, reason: str, severity: str) -> Group:
        """Alerts and changes go in messages of their own."""
        known = {
            "kind": ref.kind if ref else "",
            "project": ref.owner if ref else "",
            "name": ref.name if ref else "",
            "reason": reason,
            "severity": severity,
        }
        return (sort, *(f"{each}={known[each]}" for each in self._spec.group_by))

    def _told(self, subject: str) -> Told:
        return self._scene.told.get((self._policy.name, self._receiver, subject), _NOBODY)


def notification(policy: str, receiver: str, group: Group, parts: tuple[Part, ...]) -> Notification:
    """With the id that follows from all of it."""
    ordered = tuple(sorted(parts, key=lambda each: (each.subject, each.phase, each.nth)))
    made = json.dumps([policy, receiver, group, [[each.subject, each.phase, each.nth] for each in ordered]])
    return Notification(policy, receiver, group, parts, hashlib.sha256(made.encode()).hexdigest()[:32])


# --- marks ---------------------------------------------------------------------------------------------------------


def _moved(scene: Scene, policy: Policy, left: Sequence[_Entry]) -> Mark:
    """As far as nothing is left to tell before it."""
    ended = min([scene.now - LAG, *(each.ended - timedelta.resolution for each in left if each.ended is not None)])
    waiting = [each.part.subject for each in left if each.part.phase == "changed"]
    settled = [each.id for each in scene.changes if each.at <= scene.now - AUDIT_LAG and (not waiting or each.subject < min(waiting))]
    return Mark(max(policy.mark.ended, ended), max([policy.mark.audit, *settled]))


def _passed(scene: Scene, policy: Policy, mark: Mark) -> int:
    """How many alerts and lines lie before `mark` and not before the one of now."""
    alerts = sum(each.ended is not None and policy.mark.ended < each.ended <= mark.ended for each in scene.alerts)
    return alerts + sum(policy.mark.audit < each.id <= mark.audit for each in scene.changes)
