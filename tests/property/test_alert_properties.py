"""Nothing is lost and nothing is told twice: random turns of statuses, and a sender that dies anywhere, over a real Store."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.alerting.decide import decide
from reconciler.alerting.values import Delivery
from reconciler.model import Ref
from reconciler.state import Store, open_store
from tests.contract.alert_lab import Clock, ill, moving, policy, well

REFS = [Ref("Deployment", "p", "a"), Ref("Experiment", "p", "b"), Ref("Experiment", "p", "b", "r0"), Ref("Dataset", "q", "c")]
RECEIVERS = ("one", "two")
DEATHS = ("nowhere", "before queue", "after queue", "after claim", "after answer")
STATES = ("ill", "other", "well", "moving", "gone")

turns = st.tuples(st.just("turn"), st.integers(0, len(REFS) - 1), st.sampled_from(STATES))
times = st.tuples(st.just("time"), st.sampled_from([0, 1, 29, 31, 400, 4000, 20_000]), st.just(""))
looks = st.tuples(st.just("look"), st.integers(0, 1), st.sampled_from(DEATHS))
STEPS = st.lists(st.one_of(turns, times, looks), max_size=25)


class World:
    """A Store, a clock, and receivers that note what they get, by its id."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.got: dict[str, dict[str, Delivery]] = defaultdict(dict)

    def turn(self, number: int, state: str) -> None:
        ref = REFS[number]
        if state == "gone":
            self.store.put_statuses([], gone=[ref])
            return
        made = {"ill": ill(ref), "other": ill(ref, "Other"), "well": well(ref), "moving": moving(ref)}
        self.store.put_statuses([made[state]])

    def look(self, death: str = "nowhere", fails: int = 0) -> None:
        """What the sender does; it may die at any point, and receivers may refuse."""
        decision = decide(self.store.alerts.scene())
        if death == "before queue":
            return
        self.store.deliveries.queue(decision)
        if death == "after queue":
            return
        for receiver in RECEIVERS:
            while (delivery := self.store.deliveries.claim("ops", receiver, self.clock() + timedelta(seconds=30))) is not None:
                if death == "after claim":
                    return
                if fails and receiver == "one":
                    self.store.deliveries.put_off(delivery.number, self.clock() + timedelta(seconds=5), "down")
                    break
                self.got[receiver].setdefault(delivery.id, delivery)
                if death == "after answer":
                    return
                self.store.deliveries.arrived(delivery.number)

    def settle(self) -> None:
        for _ in range(3):
            self.clock.pass_(seconds=601)
            self.look()


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(steps=STEPS, wait=st.sampled_from(["0s", "30s"]), repeat=st.sampled_from(["0s", "1h"]))
def test_every_transition_is_told_once(steps: list[tuple[str, int, str]], wait: str, repeat: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        with open_store(Path(folder) / "store.db", now=clock) as store:
            receivers = [{"name": name, "webhook": {"url": "https://example.org", "secret": {"fromEnv": "X"}}} for name in RECEIVERS]
            spec = policy(*receivers, groupWait=wait, repeatEvery=repeat, groupBy=["project"], groupInterval=wait)
            store.put_memos({Ref("AlertPolicy", None, "ops"): {"policy": spec.model_dump(mode="json")}})
            world = World(store, clock)
            world.look()
            clock.pass_(seconds=1)
            for what, number, word in steps:
                if what == "turn":
                    world.turn(number, word)
                elif what == "time":
                    clock.pass_(seconds=number)
                else:
                    world.look(word, number)
            world.settle()
            _check(world, waits=wait != "0s")
            for number in range(len(REFS)):
                world.turn(number, "well")
            world.settle()
            _check(world, waits=wait != "0s")


def _check(world: World, *, waits: bool) -> None:
    alerts = world.store.alerts.listed(datetime(2000, 1, 1, tzinfo=UTC))
    assert world.store.deliveries.heads() == []
    for receiver in RECEIVERS:
        told = Counter((part.subject, part.phase, part.nth) for each in world.got[receiver].values() for part in each.parts)
        assert max(told.values(), default=0) <= 1
        numbers = [each.number for each in world.got[receiver].values()]
        assert numbers == sorted(numbers)
        for alert in alerts:
            phases = {phase for subject, phase, _ in told if subject == alert.id}
            child = bool(alert.ref.key)  # what its resource tells is not told again
            if alert.firing:
                assert phases <= {"firing", "repeat"}
                assert "firing" in phases or child
            elif "firing" in phases:
                assert phases - {"repeat"} == {"firing", "resolved"}
            else:
                assert phases <= {"passed"}
                assert phases or child or waits
