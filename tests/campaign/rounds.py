"""A campaign: rounds of a commit, faults at random moments, calm, and a look at what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx

from tests.campaign.checks import Judge
from tests.campaign.faults import KINDS, Round, drawn
from tests.campaign.site import Site, random_of
from tests.campaign.world import ROOT, TEAM, World, first, mutate

PATIENCE = 90.0
"""Seconds in which a round has to converge once nothing is harmed any more. The longest wait of the product itself within it: 10 s of a
lease, 30 s of a database that is locked, and the pause of a follower after failures, which a push ends."""
HOLD = 3.0
"""Seconds without convergence after which somebody looks whether a deletion waits for a yes."""
LOOK = 0.4


@dataclass
class Told:
    """What came of one round."""

    number: int
    changes: list[str]
    faults: list[str]
    seconds: float = 0.0
    """From calm to converged."""
    violations: list[str] = field(default_factory=list)


@dataclass
class Campaign:
    site: Site
    seed: int
    faults: int
    only: str = ""
    most: int = 18
    """Faults of one round."""
    seconds: float | None = None
    """After which no further round begins."""
    say: Callable[[str], None] = print
    rounds: list[Told] = field(default_factory=list)

    def run(self, first_round: int = 0) -> list[Told]:
        """Rounds until enough was thrown; those before `first_round` are committed and not harmed."""
        world = first(random_of(self.seed, "world"), self.site.tag)
        for number in range(first_round):
            mutate(world, random_of(self.seed, number, "commit"))
        world.gone.clear()
        judge = Judge(self.site, world)
        self._begin(world, judge)
        number, began = first_round, time.monotonic()
        while sum(len(each.faults) for each in self.rounds) < self.faults:
            if self.seconds is not None and time.monotonic() - began > self.seconds:
                break
            told = self._round(number, world, judge)
            self.rounds.append(told)
            self._tell(told)
            number += 1
        self._end(judge)
        return self.rounds

    def _begin(self, world: World, judge: Judge) -> None:
        self.site.build(world)
        self.site.start()
        told = Told(-1, [], [])
        self._converge(told, world, judge)
        told.violations += [*judge.unasked(), *judge.twins()]
        if told.violations:
            raise SystemExit("it does not converge without a fault:\n  " + "\n  ".join(told.violations) + "\n" + self._last_words())

    def _round(self, number: int, world: World, judge: Judge) -> Told:
        site, rng = self.site, random_of(self.seed, number, "faults")
        here = Round(site, world, judge, rng)
        told = Told(number, mutate(world, random_of(self.seed, number, "commit")), [])
        site.write_loose(world)
        left = self.faults - sum(len(each.faults) for each in self.rounds)
        names = drawn(rng, min(left, rng.randint(5, self.most)), self.only, own_server=site.services is not None)
        at = rng.randint(0, min(2, len(names) - 1))
        for index, name in enumerate(names):
            if index == at:  # some faults are there before the commit is
                for home in (ROOT, TEAM):
                    site.push(world, home, f"round {number}")
                    site.hook(home)
            told.faults.append(name)
            self._watch_exit(told)
            KINDS[name][0](here)
            time.sleep(rng.uniform(0.0, 0.4))
        here.settle()
        self._watch_exit(told)
        began = time.monotonic()
        self._converge(told, world, judge)
        told.seconds = time.monotonic() - began
        self._judge(told, world, judge)
        return told

    def _watch_exit(self, told: Told) -> None:
        """A loop that nobody ended has no business to end."""
        for each in list(self.site.loops):
            if (code := each.process.poll()) is not None:
                told.violations.append(f"a loop ended by itself with {code}: {each.said()[-600:]}")
                self.site.loops.remove(each)
        if not self.site.loops:
            self.site.start()

    def _converge(self, told: Told, world: World, judge: Judge) -> None:
        """Wait until the tools are as declared, saying yes to deletions that wait for it."""
        began, confirmed, found = time.monotonic(), 0.0, ["never looked"]
        for home in (ROOT, TEAM):
            self.site.hook(home)
        while time.monotonic() - began < PATIENCE:
            try:
                found = judge.differences()
            except httpx.HTTPError as error:
                found = [f"MLflow cannot be asked: {error!r}"]
            if not found:
                return
            waits = all("not declared" in each for each in found)
            if waits and time.monotonic() - max(began, confirmed) > HOLD:
                self._confirm()
                confirmed = time.monotonic()
            time.sleep(LOOK)
            self._watch_exit(told)
        told.violations += [f"not converged after {PATIENCE:.0f} s: {each}" for each in found]

    def _confirm(self) -> None:
        import json

        try:
            asked = json.loads(self.site.run("--dry-run", "-o", "json").out)
        except ValueError:
            return
        if digest := asked.get("confirmation"):
            self.site.run("--confirm", digest)

    def _judge(self, told: Told, world: World, judge: Judge) -> None:
        told.violations += [*judge.unasked(), *judge.twins(), *judge.leaks()]
        if self.site.wire.strangers:
            told.violations.append(f"asked without the right password: {', '.join(sorted(self.site.wire.strangers))}")
            self.site.wire.strangers.clear()
        if not told.violations:
            told.violations += self._quiet(judge)
        world.gone.clear()
        judge.remade.clear()

    def _quiet(self, judge: Judge) -> list[str]:
        """Once more in the end: nothing is left to do, and the Store agrees. It may be in the middle of a pass, so it is asked again."""
        until, found = time.monotonic() + 20, list[str]()
        while time.monotonic() < until:
            ran = self.site.run("--dry-run", "--detailed-exitcode")
            found = [*judge.books()]
            if ran.code != 0:
                found.append(f"a dry run ends with {ran.code}: {ran.text[-1500:]}")
            if not found:
                return []
            time.sleep(0.5)
        return found

    def _end(self, judge: Judge) -> None:
        """The loop ends as it should, and no file holds a secret."""
        found = [code for each in self.site.loops if (code := each.end()) != 0]
        last = self.rounds[-1]
        last.violations += [f"the loop ended with {code}" for code in found]
        last.violations += judge.leaks(everywhere=True)
        self.site.loops.clear()

    def _tell(self, told: Told) -> None:
        word = f"{len(told.violations)} VIOLATIONS" if told.violations else "ok"
        self.say(f"round {told.number}: {', '.join(told.changes)} | {'; '.join(told.faults)} | converged in {told.seconds:.1f} s | {word}")
        for each in told.violations:
            self.say(f"    {each}")
        if told.violations:
            self.say(self._last_words())

    def _last_words(self) -> str:
        return "\n".join(f"    | {line}" for each in self.site.loops for line in each.said().splitlines()[-12:])


def table(rounds: list[Told]) -> Iterator[str]:
    """By kind of fault: how many were thrown, and how many rounds that they were part of ended badly."""
    thrown = Counter(name for each in rounds for name in each.faults)
    bad = Counter(name for each in rounds if each.violations for name in set(each.faults))
    yield "| fault | thrown | rounds with a violation |"
    yield "|---|---:|---:|"
    yield from (f"| {name} | {thrown[name]} | {bad[name]} |" for name in KINDS if thrown[name])
    yield f"| all | {sum(thrown.values())} | {sum(1 for each in rounds if each.violations)} |"
    times = sorted(each.seconds for each in rounds)
    if times:
        yield ""
        told = f"p50 {_part(times, 0.5):.1f}, p95 {_part(times, 0.95):.1f}, longest {times[-1]:.1f}"
        yield f"{len(rounds)} rounds; seconds from calm to converged: {told}."


def _part(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))]
