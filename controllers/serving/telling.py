"""A deployment in words: what differs, what is on its way, how it is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controllers.serving.gates import Answer
from controllers.serving.revision import NOT_KNOWN
from controllers.serving.rollout import START, State, Terms, gates, unloading, weight, weights
from controllers.serving.routing import settings
from controllers.serving.scene import AGAIN, Following, Scene
from reconciler.diff import compare
from reconciler.model import KNOWN_AFTER_APPLY, Change, Diff, Fields, Health, HealthReport, Resource
from reconciler.model.serving import Route

INTERNAL = ("wakes", "wakesAbove")
"""Settings of a route that follow from other things, and are told with those."""


def fields(scene: Scene) -> Fields:
    """What serves now, with the manifest's own names where it has one."""
    state, notes = scene.notes.state, scene.notes
    serving = notes.revisions.get(state.stable)
    found: dict[str, Any] = {"replicas": notes.replicas}
    if serving is not None:
        found |= {"version": serving.version, "run": serving.run, "runtime": serving.runtime, "model": serving.model}
    if scene.route is not None:
        found |= {name: each for name, each in settings(scene.route).items() if name not in INTERNAL}
        found["weights"] = _weights(scene.route)
    return found


def changes(scene: Scene, then: Following) -> Diff:
    """What the next apply changes."""
    found = [*_versions(scene, then), *_settings(scene, then), *_others(scene, then)]
    if not found and scene.route != then.route:
        found = list(_drift(scene, then))
    if not found and then.state != scene.notes.state:
        found = [Change("rollout", None, None, note="its notebook is brought up to date")]
    if then.wanted.reason == NOT_KNOWN:
        serving = scene.notes.revisions.get(scene.notes.state.stable)
        found.append(Change("spec.version", serving.version if serving else None, KNOWN_AFTER_APPLY))
    return tuple(found)


def _versions(scene: Scene, then: Following) -> Iterator[Change]:
    before, after = scene.notes.state, then.state
    new = [digest for digest in after.quarantined if digest not in before.quarantined]
    for digest in new:
        yield Change(
            "rollout",
            _share(before, digest, then.terms),
            "0 %",
            note=f"{_name(scene, then, digest)} is taken back: {after.quarantined[digest]}",
        )
    if after.held and after.held != before.held:
        yield Change("rollout", _share(before, after.candidate, then.terms), "held", note=after.held)
    if after.candidate and after.candidate != before.candidate:
        yield _begins(scene, then)
    if after.stable != before.stable:
        old = then.label(before.stable) if before.stable else ""
        note = f"{old} gets no more requests, and ends when it has answered those it has" if old else "it answers"
        have = _share(before, after.stable, then.terms) if old else "starting"
        yield Change("rollout", have, "100 %", note=f"{then.label(after.stable)}: {note}")
    elif after.candidate and after.candidate == before.candidate and after.step != before.step:
        yield Change("rollout", f"{weight(before, then.terms)} %", f"{weight(after, then.terms)} %", note=then.label(after.candidate))
    had, has = scene.notes.revisions.get(after.stable), then.revisions.get(after.stable)
    if had is not None and has is not None and had.version != has.version:
        yield Change("version", had.version, has.version, note="the same files, registered once more: nothing is started anew")
    for digest in before.retiring:
        if digest not in after.retiring and digest != after.candidate:
            yield Change("drained", _name(scene, then, digest), None, note="it has answered all that it had in hand")


def _begins(scene: Scene, then: Following) -> Change:
    state, revision = then.state, then.revisions[then.state.candidate]
    old = then.revisions.get(state.stable)
    how = f"{revision.runtime}: {revision.why}"
    if old is None:
        return Change("version", None, revision.version, note=how)
    if state.stable in state.quarantined:
        return Change("version", old.version, revision.version, note=f"back to what was good: {state.quarantined[state.stable]}")
    if unloading(state, then.terms):
        how += f"; there is no room for both, so v{old.version} ends first: no answers until v{revision.version} is up"
    else:
        how += "; step by step" if then.terms.steps else "; at once, when it is ready"
    if old.version == revision.version:
        return Change("revision", old.digest[:8], revision.digest[:8], note=how)
    return Change("version", old.version, revision.version, note=how)


def _settings(scene: Scene, then: Following) -> Iterator[Change]:
    want = {name: each for name, each in settings(then.route).items() if name not in INTERNAL}
    if scene.route is None:
        if scene.notes.state.stable or scene.notes.state.candidate:
            yield Change("route", None, then.route.path, note="the gateway was not told of it")
        return
    have = {name: each for name, each in settings(scene.route).items() if name not in INTERNAL}
    yield from compare(want, have, {"labels": have["labels"]})


def _others(scene: Scene, then: Following) -> Iterator[Change]:
    if scene.notes.replicas is not None and then.replicas != scene.notes.replicas:
        yield Change("replicas", scene.notes.replicas, then.replicas, note=_load(scene))
    for digest in sorted({scene.notes.state.stable, scene.notes.state.candidate} & {then.state.stable, then.state.candidate} - {""}):
        revision = then.revisions.get(digest)
        if revision is not None and (digest in scene.gone or not revision.bento):
            yield Change("package", None, revision.label, note="it is not whole in BentoML's store, and is built again")


def _drift(scene: Scene, then: Following) -> Iterator[Change]:
    """What only the route shows: somebody else wrote it, or the same files have another version's name now."""
    if scene.route is None:
        yield Change("route", None, then.route.path)
        return
    have, want = ({each.digest: each.weight for each in route.targets} for route in (scene.route, then.route))
    if have != want:
        yield Change("weights", _weights(scene.route), _weights(then.route), note="the routes were changed outside the reconciler")
    elif scene.route.targets != then.route.targets:
        names = [f"v{each.version}" for each in then.route.targets]
        yield Change("targets", None, ", ".join(names), note="what the gateway says of the versions")
    else:
        yield Change("route", None, None, note="when it asks for more replicas")


def health(resource: Resource[Any], scene: Scene, then: Following) -> HealthReport:
    """How it is, from the worst to the best."""
    state, notes = scene.notes.state, scene.notes
    serves = f"; {then.label(state.stable)} serves" if state.stable else "; nothing serves"
    aim = then.wanted
    if scene.inactive:
        return HealthReport(Health.SUSPENDED, f"off: {scene.inactive}", "ProjectInactive")
    if aim.digest and notes.refused.digest == aim.digest and scene.facts.now - notes.refused.at < AGAIN:
        why = f"{aim.revision.label if aim.revision else 'it'} is refused: {notes.refused.why}{serves}"
        return HealthReport(Health.DEGRADED, why, "Refused", stalled=True)
    if state.held:
        share = weight(state, then.terms)
        return HealthReport(
            Health.DEGRADED, f"{then.label(state.candidate)} is held at {share} %: {state.held}{serves}", "RolloutHeld", stalled=True
        )
    if aim.digest in state.quarantined and not state.candidate:
        why = f"{aim.revision.label if aim.revision else 'it'} was taken back: {state.quarantined[aim.digest]}{serves}"
        return HealthReport(Health.DEGRADED, why, "RolledBack", stalled=True)
    if aim.final:
        return HealthReport(Health.DEGRADED, f"{aim.why}{serves}", aim.reason, stalled=True)
    if state.candidate:
        return HealthReport(Health.PROGRESSING, _moving(scene, then), "RollingOut" if state.stable else "Starting")
    if not state.stable:
        return HealthReport(Health.PROGRESSING, aim.why or "not started yet", aim.reason or "Waiting")
    return _standing(scene, then)


def _standing(scene: Scene, then: Following) -> HealthReport:
    state = scene.notes.state
    serving, app = then.revisions.get(state.stable), scene.facts.app(state.stable)
    runtime = f" ({serving.runtime})" if serving else ""
    if not then.replicas:
        return HealthReport(Health.HEALTHY, f"{then.label(state.stable)}{runtime} at zero replicas; the next request starts one")
    if app.failed:
        return HealthReport(Health.DEGRADED, f"{then.label(state.stable)}: {app.failed}", "ReplicasFailed")
    if not scene.facts.gateway:
        return HealthReport(Health.UNKNOWN, "the gateway does not answer", "GatewayUnreachable")
    if app.ready < then.replicas:
        return HealthReport(Health.PROGRESSING, f"{app.ready} of {then.replicas} replicas of {then.label(state.stable)} ready", "Starting")
    number = f"{then.replicas} replica{'s' if then.replicas > 1 else ''}"
    said = f"{then.label(state.stable)} on {number}{runtime}, 100 %"
    if state.retiring:
        last = ", ".join(then.label(each) for each in state.retiring)
        return HealthReport(Health.PROGRESSING, f"{said}; {last}: last answers, then it ends", "Draining")
    if then.wanted.reason == "WaitingForModel":  # it goes on to serve what the Model has taken back, and somebody should know
        return HealthReport(Health.HEALTHY, f"{said}; {then.wanted.why}", "NoVersion")
    return HealthReport(Health.HEALTHY, said)


def _moving(scene: Scene, then: Following) -> str:
    """What a rollout waits for."""
    state, facts, by = scene.notes.state, scene.facts, then.terms
    app, label = facts.app(state.candidate), then.label(state.candidate)
    if state.step == START or not by.steps:
        beside = f" beside {then.label(state.stable)}" if state.stable else ""
        beside = f"; {then.label(state.stable)} was ended first" if unloading(state, by) else beside
        return f"{label} starts{beside}: {app.ready} of {then.slots.get(state.candidate, by.trial)} replicas ready"
    left = by.steps[min(state.step, len(by.steps) - 1)][1] - (facts.now - state.since)
    judged = gates(state, facts, by)
    held = [f"hold {_span(left)} left"] if left > 0 else []
    waits = [] if left > 0 or any(each.answer is Answer.HOLD for each in judged) else ["ready for the next step"]
    return ", ".join([f"canary at {weight(state, by)} %", *held, *dict.fromkeys(each.said for each in judged), *waits])


def _name(scene: Scene, then: Following, digest: str) -> str:
    """Of a revision that may be forgotten afterwards."""
    before = scene.notes.revisions.get(digest)
    return before.label if before else then.label(digest)


def _share(state: State, digest: str, by: Terms) -> str:
    return f"{weights(state, by).get(digest, 0)} %"


def _weights(route: Route) -> Mapping[str, int]:
    return {f"v{each.version} ({each.digest[:8]})": each.weight for each in route.targets}


def _load(scene: Scene) -> str:
    return f"{scene.stats.load:.1f} requests in hand" if scene.stats is not None else ""


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
