"""How one revision of a deployment takes over from another. Pure: state, what is wanted, what was seen -> the next state.

::

    wanted -> candidate (no traffic) -> ready -> [canary: step 0, step 1, ...] -> stable
                  |                        |
                  +---- it fails ----------+--> quarantined (why is kept), its requests drained, its application removed
    the old stable one -> retiring -> removed once the gateway works by a generation without it and has no request left on it

`advance` goes as far as the facts allow, so that a second call with the same facts changes nothing. Whether an application may go is
decided here too (`slots`): what has traffic, or requests in hand, keeps its replicas."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import ceil

from controllers.serving.gates import Answer, Baseline, Gate, judge, together
from reconciler.model.serving import AppStats
from schemas.base import duration_value
from schemas.deployment import Rollout, RolloutGates

START = -1
"""Step of a candidate that gets no traffic yet."""
STEPS = ((10, 60.0), (50, 60.0))
"""Weight in per cent and seconds of a canary's steps, where the manifest names none."""
KEPT = 10
"""Earlier stable revisions that are remembered."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a deployment stands; revisions by digest. Kept in its notebook, and changed at transitions only."""

    stable: str = ""
    """The one that serves; empty = none has come up yet."""
    candidate: str = ""
    """The one that is to become stable."""
    step: int = START
    since: float = 0.0
    """Unix seconds: when the step began."""
    baseline: Baseline = field(default_factory=Baseline)
    """The candidate's counters when the step began."""
    held: str = ""
    """Why the rollout stands still until somebody decides (`onFailure: hold`)."""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Not wanted any more, although manifest and alias still lead to it -> why."""
    retiring: Mapping[str, int] = field(default_factory=dict)
    """Still runs -> the generation of the routes that does not name it any more; 0 = not written yet."""
    good: tuple[str, ...] = ()
    """Earlier stable ones, the newest first; what can be gone back to."""


@dataclass(frozen=True, slots=True)
class App:
    """What was seen of one revision's application."""

    ready: int = 0
    """Replicas that the gateway sends to."""
    declared: int = 0
    """Replicas that Serve was asked for."""
    running: int = 0
    """Replicas that Serve has up."""
    failed: str = ""
    """Why Serve could not bring it up."""
    given_up: bool = False
    """Serve does not try any more."""
    begun: float = 0.0
    """Unix seconds: when Serve was asked for it first, or for more of it; 0 = not known."""
    stats: AppStats = field(default_factory=AppStats)


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen, at one moment."""

    now: float
    gateway: str = ""
    """Its start; empty = it gave no answer, and nothing is decided that depends on traffic."""
    acknowledged: int = 0
    """Generation of the routes that it works by."""
    draining: Mapping[str, int] = field(default_factory=dict)
    """Revisions that no route names any more -> requests that still run on them."""
    apps: Mapping[str, App] = field(default_factory=dict)

    def app(self, digest: str) -> App:
        return self.apps.get(digest, App())


@dataclass(frozen=True, slots=True)
class Terms:
    """What the manifest says of a rollout, and how many replicas there are to be."""

    steps: tuple[tuple[int, float], ...] = ()
    """Weight in per cent and seconds; empty = all at once."""
    gates: RolloutGates = field(default_factory=RolloutGates)
    rolls_back: bool = True
    start_timeout: float = 180.0
    replicas: int = 1
    """Of the stable revision; 0 = scaled to zero."""
    unloads: bool = False
    """The old one ends before the new one starts: both do not fit, or are not to."""
    off: bool = False
    """Nothing is to run; what is being rolled out waits."""

    @property
    def trial(self) -> int:
        """Replicas by which a candidate has to show that it can take over."""
        return max(1, self.replicas)


def terms(spec: Rollout, replicas: int, *, unloads: bool, off: bool) -> Terms:
    """What a manifest says, as numbers. Who has no room for two revisions at once has none for a canary."""
    steps: tuple[tuple[int, float], ...] = ()
    if spec.strategy == "canary" and not unloads:
        steps = tuple((each.weight, duration_value(each.hold).total_seconds()) for each in spec.steps) or STEPS
    timeout = duration_value(spec.start_timeout).total_seconds()
    return Terms(steps, spec.gates, spec.on_failure == "rollback", timeout, replicas, unloads, off)


def advance(state: State, wanted: str, facts: Facts, by: Terms) -> State:
    """The state that follows. `wanted` is the digest that manifest and alias lead to; empty = not known, and what is there goes on."""
    for _ in range(len(by.steps) + 8):  # each round is one transition, and there are no more in a row
        following = _next(state, wanted, facts, by)
        if following == state:
            break
        state = following
    return state


def goal(state: State, wanted: str) -> str:
    """The revision that is really aimed at: `wanted`, unless it is in quarantine; then the last good one. Empty = there is none."""
    if wanted and wanted not in state.quarantined:
        return wanted
    if not wanted and state.candidate:
        return state.candidate
    known = (state.stable, *state.good)
    return next((each for each in known if each and each not in state.quarantined), state.stable)


def quarantine(state: State, digest: str, why: str) -> State:
    """Take a revision back, by hand or for a breach: the last good one is aimed at until manifest or alias lead elsewhere.

    The one that serves goes on to serve until the last good one is up; it stays when there is none."""
    taken = replace(
        state, quarantined={**state.quarantined, digest: why}, good=tuple(each for each in state.good if each != digest), held=""
    )
    return _dropped(taken) if digest == state.candidate else taken


def weights(state: State, by: Terms) -> Mapping[str, int]:
    """Per cent of the requests for each revision that a route names, the stable one first; they add up to 100."""
    if not state.candidate:
        return {state.stable: 100} if state.stable else {}
    if not state.stable:
        return {state.candidate: 100}
    share = weight(state, by)
    return {state.stable: 100 - share, state.candidate: share}


def weight(state: State, by: Terms) -> int:
    """Of the candidate."""
    steps = _steps(state, by)
    return steps[min(state.step, len(steps) - 1)][0] if steps and state.step != START else 0


def slots(state: State, facts: Facts, by: Terms, packaged: Collection[str]) -> Mapping[str, int]:
    """Replicas that each revision must have. `packaged` are the revisions that can be started: an old one is not unloaded for another."""
    if by.off:
        return {}
    found = {digest: facts.app(digest).declared for digest in state.retiring}
    if state.stable:
        unloaded = unloading(state, by) and state.candidate in packaged
        found[state.stable] = 0 if unloaded else by.replicas
    if state.candidate:
        steps, after = _steps(state, by), state.step + 1
        share = steps[after][0] if after < len(steps) else 100  # what it has to be ready for
        found[state.candidate] = _enough(by, share) if state.stable else by.trial
    return {digest: number for digest, number in found.items() if number}


def unloading(state: State, by: Terms) -> bool:
    """Whether the stable revision ends before the candidate starts."""
    return bool(by.unloads and state.stable and state.candidate and not state.held)


def gates(state: State, facts: Facts, by: Terms) -> tuple[Gate, ...]:
    """What the candidate has shown since its step began."""
    if not state.candidate or state.step == START:
        return ()
    return judge(by.gates, state.baseline.since(facts.gateway, facts.app(state.candidate).stats))


def _next(state: State, wanted: str, facts: Facts, by: Terms) -> State:
    """One transition; the same state when there is none to make."""
    if wanted and wanted not in state.quarantined and state.quarantined.keys() - {state.stable}:
        # led elsewhere: coming back to one of them is a new decision; what still serves must not count as good later
        return replace(state, quarantined={digest: why for digest, why in state.quarantined.items() if digest == state.stable})
    gone = {digest for digest, generation in state.retiring.items() if _drained(digest, generation, facts)}
    if gone:
        return replace(state, retiring={digest: each for digest, each in state.retiring.items() if digest not in gone})
    aim = goal(state, wanted)
    if state.candidate and aim != state.candidate:
        return _dropped(state)
    if aim and aim not in (state.stable, state.candidate):
        left = {digest: each for digest, each in state.retiring.items() if digest != aim}
        return replace(state, candidate=aim, step=START, since=facts.now, baseline=Baseline(), held="", retiring=left)
    if state.held and by.rolls_back:
        return _failed(state, state.held, by)
    if not state.candidate or state.held or by.off:
        return state
    if why := _failure(state, facts, by):
        return _failed(state, why, by)
    return _forward(state, facts, by)


def _forward(state: State, facts: Facts, by: Terms) -> State:
    """The candidate's next step, when it may take it."""
    app = facts.app(state.candidate)
    if not facts.gateway:
        return state
    if not state.stable:
        return _promoted(state) if app.ready else state
    steps = _steps(state, by)
    if state.step != START and steps and not _passed(state, facts, by):
        return state
    following = state.step + 1
    if following >= len(steps):
        return _promoted(state) if app.ready >= by.trial else state
    if app.ready < _enough(by, steps[following][0]):
        return state
    return replace(state, step=following, since=facts.now, baseline=Baseline.of(facts.gateway, app.stats))


def _passed(state: State, facts: Facts, by: Terms) -> bool:
    """Whether the step has lasted long enough and its gates say yes."""
    steps = _steps(state, by)
    share, seconds = steps[min(state.step, len(steps) - 1)]
    if facts.now - state.since < seconds:
        return False
    return together(gates(state, facts, by)) is Answer.PASS or not share  # without traffic there is nothing to judge


def _failure(state: State, facts: Facts, by: Terms) -> str:
    """Why the candidate cannot go on; empty = nothing is wrong with it."""
    app = facts.app(state.candidate)
    if app.failed:
        return app.failed
    if state.step == START:
        late = app.begun and app.declared and facts.now - app.begun > by.start_timeout and app.ready < app.declared
        return f"{app.ready} of {app.declared} replicas ready after {by.start_timeout:g} s" if late and facts.gateway else ""
    judged = gates(state, facts, by)
    return "; ".join(each.said for each in judged if each.answer is Answer.FAIL)


def _failed(state: State, why: str, by: Terms) -> State:
    return quarantine(state, state.candidate, why) if by.rolls_back else replace(state, held=why)


def _promoted(state: State) -> State:
    """The candidate is the stable one from now on."""
    old, kept = state.stable, tuple(each for each in state.good if each != state.candidate)
    if old and old not in state.quarantined:
        kept = (old, *(each for each in kept if each != old))[:KEPT]
    retiring = {**state.retiring, old: 0} if old else state.retiring
    return replace(state, stable=state.candidate, candidate="", step=START, since=0.0, baseline=Baseline(), retiring=retiring, good=kept)


def _dropped(state: State) -> State:
    """The candidate gets no more requests, and goes when it has none in hand."""
    retiring = {**state.retiring, state.candidate: 0}
    return replace(state, candidate="", step=START, since=0.0, baseline=Baseline(), held="", retiring=retiring)


def _drained(digest: str, generation: int, facts: Facts) -> bool:
    return bool(facts.gateway) and 0 < generation <= facts.acknowledged and not facts.draining.get(digest, 0)


def _steps(state: State, by: Terms) -> tuple[tuple[int, float], ...]:
    """None where the stable one was taken back: what comes instead has shown already that it is good."""
    return () if state.stable in state.quarantined else by.steps


def _enough(by: Terms, share: int) -> int:
    """Replicas for `share` per cent of the requests."""
    return max(1, ceil(by.trial * share / 100))
