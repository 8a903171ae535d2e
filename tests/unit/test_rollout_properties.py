"""Whatever happens in whatever order: what holds at each moment of a rollout, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controllers.serving.rollout import START, Terms, advance, quarantine, unloading, weights
from schemas.deployment import RolloutGates
from tests.unit.rollout_world import World

DIGESTS = ("a" * 64, "b" * 64, "c" * 64)
GATES = RolloutGates.model_validate({"errorRate": 0.02, "latency": "50ms", "minRequests": 20})
STEPS = ((), ((10, 20.0), (50, 20.0)), ((0, 5.0), (100, 0.0)))

Event = Callable[[World], None]


def _set(**fields: object) -> Event:
    def event(world: World) -> None:
        for name, value in fields.items():
            setattr(world, name, value)

    event.__name__ = str(fields)
    return event


def _on(name: str, digest: str, value: object) -> Event:
    def event(world: World) -> None:
        found = getattr(world, name)
        if value is None:
            found.pop(digest, None) if isinstance(found, dict) else found.discard(digest)
        elif isinstance(found, dict):
            found[digest] = value
        else:
            found.add(digest)

    event.__name__ = f"{name}[{digest[0]}]={value}"
    return event


def _terms(**fields: object) -> Event:
    def event(world: World) -> None:
        world.terms = replace(world.terms, **fields)  # type: ignore[arg-type]

    event.__name__ = f"terms {fields}"
    return event


def _restart(world: World) -> None:
    world.restart_gateway()


def _by_hand(world: World) -> None:
    bad = world.state.candidate or world.state.stable
    if bad and (world.state.candidate or world.state.good):
        world.state = quarantine(world.state, bad, "by hand")


def _serve_restarts(world: World) -> None:
    world.declared, world.running = {}, {}


EVENTS = st.one_of(
    st.sampled_from(DIGESTS).map(lambda each: _set(wanted=each)),
    st.just(_set(wanted="")),
    st.sampled_from(DIGESTS).flatmap(
        lambda each: st.sampled_from(
            [
                _on("broken", each, "it does not load"),
                _on("broken", each, None),
                _on("stuck", each, "yes"),
                _on("stuck", each, None),
                _on("errors", each, 0.5),
                _on("errors", each, None),
                _on("slow", each, "yes"),
                _on("slow", each, None),
            ]
        )
    ),
    st.sampled_from([_set(reachable=False), _set(reachable=True), _restart, _serve_restarts, _by_hand, _set(rate=0), _set(rate=200)]),
    st.sampled_from([_terms(replicas=0), _terms(replicas=1), _terms(replicas=3), _terms(unloads=True), _terms(unloads=False)]),
    st.sampled_from([_terms(rolls_back=False), _terms(rolls_back=True), _terms(off=True), _terms(off=False)]),
)
MOMENTS = st.lists(st.tuples(st.lists(EVENTS, max_size=3), st.sampled_from([1.0, 5.0, 60.0])), min_size=1, max_size=25)


def _holds(world: World) -> None:
    """What must be so after each pass."""
    before, packaged, facts = world.state, set(world.packaged), world.reconcile()
    state, terms = world.state, world.terms
    again = advance(state, world.wanted, facts, terms)
    assert replace(again, retiring={}) == replace(state, retiring={}), "a second look at the same facts changes something"
    share = weights(state, terms)
    assert not share or sum(share.values()) == 100
    assert bool(share) == bool(state.stable or state.candidate)
    for digest in state.quarantined:
        assert digest == state.stable or not share.get(digest)
    assert state.stable != state.candidate or not state.stable
    assert not {state.stable, state.candidate} & state.retiring.keys()
    if not terms.off:
        for digest, percent in share.items():
            replaced = unloading(state, terms) and state.candidate in packaged
            idle = digest == state.stable and (terms.replicas == 0 or replaced)
            assert world.declared.get(digest) or not percent or idle, "an application with traffic is removed"
        for digest in {*before.retiring, *state.retiring} - {state.stable, state.candidate}:
            left = facts.gateway and 0 < before.retiring.get(digest, 0) <= facts.acknowledged and not facts.draining.get(digest)
            assert world.declared.get(digest, 0) == facts.app(digest).declared or left, "one that may have requests in hand is removed"
    if not facts.gateway and before.stable:
        assert state.step <= before.step or state.candidate != before.candidate, "traffic moves although nobody can tell how it goes"
    if state.step != START:
        assert state.candidate


@given(st.sampled_from(STEPS), st.sampled_from([RolloutGates(), GATES]), MOMENTS, st.sampled_from(DIGESTS))
def test_invariants_at_each_moment_and_an_end(
    steps: tuple[tuple[int, float], ...], gates: RolloutGates, moments: object, last: str
) -> None:
    world = World(Terms(steps=steps, gates=gates, start_timeout=30.0), wanted=DIGESTS[0])
    assert isinstance(moments, list)
    for events, seconds in moments:
        for event in events:
            event(world)
        _holds(world)
        world.tick(seconds)
    world.wanted, world.reachable, world.rate = last, True, 500
    world.terms = replace(world.terms, off=False, replicas=max(1, world.terms.replicas))
    for _ in range(60):
        _holds(world)
        world.tick()
    told = world.state.quarantined.get(last) or world.state.held
    assert (world.state.stable == last and not world.state.candidate) or told
    assert world.state.retiring == {}
    assert set(world.declared) <= {world.state.stable, world.state.candidate}
