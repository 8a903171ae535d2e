"""What is to be done about a breach: each thing once for an episode, not too often, not too many times. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from controllers.monitors.notes import Episode, Notes
from controllers.monitors.scene import moment, named
from reconciler.controller import Reaction
from reconciler.model import Ref, Resource
from schemas.base import duration_value
from schemas.monitor import MonitorSpec, OnBreach


def due(resource: Resource[MonitorSpec], notes: Notes, now: float) -> tuple[Reaction, ...]:
    """What is to be done now about the episode that is open."""
    episode = notes.episode
    return tuple(_due(resource, notes, episode, now)) if episode is not None else ()


def done(notes: Notes, reaction: Reaction, said: str, now: float, *, carried_out: bool) -> Notes:
    """The notebook after a reaction; one that could not be carried out for good counts as done for this episode, not for the budget."""
    episode = notes.episode
    if episode is None:
        return notes
    acted = {**episode.acted, reaction.key: {"at": now, "said": said}}
    budget = {**notes.acted, reaction.key: (*notes.acted.get(reaction.key, ()), now)} if carried_out else notes.acted
    return replace(notes, episode=replace(episode, acted=acted), acted=budget)


def _due(resource: Resource[MonitorSpec], notes: Notes, episode: Episode, now: float) -> Iterator[Reaction]:
    for each in resource.spec.on_breach:
        key = _key(each, resource)
        if not key or key in episode.acted or _waits(each, notes.acted.get(key, ()), now):
            continue
        why = f"{resource.ref}: {'; '.join(text or name for name, text in episode.failing.items())}"
        if each.rollback:
            yield _rollback(resource, key, episode, why)
        else:
            columns = ",".join(dict.fromkeys(str(one.get("column")) for one in episode.columns))
            since, until = (datetime.fromtimestamp(at, UTC).isoformat() for at in (episode.since, episode.until))
            conf = {"monitor": resource.ref.path, "breach": episode.id, "since": since, "until": until, "columns": columns}
            yield Reaction(key, "start", _named(str(each.run), resource, "Workflow"), why, f"breach-{episode.id}", conf)


def _rollback(resource: Resource[MonitorSpec], key: str, episode: Episode, why: str) -> Reaction:
    """Only what came after the last good window is taken back: an older version would see the same."""
    ref = _named(str(resource.spec.deployment), resource, "Deployment")
    came = any(text.startswith(("another version", "the deployment's revision")) for text in episode.causes)
    helps = "" if came else "not rolled back: what is served was there in the last good window too"
    return Reaction(key, "roll_back", ref, why, episode.id, refused=helps)


def _waits(asked: OnBreach, times: tuple[float, ...], now: float) -> bool:
    """Whether it was done too lately, or too often: the pause doubles each time."""
    within = duration_value(asked.within).total_seconds()
    lately = [each for each in times if now - each < within]
    if len(lately) >= asked.at_most:
        return True
    pause = duration_value(asked.back_off).total_seconds() * 2 ** (len(lately) - 1) if lately else 0.0
    return bool(lately) and now - lately[-1] < pause


def spent(resource: Resource[MonitorSpec], notes: Notes, now: float) -> tuple[str, ...]:
    """Of what is not done because its budget is spent or its pause not over, in words."""
    found = []
    for each in resource.spec.on_breach:
        key = _key(each, resource)
        if key and notes.episode is not None and key not in notes.episode.acted and _waits(each, notes.acted.get(key, ()), now):
            last = moment(notes.acted[key][-1])
            found.append(
                f"{key} waits: it was done {len(notes.acted[key])} times, last {last} UTC (at most {each.at_most} in {each.within})"
            )
    return tuple(found)


def _key(asked: OnBreach, resource: Resource[MonitorSpec]) -> str:
    """Of a reaction, for the notebook; empty for an alert, which the AlertPolicies see to."""
    if asked.run is not None:
        return f"run {_named(asked.run, resource, 'Workflow')}"
    return f"rollback {_named(str(resource.spec.deployment), resource, 'Deployment')}" if asked.rollback else ""


def _named(name: str, resource: Resource[MonitorSpec], kind: str) -> Ref:
    found = named(name, resource.ref, kind)
    assert found is not None
    return found
