"""Everything that is known of one deployment at one moment, and what follows from it. Pure.

`follow` is the one place where a deployment's future is worked out: the plan shows it, `apply` writes it, its replicas come from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from controllers.serving.gates import Baseline
from controllers.serving.revision import Revision, Wanted, kept, read, wanted
from controllers.serving.rollout import Facts, State, Terms, advance, slots, terms
from controllers.serving.routing import route
from controllers.serving.scaling import Fewer, first
from controllers.serving.scaling import wanted as replicas_wanted
from reconciler.model import JSON, Amounts, Limits, Resource
from reconciler.model.demand import UNLIMITED
from reconciler.model.runtimes import Machine
from reconciler.model.serving import Route, RouteStats
from schemas.deployment import DeploymentSpec

AGAIN = 600.0
"""Seconds after which files or a package that were refused are tried again."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A revision that could not be packaged: its files are not what they must be, or it cannot be built."""

    digest: str = ""
    why: str = ""
    at: float = 0.0
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Notes:
    """A deployment's notebook."""

    state: State = field(default_factory=State)
    revisions: Mapping[str, Revision] = field(default_factory=dict)
    replicas: int | None = None
    """Wanted of the stable revision; None = not decided yet."""
    fewer: Fewer = field(default_factory=Fewer)
    refused: Refused = field(default_factory=Refused)
    begun: Mapping[str, float] = field(default_factory=dict)
    """Revision -> Unix seconds when Serve was asked for it, or for more of it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What was seen of one deployment."""

    facts: Facts
    notes: Notes = field(default_factory=Notes)
    route: Route | None = None
    """As the gateway is told now."""
    stats: RouteStats | None = None
    """As the gateway tells; None = it does not."""
    machine: Machine = field(default_factory=Machine)
    code: str = ""
    """Digest of an own service's files."""
    trouble: str = ""
    """What is wrong with them."""
    room: Limits = UNLIMITED
    """The most that all replicas together can ever hold."""
    margin: float = 0.0
    """That admission adds to memory: 0.15 = 15 %."""
    inactive: str = ""
    """Why nothing is to run; empty = it is to."""
    gone: frozenset[str] = frozenset()
    """Revisions whose package is not in BentoML's store any more, or not as it was built."""


@dataclass(frozen=True, slots=True)
class Following:
    """What follows."""

    wanted: Wanted
    aim: str
    """Digest that manifest and alias lead to, as far as it may be tried now; empty = what is there goes on."""
    terms: Terms
    state: State
    revisions: Mapping[str, Revision]
    replicas: int
    route: Route
    slots: Mapping[str, int]
    """Replicas that each revision must have."""

    def label(self, digest: str) -> str:
        """A revision for people."""
        found = self.revisions.get(digest)
        return found.label if found else digest[:8]


def follow(resource: Resource[Any], scene: Scene) -> Following:
    """The state that follows, with its routes and replicas."""
    spec: DeploymentSpec = resource.spec
    notes, facts = scene.notes, scene.facts
    aim = wanted(resource, scene.code, scene.trouble, scene.machine)
    before = notes.replicas if notes.replicas is not None else first(spec.replicas)
    replicas = replicas_wanted(spec.replicas, before, scene.stats, notes.fewer, facts.now) if notes.state.stable else before
    revisions = _known(notes.revisions, aim.revision)
    refused = notes.refused.digest == aim.digest and facts.now - notes.refused.at < AGAIN
    digest = "" if refused else aim.digest
    by = terms(spec.rollout, replicas, unloads=False, off=bool(scene.inactive))
    state = advance(notes.state, digest, facts, by)
    if state.stable and state.candidate and _unloads(state, revisions, scene, spec, by):
        by = terms(spec.rollout, replicas, unloads=True, off=bool(scene.inactive))
        state = advance(notes.state, digest, facts, by)
    named = {state.stable, state.candidate, *state.retiring, *state.good} - {""}
    revisions = {digest: each for digest, each in revisions.items() if digest in named}
    packaged = {digest for digest, each in notes.revisions.items() if each.bento} - scene.gone
    told = route(resource, state, by, revisions, scene.inactive)
    return Following(aim, digest, by, state, revisions, replicas, told, slots(state, facts, by, packaged))


def written(notes: Notes) -> dict[str, JSON]:
    """The notebook as plain values."""
    return {
        "rollout": asdict(notes.state),
        "revisions": {digest: kept(each) for digest, each in notes.revisions.items()},
        "replicas": notes.replicas,
        "fewer": asdict(notes.fewer) if notes.fewer.since else None,
        "refused": asdict(notes.refused) if notes.refused.digest else None,
        "begun": dict(notes.begun),
    }


def noted(page: Mapping[str, Any]) -> Notes:
    """What `written` wrote."""
    rollout = dict(page.get("rollout") or {})
    baseline = dict(rollout.get("baseline") or {})
    state = State(
        **{each.name: rollout[each.name] for each in fields(State) if each.name in rollout and each.name not in ("baseline", "good")},
        baseline=Baseline(**{**baseline, "latency": tuple(baseline.get("latency", ()))}),
        good=tuple(rollout.get("good", ())),
    )
    return Notes(
        state,
        {digest: read(each) for digest, each in (page.get("revisions") or {}).items()},
        page.get("replicas"),
        Fewer(**(page.get("fewer") or {})),
        Refused(**(page.get("refused") or {})),
        dict(page.get("begun") or {}),
    )


def _known(before: Mapping[str, Revision], aim: Revision | None) -> dict[str, Revision]:
    """All revisions with their facts; the same files may have become another version of the model meanwhile."""
    if aim is None:
        return dict(before)
    had = before.get(aim.digest)
    if had is None or not had.source:
        return {**before, aim.digest: replace(aim, bento=had.bento if had else "")}
    return {**before, aim.digest: replace(aim, bento=had.bento, latency=had.latency, timeout=had.timeout)}


def _unloads(state: State, revisions: Mapping[str, Revision], scene: Scene, spec: DeploymentSpec, by: Terms) -> bool:
    """Whether the old revision has to end before the new one starts."""
    if spec.rollout.surge != "auto":
        return spec.rollout.surge == "never"
    old, new = revisions.get(state.stable), revisions.get(state.candidate)
    if old is None or new is None:
        return False
    alone = _charged(new.amounts, by.trial, scene.margin)
    both = alone.plus(_charged(old.amounts, by.replicas, scene.margin))
    return alone.within(scene.room) and not both.within(scene.room)


def _charged(amounts: Amounts, replicas: int, margin: float) -> Amounts:
    """What admission takes for so many replicas."""
    return Amounts(round(amounts.memory * (1 + margin)) * replicas, *(each * replicas for each in amounts[1:]))
