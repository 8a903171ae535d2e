"""What is simulated: a machine, quotas, and work that arrives. Built-in scenarios, each a pure function of its seed. Pure.

All numbers of the built-in ones are invented; they follow the toolkit's projects in kind (a quantised LoRA run is small and cool, a
diffusion run large and hot) and the cases of the reference: overload of one 64 GiB machine, and six projects that never run dry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from reconciler.admission.simulate.plant import GIB, PlantSpec
from reconciler.admission.values import Quota, Rules
from reconciler.model.demand import Amounts, Limits

RESERVE = Amounts(round(6.4 * GIB))
"""Left to the operating system and to people on 64 GiB, as the Platform's default."""


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work: what it says of itself, and what it is like in truth."""

    project: str
    at: float
    """Seconds from the beginning at which it is submitted."""
    amounts: Amounts
    """Declared, without the margin on memory."""
    priority: int
    seconds: float
    """In truth, on a machine that is neither throttled nor swapping."""
    declared_seconds: float | None = None
    memory: float | None = None
    """Bytes at its peak, in truth; None = as declared."""
    watts: float | None = None
    """In truth; None = as declared."""

    @property
    def true_memory(self) -> float:
        return self.amounts.memory if self.memory is None else self.memory

    @property
    def true_watts(self) -> float:
        return self.amounts.watts / 1000 if self.watts is None else self.watts


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of work that scenarios draw from."""

    memory: float
    """GiB."""
    cpu: float
    watts: float
    minutes: tuple[float, float]
    """Shortest and longest."""

    def draw(self, random: Random, project: str, at: float, priority: int, error: float) -> Work:
        """One piece of it; truth lies within +-`error` of what it declares, uniformly."""
        seconds = 60.0 * random.uniform(*self.minutes)
        amounts = Amounts(round(self.memory * GIB), round(self.cpu * 1000), 0, round(self.watts * 1000))

        def off() -> float:
            return random.uniform(1.0 - error, 1.0 + error)

        return Work(project, at, amounts, priority, seconds, seconds * off(), self.memory * GIB * off(), self.watts * off())


@dataclass(frozen=True, slots=True)
class Feed:
    """A project that always has work waiting: whenever less than `keep` pieces wait, the next one is submitted."""

    keep: int
    kinds: tuple[Kind, ...]
    priority: int = 5


@dataclass(frozen=True)
class Scenario:
    """Everything that a simulation depends on, besides the policy."""

    name: str
    hours: float
    plant: PlantSpec
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    work: tuple[Work, ...] = ()
    """By time of submission."""
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    heat: bool = True
    """False: heat is not simulated and no sensor tells it."""
    rules: Rules = field(default_factory=Rules)
    seed: int = 0
    watts: float | None = None
    """Power that may be given away in all; None = not bounded by quotas."""
    gpus: float = 0.0
    reserve: Amounts = RESERVE
    """Left to the operating system and to people."""
    margin: float = 0.15
    """On every memory estimate; as the Platform's default."""
    error: float = 0.0
    """Of the estimates, relative."""
    drain: bool = False
    """True: over as soon as nothing waits, runs or comes; `hours` is then the most."""

    @property
    def capacity(self) -> Limits:
        """What the machine has, the reserve included."""
        watts = None if self.watts is None else round(self.watts * 1000)
        return Limits(self.plant.memory, round(self.plant.cores * 1000), round(self.gpus * 1000), watts)


UNDISTURBED = Rules(preemption=False)
"""Nothing that runs is stopped for another project: these scenarios show what admission alone does."""
LORA = Kind(memory=9, cpu=1.5, watts=9, minutes=(10, 30))
QUANTISE = Kind(memory=5, cpu=1.5, watts=7, minutes=(4, 12))
DIFFUSION = Kind(memory=15, cpu=2, watts=15, minutes=(15, 45))
COMPRESS = Kind(memory=3, cpu=3, watts=8, minutes=(3, 10))
CLIP = Kind(memory=7, cpu=2, watts=10, minutes=(8, 20))
SMALL = Kind(memory=2, cpu=0.5, watts=4, minutes=(2, 6))
LARGE = Kind(memory=24, cpu=2, watts=20, minutes=(30, 60))
MIX: Mapping[str, tuple[Kind, ...]] = {
    "lora-finetuning": (LORA,),
    "stable-diffusion": (DIFFUSION,),
    "cpu-compression": (COMPRESS, QUANTISE),
    "clip-finetuning": (CLIP, LORA),
}


def thermal(seed: int = 0, hours: float = 24.0) -> Scenario:
    """Somewhat more work than memory has room for, of which an eighth has high priority; estimates are off by up to 30 %."""
    return _stream("thermal", seed, hours, per_hour=17.0, error=0.3)


def overload(seed: int = 0, hours: float = 4.0) -> Scenario:
    """Twice as much work as memory has room for."""
    return _stream("overload", seed, hours, per_hour=30.0, error=0.3)


def fairness(seed: int = 0, hours: float = 48.0) -> Scenario:
    """Six projects that always have work waiting, two of which send small pieces all the time; equal shares, one cohort."""
    feeds = {
        "adaptive-diffusion": Feed(4, (LARGE,)),
        "clip-finetuning": Feed(4, (CLIP,)),
        "cpu-compression": Feed(20, (SMALL,)),
        "lora-finetuning": Feed(4, (LORA, CLIP)),
        "quantized-optimization": Feed(20, (SMALL, QUANTISE)),
        "stable-diffusion": Feed(4, (DIFFUSION,)),
    }
    plant = PlantSpec()
    return Scenario("fairness", hours, plant, _equal(tuple(feeds), plant), feeds=feeds, heat=False, rules=UNDISTURBED, seed=seed)


SCENARIOS: Mapping[str, Callable[[int, float], Scenario]] = {"fairness": fairness, "thermal": thermal, "overload": overload}
"""By the name that the command line knows."""
HOURS: Mapping[str, float] = {"fairness": 48.0, "thermal": 24.0, "overload": 4.0}


def linear(scenario: Scenario) -> Scenario:
    """The same on a machine whose power falls with the frequency only linearly."""
    return replace(scenario, plant=replace(scenario.plant, exponent=1.0))


def _stream(name: str, seed: int, hours: float, per_hour: float, error: float) -> Scenario:
    """Work that arrives at random (Poisson), spread evenly over the projects of `MIX`."""
    random = Random(f"{name}-{seed}")
    plant = PlantSpec()
    found: list[Work] = []
    at = random.expovariate(per_hour / 3600)
    while at < hours * 3600:
        project = random.choice(sorted(MIX))
        kind = random.choice(MIX[project])
        priority = 8 if random.random() < 0.125 else random.randint(3, 6)
        found.append(kind.draw(random, project, at, priority, error))
        at += random.expovariate(per_hour / 3600)
    return Scenario(name, hours, plant, _equal(tuple(sorted(MIX)), plant), tuple(found), rules=UNDISTURBED, seed=seed, error=error)


def _equal(projects: tuple[str, ...], plant: PlantSpec) -> dict[str, Quota]:
    """The machine in equal shares, all of them lent to whoever needs them."""
    memory = (plant.memory - RESERVE.memory) // len(projects)
    nominal = Limits(memory, int(plant.cores * 1000) // len(projects))
    return {project: Quota(project, nominal, cohort="toolkit") for project in projects}
