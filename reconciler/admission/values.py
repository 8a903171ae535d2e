"""The values of admission: everything that a decision depends on, and the decision. Frozen; no I/O, no clock.

Vocabulary and arithmetic are Kueue's (pkg/cache/scheduler/resource_node.go): nominal quota, cohort, borrowing, lending, usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from reconciler.model import Ref
from reconciler.model.demand import NOTHING, UNLIMITED, Amounts, Limits, WorkClass

# --- the machine ---------------------------------------------------------------------------------------------------


class Level(IntEnum):
    """Pressure on the common scale of all sensors; 1.0 of headroom used up = SERIOUS (Android's PowerManager thermal headroom)."""

    UNKNOWN = -1
    NOMINAL = 0
    FAIR = 1
    SERIOUS = 2
    CRITICAL = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ThermalModel:
    """Two numbers and a limit: T(t) relaxes to ambient + resistance * power with the time constant tau.

    Temperatures are in the unit of headroom (0 = cold chassis, 1 = throttling begins), so that a machine without a thermometer,
    which tells levels only, can be fitted as well."""

    resistance: float
    """Headroom used per watt at rest."""
    tau: float
    """Seconds."""
    ambient: float = 0.0
    """Headroom used without load."""
    limit: float = 1.0
    fast: float = 0.0
    """The part of `resistance` that follows power at once (die above chassis); the rest relaxes with `tau`."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Heat of one node, filtered: worst of its sources, with hysteresis."""

    level: Level = Level.UNKNOWN
    used: float | None = None
    """Headroom used, 0 to 1 and above; None = no source tells."""
    since: datetime | None = None
    """When `level` was entered."""
    watts: float | None = None
    """Power now; None = not measured."""
    model: ThermalModel | None = None
    source: str = ""
    """The sensor that decides, for people."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine that work can run on."""

    name: str
    capacity: Limits
    """What admission may give away in all, system and reserve already taken off nothing: see `system` and `reserve`."""
    reserve: Amounts = NOTHING
    """Left to the operating system and to people."""
    system: Amounts = NOTHING
    """What the shared services use, charged like everything else."""
    outside: Amounts = NOTHING
    """What programs that are not ours use beyond `reserve`, as measured."""
    heat: Heat = field(default_factory=Heat)
    memory_level: Level = Level.UNKNOWN
    """Memory pressure."""
    largest_buffer: int | None = None
    """Bytes that one allocation of the accelerator may have; None = no such bound."""

    def free_of_us(self) -> Limits:
        """Capacity less reserve, system and outside: what leases share. Never below zero."""
        taken = self.reserve.plus(self.system).plus(self.outside)
        return Limits(*(None if limit is None else max(0, limit - used) for limit, used in zip(self.capacity, taken, strict=True)))


# --- quotas --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A recurring time in which work may start (`allow`) or may not (`deny`)."""

    allow: bool
    cron: str
    seconds: int
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Quota:
    """A project's share. A resource without a nominal amount is not governed by the quota: the machine alone bounds it."""

    project: str
    nominal: Limits = UNLIMITED
    borrowing: Limits = UNLIMITED
    """None = all that the cohort has to lend."""
    lending: Limits = UNLIMITED
    """None = all that is idle."""
    cohort: str = ""
    """Empty = lends to nobody and borrows from nobody."""
    weight: float = 1.0
    priority: int = 5
    max_running: int | None = None
    windows: tuple[Window, ...] = ()
    active: bool = True
    """False: nothing of this project starts."""
    declared: bool = True
    """False: the project has no ResourceQuota; it shares what no quota gives to anyone."""


MOBILE = "Workflow"
"""Kind whose children may run on every node; what else runs needs the tools of this machine."""


# --- work ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """Work that waits."""

    ref: Ref
    project: str
    amounts: Amounts
    """What it is charged: estimate and margin included."""
    priority: int
    since: datetime
    """When it began to wait; kept over restarts and pre-emptions."""
    work: WorkClass = "batch"
    seconds: float | None = None
    preemptible: bool = True
    not_before: datetime | None = None
    largest_buffer: int = 0
    preempted: int = 0
    """How often it was pre-empted."""

    @property
    def mobile(self) -> bool:
        """Whether it may run on another machine than the reconciler's: tasks of workflows bring all that they need."""
        return self.ref.kind == MOBILE


@dataclass(frozen=True, slots=True)
class Lease:
    """Work that was granted its amounts on a node: the only thing that may start it. Lives until the work is gone."""

    ref: Ref
    project: str
    node: str
    amounts: Amounts
    priority: int
    since: datetime
    """When it was granted."""
    queued: datetime
    """When it began to wait."""
    work: WorkClass = "batch"
    seconds: float | None = None
    preemptible: bool = True
    preempted: int = 0
    paused: bool = False
    ending: bool = False
    """Asked to stop; charged until it is gone."""


# --- rules and memory ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """Numbers of the policy. Sources: reference simulation and Kueue/YARN defaults as named."""

    exempt_priority: int = 7
    """From here on work may use headroom up to `exempt_ceiling` and starts at level SERIOUS."""
    ceiling: float = 0.9
    """Forecast headroom up to which work below the exempt priority starts."""
    exempt_ceiling: float = 0.97
    """The same for the exempt priorities; the rest is for what a forecast cannot know."""
    power_margin: float = 0.2
    """Added to the declared power of work that is about to start; once it runs, what is measured counts. Found by simulation: with
    powers that are wrong by up to 30 % the smallest margin that kept the time at SERIOUS below 1 % for every seed."""
    settle: timedelta = timedelta(seconds=5)
    """Between two starts on a node that is not NOMINAL: measure before the next."""
    aging: timedelta = timedelta(minutes=10)
    """Waiting this long raises the effective priority by one, up to 10."""
    reserve_after: timedelta = timedelta(minutes=30)
    """A project whose head has waited this long since the project's last start reserves: nobody passes it (EASY backfill)."""
    pause_after: timedelta = timedelta(seconds=60)
    """At CRITICAL this long, the lowest priority is paused."""
    earmark: timedelta = timedelta(minutes=2)
    """What a pre-emption frees is kept for the pre-emptor this long."""
    immunity: timedelta = timedelta(minutes=15)
    """Work is not pre-empted before it has run this long, or a tenth of its expected length if that is longer. Of an overload of four
    hours without checkpoints 73 pieces finish without pre-emption, 71 with this, 55 with 5 minutes (`reconcile simulate`)."""
    most_preemptions: int = 3
    """Of one item; afterwards it runs to its end."""
    horizon: float = 600.0
    """Seconds that heat is forecast ahead, at most."""
    preemption: bool = True
    """False: nothing that runs is ever stopped for somebody else."""
    half_life: timedelta = timedelta(hours=4)
    """Of the usage that decides who may reserve: a project above the average of those that wait may not."""


@dataclass(frozen=True, slots=True)
class Earmark:
    """Room that a pre-emption makes, kept for the pre-emptor."""

    ref: Ref
    node: str
    amounts: Amounts
    until: datetime


@dataclass(frozen=True, slots=True)
class Past:
    """What a decision must remember of earlier ones; small, kept in the Store."""

    project_started: Mapping[str, datetime] = field(default_factory=dict)
    """Project -> when something of it was last granted."""
    node_started: Mapping[str, datetime] = field(default_factory=dict)
    node_paused: Mapping[str, datetime] = field(default_factory=dict)
    """Node -> when something on it was last paused or resumed for heat."""
    earmarks: tuple[Earmark, ...] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    """Project -> its weighted dominant share, decayed over `Rules.half_life`; see `usage`."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Project -> that share as it was held after the last decision."""
    at: datetime | None = None
    """The last decision."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that one decision depends on, taken at one moment."""

    now: datetime
    nodes: tuple[Node, ...]
    quotas: Mapping[str, Quota]
    """By project; a project that is missing here has none declared."""
    leases: tuple[Lease, ...]
    queue: tuple[Item, ...]
    rules: Rules = field(default_factory=Rules)
    past: Past = field(default_factory=Past)
    here: str = ""
    """The node that the tools run on, where work that is not mobile has to be; empty = every one will do."""


# --- the decision --------------------------------------------------------------------------------------------------


class Reason(StrEnum):
    """Why work waits; the first that applies, in this order."""

    ADMITTED = "Admitted"
    EXCEEDS_MACHINE = "ExceedsMachine"
    """Larger than any node can ever give: will never start."""
    EXCEEDS_QUOTA = "ExceedsMaxQuota"
    """Larger than its project can ever have, with everything borrowed: will never start."""
    INACTIVE = "ProjectInactive"
    BACKING_OFF = "BackingOff"
    OUTSIDE_WINDOW = "OutsideWindow"
    MAX_RUNNING = "MaxRunning"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    WAITING_FOR_MEMORY = "WaitingForMemory"
    WAITING_FOR_CPU = "WaitingForCpu"
    WAITING_FOR_GPU = "WaitingForGpu"
    WAITING_FOR_WATTS = "WaitingForWatts"
    WAITING_FOR_HEAT = "WaitingForHeat"
    MEMORY_PRESSURE = "MemoryPressure"
    SETTLING = "Settling"
    WAITING_FOR_PREEMPTED = "WaitingForPreempted"
    BEHIND_RESERVATION = "BehindReservation"
    """It would fit, but somebody else has waited too long for that room."""
    BEHIND = "Behind"
    """It would fit, but somebody before it in the order takes the room in this very decision."""

    @property
    def never(self) -> bool:
        """True: waiting does not help; a number has to change."""
        return self in (Reason.EXCEEDS_MACHINE, Reason.EXCEEDS_QUOTA)


@dataclass(frozen=True, slots=True)
class Expected:
    """When work is expected to start: the middle, and an interval that should hold it four times out of five."""

    at: datetime
    earliest: datetime
    latest: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one waiting item."""

    ref: Ref
    reason: Reason
    message: str
    """One sentence without timestamps or counters: what is short, how much, what is in the way."""
    node: str = ""
    """Where it starts; empty = it waits."""
    blockers: tuple[Ref, ...] = ()
    """What holds the room that it needs, the first to end first."""
    position: int = 0
    """Among all that wait, from 1; 0 = admitted."""
    expected: Expected | None = None

    @property
    def admitted(self) -> bool:
        return self.reason is Reason.ADMITTED


@dataclass(frozen=True, slots=True)
class Preemption:
    """Work to be stopped for somebody; it goes back to the queue with its old waiting time."""

    ref: Ref
    preemptor: Ref
    why: str


@dataclass(frozen=True)
class Decision:
    """What follows from a snapshot. Verdicts of what waits are worked out when they are asked for."""

    grants: tuple[Lease, ...]
    preemptions: tuple[Preemption, ...]
    pauses: tuple[Ref, ...]
    """Leases to be paused for heat."""
    resumes: tuple[Ref, ...]
    past: Past
    warnings: tuple[str, ...]
    """For people, such as `no sensor tells the heat of this machine: admission looks at quotas and memory only`."""
    explain: Callable[[Ref], Verdict]
    """The verdict of one queued Ref. Raises KeyError for one that is not in the snapshot's queue."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change after which an item would start now; checked by deciding again."""

    change: str
    """Such as `priority 5 -> 7`, `quota nominal.memory 10Gi -> 16Gi`."""
    effect: str
    """What it would cost whom, such as `would stop experiment/p/a#s3`."""
    works: bool = True
    """False: was tried and is not enough, or not advised; `effect` says why."""
